//! How long it takes until the routes of a lost node have another owner and its browsers another node: many losses of each
//! kind, with and without a reserve node, on few and on many routes.
//!
//! Each [cell](Cell) of this grid is one or more worlds with the real daemon. Nothing but the keepalive of idle browsers is
//! under way, so that what is measured is the loss alone. Cells make the scenarios, this module keeps the times; the runner
//! measures them. Where HAProxy is installed, the same losses happen [behind it](Comparison), and once a node with many
//! browsers is lost under a small [pace](Pacing).

mod budget;
mod cell;
mod comparison;
mod measure;
mod pacing;
mod report;
mod tableless;

use std::time::Duration;

use anyhow::Context;

pub use self::budget::Budget;
pub use self::cell::Cell;
pub use self::comparison::{Comparison, Pair};
pub use self::measure::Measure;
pub use self::pacing::{Pacing, Ratio};
pub use self::report::Report;
use super::Distribution;
use crate::engine::Engine;
use crate::runner::{self, Outcome};
use crate::scenario::{Scenario, Step};
use crate::timing::{LATE_BOUND, LossTimes};

/// Deaths of all cells together, unless told otherwise.
pub const DEATHS_DEFAULT: usize = 1_000;

/// Time between two heartbeats of a node, in the cells of the grid.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// How many heartbeats in a row may be missing.
const MISSES: u32 = 3;
/// Active nodes of each world.
const ACTIVE: usize = 4;
/// Browsers of each world.
const BROWSERS: usize = 32;

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

/// What came of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcomes {
    /// Which.
    pub cell: Cell,
    /// One for each death.
    pub losses: Vec<LossTimes>,
    /// The most by which the lab's own timers were late, or a node's heartbeats.
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
        let Outcome { failures, overtime, losses, late_max, .. } = runner::run(scenario, engine, progress);
        let wrong = [failures, overtime].concat();
        anyhow::ensure!(wrong.is_empty(), wrong.join("; "));
        let all_taken_over = losses.iter().all(|loss| loss.failover.is_some());
        all_taken_over.then_some(()).context("nobody took over from a node that was lost")?;
        self.losses.extend(losses);
        self.late_max = self.late_max.max(late_max);
        Ok(())
    }

    /// What its losses say of each measure that they have.
    fn measures(&self) -> Vec<(Measure, Distribution)> {
        let own = Measure::ALL.into_iter().filter(|measure| measure.is_of(self.cell.kind));
        own.map(|measure| (measure, self.numbers(measure).collect())).collect()
    }

    fn numbers(&self, measure: Measure) -> impl Iterator<Item = f64> {
        self.losses.iter().flat_map(move |loss| measure.of(loss, self.cell.heartbeat))
    }

    /// Whether they were so late that long times may be the machine's.
    pub fn is_late(&self) -> bool {
        self.late_max > LATE_BOUND
    }
}
