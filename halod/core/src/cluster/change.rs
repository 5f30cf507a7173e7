//! Changes of the table and its holders, and what follows from them: a new epoch, messages and drains.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::placement::{Succession, succession};
use super::session::Place;
use super::{Cluster, Note, Output};
use crate::ids::{NodeId, RouteId};
use crate::protocol::{Assigned, RouteMoved, ToNode};
use crate::routing::{Routing, SessionId};
use crate::time::Instant;

/// Who answered for a route before a change.
type Former = (RouteId, Option<SessionId>);

impl Cluster {
    /// Gives `node` the next id.
    pub(super) fn activate(&mut self, now: Instant, node: SessionId) {
        let moves = self.table.add_node().expect("placement keeps M below N").to_vec();
        let holder = |id: Option<NodeId>| id.map(|id| self.holders[id.index()]);
        let formers: Vec<Former> = moves.iter().map(|moved| (moved.route, holder(moved.from))).collect();
        self.hold(NodeId::from_index(self.holders.len()), node);
        self.settle(now, &formers, BTreeSet::new());
    }

    /// Fills the place that `node` gives up. The node itself may be registered still (it leaves) or not (it is lost).
    pub(super) fn vacate(&mut self, now: Instant, node: SessionId, place: Place) {
        let vacated = match place {
            Place::Active(id) => id,
            Place::Reserve => {
                self.reserve.retain(|&waiting| waiting != node);
                return self.publish();
            }
            Place::Leaving => return self.publish(),
        };
        let highest = NodeId::from_index(self.holders.len() - 1);
        match succession(vacated, self.holders.len(), !self.reserve.is_empty()) {
            Succession::Reserve => {
                let formers = self.formers_of(&[vacated]);
                let successor = self.reserve.pop_front().expect("a reserve waits");
                self.hold(vacated, successor);
                self.settle(now, &formers, BTreeSet::from([successor]));
            }
            Succession::Highest => {
                let formers = self.formers_of(&[vacated, highest]);
                let successor = self.holders[highest.index()];
                self.shrink();
                self.hold(vacated, successor);
                self.settle(now, &formers, BTreeSet::from([successor]));
            }
            Succession::Shrink => {
                let formers = self.formers_of(&[vacated]);
                self.shrink();
                self.settle(now, &formers, BTreeSet::new());
            }
        }
    }

    /// Makes the routing of now the one of every data plane.
    pub(super) fn publish(&mut self) {
        let member = |session: &SessionId| Arc::clone(&self.sessions[session].member);
        let routing = Routing {
            epoch: self.epoch,
            owners: self.table.owners().to_vec(),
            holders: self.holders.iter().map(member).collect(),
            members: self.sessions.iter().map(|(&id, session)| (id, Arc::clone(&session.member))).collect(),
        };
        self.outputs.push_back(Output::Publish(Arc::new(routing)));
    }

    /// Removes the highest id from the table and from the holders.
    fn shrink(&mut self) {
        self.table.remove_node().expect("an active node means M > 0");
        self.holders.pop().expect("an active node means M > 0");
    }

    fn hold(&mut self, id: NodeId, node: SessionId) {
        match self.holders.get_mut(id.index()) {
            Some(holder) => *holder = node,
            None => self.holders.push(node),
        }
        self.sessions.get_mut(&node).expect("a holder is registered").place = Place::Active(id);
    }

    fn formers_of(&self, ids: &[NodeId]) -> Vec<Former> {
        let of_one = |&id: &NodeId| {
            let holder = self.holders[id.index()];
            self.table.routes_of(id).iter().map(move |&route| (route, Some(holder)))
        };
        ids.iter().flat_map(of_one).collect()
    }

    /// The table or its holders have changed: publishes them and tells everybody concerned. `formers` are the routes
    /// that may have another node now, `renamed` the nodes that have another id.
    fn settle(&mut self, now: Instant, formers: &[Former], renamed: BTreeSet<SessionId>) {
        self.epoch = self.epoch.next();
        self.publish();

        let mut gainers = renamed;
        let mut moved = 0;
        for &(route, former) in formers {
            let owner = self.table.owner(route).map(|id| self.holders[id.index()]);
            if owner == former {
                continue;
            }
            moved += 1;
            if let Some(owner) = owner {
                gainers.insert(owner);
                if self.drains.cancel(owner, route) {
                    let epoch = self.epoch;
                    self.tell(owner, ToNode::RouteReturned { route, epoch });
                }
            }
            if let Some(former) = former.filter(|former| self.sessions.contains_key(former)) {
                self.begin_drain(now, former, route);
            }
        }
        for node in gainers {
            self.tell_assignment(node);
        }
        self.note(Note::Changed { epoch: self.epoch, active: self.holders.len(), moved });
    }

    fn begin_drain(&mut self, now: Instant, former: SessionId, route: RouteId) {
        let deadline = self.drains.begin(former, route, self.epoch, now + self.config.drain);
        let deadline_ms = u64::try_from(deadline.since(now).as_millis()).unwrap_or(u64::MAX);
        self.tell(former, ToNode::RouteMoved(RouteMoved { route, epoch: self.epoch, deadline_ms }));
        // The flows are named at once, but only after the routing has reached the data plane.
        self.next_tick = now;
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
        if session.welcomed {
            self.send(session.conn, message);
        }
    }
}
