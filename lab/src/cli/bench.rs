//! `lab bench`: repeated measurements, a line of progress, and their report at the end.

mod router;
mod sim;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressBar;

use super::print;
use super::run::progress_bar;
use crate::bench::failover::{Budget, Cell, Comparison, Kind, Outcomes, Pacing, Pair, Report};
use crate::engines::kernel::daemon::{Balancer, haproxy_version};
use crate::engines::kernel::privileges;
use crate::engines::kernel::world::{Options, World};
use crate::report::Exit;
use crate::scenario::{Action, ROUTES_MAX, Scenario};

/// Deaths of each cell of the short form.
const SHORT_COUNT: usize = 4;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Lose nodes, and say how long it takes until others have their routes and serve their browsers.
    ///
    /// Where HAProxy is installed, the same losses behind it. Exit status 3 if the machine was too busy to trust the longest
    /// times.
    Failover(FailoverArguments),
    /// Measure HaloD beside plain forwarding, NAT by nftables, HAProxy and nginx: new connections, requests, bulk, and what
    /// they cost.
    ///
    /// A client, a router and a server are made, each in a network namespace of its own, and connected by veth pairs; each
    /// contender in turn is the router. The load is that of wrk and iperf3, the server nginx. What is not installed is named,
    /// and its figures are left out.
    ///
    /// Processor time of the router is that of the whole machine, less what the same load takes in the same round without a
    /// router: the kernel's work for packets belongs to no process and to no namespace. Exit status 3 if the machine had so
    /// much other work that the figures say nothing.
    Router(router::RouterArguments),
    /// Simulate the standard crash over and over on one core, and say how fast that is.
    Sim(sim::SimArguments),
}

#[derive(Debug, Args)]
pub(super) struct FailoverArguments {
    /// How many nodes are lost under each of the circumstances; 1000 spread over all if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: Option<u32>,
    /// How they are lost; in every way if not given.
    #[arg(long)]
    kind: Vec<Kind>,
    /// How many routes there are; 24 and 1024, one after the other, if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(ROUTES_MAX)))]
    routes: Vec<u16>,
    /// A few losses within seconds, without HAProxy, held to a budget: exit status 1 if it is exceeded.
    #[arg(long, conflicts_with_all = ["count", "kind", "routes"])]
    short: bool,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Bench {
    /// To be called on the main thread, before any other is started.
    pub(super) fn run(self) -> Exit {
        let arguments = match self {
            Bench::Failover(arguments) => arguments,
            Bench::Router(arguments) => return arguments.run(),
            Bench::Sim(arguments) => return arguments.run(),
        };
        match arguments.measure() {
            Ok(report) => {
                print(&report.text());
                report.exit()
            }
            Err((exit, error)) => {
                eprintln!("error: {error:#}");
                exit
            }
        }
    }
}

impl FailoverArguments {
    fn measure(&self) -> Result<Report, (Exit, anyhow::Error)> {
        obstacle().map_err(|error| (Exit::Usage, error))?;
        let report = self.play().map_err(|error| (Exit::Fail, error))?;
        if let Some(path) = &self.json {
            let written = fs::write(path, report.to_json()).with_context(|| path.display().to_string());
            written.map_err(|error| (Exit::Usage, error))?;
        }
        Ok(report)
    }
    fn play(&self) -> anyhow::Result<Report> {
        if self.short {
            let cells = Cell::grid(&[Kind::Crash, Kind::PowerOff], &[24], Some(SHORT_COUNT));
            return Ok(Report { budget: Some(Budget::SHORT), ..play(&cells, None)? });
        }
        let kinds = if self.kind.is_empty() { Kind::value_variants() } else { &self.kind };
        let routes = if self.routes.is_empty() { &[24, 1024] } else { self.routes.as_slice() };
        let count = self.count.map(|count| count as usize);
        let version = haproxy_version();
        if version.is_none() {
            eprintln!("haproxy is not installed, so nothing is compared with it: apt-get install haproxy");
        }
        let comparison = version.map(|version| Comparison { version, pairs: Pair::all(kinds, count) });
        play(&Cell::grid(kinds, routes, count), comparison)
    }
}

/// Takes the privileges that the kernel engine needs, or says what is missing.
fn obstacle() -> anyhow::Result<()> {
    privileges::enter()?;
    match privileges::probe()?.missing() {
        Some(missing) => anyhow::bail!("{missing}"),
        None => Ok(()),
    }
}

/// Lets all nodes of all cells die, then those of the comparison, one kind after the other on both sides.
fn play(cells: &[Cell], comparison: Option<Comparison>) -> anyhow::Result<Report> {
    let pairs = comparison.iter().flat_map(|comparison| &comparison.pairs);
    let deaths = cells.iter().map(|cell| cell.deaths).chain(pairs.map(|pair| 2 * pair.halod.cell.deaths));
    let progress = progress_bar(deaths.sum());
    let mut report = Report { comparison, ..Report::default() };
    for &cell in cells {
        let mut outcomes = Outcomes::of(cell);
        play_cell(&mut outcomes, &progress)?;
        report.cells.push(outcomes);
    }
    for Pair { halod, haproxy } in report.comparison.iter_mut().flat_map(|comparison| &mut comparison.pairs) {
        play_cell(halod, &progress)?;
        play_behind_haproxy(haproxy, &progress)
            .with_context(|| format!("{} behind haproxy", haproxy.cell.kind.verb()))?;
    }
    report.pacing = Some(play_pacing(&progress).context("the pace")?);
    progress.finish_and_clear();
    Ok(report)
}

fn play_cell(outcomes: &mut Outcomes, progress: &ProgressBar) -> anyhow::Result<()> {
    let Cell { kind, reserve, routes, .. } = outcomes.cell;
    let name = format!("{} with {reserve} in reserve, {routes} routes", kind.verb());
    progress.set_message(name.clone());
    for scenario in outcomes.cell.scenarios() {
        in_world(&scenario, Balancer::Halod, |world| {
            outcomes.play(&scenario, world, |_, step| {
                if matches!(step.action, Action::Fault(..)) {
                    progress.inc(1);
                }
            })
        })
        .with_context(|| name.clone())?;
    }
    Ok(())
}

fn play_behind_haproxy(outcomes: &mut Outcomes, progress: &ProgressBar) -> anyhow::Result<()> {
    progress.set_message(format!("{} behind haproxy", outcomes.cell.kind.verb()));
    let scenario = outcomes.haproxy_hosts();
    in_world(&scenario, Balancer::Haproxy, |world| outcomes.play_behind_haproxy(&scenario, world, || progress.inc(1)))
}

fn play_pacing(progress: &ProgressBar) -> anyhow::Result<Pacing> {
    progress.set_message("the pace");
    let scenario = Pacing::scenario();
    in_world(&scenario, Balancer::Halod, |world| Pacing::play(&scenario, world, |_, _| {}))
}

/// Builds a world, does `work` in it and takes it down.
fn in_world<T>(
    scenario: &Scenario,
    balancer: Balancer,
    work: impl FnOnce(&mut World<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut world = World::build(scenario, &Options { balancer, ..Options::default() })?;
    let done = work(&mut world);
    let done = done.with_context(|| format!("the last lines of {}'s log:\n{}", balancer.name(), world.daemon_log()))?;
    world.stop()?;
    Ok(done)
}
