//! Every scenario is a test on every engine, with every data plane: all is as its file expects, and what it produces is its
//! snapshot.
//!
//! `INSTA_UPDATE=always cargo test -p lab --test scenarios` writes the snapshots anew.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use halod_core::plane::PlaneKind;
use lab::catalogue::{self, Catalogue};
use lab::expected;
use lab::scenario::{Engine, Scenario};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;

#[path = "support/obstacle.rs"]
mod obstacle;
#[path = "support/skip.rs"]
mod skip;

const STAGES: [(Engine, PlaneKind); 4] = [
    (Engine::Kernel, PlaneKind::Steer),
    (Engine::Kernel, PlaneKind::Rewrite),
    (Engine::Sim, PlaneKind::Steer),
    (Engine::Sim, PlaneKind::Rewrite),
];

fn main() -> ExitCode {
    // Two runs at a time would only slow each other down.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let kernel_obstacle = obstacle::of_kernel_engine();
    let catalogue = Catalogue::open(&workspace("scenarios")).unwrap();
    let mut trials = Vec::new();
    for file in catalogue.files() {
        match catalogue::read(file) {
            Ok(scenario) => {
                let is_meant =
                    |&(_, plane): &(Engine, PlaneKind)| scenario.router.plane.is_none_or(|only| only == plane);
                let stages = STAGES.into_iter().filter(is_meant);
                trials.extend(stages.map(|stage| trial(&scenario, stage, kernel_obstacle.as_deref())));
            }
            Err(error) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                trials.push(Trial::test(name, move || Err(error.to_string().into())));
            }
        }
    }
    trials.push(Trial::test("no_file_is_forgotten", no_file_is_forgotten));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(scenario: &Scenario, stage: (Engine, PlaneKind), kernel_obstacle: Option<&str>) -> Trial {
    let (engine, plane) = stage;
    let missing = scenario.missing_programs(&std::env::var_os("PATH").unwrap_or_default());
    let missing = (!missing.is_empty()).then(|| format!("{} not installed", missing.join(", ")));
    let of_machine = match engine {
        Engine::Kernel => kernel_obstacle.or(missing.as_deref()),
        Engine::Sim => None,
    };
    let name = scenario.name.clone();
    skip::trial(format!("{engine}::{plane}::{name}"), scenario.obstacle(engine).or(of_machine), move || {
        replay(&name, stage)
    })
}

/// What `lab run --json` writes, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Report {
    results: [Outcome; 1],
}

#[derive(Debug, Deserialize)]
struct Outcome {
    verdict: String,
    #[serde(default)]
    reasons: Vec<String>,
    snapshot: Option<String>,
    times: Option<String>,
    difference: Option<serde_json::Value>,
}

/// How often a scenario is tried whose times could not be judged, for the machine was too busy.
const TRIES: u32 = 3;
/// Before the second try; each further one is put off by as much more. Other work on a machine comes and goes.
const RECOVERY: Duration = Duration::from_secs(3);

/// Runs a scenario as a user would.
fn replay(name: &str, stage: (Engine, PlaneKind)) -> Result<(), Failed> {
    let mut outcome = run(name, stage)?;
    for tried in 1..TRIES {
        if outcome.verdict == "invalid" {
            thread::sleep(RECOVERY * tried);
            outcome = run(name, stage)?;
        }
    }
    judge(name, stage.1, outcome)
}

fn run(name: &str, (engine, plane): (Engine, PlaneKind)) -> Result<Outcome, Failed> {
    let json =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{engine}-{plane}-{}.json", std::process::id()));
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(["run", name, "--engine", &engine.to_string(), "--plane", &plane.to_string(), "--json"])
        .arg(&json)
        .current_dir(workspace("."));
    let output = lab.output()?;
    let report = fs::read(&json).map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    fs::remove_file(&json)?;
    let Report { results: [outcome] } = serde_json::from_slice(&report)?;
    Ok(outcome)
}

fn judge(name: &str, plane: PlaneKind, outcome: Outcome) -> Result<(), Failed> {
    // With a difference, that is the only reason, and for insta to judge.
    if outcome.verdict != "pass" && outcome.difference.is_none() {
        return Err(format!("{}: {}", outcome.verdict, outcome.reasons.join("\n")).into());
    }
    let snapshot = outcome.snapshot.ok_or("a scenario that ran has a snapshot")?;
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(workspace("snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!(name, snapshot);
        if let Some(times) = outcome.times.filter(|times| !times.is_empty()) {
            insta::assert_snapshot!(expected::times(name, plane), times);
        }
    });
    Ok(())
}

/// Each scenario has a snapshot, each snapshot a scenario, and no file is of another kind.
fn no_file_is_forgotten() -> Result<(), Failed> {
    let mut scenarios = stems("scenarios", "yaml")?;
    assert!(scenarios.remove("scenario.schema.json"), "the schema is missing");
    let (times, snapshots) =
        stems("snapshots", "snap")?.into_iter().partition::<BTreeSet<_>, _>(|stem| stem.ends_with(".times"));
    assert_eq!(scenarios, snapshots, "scenarios to the left, snapshots to the right");
    let strays: Vec<_> = times
        .iter()
        .filter(|times| !scenarios.contains(times.trim_end_matches(".times").trim_end_matches(".steer")))
        .collect();
    assert!(strays.is_empty(), "times of no scenario: {strays:?}");
    Ok(())
}

/// The names of a folder's files, without the extension if it is `extension`.
fn stems(folder: &str, extension: &str) -> Result<BTreeSet<String>, Failed> {
    let suffix = format!(".{extension}");
    let mut stems = BTreeSet::new();
    for entry in fs::read_dir(workspace(folder))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        stems.insert(name.strip_suffix(&suffix).unwrap_or(&name).to_owned());
    }
    Ok(stems)
}

/// A folder of the workspace, as an absolute path without `..`, which insta needs.
fn workspace(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").join(folder)
}
