//! `lab bench router`: HaloD beside other ways to get packets to a server.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::obstacle;
use crate::bench::router::{self, Budget, Contender, Plan, Report};
use crate::cli::print;
use crate::cli::run::progress_bar;
use crate::report::Exit;

/// Rounds, unless told otherwise.
const ROUNDS_DEFAULT: u32 = 5;
/// How long each load lasts, unless told otherwise.
const SECONDS_DEFAULT: u32 = 3;
/// Rounds of the short form: a median that one bad moment does not change.
const ROUNDS_SHORT: u32 = 3;
/// How long each load lasts there.
const SECONDS_SHORT: u32 = 1;

#[derive(Debug, Args)]
pub(in crate::cli) struct RouterArguments {
    /// How often each contender has its turn.
    #[arg(long, default_value_t = ROUNDS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each load lasts: new connections, requests and bulk.
    #[arg(long, default_value_t = SECONDS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Only these contenders, separated by commas; all if not given.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// Three short rounds of a few contenders, without processor times, held to a budget: exit status 1 if it is not reached.
    #[arg(long, conflicts_with_all = ["rounds", "seconds", "only"])]
    short: bool,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(Contender::ALL.map(|contender| contender.name))
}

impl RouterArguments {
    pub(in crate::cli) fn run(&self) -> Exit {
        match self.measure() {
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

    fn measure(&self) -> Result<Report, (Exit, anyhow::Error)> {
        obstacle().map_err(|error| (Exit::Usage, error))?;
        let plan = self.plan();
        let progress = progress_bar(plan.loads());
        let report = router::run(&plan, |contender| {
            progress.set_message(contender.to_owned());
            progress.inc(1);
        });
        progress.finish_and_clear();
        let report = report.map_err(|error| (Exit::Fail, error))?;
        if let Some(path) = &self.json {
            let written = fs::write(path, report.to_json()).with_context(|| path.display().to_string());
            written.map_err(|error| (Exit::Usage, error))?;
        }
        Ok(report)
    }

    fn plan(&self) -> Plan {
        if self.short {
            let contenders = Budget::SHORT.contenders();
            return Plan {
                contenders,
                rounds: ROUNDS_SHORT,
                seconds: SECONDS_SHORT,
                direct: false,
                budget: Some(Budget::SHORT),
            };
        }
        let wanted =
            |contender: &Contender| self.only.is_empty() || self.only.iter().any(|name| name == contender.name);
        let contenders = Contender::ALL.into_iter().filter(wanted).collect();
        Plan { contenders, rounds: self.rounds, seconds: self.seconds, direct: true, budget: None }
    }
}
