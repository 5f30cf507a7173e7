//! How fast the simulator is: the standard crash, again and again on one core.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::engines::sim::world::World;
use crate::runner;
use crate::scenario::Scenario;

/// 24 routes, 4 nodes, 240 browsers that listen and 10 s, in which a node dies after 5. Only the seed changes.
const STANDARD: &str = "\
scenario: bench-sim
about: The standard crash.
router: {routes: 24, reserve: 0, heartbeat: 100ms, misses: 3}
nodes: {n: 4}
browsers: {b: {count: 240, transports: [iframe, xhr_stream, sse, xhr]}}
apps: {a: {}}
links: {default: {delay: 1ms}}
steps:
- join: n1..n4
- connect: b
  expect: [{connected: 240}]
- load: {app: a, events: 500, rate: 100/s}
- wait: 5s
- crash: n2
  expect: [{failover: n2}, {connected: 240}]
- wait: 5s
";

/// Figures of all runs together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Runs.
    pub seeds: u64,
    /// Real time of all of them.
    pub wall_s: f64,
    /// Virtual seconds a real second.
    pub virtual_per_wall: f64,
    /// Packets delivered and observations made, a real second.
    pub events_per_s: f64,
    /// Runs a real second.
    pub seeds_per_s: f64,
}

/// Runs the standard crash of seed after seed, for at least `time`. `progress` hears of each run.
///
/// # Errors
///
/// A run that did not do as it should; its time says nothing then.
pub fn run(time: Duration, mut progress: impl FnMut(u64)) -> anyhow::Result<Figures> {
    let begin = Instant::now();
    let (mut seeds, mut events, mut virtual_time) = (0, 0, Duration::ZERO);
    while seeds == 0 || begin.elapsed() < time {
        seeds += 1;
        let text = STANDARD.replace("router:", &format!("seed: {seeds}\nrouter:"));
        let scenario = Scenario::parse("bench-sim.yaml", &text).map_err(|mistakes| anyhow::anyhow!("{mistakes}"))?;
        let mut world = World::build(&scenario).context("the hosts of the bench")?;
        let outcome = runner::run(&scenario, &mut world, |_, _| {});
        anyhow::ensure!(outcome.failures.is_empty(), "seed {seeds}: {}", outcome.failures.join("; "));
        virtual_time += outcome.duration;
        events += world.events();
        progress(seeds);
    }
    let wall = begin.elapsed().as_secs_f64();
    Ok(Figures {
        seeds,
        wall_s: wall,
        virtual_per_wall: virtual_time.as_secs_f64() / wall,
        events_per_s: events as f64 / wall,
        seeds_per_s: seeds as f64 / wall,
    })
}

impl Figures {
    /// For people.
    pub fn text(&self) -> String {
        let Self { seeds, wall_s, virtual_per_wall, events_per_s, seeds_per_s } = self;
        format!(
            "the standard crash (24 routes, 4 nodes, 240 browsers, 10 s), on one core\n\
             runs                          {seeds:>10}   in {wall_s:.1} s\n\
             virtual seconds a second      {virtual_per_wall:>10.0}\n\
             packets and observations a s  {events_per_s:>10.0}\n\
             seeds a second                {seeds_per_s:>10.2}\n"
        )
    }

    /// The same as JSON, with a newline at its end.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("figures are JSON") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_of_the_standard_crash_is_ten_seconds() {
        let figures = run(Duration::from_nanos(1), |_| {}).unwrap();
        assert_eq!(figures.seeds, 1);
        let virtual_time = figures.virtual_per_wall * figures.wall_s;
        assert!((10.0..11.0).contains(&virtual_time), "{virtual_time} s");
        assert!(figures.events_per_s > 0.0);
    }
}
