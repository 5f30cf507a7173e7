//! The command line of `halod`: what can be asked for, and which exit status says how it went.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::check::{self, CheckSpec};
use crate::config::Config;
use crate::plan::{self, Plan};
use crate::queue::{QueueStatus, Queues};
use crate::{nft, run};

const FAILED: ExitCode = ExitCode::FAILURE;

/// Exit status 2: the command line or the config file is wrong, and nothing was started.
fn bad_input() -> ExitCode {
    ExitCode::from(2)
}

/// A layer-4 router that takes every user to the node which owns the user's route.
#[derive(Debug, Parser)]
#[command(name = "halod", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Route until SIGTERM or SIGINT. On the `steer` plane SIGTERM leaves the kernel's rules in force: forwarding goes on.
    Run(RunArguments),
    /// Remove the rules that a daemon left in force. Without any it does nothing.
    Remove(ConfigArgument),
    /// Test what the system must provide; names the cure of each failure.
    Check(CheckArguments),
    /// Print which node owns which route as nodes join one after another, and then fail.
    Plan(PlanArguments),
}

#[derive(Debug, Args)]
struct ConfigArgument {
    /// The TOML file; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Append what the daemon is told to FILE, for `lab replay`: messages with the nodes' session tokens, headers of
    /// packets, no payload. It grows with the traffic.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// A node's service address whose replies must come back through this host. May be repeated.
    #[arg(long = "node", value_name = "ADDR:PORT")]
    nodes: Vec<SocketAddr>,
    /// The client address to probe nodes from [default: 198.51.100.1 and 2001:db8:ffff::1].
    #[arg(long, value_name = "IP")]
    probe_from: Option<IpAddr>,
}

#[derive(Debug, Args)]
struct PlanArguments {
    /// Number of routes, N.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    routes: u16,
    /// Number of nodes, M. Nodes beyond N stay in reserve.
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u16).range(1..))]
    nodes: u16,
    /// Then lose the node that holds ID by then. May be repeated: one failure after another.
    ///
    /// Unless a node is in reserve, the one with the highest id takes over ID, and the highest id's own routes go back
    /// to where they came from. The moved routes are those whose id changes. JSON has an owner `null` for each route
    /// when no node is left.
    #[arg(long = "fail", value_name = "ID")]
    failed: Vec<u16>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = plan::Format::Text)]
    format: plan::Format,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    main_from(std::env::args_os())
}

/// Runs the command line `args`, the program's name first, and returns its exit status: 0 for success, 1 for failure,
/// 2 for bad usage or input.
pub fn main_from(args: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // Nobody is left to tell when standard error is closed.
            let _ = error.print();
            return if asked_for { ExitCode::SUCCESS } else { bad_input() };
        }
    };
    match arguments.command {
        Command::Run(RunArguments { config, record }) => {
            with_config(&config.config, |config| status(run::run(&config, record.as_deref())))
        }
        Command::Remove(config) => with_config(&config.config, |config| match remove(config.queues) {
            Ok(done) => print(|out| writeln!(out, "{done}")),
            Err(error) => status(Err(error)),
        }),
        Command::Check(arguments) => with_config(&arguments.config.config, |config| {
            let spec = CheckSpec { config, nodes: arguments.nodes, probe_from: arguments.probe_from };
            let mut all_well = false;
            let printed = print(|out| {
                all_well = check::check(&spec, out)?;
                Ok(())
            });
            if all_well { printed } else { FAILED }
        }),
        Command::Plan(PlanArguments { routes, nodes, failed, format }) => match Plan::new(routes, nodes, &failed) {
            Ok(plan) => print(|out| plan.write(out, format)),
            Err(error) => {
                eprintln!("error: {error}");
                bad_input()
            }
        },
    }
}

/// Removes what a daemon left, and says what was done.
fn remove(queues: Queues) -> anyhow::Result<&'static str> {
    let queue = queues.first();
    anyhow::ensure!(
        QueueStatus::of(queue).is_none(),
        "a daemon serves queue {queue}; end it with SIGINT, and its rules are gone"
    );
    Ok(if nft::remove(queues)? { "removed the rules of halod" } else { "no rules of halod are in force" })
}

fn with_config(path: &Path, command: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::load(path) {
        Ok(config) => command(config),
        Err(error) => {
            eprintln!("{error}");
            bad_input()
        }
    }
}

fn status(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            FAILED
        }
    }
}

/// Lets `write` fill standard output. A reader that stops early, such as `head`, is no failure.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let outcome = write(&mut out).and_then(|()| out.flush());
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => status(Err(error.into())),
        _ => ExitCode::SUCCESS,
    }
}
