//! Policy: where a node goes that joins. A function without state.

use crate::protocol::NodeState;

/// What placement depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Headcount {
    /// Routes, N.
    pub(super) routes: usize,
    /// Active nodes, M.
    pub(super) active: usize,
    /// Nodes waiting in reserve.
    pub(super) waiting: usize,
    /// Nodes that shall wait in reserve if possible.
    pub(super) wanted: usize,
}

/// Where a node goes that joins: "always keep at least one failover node in commission if possible".
pub(super) fn place(count: Headcount) -> NodeState {
    if count.active >= count.routes + usize::from(mutant!(MoreActiveThanRoutes)) {
        NodeState::Reserve
    } else if count.active == 0 {
        NodeState::Active
    } else if count.waiting < count.wanted {
        NodeState::Reserve
    } else {
        NodeState::Active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(routes: usize, active: usize, waiting: usize, wanted: usize) -> NodeState {
        place(Headcount { routes, active, waiting, wanted })
    }

    #[test]
    fn the_first_node_is_active_whatever_reserve_is_wanted() {
        assert_eq!(placed(24, 0, 0, 3), NodeState::Active);
    }

    #[test]
    fn the_reserve_is_filled_before_the_cluster_grows() {
        assert_eq!(placed(24, 1, 0, 2), NodeState::Reserve);
        assert_eq!(placed(24, 1, 1, 2), NodeState::Reserve);
        assert_eq!(placed(24, 1, 2, 2), NodeState::Active);
    }

    #[test]
    fn there_are_never_more_active_nodes_than_routes() {
        assert_eq!(placed(2, 2, 5, 0), NodeState::Reserve);
    }
}
