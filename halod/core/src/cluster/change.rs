//! Changes of the table and its holders, and what follows from them: a new epoch, messages and drains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::placement::{Headcount, place};
use super::session::Place;
use super::{Cluster, Note, Output};
use crate::ids::{NodeId, RouteId};
use crate::protocol::{Assigned, NodeState, ToNode};
use crate::routing::{Routing, SessionId};
use crate::time::Instant;

/// A change under way: the table and its holders have been altered, nobody has been told.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Who answered for each route that may have another node now.
    formers: BTreeMap<RouteId, Option<SessionId>>,
    /// Nodes that have another id.
    renamed: BTreeSet<SessionId>,
}

impl Cluster {
    /// Puts a registered node where the policy wants it.
    pub(super) fn place_node(&mut self, change: &mut Change, node: SessionId) {
        let state = place(Headcount {
            routes: self.table.route_count(),
            active: self.holders.len(),
            waiting: self.reserve.len(),
            wanted: self.config.reserve,
        });
        match state {
            NodeState::Active => self.activate(change, node),
            NodeState::Reserve | NodeState::Held => {
                self.session_mut(node).place = Place::Reserve;
                self.reserve.push_back(node);
            }
        }
    }

    /// Gives `node` the next id.
    fn activate(&mut self, change: &mut Change, node: SessionId) {
        let moves = self.table.add_node().expect("placement keeps M below N");
        for moved in moves {
            let former = moved.from.map(|id| self.holders[id.index()]);
            change.formers.entry(moved.route).or_insert(former);
        }
        self.hold(change, NodeId::from_index(self.holders.len()), node);
    }

    /// A reserve node takes over an id; the table stays.
    pub(super) fn succeed(&mut self, change: &mut Change, id: NodeId, successor: SessionId) {
        self.remember_formers(change, id);
        self.hold(change, id, successor);
    }

    /// Closes the gap of an id that no reserve takes over: the highest id's node takes it, and the highest id's routes
    /// return in reverse. If it was the highest itself, that is all.
    pub(super) fn close_up(&mut self, change: &mut Change, id: NodeId) {
        let highest = NodeId::from_index(self.holders.len() - 1);
        self.remember_formers(change, id);
        if !mutant!(HighestIdForgotten) {
            self.remember_formers(change, highest);
        }
        self.table.remove_node().expect("an id in use means M > 0");
        let successor = self.holders.pop().expect("an id in use means M > 0");
        if id != highest {
            self.hold(change, id, successor);
        }
    }

    /// The reserve node to take over: one of this name first, then the one that waits longest.
    pub(super) fn next_reserve(&mut self, name: Option<&str>) -> Option<SessionId> {
        let is_namesake = |node: &SessionId| name == Some(self.sessions[node].member.name.as_str());
        let place = self.reserve.iter().position(is_namesake).unwrap_or(0);
        if mutant!(ReserveTakenTwice) { self.reserve.get(place).copied() } else { self.reserve.remove(place) }
    }

    /// The change is complete: publishes it and tells everybody concerned.
    pub(super) fn settle(&mut self, now: Instant, change: Change) {
        if change.formers.is_empty() {
            return self.publish();
        }
        self.epoch = if mutant!(EpochNotRaised) { self.epoch } else { self.epoch.next() };
        self.publish();
        let mut gainers = change.renamed;
        let mut moved = 0;
        for (route, former) in change.formers {
            let owner = self.table.owner(route).map(|id| self.holders[id.index()]);
            if owner == former {
                continue;
            }
            moved += 1;
            if let Some(owner) = owner {
                gainers.insert(owner);
                if !mutant!(DrainNotCancelled) && self.drains.cancel(owner, route) {
                    let epoch = self.epoch;
                    self.tell(owner, ToNode::RouteReturned { route, epoch });
                }
            }
            if let Some(former) = former.filter(|former| self.sessions.contains_key(former)) {
                let deadline = now + self.config.drain;
                let announcement = self.drains.begin(now, (former, route), self.epoch, deadline);
                self.tell(former, announcement);
                // Its flows are named, but only after the routing has reached the data plane.
                self.look_soon(now);
            }
        }
        for node in gainers {
            self.tell_assignment(node);
        }
        self.note(Note::Changed { epoch: self.epoch, active: self.holders.len(), moved });
    }

    /// Makes the routing of now the one of every data plane.
    pub(super) fn publish(&mut self) {
        let member = |session: &SessionId| Arc::clone(&self.sessions[session].member);
        let routing = Routing {
            epoch: self.epoch,
            owners: self.table.owners().to_vec(),
            holders: self.holders.iter().map(member).collect(),
            members: self.sessions.iter().map(|(&id, session)| (id, Arc::clone(&session.member))).collect(),
            suspects: self.suspects.iter().map(|&(_, node)| node).collect(),
        };
        self.outputs.push_back(Output::Publish(Arc::new(routing)));
    }

    fn hold(&mut self, change: &mut Change, id: NodeId, node: SessionId) {
        match self.holders.get_mut(id.index()) {
            Some(holder) => *holder = node,
            None => self.holders.push(node),
        }
        change.renamed.insert(node);
        // A node that was lost in the same change may be named here until its own id is closed up.
        if let Some(session) = self.sessions.get_mut(&node) {
            session.place = Place::Active(id);
        }
    }

    fn remember_formers(&self, change: &mut Change, id: NodeId) {
        let holder = self.holders[id.index()];
        for &route in self.table.routes_of(id) {
            change.formers.entry(route).or_insert(Some(holder));
        }
    }

    fn tell_assignment(&mut self, node: SessionId) {
        if let Some(id) = self.sessions[&node].node_id() {
            let routes = self.table.routes_of(id).to_vec();
            self.tell(node, ToNode::Assigned(Assigned { id, routes, epoch: self.epoch }));
        }
    }

    /// Tells a node of a change, unless its `welcome` is still to come and will say the same.
    fn tell(&mut self, node: SessionId, message: ToNode) {
        let session = &self.sessions[&node];
        if let (true, Some(conn)) = (session.welcomed, session.conn) {
            self.send(conn, message);
        }
    }
}
