//! Random clusters and random faults in the simulator, until something breaks that must not; then the least of it that
//! still breaks.
//!
//! A [`Case`] is drawn from a seed and written as a scenario; what runs it is the runner of all scenarios. So a case that
//! fails is a file that anybody can run.

mod case;
mod draw;
mod hunt;
mod shrink;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::case::{Act, Case, Deed, LinkSpec};
pub use self::hunt::{Found, Hunt};
pub use self::shrink::shrink;
use crate::engines::sim::world::World;
use crate::monitor::Rule;
use crate::runner;
use crate::scenario::Scenario;

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `None` if nothing was wrong.
    pub failure: Option<Failure>,
    /// A hash of every packet and every observation, in order.
    pub transcript: u64,
    /// How much of its own time it took.
    pub virtual_time: std::time::Duration,
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Of which kind.
    pub kind: Kind,
    /// In words.
    pub what: String,
}

/// The kind of a failure: a smaller case that fails has to fail like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A rule that holds at every moment was broken.
    Broken(Rule),
    /// Something panicked.
    Panic,
    /// Events were lost, shown twice or out of order.
    Events,
    /// After the last fault it did not come to rest: not every browser is served by the owner of its route.
    Unrest,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Broken(rule) => rule.fmt(f),
            Kind::Panic => f.write_str("panic"),
            Kind::Events => f.write_str("no-event-lost"),
            Kind::Unrest => f.write_str("comes-to-rest"),
        }
    }
}

/// Runs a case to its end or to the first thing that is wrong.
pub fn run(case: &Case) -> Outcome {
    let text = case.to_string();
    let scenario = Scenario::parse(&format!("{}.yaml", case.name()), &text)
        .unwrap_or_else(|mistakes| panic!("a case is no scenario: {mistakes}\n{text}"));
    catch_unwind(AssertUnwindSafe(|| simulate(&scenario))).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let what = what.unwrap_or("a panic without words").to_owned();
        Outcome {
            failure: Some(Failure { kind: Kind::Panic, what }),
            transcript: 0,
            virtual_time: std::time::Duration::ZERO,
        }
    })
}

fn simulate(scenario: &Scenario) -> Outcome {
    let mut world = World::build(scenario).expect("what a case needs can be built");
    let outcome = runner::run(scenario, &mut world, |_, _| {});
    let kind = match world.broken() {
        Some(broken) => Kind::Broken(broken.rule),
        None if outcome.snapshot.loads.values().any(|load| (load.shown_twice, load.out_of_order) != (0, 0)) => {
            Kind::Events
        }
        None if outcome.failures.iter().any(|failure| failure.starts_with("events of")) => Kind::Events,
        None => Kind::Unrest,
    };
    let what = outcome.failures.join("; ");
    Outcome {
        failure: (!outcome.failures.is_empty()).then_some(Failure { kind, what }),
        transcript: world.transcript(),
        virtual_time: outcome.duration,
    }
}
