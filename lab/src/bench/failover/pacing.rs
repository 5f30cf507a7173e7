//! How fast HaloD ends browser connections when it has many to end: as fast as its `pace` says, neither faster nor slower.
//!
//! A node with many browsers is lost, which costs an RST each, and another one leaves, which costs `reconnect` messages;
//! what is counted is how many browsers lose their connections in each second while there are more to come.

use std::time::Duration;

use halod_core::time::Instant;
use serde::Serialize;

use crate::engine::{CommandOutcome, Engine, Order, Seen};
use crate::observation::Observation;
use crate::runner;
use crate::scenario::{Answer, Node, Ref, Run, Scenario, Step, Stray};

/// Connections a second that HaloD may end.
const PACE: u32 = 100;
/// Browsers of all nodes; enough for some seconds each time.
const BROWSERS: u32 = 800;
/// What is counted at a time.
const WINDOW: Duration = Duration::from_secs(1);

/// Connections that ended in a second, divided by the pace, over every second during which more were to end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// In the slowest second.
    pub min: f64,
    /// In the fastest second.
    pub max: f64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pacing {
    /// The pace, in connections a second.
    pub per_second: u32,
    /// After a loss: first RSTs to the browsers of the lost node, then `reconnect` for those whose routes moved.
    pub loss: Ratio,
    /// After a leave: `reconnect` alone.
    pub leave: Ratio,
}

impl Pacing {
    /// The scenario to play. The wait lets every request be answered: a browser that says something to a lost node is told
    /// of the loss at once, outside of the pace.
    pub fn scenario() -> Scenario {
        let text = format!(
            "scenario: bench-pace\n\
             about: A node with many browsers is lost, another one leaves.\n\
             router: {{routes: 24, reserve: 0, pace: {PACE}/s}}\n\
             nodes: {{n: 4}}\n\
             browsers: {{b: {{count: {BROWSERS}, transports: [xhr_stream, sse]}}}}\n\
             links: {{default: {{delay: 1ms}}}}\n\
             steps:\n\
             - join: n1..n4\n\
             - connect: b\n  expect: [{{connected: {BROWSERS}, within: 20s}}]\n\
             - wait: 2s\n\
             - power-off: n1\n  expect: [{{failover: n1}}, {{settled: true, within: 20s}}]\n\
             - leave: n2\n  expect: [{{settled: true, within: 20s}}]\n"
        );
        Scenario::parse("bench-pace.yaml", &text).unwrap_or_else(|mistakes| panic!("its own text: {mistakes}"))
    }

    /// Plays it.
    ///
    /// # Errors
    ///
    /// The world did not do as it should.
    pub fn play(
        scenario: &Scenario,
        engine: &mut dyn Engine,
        progress: impl FnMut(usize, &Step),
    ) -> anyhow::Result<Self> {
        let mut listener = Listener { engine, ends: Vec::new() };
        let outcome = runner::run(scenario, &mut listener, progress);
        let wrong = [outcome.failures, outcome.overtime].concat();
        anyhow::ensure!(wrong.is_empty(), wrong.join("; "));
        let ratios: Vec<Ratio> = listener.ends.iter().filter_map(|ends| ratio(ends, PACE)).collect();
        let &[loss, leave] = ratios.as_slice() else { anyhow::bail!("there was not a second's work for the pace") };
        Ok(Self { per_second: PACE, loss, leave })
    }
}

/// The seconds that begin with an end of a connection and are over before the last. `None` if there are none.
fn ratio(ends: &[Instant], pace: u32) -> Option<Ratio> {
    let mut ends = ends.to_vec();
    ends.sort_unstable();
    let last = *ends.last()?;
    let full = ends.iter().enumerate().take_while(|&(_, &start)| start + WINDOW <= last);
    let counts = full.map(|(index, &start)| ends.partition_point(|&end| end < start + WINDOW) - index);
    let (min, max) = counts.fold(None, |bounds: Option<(usize, usize)>, count| {
        Some(bounds.map_or((count, count), |(min, max)| (min.min(count), max.max(count))))
    })?;
    let of_pace = |count: usize| count as f64 / (f64::from(pace) * WINDOW.as_secs_f64());
    Some(Ratio { min: of_pace(min), max: of_pace(max) })
}

/// An engine that notes when browsers lose their connections, anew for each loss and each leave.
struct Listener<'e> {
    engine: &'e mut dyn Engine,
    ends: Vec<Vec<Instant>>,
}

impl Engine for Listener<'_> {
    fn now(&self) -> Instant {
        self.engine.now()
    }

    fn give(&mut self, order: Order<'_>) -> anyhow::Result<Instant> {
        if matches!(order, Order::Fault(..) | Order::Leave(_)) {
            self.ends.push(Vec::new());
        }
        self.engine.give(order)
    }

    fn next(&mut self, until: Instant) -> anyhow::Result<Option<Seen>> {
        let seen = self.engine.next(until)?;
        if let Some(Seen { at, observation: Observation::Disconnected { .. }, .. }) = &seen
            && let Some(ends) = self.ends.last_mut()
        {
            ends.push(*at);
        }
        Ok(seen)
    }

    fn first_closing(&mut self, node: Ref<Node>) -> Option<Instant> {
        self.engine.first_closing(node)
    }

    fn late_max(&self) -> anyhow::Result<Duration> {
        self.engine.late_max()
    }

    fn stray(&mut self, stray: &Stray) -> anyhow::Result<Answer> {
        self.engine.stray(stray)
    }

    fn run(&mut self, run: &Run) -> anyhow::Result<CommandOutcome> {
        self.engine.run(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(millis: impl IntoIterator<Item = u64>, wanted: Option<(f64, f64)>) {
        let ends: Vec<Instant> = millis.into_iter().map(|at| Instant::from_nanos(at * 1_000_000)).collect();
        assert_eq!(ratio(&ends, 10), wanted.map(|(min, max)| Ratio { min, max }));
    }

    #[test]
    fn whole_seconds_count_while_there_is_work() {
        check((0..30).map(|number| number * 100), Some((1.0, 1.0)));
        // Five of them come at once, so that the first second has more and all that begin later have not.
        check([0; 5].into_iter().chain((0..30).map(|number| number * 100)), Some((1.0, 1.5)));
        // A second of nothing but the connection that begins it and the last before it is over.
        check([0, 500, 1900, 3000], Some((0.1, 0.2)));
        check([0, 500, 900], None);
        check([], None);
    }
}
