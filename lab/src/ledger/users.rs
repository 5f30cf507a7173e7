//! Which node serves each user's browser, and who changed node.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use halod_core::ids::RouteId;
use halod_core::time::Instant;
use halod_core::user::route_of;

use crate::orbited::Transport;
use crate::scenario::{BrowserGroup, Node, Ref, Scenario};
use crate::snapshot::Reconnects;

#[derive(Debug)]
pub(super) struct Users {
    by_name: BTreeMap<String, UserView>,
    /// How many of them are attached anywhere, kept up to date: there may be many, and whoever waits for them asks often.
    connected: usize,
    /// Which node serves each connection, by the client's end.
    nodes_by_peer: BTreeMap<SocketAddr, Ref<Node>>,
}

#[derive(Debug)]
struct UserView {
    group: Ref<BrowserGroup>,
    transport: Transport,
    route: RouteId,
    /// The scenario wants it connected.
    wanted: bool,
    /// It was connected when the last step ended.
    was_connected: bool,
    /// Where it is attached.
    attached: BTreeMap<Ref<Node>, Attachment>,
    /// Between two long polls nobody can tell whether the browser is gone, so a node is slow to say it.
    polls: bool,
    /// The node that served it last, and when it began to.
    home: Option<(Instant, Ref<Node>)>,
    /// How often it changed node in this step.
    changes: u32,
}

#[derive(Debug, Clone, Copy)]
struct Attachment {
    since: Instant,
    /// The client's end, unless others may look the same.
    peer: Option<SocketAddr>,
}

impl Users {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let of_group = |(group, entry): (Ref<BrowserGroup>, &BrowserGroup)| {
            let users: Vec<_> = (0..entry.count).map(|index| (entry.user(index), entry.transport(index))).collect();
            users.into_iter().map(move |(name, transport)| {
                let route = route_of(&name, scenario.router.routes);
                let view = UserView {
                    group,
                    transport,
                    route,
                    wanted: false,
                    was_connected: false,
                    attached: BTreeMap::new(),
                    polls: false,
                    home: None,
                    changes: 0,
                };
                (name, view)
            })
        };
        let by_name = scenario.browsers.entries().flat_map(of_group).collect();
        Self { by_name, connected: 0, nodes_by_peer: BTreeMap::new() }
    }

    pub(super) fn want(&mut self, group: Ref<BrowserGroup>, wanted: bool) {
        for user in self.by_name.values_mut().filter(|user| user.group == group) {
            user.wanted = wanted;
        }
    }

    /// A node serves `name` from now on. `peer` is the client's end, unless others may look the same.
    ///
    /// # Errors
    ///
    /// Another node serves the same connection, which is a fault.
    pub(super) fn attach(
        &mut self,
        at: Instant,
        name: &str,
        node: Ref<Node>,
        transport: Transport,
        peer: Option<SocketAddr>,
    ) -> Result<(), String> {
        // Users of tools like curl are nobody's browser.
        let Some(user) = self.by_name.get_mut(name) else { return Ok(()) };
        self.connected += usize::from(user.attached.is_empty());
        let former = user.attached.insert(node, Attachment { since: at, peer });
        user.polls = transport == Transport::Xhr;
        let is_news = user.home.is_none_or(|(since, _)| since <= at);
        if is_news {
            let changed = user.home.is_some_and(|(_, home)| home != node);
            user.changes += u32::from(changed);
            user.home = Some((at, node));
        }
        if let Some(former) = former.filter(|former| former.peer != peer) {
            forget(&mut self.nodes_by_peer, former, node);
        }
        if let Some(peer) = peer
            && let Some(other) = self.nodes_by_peer.insert(peer, node)
            && other != node
        {
            return Err(format!("the connection of {name} from {peer} reached two nodes"));
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, at: Instant, name: &str, node: Ref<Node>) {
        let Some(user) = self.by_name.get_mut(name) else { return };
        if user.attached.get(&node).is_some_and(|attachment| attachment.since <= at)
            && let Some(former) = user.attached.remove(&node)
        {
            self.connected -= usize::from(user.attached.is_empty());
            forget(&mut self.nodes_by_peer, former, node);
        }
    }

    /// A node is lost: nobody is attached there any more. Returns whom it served, and how.
    pub(super) fn lose(&mut self, node: Ref<Node>) -> Vec<(String, Transport)> {
        let mut served = Vec::new();
        for (name, user) in &mut self.by_name {
            let Some(former) = user.attached.remove(&node) else { continue };
            self.connected -= usize::from(user.attached.is_empty());
            forget(&mut self.nodes_by_peer, former, node);
            if user.wanted && user.home.is_some_and(|(_, home)| home == node) {
                served.push((name.clone(), user.transport));
            }
        }
        served
    }

    pub(super) fn is_in(&self, name: &str, group: Ref<BrowserGroup>) -> bool {
        self.by_name.get(name).is_some_and(|user| user.group == group)
    }

    pub(super) fn route(&self, name: &str) -> Option<RouteId> {
        self.by_name.get(name).map(|user| user.route)
    }

    /// The group of a user, and what its browser speaks.
    pub(super) fn receiver(&self, scenario: &Scenario, name: &str) -> Option<(String, Transport)> {
        let user = self.by_name.get(name)?;
        Some((scenario.browsers[user.group].name.clone(), user.transport))
    }

    pub(super) fn connected(&self) -> usize {
        self.connected
    }

    /// Whether each wanted browser is at the owner of its route and nowhere else, and no other is anywhere. Only nodes that
    /// count are looked at.
    pub(super) fn check_settled(
        &self,
        scenario: &Scenario,
        owners: &[Option<Ref<Node>>],
        counts: impl Fn(Ref<Node>) -> bool,
    ) -> Result<(), String> {
        for (name, user) in &self.by_name {
            let owner = owners[user.route.index()].filter(|_| user.wanted);
            let is_there = match (owner, user.home) {
                (Some(owner), Some((_, home))) if user.polls => home == owner && user.attached.contains_key(&owner),
                _ => user.attached.keys().copied().filter(|&node| counts(node)).eq(owner),
            };
            if is_there {
                continue;
            }
            let names: Vec<&str> = user.attached.keys().map(|&node| scenario.nodes[node].name.as_str()).collect();
            let is = if names.is_empty() { "not connected".into() } else { format!("at {}", names.join(" and ")) };
            let due = owner.map_or("nowhere", |node| &scenario.nodes[node].name);
            return Err(format!("{name} of route {} is {is}; its place is {due}", user.route));
        }
        Ok(())
    }

    /// Who changed node since the last call, by group.
    pub(super) fn close_step(&mut self, scenario: &Scenario, moved: &[usize]) -> BTreeMap<String, Reconnects> {
        let mut reconnects: BTreeMap<String, Reconnects> = BTreeMap::new();
        for user in self.by_name.values_mut() {
            let counts = reconnects.entry(scenario.browsers[user.group].name.clone()).or_default();
            if user.was_connected && moved.binary_search(&user.route.index()).is_ok() {
                counts.on_moved_routes += 1;
                counts.of_moved += user.changes;
            } else {
                counts.others += user.changes;
            }
            user.changes = 0;
            user.was_connected = !user.attached.is_empty();
            if !user.wanted {
                user.home = None;
            }
        }
        reconnects
    }
}

/// A connection that has ended: its client may use the same end again, and then any node may serve it.
fn forget(nodes_by_peer: &mut BTreeMap<SocketAddr, Ref<Node>>, former: Attachment, node: Ref<Node>) {
    if let Some(peer) = former.peer
        && nodes_by_peer.get(&peer) == Some(&node)
    {
        nodes_by_peer.remove(&peer);
    }
}
