//! What the kernel's rules have to know, as differences, and what comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::marks::Mark;
use crate::ids::{NodeId, RouteId, Side};
use crate::routing::{Member, Routing, SessionId};
use crate::service::ServicePorts;

/// An IP version; a node may have an address of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Whom the connections to a service port are for: a side of whoever holds a node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The id, which owns the port's route.
    pub id: NodeId,
    /// The side, which is the port's.
    pub side: Side,
}

/// What is different from before. What is named here replaces what was known of it; of several changes of one thing the
/// last one is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Whom the connections to a service port are for that nobody decides about.
    pub owners: BTreeMap<u16, Option<Owner>>,
    /// Where they go then: to whoever holds the id.
    pub holders: BTreeMap<(IpVersion, Owner), Option<SocketAddr>>,
    /// Which address a mark means.
    pub marks: BTreeMap<(IpVersion, Mark), Option<SocketAddr>>,
    /// Whether packets of no connection that come from this address of a node are to be seen.
    pub nodes: BTreeMap<SocketAddr, bool>,
    /// Whether all packets of connections to this service port are to be seen.
    pub watched: BTreeMap<u16, bool>,
}

impl Changes {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
            && self.holders.is_empty()
            && self.marks.is_empty()
            && self.nodes.is_empty()
            && self.watched.is_empty()
    }

    /// Takes in what has changed since.
    pub fn extend(&mut self, later: Changes) {
        self.owners.extend(later.owners);
        self.holders.extend(later.holders);
        self.marks.extend(later.marks);
        self.nodes.extend(later.nodes);
        self.watched.extend(later.watched);
    }

    /// Leaves out what `known` says already.
    #[must_use]
    pub fn beyond(mut self, known: &Known) -> Changes {
        self.owners.retain(|port, owner| known.owners.get(port) != owner.as_ref());
        self.holders.retain(|key, address| known.holders.get(key) != address.as_ref());
        self.marks.retain(|key, address| known.marks.get(key) != address.as_ref());
        self.nodes.retain(|node, is_there| known.nodes.contains(node) != *is_there);
        self.watched.retain(|port, is_there| known.watched.contains(port) != *is_there);
        self
    }

    pub(super) fn mark(&mut self, marks: [(Side, Mark); 2], member: &Member) {
        for (side, mark) in marks {
            for version in IpVersion::ALL {
                self.marks.insert((version, mark), address(member, side, version));
            }
        }
    }

    pub(super) fn unmark(&mut self, marks: [(Side, Mark); 2]) {
        for (_, mark) in marks {
            self.marks.extend(IpVersion::ALL.map(|version| ((version, mark), None)));
        }
    }

    /// The last table becomes another: routes have other owners, and ids other holders.
    pub(super) fn table(&mut self, ports: &ServicePorts, before: &Routing, after: &Routing) {
        for (index, &id) in after.owners.iter().enumerate() {
            if before.owners.get(index).copied().flatten() != id {
                let route = RouteId::from_index(index);
                let owner = |side| (ports.port(side, route), id.map(|id| Owner { id, side }));
                self.owners.extend(Side::ALL.map(owner));
            }
        }
        for index in 0..before.holders.len().max(after.holders.len()) {
            let session = |routing: &Routing| -> Option<SessionId> { Some(routing.holders.get(index)?.session) };
            if session(before) != session(after) {
                self.hold(NodeId::from_index(index), after.holders.get(index).map(|holder| &**holder));
            }
        }
    }

    fn hold(&mut self, id: NodeId, holder: Option<&Member>) {
        for side in Side::ALL {
            for version in IpVersion::ALL {
                let address = holder.and_then(|holder| address(holder, side, version));
                self.holders.insert((version, Owner { id, side }), address);
            }
        }
    }

    pub(super) fn watch(&mut self, ports: [u16; 2]) {
        self.watched.extend(ports.map(|port| (port, true)));
    }

    pub(super) fn unwatch(&mut self, ports: [u16; 2]) {
        self.watched.extend(ports.map(|port| (port, false)));
    }

    pub(super) fn nodes(&mut self, before: &BTreeSet<SocketAddr>, after: &BTreeSet<SocketAddr>) {
        self.nodes.extend(after.difference(before).map(|&node| (node, true)));
        self.nodes.extend(before.difference(after).map(|&node| (node, false)));
    }
}

/// What the rules know: all changes so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// The last table: whom the connections to a service port are for that nobody decides about.
    pub owners: BTreeMap<u16, Owner>,
    /// Where they go then.
    pub holders: BTreeMap<(IpVersion, Owner), SocketAddr>,
    /// Which address a mark means.
    pub marks: BTreeMap<(IpVersion, Mark), SocketAddr>,
    /// Addresses of nodes whose packets of no connection are to be seen.
    pub nodes: BTreeSet<SocketAddr>,
    /// Service ports whose connections are to be seen.
    pub watched: BTreeSet<u16>,
}

impl Known {
    /// Takes in what has changed.
    pub fn apply(&mut self, changes: Changes) {
        fill(&mut self.owners, changes.owners);
        fill(&mut self.holders, changes.holders);
        fill(&mut self.marks, changes.marks);
        toggle(&mut self.nodes, changes.nodes);
        toggle(&mut self.watched, changes.watched);
    }
}

fn fill<K: Ord, V>(known: &mut BTreeMap<K, V>, changes: BTreeMap<K, Option<V>>) {
    for (key, value) in changes {
        match value {
            Some(value) => known.insert(key, value),
            None => known.remove(&key),
        };
    }
}

fn toggle<K: Ord>(known: &mut BTreeSet<K>, changes: BTreeMap<K, bool>) {
    for (key, is_there) in changes {
        if is_there {
            known.insert(key);
        } else {
            known.remove(&key);
        }
    }
}

fn address(member: &Member, side: Side, version: IpVersion) -> Option<SocketAddr> {
    let of_side = match side {
        Side::Browser => &member.browser,
        Side::App => &member.app,
    };
    of_side.iter().find(|address| IpVersion::of(address) == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(owner: Option<(u16, &str)>, node: bool, watched: bool) -> Changes {
        let number = |number| Owner { id: NodeId::new(number).unwrap(), side: Side::Browser };
        let address = owner.map(|(_, address)| address.parse().unwrap());
        Changes {
            owners: [(8001, owner.map(|(id, _)| number(id)))].into(),
            holders: [((IpVersion::V4, number(1)), address)].into(),
            marks: BTreeMap::new(),
            nodes: [("10.1.0.2:80".parse().unwrap(), node)].into(),
            watched: [(8001, watched)].into(),
        }
    }

    #[test]
    fn what_is_known_is_no_change() {
        let mut known = Known::default();
        assert!(changes(None, false, false).beyond(&known).is_empty());
        known.apply(changes(Some((1, "10.1.0.2:80")), true, true));
        assert!(changes(Some((1, "10.1.0.2:80")), true, true).beyond(&known).is_empty());
        let other = changes(Some((1, "10.1.0.3:80")), true, false);
        let expected = Changes { owners: BTreeMap::new(), nodes: BTreeMap::new(), ..other.clone() };
        assert_eq!(other.beyond(&known), expected);
        let other = changes(Some((2, "10.1.0.2:80")), true, true);
        assert_eq!(other.clone().beyond(&known), Changes { owners: other.owners, ..Changes::default() });
        known.apply(changes(None, false, false));
        assert_eq!(known, Known::default());
    }
}
