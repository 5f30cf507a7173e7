//! What a router costs: connections, requests and bulk through the kernel alone, through proxies and through HaloD, side by
//! side.
//!
//! A client, a router and a server, each in a network namespace of its own, are connected by veth pairs. Each
//! [contender](Contender) in turn becomes the router, and the same loads are put on it; then the next one does, and
//! when all have, the next round begins. So what changes with time changes for all of them. Contenders make the router,
//! loads make the figures, [`Report`] tells their medians.
//!
//! This module judges the machine as well: a machine with other work gives figures of that work.

mod budget;
mod contender;
mod load;
mod machine;
mod measure;
mod processor;
mod program;
mod report;
mod service;
mod setting;

use std::thread;
use std::time::Duration;

use anyhow::Context;

pub use self::budget::Budget;
pub use self::contender::{Contender, bare};
use self::load::Sample;
pub use self::machine::Machine;
use self::machine::Quiet;
pub use self::measure::Measure;
use self::processor::Times;
pub use self::program::Program;
pub use self::report::Report;
use self::setting::{Setting, Target};

/// How long what a contender leaves behind in the kernel may take, before the machine has to be idle.
const SETTLE: Duration = Duration::from_millis(100);
/// How long the machine is watched while nothing of the bench runs, before each contender's turn.
const PAUSE: Duration = Duration::from_millis(250);

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In this order, in each round.
    pub contenders: Vec<Contender>,
    /// How often each has its turn.
    pub rounds: u32,
    /// How long each load lasts, in seconds: wrk knows no fractions.
    pub seconds: u32,
    /// Whether the load is put on a link without a router too, so that processor time can be told.
    pub direct: bool,
    /// What has to be reached, if figures are to be judged.
    pub budget: Option<Budget>,
}

impl Plan {
    /// How many loads there are.
    pub fn loads(&self) -> usize {
        let contenders = self.contenders.len() + usize::from(self.direct);
        contenders * Measure::LOADS * self.rounds as usize
    }
}

/// All that was measured of a contender.
#[derive(Debug, Clone, PartialEq)]
struct Outcome {
    name: &'static str,
    /// One for each round.
    samples: Vec<Sample>,
}

/// Measures all that is planned and can be: what cannot is named in the report. `progress` hears of each load, with the
/// name of the contender. On the main thread only, because of the processes that it starts.
///
/// # Errors
///
/// A router or a server did not do as it should.
pub fn run(plan: &Plan, mut progress: impl FnMut(&str)) -> anyhow::Result<Report> {
    let setting = Setting::build().context("the hosts of the bench")?;
    let (contenders, left_out) = able(plan, &setting)?;
    let mut outcomes: Vec<Outcome> =
        contenders.iter().map(|contender| Outcome { name: contender.name, samples: Vec::new() }).collect();
    let mut quiet = Quiet::default();
    for _ in 0..plan.rounds {
        for (contender, outcome) in contenders.iter().zip(&mut outcomes) {
            quiet.add_pause(pause()?);
            let sample = turn(*contender, &setting, plan.seconds, || progress(contender.name));
            let sample = sample.with_context(|| contender.name)?;
            quiet.add_stolen(sample.stolen);
            outcome.samples.push(sample);
        }
    }
    Ok(Report {
        outcomes,
        rounds: plan.rounds,
        seconds: plan.seconds,
        left_out,
        quiet,
        machine: Machine::this(),
        budget: plan.budget,
    })
}

/// Those that can be measured here, and why the others, or some of their figures, cannot.
fn able(plan: &Plan, setting: &Setting) -> anyhow::Result<(Vec<Contender>, Vec<String>)> {
    let mut left_out: Vec<String> = [
        (Program::WRK, "connections and requests are"),
        (Program::NGINX, "connections and requests are"),
        (Program::IPERF3, "bulk is"),
    ]
    .into_iter()
    .filter_map(|(program, what)| program.missing().map(|missing| format!("{what} left out: {missing}")))
    .collect();
    let mut able = Vec::from_iter(plan.direct.then_some(Contender::DIRECT));
    for contender in &plan.contenders {
        match (contender.obstacle)(setting).context(contender.name)? {
            Some(why) => left_out.push(format!("{} is left out: {why}", contender.name)),
            None => able.push(*contender),
        }
    }
    Ok((able, left_out))
}

/// One contender's turn.
fn turn(contender: Contender, setting: &Setting, seconds: u32, progress: impl FnMut()) -> anyhow::Result<Sample> {
    anyhow::ensure!(!setting.answers(Target::SERVICE)?, "the router of an earlier turn still forwards to the server");
    let router = (contender.start)(setting)?;
    load::await_answer(&*router, setting)?;
    let sample = load::put_on(&*router, setting, seconds, progress)?;
    router.stop()?;
    Ok(sample)
}

/// Does nothing for a while. Returns the share of the machine's time that was taken all the same.
fn pause() -> anyhow::Result<f64> {
    thread::sleep(SETTLE);
    let begin = Times::now()?;
    thread::sleep(PAUSE);
    Ok(Times::now()?.since(begin).taken_share())
}
