//! Policy: where a node goes that joins, and who takes over an id that is given up. Functions without state.

use crate::ids::NodeId;
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
    if count.active >= count.routes {
        NodeState::Reserve
    } else if count.active == 0 {
        NodeState::Active
    } else if count.waiting < count.wanted {
        NodeState::Reserve
    } else {
        NodeState::Active
    }
}

/// How an id that its node gives up is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Succession {
    /// A reserve node takes the id; the table stays.
    Reserve,
    /// The node with the highest id takes it over, and the highest id's routes return in reverse.
    Highest,
    /// The id was the highest: its routes return in reverse.
    Shrink,
}

/// Who takes over `vacated` among ids 1..=`active`.
pub(super) fn succession(vacated: NodeId, active: usize, reserve_waits: bool) -> Succession {
    if reserve_waits {
        Succession::Reserve
    } else if vacated.index() + 1 == active {
        Succession::Shrink
    } else {
        Succession::Highest
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

    #[test]
    fn a_reserve_takes_over_before_the_highest_id() {
        let id = |number| NodeId::new(number).unwrap();
        assert_eq!(succession(id(2), 4, true), Succession::Reserve);
        assert_eq!(succession(id(4), 4, true), Succession::Reserve);
        assert_eq!(succession(id(2), 4, false), Succession::Highest);
        assert_eq!(succession(id(4), 4, false), Succession::Shrink);
    }
}
