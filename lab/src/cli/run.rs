//! `lab run`: scenarios one after another, a line of progress, and the table at the end.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::{folder, keep, print};
use crate::engines::kernel::privileges::{self, Privileges};
use crate::engines::kernel::world::{Options, World};
use crate::engines::sim;
use crate::expected;
use crate::report::{Difference, Exit, Report, ScenarioResult, Verdict};
use crate::runner::{self, Outcome};
use crate::scenario::{Engine, Scenario, Step};
use crate::timing;

/// What the person who runs the lab wants besides a verdict.
pub(super) struct Wishes {
    /// Each scenario is run on each of them.
    pub(super) engines: Vec<Engine>,
    pub(super) json: Option<PathBuf>,
    pub(super) pcap: Option<PathBuf>,
    pub(super) record: Option<PathBuf>,
    pub(super) keep: bool,
    /// Tell everything that happens in the simulator.
    pub(super) trace: bool,
    /// And every packet.
    pub(super) trace_packets: bool,
}

/// Runs `scenarios`. To be called on the main thread, before any other is started.
pub(super) fn run(scenarios: &[Scenario], wishes: &Wishes) -> Exit {
    let kernel = if wishes.engines.contains(&Engine::Kernel) { KernelAccess::gain().map(Some) } else { Ok(None) };
    let kernel = match kernel {
        Ok(kernel) => kernel,
        Err(refusal) => {
            eprintln!("error: {refusal}");
            return Exit::Usage;
        }
    };
    let stage = Stage { kernel, wishes, progress: progress_bar(scenarios.len() * wishes.engines.len()) };
    let mut report = Report::default();
    for scenario in scenarios {
        for &engine in &wishes.engines {
            report.results.push(stage.play(scenario, engine));
            stage.progress.inc(1);
        }
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

/// What this process may do to the kernel.
struct KernelAccess {
    privileges: Privileges,
    /// What the system lacks.
    missing: Option<String>,
}

impl KernelAccess {
    fn gain() -> Result<Self, privileges::Refusal> {
        let privileges = privileges::enter()?;
        let missing = match privileges::probe() {
            Ok(facilities) => facilities.missing().map(str::to_owned),
            Err(error) => Some(error.to_string()),
        };
        Ok(Self { privileges, missing })
    }
}

/// What is the same for all scenarios.
struct Stage<'a> {
    /// `None` if the kernel engine is not wanted.
    kernel: Option<KernelAccess>,
    wishes: &'a Wishes,
    progress: ProgressBar,
}

impl Stage<'_> {
    fn play(&self, scenario: &Scenario, engine: Engine) -> ScenarioResult {
        if let Some(reason) = self.reason_to_skip(scenario, engine) {
            return without_figures(scenario, engine, Verdict::Skipped(reason));
        }
        let outcome = match engine {
            Engine::Kernel => self.play_on_the_kernel(scenario),
            Engine::Sim => self.simulate(scenario),
        };
        match outcome {
            Ok(outcome) => judge(scenario, engine, outcome),
            Err(error) => without_figures(scenario, engine, Verdict::Fail(vec![format!("{error:#}")])),
        }
    }

    fn reason_to_skip(&self, scenario: &Scenario, engine: Engine) -> Option<String> {
        if let Some(reason) = scenario.obstacle(engine) {
            return Some(reason.to_owned());
        }
        let kernel = self.kernel.as_ref().filter(|_| engine == Engine::Kernel)?;
        if let Some(missing) = &kernel.missing {
            return Some(missing.clone());
        }
        let programs = scenario.missing_programs(&std::env::var_os("PATH").unwrap_or_default());
        (!programs.is_empty()).then(|| format!("{} not installed: apt-get install {0}", programs.join(" ")))
    }

    fn play_on_the_kernel(&self, scenario: &Scenario) -> anyhow::Result<Outcome> {
        let captures = self.wishes.pcap.as_ref().map(|dir| dir.join(&scenario.name));
        if let Some(dir) = &captures {
            fs::create_dir_all(dir)?;
        }
        self.progress.set_message(format!("{}: building its hosts", scenario.name));
        let record = self.wishes.record.as_ref().map(|dir| dir.join(format!("{}.record", scenario.name)));
        if let Some(file) = &record {
            begin_anew(file).with_context(|| format!("the record {}", file.display()))?;
        }
        let mut world = World::build(scenario, &Options { captures, record, ..Options::default() })?;
        let mut outcome = runner::run(scenario, &mut world, |index, step| self.tell(scenario, index, step));
        if let (true, Some(kernel)) = (self.wishes.keep, &self.kernel) {
            self.progress.suspend(|| keep::wait(&world, kernel.privileges));
        }
        if !outcome.failures.is_empty() {
            outcome.failures.push(format!("the last lines of halod's log:\n{}", world.daemon_log()));
        }
        if let Err(error) = world.stop() {
            outcome.failures.push(format!("{error:#}"));
        }
        Ok(outcome)
    }

    fn simulate(&self, scenario: &Scenario) -> anyhow::Result<Outcome> {
        let mut world = sim::world::World::build(scenario)?;
        if self.wishes.trace || self.wishes.trace_packets {
            world.tell(self.wishes.trace_packets, |at, what| {
                eprintln!("{:>12.3} ms  {what}", at.as_nanos() as f64 / 1e6);
            });
        }
        Ok(runner::run(scenario, &mut world, |index, step| self.tell(scenario, index, step)))
    }

    fn tell(&self, scenario: &Scenario, index: usize, step: &Step) {
        let count = scenario.steps.len();
        self.progress.set_message(format!("{} {}/{count}: {}", scenario.name, index + 1, step.text));
    }
}

/// The daemon appends to a record.
fn begin_anew(file: &Path) -> io::Result<()> {
    fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))?;
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What to make of what came of a scenario.
fn judge(scenario: &Scenario, engine: Engine, mut outcome: Outcome) -> ScenarioResult {
    let figures = Some(outcome.figures());
    let actual = outcome.snapshot.to_string();
    let times = (engine == Engine::Sim).then(|| timing::table(&outcome.losses));
    let mut difference = None;
    if outcome.verdict() == Verdict::Pass {
        let dir = folder("snapshots");
        let name_of_times = expected::times(&scenario.name, scenario.router.plane.unwrap_or_default());
        let of_times = times.as_ref().filter(|times| !times.is_empty()).map(|text| (name_of_times, text));
        for (name, actual) in std::iter::once((scenario.name.clone(), &actual)).chain(of_times) {
            if outcome.failures.is_empty() {
                (outcome.failures, difference) = compare(&dir, &name, actual);
            }
        }
    }
    ScenarioResult {
        scenario: scenario.name.clone(),
        engine,
        verdict: outcome.verdict(),
        duration: outcome.duration,
        losses: outcome.losses,
        load: outcome.load,
        rests: outcome.rests,
        figures,
        snapshot: Some(actual),
        times,
        difference,
    }
}

/// Compares what came with what the file says.
fn compare(dir: &Path, name: &str, actual: &str) -> (Vec<String>, Option<Difference>) {
    match expected::read(dir, name) {
        Ok(Some(expected)) if expected.trim_end() == actual.trim_end() => (Vec::new(), None),
        Ok(Some(expected)) => {
            let difference = Difference { name: name.to_owned(), expected, actual: actual.to_owned() };
            (vec!["the snapshot is another one".into()], Some(difference))
        }
        Ok(None) => {
            let missing = format!(
                "{} does not exist; INSTA_UPDATE=always cargo test -p lab --test scenarios writes it",
                expected::path(dir, name).display()
            );
            let difference = Difference { name: name.to_owned(), expected: String::new(), actual: actual.to_owned() };
            (vec![missing], Some(difference))
        }
        Err(error) => (vec![format!("{}: {error}", expected::path(dir, name).display())], None),
    }
}

fn without_figures(scenario: &Scenario, engine: Engine, verdict: Verdict) -> ScenarioResult {
    ScenarioResult {
        scenario: scenario.name.clone(),
        engine,
        verdict,
        duration: Duration::ZERO,
        losses: Vec::new(),
        load: None,
        rests: Vec::new(),
        figures: None,
        snapshot: None,
        times: None,
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
