//! `lab bench`: repeated measurements, a line of progress, and their report at the end.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::ProgressBar;

use super::print;
use super::run::progress_bar;
use crate::bench::failover::{Cell, Kind, Outcomes, Report};
use crate::engines::kernel::privileges;
use crate::engines::kernel::world::{Options, World};
use crate::report::Exit;
use crate::scenario::{Action, ROUTES_MAX, Scenario};

/// What is measured.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Lose nodes, and say how long it takes until others have their routes and serve their browsers.
    ///
    /// Exit status 3 if the machine was too busy to trust the longest times.
    Failover(FailoverArguments),
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
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Bench {
    /// To be called on the main thread, before any other is started.
    pub(super) fn run(self) -> Exit {
        let Bench::Failover(arguments) = self;
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
        let kinds = if self.kind.is_empty() { Kind::value_variants() } else { &self.kind };
        let routes = if self.routes.is_empty() { &[24, 1024] } else { self.routes.as_slice() };
        let cells = Cell::grid(kinds, routes, self.count.map(|count| count as usize));
        let report = play(&cells).map_err(|error| (Exit::Fail, error))?;
        if let Some(path) = &self.json {
            let written = fs::write(path, report.to_json()).with_context(|| path.display().to_string());
            written.map_err(|error| (Exit::Usage, error))?;
        }
        Ok(report)
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

/// Lets all nodes of all cells die.
fn play(cells: &[Cell]) -> anyhow::Result<Report> {
    let progress = progress_bar(cells.iter().map(|cell| cell.deaths).sum());
    let mut report = Report::default();
    for &cell in cells {
        let mut outcomes = Outcomes::of(cell);
        for scenario in cell.scenarios() {
            play_world(&mut outcomes, &scenario, &progress).with_context(|| {
                format!("{} with {} in reserve, {} routes", cell.kind.verb(), cell.reserve, cell.routes)
            })?;
        }
        report.cells.push(outcomes);
    }
    progress.finish_and_clear();
    Ok(report)
}

fn play_world(outcomes: &mut Outcomes, scenario: &Scenario, progress: &ProgressBar) -> anyhow::Result<()> {
    let Cell { kind, reserve, routes, .. } = outcomes.cell;
    progress.set_message(format!("{}, {reserve} in reserve, {routes} routes", kind.verb()));
    let mut world = World::build(scenario, &Options::default())?;
    let played = outcomes.play(scenario, &mut world, |_, step| {
        if matches!(step.action, Action::Fault(..)) {
            progress.inc(1);
        }
    });
    played.with_context(|| format!("the last lines of halod's log:\n{}", world.daemon_log()))?;
    world.stop()
}
