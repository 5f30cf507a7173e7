//! What `lab bench failover` tells: a table of the cells, a histogram of each measure, HAProxy beside HaloD, the pace, and
//! the same as JSON.

mod json;
mod text;

use std::time::Duration;

use super::{Budget, Comparison, Measure, Outcomes, Pacing, Pair};
use crate::bench::Distribution;
use crate::report::Exit;

/// All that was measured in a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// In the order in which they ran.
    pub cells: Vec<Outcomes>,
    /// HAProxy beside HaloD; `None` without it.
    pub comparison: Option<Comparison>,
    /// How well the pace was kept, if that was measured.
    pub pacing: Option<Pacing>,
    /// What must not be exceeded, if times are to be judged.
    pub budget: Option<Budget>,
}

impl Report {
    /// How the lab's process should end. Late timers leave nothing to be trusted, but what is within a budget is within it
    /// all the more.
    pub fn exit(&self) -> Exit {
        match (self.budget, self.is_late()) {
            (Some(_), _) if self.excess().is_empty() => Exit::Pass,
            (None, false) => Exit::Pass,
            (_, true) => Exit::Invalid,
            (Some(_), false) => Exit::Fail,
        }
    }

    fn excess(&self) -> Vec<String> {
        self.budget.map(|budget| budget.excess(&self.totals(), self.pacing)).unwrap_or_default()
    }

    fn outcomes(&self) -> impl Iterator<Item = &Outcomes> {
        let pairs = self.comparison.iter().flat_map(|comparison| &comparison.pairs);
        self.cells.iter().chain(pairs.flat_map(|Pair { halod, haproxy }| [halod, haproxy]))
    }

    fn is_late(&self) -> bool {
        self.outcomes().any(Outcomes::is_late)
    }

    fn late_max(&self) -> Duration {
        self.outcomes().map(|outcomes| outcomes.late_max).max().unwrap_or_default()
    }

    /// The measures that were made, over all cells of the grid that have them.
    fn totals(&self) -> Vec<(Measure, Distribution)> {
        let cells = |measure: Measure| self.cells.iter().filter(move |outcomes| measure.is_of(outcomes.cell.kind));
        let made = |measure: &Measure| cells(*measure).next().is_some();
        let total = |measure| (measure, cells(measure).flat_map(|outcomes| outcomes.numbers(measure)).collect());
        Measure::ALL.into_iter().filter(made).map(total).collect()
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
