//! `lab run`: scenarios one after another, a line of progress, and the table at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{folder, keep, print};
use crate::engines::kernel::privileges::{self, Privileges};
use crate::engines::kernel::world::{Options, World};
use crate::expected;
use crate::report::{Difference, Exit, Report, ScenarioResult, Verdict};
use crate::runner;
use crate::scenario::{Engine, Scenario};

/// What the person who runs the lab wants besides a verdict.
pub(super) struct Wishes {
    pub(super) json: Option<PathBuf>,
    pub(super) pcap: Option<PathBuf>,
    pub(super) keep: bool,
}

/// Runs `scenarios` on the kernel engine. To be called on the main thread, before any other is started.
pub(super) fn run(scenarios: &[Scenario], wishes: &Wishes) -> Exit {
    let privileges = match privileges::enter() {
        Ok(privileges) => privileges,
        Err(refusal) => {
            eprintln!("error: {refusal}");
            return Exit::Usage;
        }
    };
    let missing = match privileges::probe() {
        Ok(facilities) => facilities.missing().map(str::to_owned),
        Err(error) => Some(error.to_string()),
    };
    let stage = Stage { privileges, missing, wishes, progress: progress_bar(scenarios.len()) };
    let mut report = Report::default();
    for scenario in scenarios {
        report.results.push(stage.play(scenario));
        stage.progress.inc(1);
    }
    stage.progress.finish_and_clear();
    print(&report.styled());
    if let Some(path) = &wishes.json
        && let Err(error) = fs::write(path, report.to_json())
    {
        eprintln!("error: {}: {error}", path.display());
        return Exit::Usage;
    }
    report.exit()
}

/// What is the same for all scenarios.
struct Stage<'a> {
    privileges: Privileges,
    /// What the system lacks.
    missing: Option<String>,
    wishes: &'a Wishes,
    progress: ProgressBar,
}

impl Stage<'_> {
    fn play(&self, scenario: &Scenario) -> ScenarioResult {
        if let Some(reason) = self.reason_to_skip(scenario) {
            return without_figures(scenario, Verdict::Skipped(reason));
        }
        self.try_play(scenario)
            .unwrap_or_else(|error| without_figures(scenario, Verdict::Fail(vec![format!("{error:#}")])))
    }

    fn reason_to_skip(&self, scenario: &Scenario) -> Option<String> {
        if let Some(reason) = scenario.obstacle(Engine::Kernel) {
            return Some(reason.to_owned());
        }
        if let Some(missing) = &self.missing {
            return Some(missing.clone());
        }
        let programs = scenario.missing_programs(&std::env::var_os("PATH").unwrap_or_default());
        (!programs.is_empty()).then(|| format!("{} not installed: apt-get install {0}", programs.join(" ")))
    }

    fn try_play(&self, scenario: &Scenario) -> anyhow::Result<ScenarioResult> {
        let captures = self.wishes.pcap.as_ref().map(|dir| dir.join(&scenario.name));
        if let Some(dir) = &captures {
            fs::create_dir_all(dir)?;
        }
        self.progress.set_message(format!("{}: building its hosts", scenario.name));
        let mut world = World::build(scenario, &Options { captures })?;
        let mut outcome = runner::run(scenario, &mut world, |index, step| {
            let count = scenario.steps.len();
            self.progress.set_message(format!("{} {}/{count}: {}", scenario.name, index + 1, step.text));
        });
        let figures = Some(outcome.figures());
        if self.wishes.keep {
            self.progress.suspend(|| keep::wait(&world, self.privileges));
        }
        if !outcome.failures.is_empty() {
            outcome.failures.push(format!("the last lines of halod's log:\n{}", world.daemon_log()));
        }
        if let Err(error) = world.stop() {
            outcome.failures.push(format!("{error:#}"));
        }
        let actual = outcome.snapshot.to_string();
        let mut difference = None;
        if outcome.verdict() == Verdict::Pass {
            (outcome.failures, difference) = compare(&folder("snapshots"), &scenario.name, &actual);
        }
        Ok(ScenarioResult {
            scenario: scenario.name.clone(),
            engine: Engine::Kernel,
            verdict: outcome.verdict(),
            duration: outcome.duration,
            losses: outcome.losses,
            figures,
            snapshot: Some(actual),
            difference,
        })
    }
}

/// Compares what came with what the file says.
fn compare(dir: &Path, scenario: &str, actual: &str) -> (Vec<String>, Option<Difference>) {
    match expected::read(dir, scenario) {
        Ok(Some(expected)) if expected.trim_end() == actual.trim_end() => (Vec::new(), None),
        Ok(Some(expected)) => {
            let difference = Difference { expected, actual: actual.to_owned() };
            (vec!["the snapshot is another one".into()], Some(difference))
        }
        Ok(None) => {
            let missing = format!(
                "{} does not exist; INSTA_UPDATE=always cargo test -p lab --test scenarios writes it",
                expected::path(dir, scenario).display()
            );
            let difference = Difference { expected: String::new(), actual: actual.to_owned() };
            (vec![missing], Some(difference))
        }
        Err(error) => (vec![format!("{}: {error}", expected::path(dir, scenario).display())], None),
    }
}

fn without_figures(scenario: &Scenario, verdict: Verdict) -> ScenarioResult {
    ScenarioResult {
        scenario: scenario.name.clone(),
        engine: Engine::Kernel,
        verdict,
        duration: Duration::ZERO,
        losses: Vec::new(),
        figures: None,
        snapshot: None,
        difference: None,
    }
}

/// A line of progress on a terminal; nothing in a pipe.
pub(super) fn progress_bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("[{pos}/{len}] {elapsed} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
