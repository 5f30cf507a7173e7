//! What `lab bench router` tells: tables of medians, of ratios and of processor time, and the same as JSON.

mod json;
mod text;

use super::contender::{Contender, PLAIN};
use super::load::Sample;
use super::machine::{Machine, Quiet};
use super::{Budget, Measure, Outcome};
use crate::bench::Distribution;
use crate::report::Exit;

/// All that was measured in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// In the order of their turns.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) rounds: u32,
    pub(super) seconds: u32,
    /// What could not be measured, and why.
    pub(super) left_out: Vec<String>,
    pub(super) quiet: Quiet,
    pub(super) machine: Machine,
    pub(super) budget: Option<Budget>,
}

impl Report {
    /// How the lab's process should end. On a busy machine nothing is to be trusted, but what reaches its budget there
    /// reaches it all the more.
    pub fn exit(&self) -> Exit {
        let is_quiet = self.disturbances().is_empty();
        match (self.budget, is_quiet) {
            (Some(_), _) if self.shortfall().is_empty() => Exit::Pass,
            (None, true) => Exit::Pass,
            (_, false) => Exit::Invalid,
            (Some(_), true) => Exit::Fail,
        }
    }

    fn shortfall(&self) -> Vec<String> {
        let median = |name: &str, measure| self.median(self.outcome(name)?, measure);
        self.budget.map(|budget| budget.shortfall(median)).unwrap_or_default()
    }

    /// Why the figures say nothing, if so.
    fn disturbances(&self) -> Vec<String> {
        // That with the least to do.
        let Some(steadiest) = self.direct().or_else(|| self.outcome(PLAIN)).or(self.outcomes.first()) else {
            return Vec::new();
        };
        let rates = [Measure::ConnsPerS, Measure::ReqsPerS, Measure::BulkGbitS]
            .map(|measure| (measure, self.rounds_of(steadiest, measure)));
        self.quiet.disturbances(steadiest.name, &rates)
    }

    fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.name == name)
    }

    fn direct(&self) -> Option<&Outcome> {
        self.outcome(Contender::DIRECT.name)
    }

    /// What each round says of a measure.
    fn rounds_of(&self, outcome: &Outcome, measure: Measure) -> Vec<f64> {
        let direct = self.direct().filter(|direct| direct.name != outcome.name);
        let of_round =
            |(round, sample): (usize, &Sample)| measure.of(sample, direct.and_then(|direct| direct.samples.get(round)));
        outcome.samples.iter().enumerate().filter_map(of_round).collect()
    }

    fn median(&self, outcome: &Outcome, measure: Measure) -> Option<f64> {
        self.rounds_of(outcome, measure).into_iter().collect::<Distribution>().percentile(50)
    }
}
