//! The steps of a child between fork and exec.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Makes the child enter a network namespace and die with the thread that starts it.
pub(super) fn enter_before_exec(command: &mut Command, netns: OwnedFd) {
    let lab = getpid();
    let steps = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != lab {
            // The lab died before the signal was asked for.
            return Err(io::Error::from(nix::Error::ESRCH));
        }
        setns(&netns, CloneFlags::CLONE_NEWNET)?;
        Ok(())
    };
    // SAFETY: the steps are bare system calls, which are async-signal-safe; they allocate nothing and take no lock.
    unsafe { command.pre_exec(steps) };
}
