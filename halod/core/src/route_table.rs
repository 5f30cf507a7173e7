//! Which node id owns which route: a pure function of the number of routes N and of nodes M.
//!
//! The table is grown and shrunk one node at a time, by the steps of the proposal of 2007. A change costs the routes
//! that it moves, times a logarithm; it never starts over. This module knows ids only, not who holds them.

use std::collections::BTreeSet;

use crate::ids::{NodeId, RouteId};

/// A route that changes owner when the highest node id is added. Read backwards, it is what a removal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The route.
    pub route: RouteId,
    /// Its owner before the node was added; `None` for the first node, which takes what nobody owned.
    pub from: Option<NodeId>,
}

/// The owner of each of N routes among M nodes.
///
/// Counts of routes a node differ by at most one. With M = 0 no route has an owner.
#[derive(Debug, Clone)]
pub struct RouteTable {
    owners: Vec<Option<NodeId>>,
    /// The routes of each node, lowest first, so that the highest is taken from the end.
    routes_by_node: Vec<Vec<RouteId>>,
    /// What each addition moved, in order; the last entry is undone by a removal.
    moves_by_node: Vec<Vec<Move>>,
    /// All nodes, most routes first, then lowest id first.
    by_load: BTreeSet<(std::cmp::Reverse<usize>, NodeId)>,
}

impl RouteTable {
    /// A table of `routes` routes that nobody owns.
    pub fn new(routes: u16) -> Self {
        Self {
            owners: vec![None; usize::from(routes)],
            routes_by_node: Vec::new(),
            moves_by_node: Vec::new(),
            by_load: BTreeSet::new(),
        }
    }

    /// Number of routes, N.
    pub fn route_count(&self) -> usize {
        self.owners.len()
    }

    /// Number of nodes, M.
    pub fn node_count(&self) -> usize {
        self.routes_by_node.len()
    }

    /// The owner of `route`; `None` while there is no node, or for a route beyond N.
    pub fn owner(&self, route: RouteId) -> Option<NodeId> {
        self.owners.get(route.index()).copied().flatten()
    }

    /// The owners of routes 1..=N, in that order.
    pub fn owners(&self) -> &[Option<NodeId>] {
        &self.owners
    }

    /// The routes of `node`, lowest first; empty for an id that is not in use.
    pub fn routes_of(&self, node: NodeId) -> &[RouteId] {
        self.routes_by_node.get(node.index()).map_or(&[], Vec::as_slice)
    }

    /// Adds node id M+1 and returns what moves to it, in the order of the moves; `None` if M = N already.
    pub fn add_node(&mut self) -> Option<&[Move]> {
        let (routes, nodes) = (self.route_count(), self.node_count());
        if nodes >= routes {
            return None;
        }
        let joiner = NodeId::from_index(nodes);
        let quota = routes / (nodes + 1) + usize::from(mutant!(QuotaOffByOne));
        let moves = if nodes == 0 { self.all_unowned() } else { self.take_from_the_loaded(quota) };

        let mut own: Vec<RouteId> = moves.iter().map(|moved| moved.route).collect();
        own.sort_unstable();
        for &route in &own {
            self.owners[route.index()] = Some(joiner);
        }
        self.by_load.insert((std::cmp::Reverse(own.len()), joiner));
        self.routes_by_node.push(own);
        self.moves_by_node.push(moves);
        self.moves_by_node.last().map(Vec::as_slice)
    }

    /// Removes node id M: each of its routes returns to its owner in table (N, M-1). Returns the moves that had
    /// brought them, to be read backwards; `None` if there is no node.
    pub fn remove_node(&mut self) -> Option<Vec<Move>> {
        let own = self.routes_by_node.pop()?;
        let mut moves = self.moves_by_node.pop().expect("each node has its moves");
        if mutant!(ReverseForgotten) {
            moves.reverse();
        }
        let leaver = NodeId::from_index(self.routes_by_node.len());
        self.by_load.remove(&(std::cmp::Reverse(own.len()), leaver));

        for &Move { route, from } in moves.iter().rev() {
            self.owners[route.index()] = from;
            if let Some(owner) = from {
                let routes = &mut self.routes_by_node[owner.index()];
                routes.push(route);
                let count = routes.len();
                self.by_load.remove(&(std::cmp::Reverse(count - 1), owner));
                self.by_load.insert((std::cmp::Reverse(count), owner));
            }
        }
        Some(moves)
    }

    fn all_unowned(&self) -> Vec<Move> {
        (0..self.route_count()).map(|index| Move { route: RouteId::from_index(index), from: None }).collect()
    }

    /// Steps 3 to 5 of the proposal: down the list of nodes, the highest route of each, again from the top.
    fn take_from_the_loaded(&mut self, quota: usize) -> Vec<Move> {
        let among = if mutant!(TieBreak) { self.node_count() } else { quota };
        let mut list: Vec<_> = self.by_load.iter().take(among).copied().collect();
        if mutant!(TieBreak) {
            list.sort_by_key(|&(load, node)| (load, std::cmp::Reverse(node)));
        }
        let mut moves = Vec::with_capacity(quota);
        for &(_, node) in list.iter().cycle().take(quota) {
            let routes = &mut self.routes_by_node[node.index()];
            let route = routes.pop().expect("a node in the list owns more routes than the joiner will");
            let left = routes.len();
            self.by_load.remove(&(std::cmp::Reverse(left + 1), node));
            self.by_load.insert((std::cmp::Reverse(left), node));
            moves.push(Move { route, from: Some(node) });
        }
        moves
    }
}
