//! When a step ends, with an engine that observes what it is told to.

use std::collections::VecDeque;

use halod_core::protocol::ErrorCode;

use super::*;
use crate::engine::{CommandOutcome, Seen, Witness};
use crate::observation::Observation;
use crate::scenario::Answer;

const SOURCE: &str = "\
scenario: x
about: A node joins.
router: {routes: 2}
nodes: {n: 1}
steps:
  - join: n1
";

/// An engine whose clock moves by a second with each observation.
struct Script {
    now: Instant,
    queue: VecDeque<Observation>,
    /// What is observed again and again after the queue.
    forever: Option<Observation>,
    node: Ref<Node>,
}

impl Engine for Script {
    fn now(&self) -> Instant {
        self.now
    }

    fn give(&mut self, _order: Order<'_>) -> anyhow::Result<Instant> {
        Ok(self.now)
    }

    fn next(&mut self, until: Instant) -> anyhow::Result<Option<Seen>> {
        let Some(observation) = self.queue.pop_front().or_else(|| self.forever.clone()) else {
            self.now = self.now.max(until);
            return Ok(None);
        };
        self.now = self.now + Duration::from_secs(1);
        assert!(self.now < Instant::ORIGIN + Duration::from_secs(3_600), "it never stops");
        Ok(Some(Seen { at: self.now, by: Witness::Node(self.node), observation }))
    }

    fn first_closing(&mut self, _node: Ref<Node>) -> Option<Instant> {
        None
    }

    fn late_max(&self) -> anyhow::Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn stray(&mut self, _stray: &Stray) -> anyhow::Result<Answer> {
        unreachable!("no step asks for it")
    }

    fn run(&mut self, _run: &Run) -> anyhow::Result<CommandOutcome> {
        unreachable!("no step asks for it")
    }
}

/// Runs the scenario with these observations, to its failures and how long it took.
fn failures(queue: Vec<Observation>, forever: Option<Observation>) -> (Vec<String>, Duration) {
    let scenario = Scenario::parse("x.yaml", SOURCE).unwrap();
    let (node, _) = scenario.nodes.entries().next().unwrap();
    let mut engine = Script { now: Instant::ORIGIN, queue: queue.into(), forever, node };
    let outcome = run(&scenario, &mut engine, |_, _| {});
    (outcome.failures, outcome.duration)
}

#[test]
fn a_step_ends_though_observations_do_not() {
    let (failures, duration) = failures(Vec::new(), Some(Observation::Detached { user: "nobody".into() }));
    assert_eq!(failures, ["line 6: join: n1: a node was not welcomed"]);
    assert!((WITHIN_DEFAULT..WITHIN_DEFAULT * 2).contains(&duration), "{duration:?}");
}

#[test]
fn a_step_fails_as_soon_as_something_is_wrong() {
    let rejected = Observation::Rejected { code: ErrorCode::Malformed, message: "no".into() };
    let (failures, duration) = failures(vec![rejected], None);
    assert_eq!(failures, ["line 6: join: n1: n1: halod said Malformed: no"]);
    assert!(duration < WITHIN_DEFAULT, "{duration:?}");
}
