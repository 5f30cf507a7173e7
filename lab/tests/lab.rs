//! The `lab` command as its user sees it: what it says and leaves behind, and what tools of others make of its captures.
//!
//! Everything happens in a network namespace that this process enters first, so that a trace the lab leaves is the only
//! one there.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sched::{CloneFlags, unshare};

#[path = "lab/bad_input.rs"]
mod bad_input;
#[path = "lab/bench.rs"]
mod bench;
#[path = "lab/captures.rs"]
mod captures;
#[path = "lab/keep.rs"]
mod keep;
#[path = "lab/leftovers.rs"]
mod leftovers;
#[path = "support/obstacle.rs"]
mod obstacle;
#[path = "lab/records.rs"]
mod records;
#[path = "support/skip.rs"]
mod skip;

/// A test that panics when it fails, and the program that it needs, if any.
type Test = (&'static str, Option<&'static str>, fn());

fn main() -> ExitCode {
    // One at a time, on this thread: what is left behind must be of the test that looks for it.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let obstacle = obstacle::of_kernel_engine();
    if obstacle.is_none() {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
    }
    let anywhere = bad_input::TESTS.iter().map(|&test| trial(test, None));
    let kernel = [leftovers::TESTS, keep::TESTS, captures::TESTS, records::TESTS, bench::TESTS].into_iter().flatten();
    let trials = anywhere.chain(kernel.map(|&test| trial(test, obstacle.as_deref())));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn trial((name, program, test): Test, obstacle: Option<&str>) -> Trial {
    let missing = program.filter(|program| !is_installed(program)).map(|program| format!("{program} not installed"));
    skip::trial(name, obstacle.or(missing.as_deref()), move || -> Result<(), Failed> {
        test();
        Ok(())
    })
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The lab with these arguments, at the top of the workspace.
fn lab(arguments: &[&str]) -> Command {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(arguments).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    lab
}
