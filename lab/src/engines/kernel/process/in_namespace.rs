//! The steps of a child between fork and exec.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};

/// A parent that is outside of the child's PID namespace.
const OUTSIDE: Pid = Pid::from_raw(0);

/// Makes the child enter a network namespace and die with the thread that starts it.
pub(super) fn enter_before_exec(command: &mut Command, netns: OwnedFd) {
    let lab = getpid();
    let steps = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        if ![lab, OUTSIDE].contains(&getppid()) {
            // The lab died before the signal was asked for. From another PID namespace this cannot be seen: a lab killed
            // in this instant leaves a command behind.
            return Err(io::Error::from(nix::Error::ESRCH));
        }
        setns(&netns, CloneFlags::CLONE_NEWNET)?;
        Ok(())
    };
    // SAFETY: the steps are bare system calls, which are async-signal-safe; they allocate nothing and take no lock.
    unsafe { command.pre_exec(steps) };
}
