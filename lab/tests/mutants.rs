//! The tests find bugs: each variant of the core that is broken on purpose is caught by a scenario or by a seed of the
//! fuzzer in the simulator, and the core as it is by none of them.
//!
//! `cargo test -p lab --features mutants --test mutants` stops at the first scenario that catches a variant;
//! `-- --all` goes on, and prints the table of `docs/testing.md`. Names of variants choose among them.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use halod_core::mutant::{self, Mutant};
use halod_core::plane::PlaneKind;
use lab::catalogue::Catalogue;
use lab::engines::sim::world::World;
use lab::fuzz::Hunt;
use lab::report::Verdict;
use lab::scenario::{Engine, Scenario};
use lab::{expected, runner, timing};

/// A variant that so many seeds do not find is not found.
const SEEDS: u64 = 2_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let all = words.iter().any(|word| word == "--all");
    let is_chosen = |mutant: &&Mutant| {
        let name = mutant.to_string();
        words.iter().all(|word| word.starts_with("--")) || words.contains(&name)
    };
    let mutants: Vec<Mutant> = Mutant::ALL.iter().filter(is_chosen).copied().collect();
    // A panic is a way of being caught.
    std::panic::set_hook(Box::new(|_| {}));
    let (scenarios, mut failures) = scenarios();
    let mut rows = Vec::new();
    let mut seeds_needed = 1;
    for &mutant in &mutants {
        let begin = Instant::now();
        mutant::make(Some(mutant));
        let catch = Catch::of(&scenarios, all);
        mutant::make(None);
        eprintln!("{mutant:<25} {catch}  ({:.1} s)", begin.elapsed().as_secs_f64());
        seeds_needed = seeds_needed.max(catch.seed.as_ref().map_or(0, |(seed, _)| *seed));
        if catch.is_none() {
            failures.push(format!("{mutant} survives"));
        }
        rows.push((mutant, catch));
    }
    // What catches a variant has to be content with the core as it is.
    if let Some((seed, kind)) = hunt(seeds_needed) {
        failures.push(format!("seed {seed} fails without a variant: {kind}"));
    }
    if all {
        print!("{}", table(&rows));
    }
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    println!("{} variants, {} failures", mutants.len(), failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What found a variant.
#[derive(Debug, Default)]
struct Catch {
    /// Scenarios that did not come out as expected.
    scenarios: Vec<String>,
    /// The lowest seed that fails, and how.
    seed: Option<(u64, String)>,
}

impl Catch {
    /// What finds the variant that is made now: every scenario and the first seed, or the first scenario or else seed.
    fn of(scenarios: &[Scenario], all: bool) -> Self {
        let catching = scenarios.iter().filter(|scenario| replay(scenario).is_err()).map(name);
        let scenarios: Vec<String> = catching.take(if all { usize::MAX } else { 1 }).collect();
        let seed = if all || scenarios.is_empty() { hunt(SEEDS) } else { None };
        Self { scenarios, seed }
    }

    fn is_none(&self) -> bool {
        self.scenarios.is_empty() && self.seed.is_none()
    }
}

impl fmt::Display for Catch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.seed.as_ref().map(|(seed, kind)| format!("seed {seed}: {kind}"));
        f.write_str(&self.scenarios.iter().cloned().chain(seed).collect::<Vec<_>>().join(", "))
    }
}

/// The first of the lowest `seeds` seeds that fails, and how.
fn hunt(seeds: u64) -> Option<(u64, String)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found = Hunt { from: 1, seeds, time: None, threads }.run(|_| {});
    found.failure.map(|(case, failure)| (case.seed, failure.kind.to_string()))
}

/// Every scenario that the simulator runs, the quickest first; those that fail as they are.
fn scenarios() -> (Vec<Scenario>, Vec<String>) {
    let (scenarios, errors) = Catalogue::open(&workspace("scenarios")).unwrap().read_all();
    let mut failures: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let mut timed = Vec::new();
    let simulated = scenarios.iter().filter(|scenario| scenario.obstacle(Engine::Sim).is_none());
    for scenario in simulated.flat_map(on_each_plane) {
        let begin = Instant::now();
        if let Err(why) = replay(&scenario) {
            failures.push(format!("{} fails without a variant: {why}", scenario.name));
        }
        timed.push((begin.elapsed(), scenario));
    }
    timed.sort_by_key(|(time, _)| *time);
    (timed.into_iter().map(|(_, scenario)| scenario).collect(), failures)
}

/// What a scenario is called in the table.
fn name(scenario: &Scenario) -> String {
    format!("{} ({})", scenario.name, scenario.router.plane.unwrap_or_default())
}

/// The scenario with every data plane that it may have.
fn on_each_plane(scenario: &Scenario) -> Vec<Scenario> {
    let planes = [PlaneKind::Steer, PlaneKind::Rewrite].into_iter();
    let planes = planes.filter(|&plane| scenario.router.plane.is_none_or(|only| only == plane));
    let with = |plane| {
        let mut scenario = scenario.clone();
        scenario.router.plane = Some(plane);
        scenario
    };
    planes.map(with).collect()
}

/// Runs a scenario in the simulator and compares what comes of it with its snapshots.
fn replay(scenario: &Scenario) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::build(scenario).unwrap();
        runner::run(scenario, &mut world, |_, _| {})
    }));
    let outcome = outcome.map_err(|_| "a panic")?;
    if outcome.verdict() != Verdict::Pass {
        return Err(format!("{:?}", outcome.verdict()));
    }
    let is = |name: &str, actual: &str| {
        let expected = expected::read(&workspace("snapshots"), name).unwrap().unwrap_or_default();
        if expected.trim_end() == actual.trim_end() { Ok(()) } else { Err(format!("{name} is another one")) }
    };
    is(&scenario.name, &outcome.snapshot.to_string())?;
    is(&expected::times(&scenario.name, scenario.router.plane.unwrap_or_default()), &timing::table(&outcome.losses))
}

/// The table of the documentation.
fn table(rows: &[(Mutant, Catch)]) -> String {
    let cells = rows.iter().map(|(mutant, Catch { scenarios, seed })| {
        let mut names: Vec<&str> = scenarios.iter().map(String::as_str).collect();
        names.sort_unstable();
        let scenarios = match names[..] {
            [] => "none".to_owned(),
            [name] => format!("`{name}`"),
            [name, ..] => format!("`{name}` and others"),
        };
        let seed = seed.as_ref().map_or("none".to_owned(), |(seed, kind)| format!("{seed}, `{kind}`"));
        [format!("`{mutant}`"), mutant.about().to_owned(), scenarios, seed]
    });
    let head =
        ["variant", "what is wrong", "scenarios that find it", "first seed, and what it says"].map(str::to_owned);
    let cells: Vec<[String; 4]> = std::iter::once(head).chain(cells).collect();
    let width: [usize; 4] = std::array::from_fn(|column| cells.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line = |row: &[String; 4]| {
        let [a, b, c, d] = std::array::from_fn(|column| format!("{:1$}", row[column], width[column]));
        format!("| {a} | {b} | {c} | {d} |\n")
    };
    let rule: [String; 4] = width.map(|width| "-".repeat(width));
    let body = cells[1..].iter().map(line);
    [line(&cells[0]), line(&rule)].into_iter().chain(body).collect()
}

/// A folder of the workspace.
fn workspace(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").join(folder)
}
