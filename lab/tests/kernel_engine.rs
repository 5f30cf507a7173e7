//! The parts of the kernel engine on a real kernel, in namespaces of their own.
//!
//! The binary has no test harness of the compiler's, so that it can enter a user namespace before it starts a thread, run
//! as a process of a host (`--puppet`), and report what cannot run here as ignored with the reason.

#![allow(clippy::unwrap_used, reason = "a test panics when it fails")]

use std::io;
use std::process::ExitCode;

use lab::engines::kernel::{privileges, sockets};
use lab::{actors, observation};
use libtest_mimic::Arguments;

#[path = "kernel_engine/fabric.rs"]
mod fabric;
#[path = "kernel_engine/namespaces.rs"]
mod namespaces;
#[path = "../src/puppet.rs"]
mod puppet;
#[path = "support/skip.rs"]
mod skip;
#[path = "kernel_engine/world.rs"]
mod world;

/// A test that panics when it fails.
type Test = (&'static str, fn());

fn main() -> io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--puppet") {
        let listen: Vec<_> = arguments.map(|address| address.parse().expect("an address to listen on")).collect();
        sockets::run(puppet::Puppet::default(), &listen, None)?;
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = Arguments::from_args();
    let no_namespaces = privileges::enter().err().map(|refusal| refusal.to_string());
    let no_tun =
        no_namespaces.clone().or_else(|| privileges::probe().map_or_else(|e| Some(e.to_string()), |f| f.tun.err()));
    let trials =
        [(namespaces::TESTS, no_namespaces), (fabric::TESTS, no_tun)].into_iter().flat_map(|(tests, obstacle)| {
            tests.iter().map(move |&(name, test)| {
                skip::trial(name, obstacle.as_deref(), move || {
                    test();
                    Ok(())
                })
            })
        });
    Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code())
}
