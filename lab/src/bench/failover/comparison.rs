//! The same losses behind HAProxy, with heartbeats as often as its checks.

use std::time::Duration;

use super::{Cell, DEATHS_DEFAULT, Kind, Measure, Outcomes, tableless};
use crate::bench::Distribution;
use crate::engine::Engine;
use crate::scenario::Scenario;

/// Time between two heartbeats, and between two checks of a node.
const HEARTBEAT: Duration = Duration::from_millis(10);
/// Deaths of each kind, unless told otherwise, before each of the two.
const DEATHS_OF_A_KIND: usize = DEATHS_DEFAULT / 16;

/// HaloD and HAProxy side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Of HAProxy.
    pub version: String,
    /// One for each kind of loss.
    pub pairs: Vec<Pair>,
}

/// The same losses before each of the two.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Through HaloD.
    pub halod: Outcomes,
    /// Through HAProxy. Its losses have no failover, for there is no table.
    pub haproxy: Outcomes,
}

impl Pair {
    /// What can be told without a table.
    pub(super) const MEASURES: [Measure; 4] =
        [Measure::CrashToReset, Measure::CrashToByte, Measure::SilenceToReset, Measure::SilenceToByte];

    /// A pair for each kind that nothing has happened to. `count` deaths on either side.
    pub fn all(kinds: &[Kind], count: Option<usize>) -> Vec<Pair> {
        let deaths = count.unwrap_or(DEATHS_OF_A_KIND);
        let cell = |&kind| Cell { kind, reserve: 0, routes: 24, heartbeat: HEARTBEAT, deaths };
        kinds.iter().map(cell).map(|cell| Pair { halod: Outcomes::of(cell), haproxy: Outcomes::of(cell) }).collect()
    }
}

impl Comparison {
    /// One side's numbers of a measure, of all kinds that have it.
    pub(super) fn distribution(&self, side: fn(&Pair) -> &Outcomes, measure: Measure) -> Distribution {
        let sides = self.pairs.iter().map(side).filter(|outcomes| measure.is_of(outcomes.cell.kind));
        sides.flat_map(|outcomes| outcomes.numbers(measure)).collect()
    }
}

/// HAProxy's median divided by HaloD's: above 1, HaloD is faster.
pub(super) fn ratio(halod: &Distribution, haproxy: &Distribution) -> Option<f64> {
    Some(haproxy.percentile(50)? / halod.percentile(50)?)
}

impl Outcomes {
    /// The hosts of a world of this cell that HAProxy stands in.
    pub fn haproxy_hosts(&self) -> Scenario {
        self.cell.hosts()
    }

    /// Plays the cell on `engine`, whose hosts those are, and adds what came of it. `progress` hears of each loss.
    ///
    /// # Errors
    ///
    /// As [`Outcomes::play`].
    pub fn play_behind_haproxy(
        &mut self,
        scenario: &Scenario,
        engine: &mut dyn Engine,
        progress: impl FnMut(),
    ) -> anyhow::Result<()> {
        self.losses.extend(tableless::play(self.cell, scenario, engine, progress)?);
        self.late_max = self.late_max.max(engine.late_max()?);
        Ok(())
    }
}
