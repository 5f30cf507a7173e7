//! How long it takes until the routes of a lost node have another owner and its browsers another node: many losses of each
//! kind, with and without a reserve node, on few and on many routes.
//!
//! Each cell of this grid is one or more worlds with the real daemon. In a world one node after another is lost, and
//! another one joins in its place, always under a fresh name: HaloD holds back a name that keeps dying. Nothing but the
//! keepalive of idle browsers is under way, so that what is measured is the loss alone. This module makes the scenarios
//! and keeps the times; the runner measures them.

mod measure;
mod report;

use std::time::Duration;

use anyhow::Context;

pub use self::measure::Measure;
pub use self::report::Report;
use super::Distribution;
use crate::engine::Engine;
use crate::runner::{self, Outcome};
use crate::scenario::{Scenario, Step};
use crate::timing::{LATE_BOUND, LossTimes};

/// Deaths of all cells together, unless told otherwise.
pub const DEATHS_DEFAULT: usize = 1_000;

/// Time between two heartbeats of a node.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// How many heartbeats in a row may be missing.
const MISSES: u32 = 3;
/// How long nothing happens before a node is lost, at least. When a join has come to rest, first bytes of browsers that
/// changed node are still under way; and a browser that loses a connection of less than 20 ms backs off.
const REST: Duration = Duration::from_millis(50);
/// Active nodes of each world.
const ACTIVE: usize = 4;
/// Browsers of each world.
const BROWSERS: usize = 32;
/// Each death takes a host of its own; a world with more hosts takes longer to build than two.
const DEATHS_PER_WORLD: usize = 64;

/// How a node is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Its process is killed; its kernel says so.
    Crash,
    /// Its host vanishes.
    PowerOff,
    /// Its process stops; its kernel goes on.
    Hang,
    /// Its link loses everything.
    Cut,
}

impl Kind {
    /// Its verb in a scenario.
    pub fn verb(self) -> &'static str {
        match self {
            Kind::Crash => "crash",
            Kind::PowerOff => "power-off",
            Kind::Hang => "hang",
            Kind::Cut => "cut",
        }
    }

    /// Whether nothing but silence tells of it.
    pub fn is_silent(self) -> bool {
        self != Kind::Crash
    }
}

/// Losses under the same circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Cell {
    /// How nodes are lost.
    pub kind: Kind,
    /// Nodes in reserve.
    pub reserve: u16,
    /// Number of routes.
    pub routes: u16,
    /// How many nodes are lost.
    pub deaths: usize,
}

impl Cell {
    /// A cell for each kind and number of routes, without a reserve and with one. `count` deaths in each, or
    /// [`DEATHS_DEFAULT`] spread over all.
    pub fn grid(kinds: &[Kind], routes: &[u16], count: Option<usize>) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &kind in kinds {
            for reserve in [0, 1] {
                cells.extend(routes.iter().map(|&routes| Cell { kind, reserve, routes, deaths: 0 }));
            }
        }
        let number = cells.len();
        for (index, cell) in cells.iter_mut().enumerate() {
            cell.deaths = count.unwrap_or(DEATHS_DEFAULT / number + usize::from(index < DEATHS_DEFAULT % number));
        }
        cells
    }

    /// One scenario for each world.
    pub fn scenarios(self) -> Vec<Scenario> {
        let worlds = self.deaths.div_ceil(DEATHS_PER_WORLD);
        let deaths = |world| DEATHS_PER_WORLD.min(self.deaths - world * DEATHS_PER_WORLD);
        (0..worlds).map(|world| self.scenario(world, deaths(world))).collect()
    }

    fn scenario(self, world: usize, deaths: usize) -> Scenario {
        let text = self.text(world, deaths);
        Scenario::parse("bench-failover.yaml", &text).unwrap_or_else(|mistakes| panic!("its own text: {mistakes}"))
    }

    /// The scenario of a world, as a file would say it.
    fn text(self, world: usize, deaths: usize) -> String {
        let Cell { kind, reserve, routes, .. } = self;
        let first = ACTIVE + usize::from(reserve);
        let (nodes, heartbeat) = (first + deaths, HEARTBEAT.as_millis());
        let mut text = format!(
            "scenario: bench-failover\n\
             about: One node after another is lost.\n\
             seed: {world}\n\
             router: {{routes: {routes}, reserve: {reserve}, heartbeat: {heartbeat}ms, misses: {MISSES}}}\n\
             nodes: {{n: {nodes}}}\n\
             browsers: {{b: {{count: {BROWSERS}, transports: [iframe, xhr_stream, sse, xhr]}}}}\n\
             links: {{default: {{delay: 1ms}}}}\n\
             steps:\n\
             - join: n1..n{first}\n\
             - connect: b\n  expect: [{{connected: {BROWSERS}}}]\n"
        );
        for (death, (lost, joins)) in replacements(first, usize::from(reserve), deaths).enumerate() {
            let (verb, rest) = (kind.verb(), REST.as_millis() + spread(death));
            text +=
                &format!("- wait: {rest}ms\n- {verb}: n{lost}\n  expect: [{{failover: n{lost}}}]\n- join: n{joins}\n");
        }
        text
    }
}

/// Milliseconds below one heartbeat, so that losses fall at any time between two heartbeats; multiples of a prime, for
/// that many different ones.
fn spread(death: usize) -> u128 {
    (death as u128 * 17) % HEARTBEAT.as_millis()
}

/// Who is lost and who joins in its place, by number, from a world of `first` nodes of which `reserve` (0 or 1) wait. The
/// node in reserve is never the one that is lost; of the others each place is, in turn, the highest id among them.
fn replacements(first: usize, reserve: usize, deaths: usize) -> impl Iterator<Item = (usize, usize)> {
    // By the time for which they are active; who waits in reserve is last. The first node to join is active in any
    // case, so the second waits.
    let mut nodes: Vec<usize> = (1..=first).collect();
    nodes[1..].rotate_left(reserve);
    (0..deaths).map(move |death| {
        let lost = nodes.remove(death % ACTIVE);
        let joins = first + 1 + death;
        nodes.push(joins);
        (lost, joins)
    })
}

/// What came of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcomes {
    /// Which.
    pub cell: Cell,
    /// One for each death.
    pub losses: Vec<LossTimes>,
    /// The most by which the lab's own timers were late.
    pub late_max: Duration,
}

impl Outcomes {
    /// Nothing yet.
    pub fn of(cell: Cell) -> Self {
        Self { cell, losses: Vec::new(), late_max: Duration::ZERO }
    }

    /// Plays the scenario of a world of this cell on `engine`, and adds what came of it. `progress` hears of each step.
    ///
    /// # Errors
    ///
    /// The world did not do as it should; times say nothing then.
    pub fn play(
        &mut self,
        scenario: &Scenario,
        engine: &mut dyn Engine,
        progress: impl FnMut(usize, &Step),
    ) -> anyhow::Result<()> {
        let Outcome { failures, losses, late_max, .. } = runner::run(scenario, engine, progress);
        anyhow::ensure!(failures.is_empty(), failures.join("; "));
        let all_taken_over = losses.iter().all(|loss| loss.failover.is_some());
        all_taken_over.then_some(()).context("nobody took over from a node that was lost")?;
        self.losses.extend(losses);
        self.late_max = self.late_max.max(late_max);
        Ok(())
    }

    /// What its losses say of each measure that they have.
    fn measures(&self) -> Vec<(Measure, Distribution)> {
        let own = Measure::ALL.into_iter().filter(|measure| measure.is_of(self.cell.kind));
        own.map(|measure| (measure, measure.distribution(&self.losses))).collect()
    }

    /// Whether the lab's own timers were so late that long times may be the machine's.
    pub fn is_late(&self) -> bool {
        self.late_max > LATE_BOUND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_number_of_deaths_is_spread_over_all_cells() {
        let kinds = [Kind::Crash, Kind::PowerOff, Kind::Hang, Kind::Cut];
        let cells = Cell::grid(&kinds, &[24, 1024], None);
        assert_eq!(cells.len(), 16);
        assert_eq!(cells.iter().map(|cell| cell.deaths).sum::<usize>(), DEATHS_DEFAULT);
        assert_eq!(
            Cell::grid(&[Kind::Hang], &[24], Some(7)),
            [0, 1].map(|reserve| Cell { kind: Kind::Hang, reserve, routes: 24, deaths: 7 })
        );
    }

    #[test]
    fn every_name_is_lost_once_and_each_place_in_turn() {
        let of = |reserve| replacements(ACTIVE + reserve, reserve, 6).collect::<Vec<_>>();
        assert_eq!(of(0), [(1, 5), (3, 6), (5, 7), (7, 8), (2, 9), (6, 10)]);
        // The second node waits until the first is lost, then the sixth does.
        assert_eq!(of(1), [(1, 6), (4, 7), (2, 8), (7, 9), (3, 10), (6, 11)]);
    }

    #[test]
    fn every_cell_makes_scenarios_with_all_its_deaths() {
        for cell in Cell::grid(&[Kind::Crash, Kind::Cut], &[24], Some(DEATHS_PER_WORLD + 1)) {
            let steps: Vec<usize> = cell.scenarios().iter().map(|scenario| scenario.steps.len()).collect();
            assert_eq!(steps, [2 + 3 * DEATHS_PER_WORLD, 5]);
        }
    }
}
