//! Routes that have moved: the packets of their flows are seen here until none is left at a former owner.

use std::collections::BTreeSet;

use super::Steer;
use crate::flow::{FlowPhase, FlowView, Flows};
use crate::ids::{RouteId, Side};
use crate::routing::Routing;

impl Steer {
    /// Who owns a route now may be another than before.
    pub(super) fn move_route(&mut self, route: RouteId, former: &Routing) {
        let (before, after) = (former.owner(route), self.routing.owner(route));
        if before.map(|owner| owner.session) == after.map(|owner| owner.session) {
            return;
        }
        if let Some(after) = after {
            // It has returned: what is at this node is in order again, but for what was ended meanwhile.
            let (mut flows, session) = (Vec::new(), after.session);
            let goes_on = |flow: &FlowView| flow.phase != FlowPhase::Ended;
            self.flows.visit(route, session, &mut |flow| flows.extend(goes_on(&flow).then_some(flow.key)));
            flows.into_iter().for_each(|key| self.flows.remove(key.client, key.service));
        }
        if before.is_some_and(|owner| self.routing.members.contains_key(&owner.session)) {
            self.watch(route);
        }
    }

    fn watch(&mut self, route: RouteId) {
        self.questions.raise();
        if self.watched.insert(route) && !mutant!(MovedRoutesUnwatched) {
            self.changes.watch(Side::ALL.map(|side| self.services.ports.port(side, route)));
        }
    }

    /// Watches no more where no flow is left, as far as the kernel was asked since the route moved.
    pub(super) fn unwatch(&mut self) {
        if self.questions.are_open() {
            return;
        }
        let in_use = self.routes_in_use();
        for route in self.watched.extract_if(.., |route| !in_use.contains(route)) {
            self.changes.unwatch(Side::ALL.map(|side| self.services.ports.port(side, route)));
        }
    }

    /// Routes with flows of registered nodes that have not ended.
    fn routes_in_use(&self) -> BTreeSet<RouteId> {
        let mut in_use = BTreeSet::new();
        for &node in self.routing.members.keys() {
            self.flows.visit_node(node, &mut |flow| {
                if flow.phase != FlowPhase::Ended {
                    in_use.extend(self.services.locate(flow.key.service).map(|(_, route)| route));
                }
            });
        }
        in_use
    }
}
