//! What the client does to the server, and what that costs.

mod iperf3;
mod wrk;

use std::time::{Duration, Instant};

use anyhow::Context;

pub(super) use self::iperf3::Bulk;
pub(super) use self::wrk::Requests;
use super::contender::Router;
use super::processor::Times;
use super::program::Program;
use super::setting::Setting;

/// What a load achieved and what it took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Costed<T> {
    pub(super) got: T,
    pub(super) cost: Cost,
}

/// What any load took, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    /// How long the machine's processors worked, for whatever.
    pub(super) machine_s: f64,
    /// What the router's process took, if it has one.
    pub(super) process_s: Option<f64>,
}

/// What was measured of one contender in one round. `None` where a program is missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sample {
    /// A connection for each request.
    pub(super) connections: Option<Costed<Requests>>,
    /// One request after another on each of some connections.
    pub(super) requests: Option<Costed<Requests>>,
    /// One connection that carries as much as it can, from the client to the server.
    pub(super) bulk: Option<Costed<Bulk>>,
    /// The share of the machine's time that its own host took from it, the largest of the loads.
    pub(super) stolen_share: f64,
}

/// Puts each load on the router, one after another, for so many seconds. `progress` hears of each.
pub(super) fn put_on(
    router: &dyn Router,
    setting: &Setting,
    seconds: u32,
    mut progress: impl FnMut(),
) -> anyhow::Result<Sample> {
    let target = router.target();
    let mut sample = Sample::default();
    if Program::WRK.missing().is_none() && setting.has_web() {
        sample.connections = Some(costed(router, &mut sample.stolen_share, || {
            wrk::run(&setting.client, target.web, wrk::Connections::OnePerRequest, seconds).context("new connections")
        })?);
        progress();
        sample.requests = Some(costed(router, &mut sample.stolen_share, || {
            wrk::run(&setting.client, target.web, wrk::Connections::Kept, seconds).context("requests")
        })?);
        progress();
    }
    if Program::IPERF3.missing().is_none() {
        sample.bulk = Some(costed(router, &mut sample.stolen_share, || {
            iperf3::run(&setting.client, target.bulk, seconds).context("bulk")
        })?);
        progress();
    }
    Ok(sample)
}

fn costed<T>(
    router: &dyn Router,
    stolen_share: &mut f64,
    load: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<Costed<T>> {
    let (process, machine) = (router.processor_time()?, Times::now()?);
    let got = load()?;
    let machine = Times::now()?.since(machine);
    let process = router.processor_time()?.zip(process).map(|(after, before)| after.saturating_sub(before));
    *stolen_share = stolen_share.max(machine.stolen_share());
    let cost = Cost { machine_s: machine.busy.as_secs_f64(), process_s: process.map(|time| time.as_secs_f64()) };
    Ok(Costed { got, cost })
}

/// Waits until the client is answered through this router.
pub(super) fn await_answer(router: &dyn Router, setting: &Setting) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + PATIENCE;
    while !setting.answers(router.target())? {
        anyhow::ensure!(Instant::now() < deadline, "the server cannot be reached");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
