//! Routes that moved away, and which of their browsers' connections are still here.

use std::collections::{BTreeMap, BTreeSet};

use halod_core::ids::{Epoch, RouteId};

use crate::actors::ConnId;

/// The drains of a node, one a route at most.
#[derive(Debug, Default)]
pub(super) struct Drains {
    by_route: BTreeMap<RouteId, Drain>,
}

#[derive(Debug)]
struct Drain {
    epoch: Epoch,
    /// Named and still open.
    open: BTreeSet<ConnId>,
    all_named: bool,
}

impl Drain {
    fn is_over(&self) -> bool {
        self.all_named && self.open.is_empty()
    }
}

impl Drains {
    /// A route moved away. A drain of an earlier move of it is forgotten.
    pub(super) fn begin(&mut self, route: RouteId, epoch: Epoch) {
        self.by_route.insert(route, Drain { epoch, open: BTreeSet::new(), all_named: false });
    }

    pub(super) fn cancel(&mut self, route: RouteId) {
        self.by_route.remove(&route);
    }

    /// HaloD named connections of a move, which are open; `last` if it has named them all now. Returns the move if
    /// that was the end of it.
    pub(super) fn name(
        &mut self,
        route: RouteId,
        epoch: Epoch,
        conns: &[ConnId],
        last: bool,
    ) -> Option<(RouteId, Epoch)> {
        let drain = self.by_route.get_mut(&route).filter(|drain| drain.epoch == epoch)?;
        drain.open.extend(conns);
        drain.all_named |= last;
        if !drain.is_over() {
            return None;
        }
        self.by_route.remove(&route);
        Some((route, epoch))
    }

    /// A connection has ended. Returns the moves of which it was the last.
    pub(super) fn ended(&mut self, conn: ConnId) -> Vec<(RouteId, Epoch)> {
        let over = self.by_route.extract_if(.., |_, drain| drain.open.remove(&conn) && drain.is_over());
        over.map(|(route, drain)| (route, drain.epoch)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(5);

    fn route() -> RouteId {
        RouteId::new(3).unwrap()
    }

    fn draining() -> Drains {
        let mut drains = Drains::default();
        drains.begin(route(), EPOCH);
        drains
    }

    #[test]
    fn a_drain_is_over_when_all_are_named_and_ended() {
        let mut drains = draining();
        assert_eq!(drains.name(route(), EPOCH, &[ConnId(1), ConnId(2)], false), None);
        assert_eq!(drains.ended(ConnId(1)), []);
        assert_eq!(drains.ended(ConnId(2)), []);
        assert_eq!(drains.name(route(), EPOCH, &[ConnId(3)], true), None);
        assert_eq!(drains.ended(ConnId(3)), [(route(), EPOCH)]);
        assert_eq!(drains.ended(ConnId(3)), []);
    }

    #[test]
    fn nothing_open_is_over_at_once_and_once_only() {
        let mut drains = draining();
        assert_eq!(drains.name(route(), EPOCH, &[], true), Some((route(), EPOCH)));
        assert_eq!(drains.name(route(), EPOCH, &[], true), None);
    }

    #[test]
    fn the_end_of_one_drain_is_none_of_another() {
        let mut drains = draining();
        let other = RouteId::new(4).unwrap();
        drains.begin(other, EPOCH);
        assert_eq!(drains.name(other, EPOCH, &[ConnId(1)], true), None);
        assert_eq!(drains.name(route(), EPOCH, &[], true), Some((route(), EPOCH)));
        assert_eq!(drains.ended(ConnId(1)), [(other, EPOCH)]);
    }

    #[test]
    fn another_epoch_and_a_cancelled_drain_do_not_count() {
        let mut drains = draining();
        assert_eq!(drains.name(route(), Epoch(4), &[], true), None);
        drains.cancel(route());
        assert_eq!(drains.name(route(), EPOCH, &[], true), None);
    }
}
