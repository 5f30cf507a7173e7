//! The command line of `lab`.

mod bench;
mod fuzz;
mod keep;
mod replay;
mod run;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use halod_core::plane::PlaneKind;

use crate::bench::router::bare;
use crate::catalogue::{Catalogue, CatalogueError, listing, read};
use crate::engines::kernel::{daemon, hosts};
use crate::report::Exit;
use crate::scenario::{Engine, Scenario, Tag, json_schema};

/// Replays scenarios of joins and leaves against the real daemon, and compares what comes of them.
///
/// Without a command, runs every scenario that is not tagged `slow`.
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios and print one table.
    Run(RunArguments),
    /// List the scenarios that there are.
    List,
    /// Read scenarios without running them, and say what is wrong.
    Check {
        /// Names or paths; all if none is given.
        scenarios: Vec<String>,
    },
    /// Repeat one thing often, and print how long it takes.
    #[command(subcommand)]
    Bench(bench::Bench),
    Fuzz(fuzz::FuzzArguments),
    /// Feed what a daemon was told, as `halod run --record` has written it, to the core again, and watch its invariants.
    Replay(replay::ReplayArguments),
    /// Print the JSON Schema of scenario files, for editors.
    Schema,
}

#[derive(Debug, Args, Default)]
struct RunArguments {
    /// Names or paths; every scenario that is not tagged `slow` if none is given.
    scenarios: Vec<String>,
    /// The slow ones too.
    #[arg(long, conflicts_with = "scenarios")]
    all: bool,
    /// What runs them.
    #[arg(long, value_enum, default_value_t)]
    engine: EngineChoice,
    /// HaloD's data plane, for scenarios that leave it open.
    #[arg(long, value_enum, default_value_t)]
    plane: PlaneChoice,
    /// Write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a capture of every link to this directory, a folder for each scenario.
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Have the daemon record what it is told to this directory, a file NAME.record for each scenario that the kernel
    /// runs.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// When a scenario has ended, keep its hosts and say how to enter them.
    #[arg(long)]
    keep: bool,
    /// Tell all that hosts report and HaloD would log, with its virtual time, to standard error. The simulator only.
    #[arg(long)]
    trace: bool,
    /// As --trace, and every TCP segment that arrives anywhere.
    #[arg(long)]
    trace_packets: bool,
}

/// What runs scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum EngineChoice {
    /// The real daemon between network namespaces, in real time.
    #[default]
    Kernel,
    /// One process under virtual time. Needs no privileges.
    Sim,
    /// One after the other.
    Both,
}

/// A data plane of HaloD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum PlaneChoice {
    /// Userspace decides, the kernel rewrites.
    #[default]
    Steer,
    /// Userspace rewrites every packet.
    Rewrite,
}

impl From<PlaneChoice> for PlaneKind {
    fn from(choice: PlaneChoice) -> Self {
        match choice {
            PlaneChoice::Rewrite => Self::Rewrite,
            PlaneChoice::Steer => Self::Steer,
        }
    }
}

impl EngineChoice {
    fn engines(self) -> Vec<Engine> {
        match self {
            EngineChoice::Kernel => vec![Engine::Kernel],
            EngineChoice::Sim => vec![Engine::Sim],
            EngineChoice::Both => vec![Engine::Kernel, Engine::Sim],
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_else(|| "lab".into());
    match words.next() {
        Some(word) if word == daemon::SUBCOMMAND => halod::main_from(std::iter::once(word).chain(words)),
        Some(word) if word == hosts::SUBCOMMAND => be_host(words.next()),
        Some(word) if word == bare::SUBCOMMAND => accept_all(),
        word => main_from(std::iter::once(program).chain(word).chain(words)).into(),
    }
}

fn accept_all() -> ExitCode {
    let Err(error) = bare::accept_all() else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn main_from(words: impl Iterator<Item = OsString>) -> Exit {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to tell when the output is closed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Pass };
        }
    };
    let outcome = match arguments.command {
        None => run(RunArguments::default()),
        Some(Command::Run(arguments)) => run(arguments),
        Some(Command::List) => list(),
        Some(Command::Check { scenarios }) => check(&scenarios),
        Some(Command::Bench(bench)) => Ok(bench.run()),
        Some(Command::Fuzz(fuzz)) => Ok(fuzz.run()),
        Some(Command::Replay(arguments)) => Ok(arguments.run()),
        Some(Command::Schema) => {
            print(&json_schema());
            Ok(Exit::Pass)
        }
    };
    outcome.unwrap_or_else(|errors| {
        for error in errors {
            anstream::eprintln!("{}", error.styled());
        }
        Exit::Usage
    })
}

fn run(arguments: RunArguments) -> Result<Exit, Vec<CatalogueError>> {
    let chosen = choose(&arguments.scenarios)?;
    let wanted =
        |scenario: &Scenario| arguments.all || !arguments.scenarios.is_empty() || !scenario.tags.contains(&Tag::Slow);
    let mut scenarios: Vec<Scenario> = chosen.into_iter().filter(wanted).collect();
    for scenario in &mut scenarios {
        scenario.router.plane.get_or_insert(arguments.plane.into());
    }
    let RunArguments { engine, json, pcap, record, keep, trace, trace_packets, .. } = arguments;
    Ok(run::run(&scenarios, &run::Wishes { engines: engine.engines(), json, pcap, record, keep, trace, trace_packets }))
}

fn list() -> Result<Exit, Vec<CatalogueError>> {
    print(&listing(&choose(&[])?));
    Ok(Exit::Pass)
}

fn check(names: &[String]) -> Result<Exit, Vec<CatalogueError>> {
    let scenarios = choose(names)?;
    print(&format!("{} scenarios are fine\n", scenarios.len()));
    Ok(Exit::Pass)
}

/// The scenarios of these names or paths, or all of them; every mistake in any of them otherwise.
fn choose(names: &[String]) -> Result<Vec<Scenario>, Vec<CatalogueError>> {
    let catalogue = Catalogue::open(&folder("scenarios")).map_err(|error| vec![error])?;
    if names.is_empty() {
        let (scenarios, errors) = catalogue.read_all();
        return if errors.is_empty() { Ok(scenarios) } else { Err(errors) };
    }
    let (mut scenarios, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        match catalogue.find(name).and_then(|path| read(&path)) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(scenarios) } else { Err(errors) }
}

/// A folder of the project: below this one, or else where the lab was built.
fn folder(name: &str) -> PathBuf {
    let here = PathBuf::from(name);
    if here.is_dir() { here } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name) }
}

/// Prints to standard output; a reader that stops early, such as `head`, is no failure.
fn print(text: &str) {
    let _ = anstream::stdout().write_all(text.as_bytes());
}

/// Is a node or an app until the lab ends.
fn be_host(length: Option<OsString>) -> ExitCode {
    let host = match hosts::Host::read(&length.unwrap_or_default().to_string_lossy()) {
        Ok(host) => host,
        Err(error) => {
            eprintln!("a host that cannot be read: {error}");
            return ExitCode::FAILURE;
        }
    };
    let name = host.name().to_owned();
    match host.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
