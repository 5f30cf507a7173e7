//! `lab bench sim`: how fast the simulator is.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;

use crate::bench::sim;
use crate::cli::print;
use crate::report::Exit;

#[derive(Debug, Args)]
pub(in crate::cli) struct SimArguments {
    /// How long to measure, in real time.
    #[arg(long, value_parser = crate::scenario::duration, default_value = "10s")]
    time: Duration,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl SimArguments {
    pub(in crate::cli) fn run(&self) -> Exit {
        match self.measure() {
            Ok(text) => {
                print(&text);
                Exit::Pass
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                Exit::Fail
            }
        }
    }

    fn measure(&self) -> anyhow::Result<String> {
        let spinner = ProgressBar::new_spinner().with_message("simulating");
        let figures = sim::run(self.time, |_| spinner.tick())?;
        spinner.finish_and_clear();
        if let Some(path) = &self.json {
            fs::write(path, figures.to_json()).with_context(|| path.display().to_string())?;
        }
        Ok(figures.text())
    }
}
