//! The real `halod`, spoken to over real TCP and UDP: whatever a peer sends is answered, and costs no other peer anything.
//!
//! Each test has a daemon of its own in a network namespace of its own. What becomes of browsers' packets is not tested here,
//! but which plane takes them.

#![allow(clippy::unwrap_used, reason = "these are tests, though without libtest clippy cannot see it")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[path = "daemon/bad_config.rs"]
mod bad_config;
#[path = "daemon/control.rs"]
mod control;
#[path = "daemon/flow.rs"]
mod flow;
#[path = "daemon/halod.rs"]
mod halod;
#[path = "daemon/heartbeats.rs"]
mod heartbeats;
#[path = "support/namespace.rs"]
mod namespace;
#[path = "daemon/node.rs"]
mod node;
#[path = "daemon/planes.rs"]
mod planes;
#[path = "daemon/process.rs"]
mod process;
#[path = "daemon/restart.rs"]
mod restart;
#[path = "daemon/signals.rs"]
mod signals;

/// A test that panics when it fails.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let in_namespaces =
        [control::TESTS, heartbeats::TESTS, planes::TESTS, process::TESTS, restart::TESTS, signals::TESTS].concat();
    let mut trials = namespace::trials(&in_namespaces);
    trials.extend(bad_config::TESTS.iter().map(|&(name, test)| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}
