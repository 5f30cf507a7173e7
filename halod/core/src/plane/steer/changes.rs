//! What the kernel's rules have to know, as differences, and what comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::marks::Mark;
use crate::ids::Side;
use crate::routing::Member;

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

/// What is different from before. What is named here replaces what was known of it; of several changes of one thing the
/// last one is here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Where the connections to a service port go, without a decision: to the owner of its route, or to nobody.
    pub ports: BTreeMap<(IpVersion, u16), Option<SocketAddr>>,
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
        self.ports.is_empty() && self.marks.is_empty() && self.nodes.is_empty() && self.watched.is_empty()
    }

    /// Takes in what has changed since.
    pub fn extend(&mut self, later: Changes) {
        self.ports.extend(later.ports);
        self.marks.extend(later.marks);
        self.nodes.extend(later.nodes);
        self.watched.extend(later.watched);
    }

    /// Leaves out what `known` says already.
    #[must_use]
    pub fn beyond(mut self, known: &Known) -> Changes {
        self.ports.retain(|key, address| known.ports.get(key) != address.as_ref());
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

    /// A route's ports lead to `owner`.
    pub(super) fn direct(&mut self, ports: [(Side, u16); 2], owner: Option<&Member>) {
        for (side, port) in ports {
            for version in IpVersion::ALL {
                self.ports.insert((version, port), owner.and_then(|owner| address(owner, side, version)));
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
    /// Where the connections to a service port go without a decision: the last table.
    pub ports: BTreeMap<(IpVersion, u16), SocketAddr>,
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
        fill(&mut self.ports, changes.ports);
        fill(&mut self.marks, changes.marks);
        toggle(&mut self.nodes, changes.nodes);
        toggle(&mut self.watched, changes.watched);
    }
}

fn fill<K: Ord>(known: &mut BTreeMap<K, SocketAddr>, changes: BTreeMap<K, Option<SocketAddr>>) {
    for (key, address) in changes {
        match address {
            Some(address) => known.insert(key, address),
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

    fn changes(port: Option<&str>, node: bool, watched: bool) -> Changes {
        Changes {
            ports: [((IpVersion::V4, 8001), port.map(|address| address.parse().unwrap()))].into(),
            marks: BTreeMap::new(),
            nodes: [("10.1.0.2:80".parse().unwrap(), node)].into(),
            watched: [(8001, watched)].into(),
        }
    }

    #[test]
    fn what_is_known_is_no_change() {
        let mut known = Known::default();
        assert!(changes(None, false, false).beyond(&known).is_empty());
        known.apply(changes(Some("10.1.0.2:80"), true, true));
        assert!(changes(Some("10.1.0.2:80"), true, true).beyond(&known).is_empty());
        let other = changes(Some("10.1.0.3:80"), true, false);
        let expected = Changes { nodes: BTreeMap::new(), ..other.clone() };
        assert_eq!(other.beyond(&known), expected);
        known.apply(changes(None, false, false));
        assert_eq!(known, Known::default());
    }
}
