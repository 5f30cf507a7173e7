//! `halod plan`: which node owns which route as nodes join one after another and then fail, for people and for
//! programs.
//!
//! The table comes from the core; this only draws it. Steps are written as they are computed, so that the largest
//! plan needs no more memory than a few of its steps.

mod json;
mod svg;
mod text;

use std::io::{self, Write};

use halod_core::ids::{NodeId, RouteId};
use halod_core::route_table::{Move, RouteTable};
use serde::Serialize;

/// How a plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people: routes down, nodes across.
    Text,
    /// One object for programs.
    Json,
    /// The picture of the proposal, a colour a node.
    Svg,
}

/// What is planned: nodes join one after another, then some of them fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    routes: u16,
    nodes: u16,
    failed: Vec<NodeId>,
}

/// A node cannot fail: nobody holds its id by then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--fail {id} (number {number} of {count}): {}", in_use(*.highest))]
pub struct NoSuchNode {
    id: u16,
    /// Which `--fail` it is, counted from 1.
    number: usize,
    count: usize,
    /// The highest id by then; 0 if no node is left.
    highest: u16,
}

fn in_use(highest: u16) -> String {
    match highest {
        0 => "no node is left by then".into(),
        1 => "only id 1 is in use by then".into(),
        highest => format!("only ids 1 to {highest} are in use by then"),
    }
}

impl Plan {
    /// `routes` routes spread while 1 to `nodes` nodes join; then the nodes with the ids `failed` fail, one after
    /// another, each id as it is given at that moment. Nodes beyond `routes` stay in reserve and make no step.
    ///
    /// # Errors
    ///
    /// If nobody holds an id that is to fail.
    pub fn new(routes: u16, nodes: u16, failed: &[u16]) -> Result<Self, NoSuchNode> {
        let checked = failed.iter().enumerate().map(|(before, &id)| {
            let left = usize::from(nodes).saturating_sub(before);
            // No more than `nodes`, a u16.
            let highest = left.min(usize::from(routes)) as u16;
            NodeId::new(id).filter(|_| id <= highest).ok_or(NoSuchNode {
                id,
                number: before + 1,
                count: failed.len(),
                highest,
            })
        });
        Ok(Self { routes, nodes, failed: checked.collect::<Result<_, _>>()? })
    }

    /// Writes a step for each node that joins, then one for each that fails.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write, format: Format) -> io::Result<()> {
        match format {
            Format::Text => text::write(out, self),
            Format::Json => json::write(out, self),
            Format::Svg => svg::write(out, self),
        }
    }

    /// How many nodes get routes.
    fn active(&self) -> u16 {
        self.nodes.min(self.routes)
    }

    /// One step a node, then one a failure.
    fn steps(&self) -> impl Iterator<Item = Step> {
        let mut table = RouteTable::new(self.routes);
        let mut in_reserve = self.nodes - self.active();
        let joins = (0..self.active()).map(|_| None);
        joins.chain(self.failed.iter().copied().map(Some)).map(move |failed| {
            let route = |moved: &Move| moved.route;
            let moved = match failed {
                None => table.add_node().expect("there are fewer nodes than routes").iter().map(route).collect(),
                // The id has a new holder; its routes stay with the id.
                Some(_) if in_reserve > 0 => {
                    in_reserve -= 1;
                    Vec::new()
                }
                // Whichever id failed: the highest id's node takes it over, so the highest is the one to go.
                Some(_) => table.remove_node().expect("a node is left to fail").iter().rev().map(route).collect(),
            };
            Step { nodes: table.node_count(), failed, moved, table: table.owners().to_vec() }
        })
    }

    /// "24 routes on 1 to 8 nodes, 2 lost"
    fn title(&self) -> String {
        let routes = match self.routes {
            1 => "1 route".into(),
            routes => format!("{routes} routes"),
        };
        let nodes = match self.active() {
            1 => "1 node".into(),
            active => format!("1 to {active} nodes"),
        };
        match self.failed.len() {
            0 => format!("{routes} on {nodes}"),
            lost => format!("{routes} on {nodes}, {lost} lost"),
        }
    }

    /// What happens to an id whose node fails; `None` if none does.
    fn on_failure(&self) -> Option<&'static str> {
        match (self.failed.is_empty(), self.nodes > self.routes) {
            (true, _) => None,
            (false, false) => Some("The highest id's node takes over a lost id; its own routes return."),
            (false, true) => Some("A node in reserve takes over a lost id, else the highest id's."),
        }
    }

    /// What becomes of nodes that get no routes; `None` if all do.
    fn in_reserve(&self) -> Option<String> {
        match (self.active() + 1, self.nodes) {
            _ if self.nodes <= self.routes => None,
            (first, last) if first == last => Some(format!("Node {first} stays in reserve: no route is left for it.")),
            (first, last) => Some(format!("Nodes {first} to {last} stay in reserve: no route is left for them.")),
        }
    }
}

/// The table after one more node has joined or failed.
#[derive(Debug, Clone, Serialize)]
struct Step {
    /// Nodes that are active now.
    nodes: usize,
    /// The id whose node failed; `None` if a node joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<NodeId>,
    /// The routes that have another id now, in the order of the moves.
    moved: Vec<RouteId>,
    /// The owners of routes 1..=N; `None` once no node is left.
    table: Vec<Option<NodeId>>,
}

impl Step {
    /// Whether each route, in order, moved in this step.
    fn moved_by_index(&self) -> Vec<bool> {
        let mut moved = vec![false; self.table.len()];
        for route in &self.moved {
            moved[route.index()] = true;
        }
        moved
    }
}

#[cfg(test)]
fn written(routes: u16, nodes: u16, failed: &[u16], format: Format) -> String {
    let mut out = Vec::new();
    let plan = Plan::new(routes, nodes, failed).expect("ids that are in use");
    plan.write(&mut out, format).expect("a vector takes everything");
    String::from_utf8(out).expect("plans are text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_step(routes: u16, nodes: u16, failed: &[u16]) -> Step {
        Plan::new(routes, nodes, failed).unwrap().steps().last().unwrap()
    }

    /// For every table of up to 12 routes and 14 nodes, and every id in it.
    #[test]
    fn whichever_id_fails_the_table_is_that_of_one_node_less() {
        for (routes, nodes) in (1..=12).flat_map(|routes| (2..=14).map(move |nodes| (routes, nodes))) {
            let one_less = last_step(routes, nodes - 1, &[]);
            let mut undone = last_step(routes, nodes, &[]).moved;
            undone.reverse();
            for id in 1..=nodes.min(routes) {
                let step = last_step(routes, nodes, &[id]);
                assert_eq!(step.failed.map(NodeId::number), Some(id));
                assert_eq!((step.nodes, &step.table), (one_less.nodes, &one_less.table), "({routes}, {nodes}) -{id}");
                let expected: &[RouteId] = if nodes > routes { &[] } else { &undone };
                assert_eq!(step.moved, expected, "({routes}, {nodes}) -{id}");
            }
        }
    }

    #[test]
    fn failures_one_after_another_walk_back_to_nobody() {
        let steps: Vec<Step> = Plan::new(24, 8, &[3, 7, 1, 5, 2, 3, 2, 1]).unwrap().steps().collect();
        let (joins, failures) = steps.split_at(8);
        for (failure, join) in failures.iter().zip(joins.iter().rev().skip(1)) {
            assert_eq!((failure.nodes, &failure.table), (join.nodes, &join.table));
        }
        let nobody = failures.last().unwrap();
        assert_eq!((nobody.nodes, &nobody.table), (0, &vec![None; 24]));
    }

    #[test]
    fn an_id_that_nobody_holds_cannot_fail() {
        let refusal = |routes, nodes, failed: &[u16]| Plan::new(routes, nodes, failed).unwrap_err().to_string();
        assert_eq!(refusal(24, 4, &[5]), "--fail 5 (number 1 of 1): only ids 1 to 4 are in use by then");
        assert_eq!(refusal(24, 4, &[0]), "--fail 0 (number 1 of 1): only ids 1 to 4 are in use by then");
        assert_eq!(refusal(24, 4, &[1, 4, 1]), "--fail 4 (number 2 of 3): only ids 1 to 3 are in use by then");
        assert_eq!(refusal(24, 2, &[2, 2]), "--fail 2 (number 2 of 2): only id 1 is in use by then");
        assert_eq!(refusal(24, 1, &[1, 1]), "--fail 1 (number 2 of 2): no node is left by then");
        assert_eq!(refusal(3, 9, &[4]), "--fail 4 (number 1 of 1): only ids 1 to 3 are in use by then");
    }
}
