//! `halod plan`: which node owns which route as nodes join one after another, for people and for programs.
//!
//! The table comes from the core; this only draws it. Steps are written as they are computed, so that the largest
//! plan needs no more memory than a few of its steps.

mod json;
mod svg;
mod text;

use std::io::{self, Write};

use halod_core::ids::{NodeId, RouteId};
use halod_core::route_table::RouteTable;
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

/// Writes how `routes` routes spread while 1 to `nodes` nodes join. Nodes beyond `routes` stay in reserve and make no
/// step.
///
/// # Errors
///
/// Those of `out`.
pub fn write(out: &mut dyn Write, routes: u16, nodes: u16, format: Format) -> io::Result<()> {
    let plan = Plan { routes, nodes };
    match format {
        Format::Text => text::write(out, plan),
        Format::Json => json::write(out, plan),
        Format::Svg => svg::write(out, plan),
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy)]
struct Plan {
    routes: u16,
    nodes: u16,
}

/// The table after one more node has joined.
#[derive(Debug, Clone, Serialize)]
struct Step {
    /// Nodes that are active now.
    nodes: u16,
    /// The routes that the last one took, in the order of the moves.
    moved: Vec<RouteId>,
    /// The owners of routes 1..=N.
    table: Vec<NodeId>,
}

impl Plan {
    /// How many nodes get routes.
    fn active(self) -> u16 {
        self.nodes.min(self.routes)
    }

    /// One step a node.
    fn steps(self) -> impl Iterator<Item = Step> {
        let mut table = RouteTable::new(self.routes);
        (1..=self.active()).map(move |nodes| {
            let moves = table.add_node().expect("there are fewer nodes than routes");
            let moved = moves.iter().map(|moved| moved.route).collect();
            let owner = |owner: &Option<NodeId>| owner.expect("the first node takes every route");
            Step { nodes, moved, table: table.owners().iter().map(owner).collect() }
        })
    }

    /// "24 routes on 1 to 8 nodes"
    fn title(self) -> String {
        let routes = match self.routes {
            1 => "1 route".into(),
            routes => format!("{routes} routes"),
        };
        match self.active() {
            1 => format!("{routes} on 1 node"),
            active => format!("{routes} on 1 to {active} nodes"),
        }
    }

    /// What becomes of nodes that get no routes; `None` if all do.
    fn in_reserve(self) -> Option<String> {
        match (self.active() + 1, self.nodes) {
            _ if self.nodes <= self.routes => None,
            (first, last) if first == last => Some(format!("Node {first} stays in reserve: no route is left for it.")),
            (first, last) => Some(format!("Nodes {first} to {last} stay in reserve: no route is left for them.")),
        }
    }
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
fn written(routes: u16, nodes: u16, format: Format) -> String {
    let mut out = Vec::new();
    write(&mut out, routes, nodes, format).expect("a vector takes everything");
    String::from_utf8(out).expect("plans are text")
}
