//! The route table against the proposal: its picture of 24 routes, and a model that follows its steps to the letter.

use halod_core::ids::{NodeId, RouteId};
use halod_core::route_table::{Move, RouteTable};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The proposal's steps, with no thought for cost: each node's routes, lowest first.
#[derive(Clone)]
struct Model {
    routes: u16,
    routes_by_node: Vec<Vec<u16>>,
}

impl Model {
    fn new(routes: u16) -> Self {
        Self { routes, routes_by_node: Vec::new() }
    }

    /// Adds a node and returns what moved, in order: the route and its former owner.
    fn join(&mut self) -> Vec<(u16, Option<u16>)> {
        let nodes = self.routes_by_node.len();
        let moved: Vec<(u16, Option<u16>)> = if nodes == 0 {
            (1..=self.routes).map(|route| (route, None)).collect()
        } else {
            let mut list: Vec<usize> = (0..nodes).collect();
            list.sort_by_key(|&node| (usize::MAX - self.routes_by_node[node].len(), node));
            let quota = usize::from(self.routes) / (nodes + 1);
            let mut moved = Vec::new();
            while moved.len() < quota {
                for &node in &list {
                    if moved.len() < quota {
                        let route = self.routes_by_node[node].pop().expect("a node with a route");
                        moved.push((route, Some(node as u16 + 1)));
                    }
                }
            }
            moved
        };
        let mut own: Vec<u16> = moved.iter().map(|&(route, _)| route).collect();
        own.sort_unstable();
        self.routes_by_node.push(own);
        moved
    }

    fn owners(&self) -> Vec<Option<u16>> {
        let mut owners = vec![None; usize::from(self.routes)];
        for (node, routes) in self.routes_by_node.iter().enumerate() {
            for &route in routes {
                let before = owners[usize::from(route) - 1].replace(node as u16 + 1);
                assert_eq!(before, None, "the model gives route {route} two owners");
            }
        }
        owners
    }
}

fn plain(moves: &[Move]) -> Vec<(u16, Option<u16>)> {
    moves.iter().map(|moved| (moved.route.number(), moved.from.map(NodeId::number))).collect()
}

fn owners(table: &RouteTable) -> Vec<Option<u16>> {
    table.owners().iter().map(|owner| owner.map(NodeId::number)).collect()
}

/// Adds a node to both and compares what moved.
fn join(table: &mut RouteTable, model: &mut Model) -> Vec<(u16, Option<u16>)> {
    let moved = plain(table.add_node().expect("fewer nodes than routes"));
    assert_eq!(moved, model.join(), "moves to node {}", table.node_count());
    moved
}

/// Everything that holds at any time, and that the table is the model's.
fn check(table: &RouteTable, model: &Model) {
    assert_eq!(owners(table), model.owners());
    assert_eq!(table.node_count(), model.routes_by_node.len());
    for (node, expected) in model.routes_by_node.iter().enumerate() {
        let routes: Vec<u16> = table.routes_of(NodeId::from_index(node)).iter().map(|route| route.number()).collect();
        assert_eq!(&routes, expected, "routes of node {}", node + 1);
    }
    let counts = || model.routes_by_node.iter().map(Vec::len);
    if let (Some(least), Some(most)) = (counts().min(), counts().max()) {
        assert!(most - least <= 1, "counts from {least} to {most}");
        assert!(table.owners().iter().all(Option::is_some), "a route without an owner");
    }
}

/// A join moves floor(N/(M+1)) routes, and whatever changed owner now belongs to the joiner.
fn check_join(before: &[Option<u16>], after: &[Option<u16>], joiner: u16, moved: &[(u16, Option<u16>)]) {
    assert_eq!(moved.len(), before.len() / usize::from(joiner));
    for (index, (was, is)) in before.iter().zip(after).enumerate() {
        let moved_from = moved.iter().find(|&&(route, _)| usize::from(route) == index + 1).map(|&(_, from)| from);
        let expected = if moved_from.is_some() { Some(joiner) } else { *was };
        assert_eq!(*is, expected, "route {}", index + 1);
        assert!(moved_from.is_none_or(|from| from == *was), "route {} came from elsewhere", index + 1);
    }
}

#[test]
fn the_progression_of_24_routes_is_the_proposals() {
    let golden: Value = serde_json::from_str(include_str!("golden/routes-24.json")).expect("valid JSON");
    let mut table = RouteTable::new(24);
    let steps: Vec<Value> = (1..=8)
        .map(|nodes| {
            let moved: Vec<RouteId> = table.add_node().expect("room").iter().map(|moved| moved.route).collect();
            json!({ "nodes": nodes, "moved": moved, "table": table.owners() })
        })
        .collect();
    assert_eq!(Value::from(steps), golden["steps"]);
}

#[test]
fn every_table_of_up_to_48_routes_is_the_models_both_ways() {
    for routes in 1..=48 {
        let (mut table, mut model) = (RouteTable::new(routes), Model::new(routes));
        let mut history = Vec::new();
        for joiner in 1..=routes {
            let before = owners(&table);
            history.push(model.clone());
            let moved = join(&mut table, &mut model);
            check(&table, &model);
            check_join(&before, &owners(&table), joiner, &moved);
        }
        assert_eq!(table.add_node(), None, "more nodes than routes");

        while let Some(model) = history.pop() {
            let undone = plain(&table.remove_node().expect("a node is left"));
            check(&table, &model);
            assert_eq!(undone, model.clone().join(), "a removal undoes the moves of the join");
        }
        assert_eq!(table.remove_node(), None, "no node is left");
    }
}

#[test]
fn a_table_without_routes_takes_no_node() {
    let mut table = RouteTable::new(0);
    assert_eq!(table.add_node(), None);
    assert_eq!(table.owner(RouteId::from_index(0)), None);
}

/// N, M and a number of nodes to go back to.
fn sizes() -> impl Strategy<Value = (u16, u16, u16)> {
    (1..=4_096_u16)
        .prop_flat_map(|routes| (Just(routes), 1..=routes))
        .prop_flat_map(|(routes, nodes)| (Just(routes), Just(nodes), 0..nodes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_table_is_the_models_there_back_and_there_again((routes, nodes, fewer) in sizes()) {
        let (mut table, mut model) = (RouteTable::new(routes), Model::new(routes));
        let mut model_at_fewer = model.clone();
        for joiner in 1..=nodes {
            if joiner == fewer + 1 {
                model_at_fewer = model.clone();
            }
            let before = (joiner == nodes).then(|| owners(&table));
            let moved = join(&mut table, &mut model);
            if let Some(before) = before {
                check_join(&before, &owners(&table), joiner, &moved);
            }
        }
        check(&table, &model);

        for _ in fewer..nodes {
            table.remove_node();
        }
        check(&table, &model_at_fewer);

        for _ in fewer..nodes {
            join(&mut table, &mut model_at_fewer);
        }
        check(&table, &model);
    }
}
