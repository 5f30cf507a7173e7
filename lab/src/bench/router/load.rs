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
    /// The same on so few connections that no processor is always busy.
    pub(super) light: Option<Costed<Requests>>,
    /// One connection that carries as much as it can, from the client to the server.
    pub(super) bulk: Option<Costed<Bulk>>,
    /// What the machine's own host took from it meanwhile.
    pub(super) stolen: Stolen,
}

/// Of the time of loads, what the machine's own host had other use for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Stolen {
    /// The largest share of a load's time, of those that count.
    pub(super) share_max: f64,
    /// How many times a load was put on again, because it was more than [`Stolen::SHARE_MAX`].
    pub(super) repeats: u32,
}

impl Stolen {
    /// The share of a load's time that the host may take.
    pub(super) const SHARE_MAX: f64 = 0.05;

    pub(super) fn add(&mut self, other: Self) {
        self.share_max = self.share_max.max(other.share_max);
        self.repeats += other.repeats;
    }
}

/// How often a load is put on until the host leaves the machine alone: it counts as it was when the host took least.
const TRIES: u32 = 4;

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
        sample.connections = Some(undisturbed(router, &mut sample.stolen, || {
            wrk::run(&setting.client, target.web, wrk::Connections::OnePerRequest, seconds).context("new connections")
        })?);
        progress();
        sample.requests = Some(undisturbed(router, &mut sample.stolen, || {
            wrk::run(&setting.client, target.web, wrk::Connections::Kept, seconds).context("requests")
        })?);
        progress();
        sample.light = Some(undisturbed(router, &mut sample.stolen, || {
            wrk::run(&setting.client, target.web, wrk::Connections::Few, seconds).context("few requests")
        })?);
        progress();
    }
    if Program::IPERF3.missing().is_none() {
        sample.bulk = Some(undisturbed(router, &mut sample.stolen, || {
            iperf3::run(&setting.client, target.bulk, seconds).context("bulk")
        })?);
        progress();
    }
    Ok(sample)
}

fn undisturbed<T>(
    router: &dyn Router,
    stolen: &mut Stolen,
    load: impl Fn() -> anyhow::Result<T>,
) -> anyhow::Result<Costed<T>> {
    let (costed, of_load) = least_stolen(|| costed(router, &load))?;
    stolen.add(of_load);
    Ok(costed)
}

/// Tries again while the host took too much; the best try counts.
fn least_stolen<T>(mut load: impl FnMut() -> anyhow::Result<(T, f64)>) -> anyhow::Result<(T, Stolen)> {
    let (mut best, mut share_max) = load()?;
    let mut repeats = 0;
    while share_max > Stolen::SHARE_MAX && repeats + 1 < TRIES {
        let (other, share) = load()?;
        if share < share_max {
            (best, share_max) = (other, share);
        }
        repeats += 1;
    }
    Ok((best, Stolen { share_max, repeats }))
}

/// Puts the load on once. Returns the share of the machine's time that its host took too.
fn costed<T>(router: &dyn Router, load: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<(Costed<T>, f64)> {
    let (process, machine) = (router.processor_time()?, Times::now()?);
    let got = load()?;
    let machine = Times::now()?.since(machine);
    let process = router.processor_time()?.zip(process).map(|(after, before)| after.saturating_sub(before));
    let cost = Cost { machine_s: machine.busy.as_secs_f64(), process_s: process.map(|time| time.as_secs_f64()) };
    Ok((Costed { got, cost }, machine.stolen_share()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_put_on_again_while_the_host_takes_too_much() {
        let check = |shares: &[f64], counts: usize, repeats: u32| {
            let mut tries = shares.iter().copied().enumerate();
            let (best, stolen) = least_stolen(|| tries.next().context("no further try is needed")).unwrap();
            assert_eq!((best, stolen), (counts, Stolen { share_max: shares[counts], repeats }));
        };
        check(&[Stolen::SHARE_MAX], 0, 0);
        check(&[0.3, 0.01], 1, 1);
        check(&[0.3, 0.2, 0.25, 0.4], 1, 3);
    }
}
