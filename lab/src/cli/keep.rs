//! `--keep`: the hosts stay until somebody has looked at them.

use std::os::fd::AsRawFd;

use crate::engines::kernel::privileges::Privileges;
use crate::engines::kernel::world::World;

/// Says how to enter each host and waits for Enter; without a terminal to read from, for a signal.
pub(super) fn wait(world: &World<'_>, privileges: Privileges) {
    let process = std::process::id();
    let user = match privileges {
        Privileges::Root => String::new(),
        Privileges::UserNamespace => format!(" --user=/proc/{process}/ns/user --preserve-credentials"),
    };
    println!("the hosts are kept; to enter one:");
    for (name, netns) in world.namespaces() {
        println!("  {name:12} nsenter{user} --net=/proc/{process}/fd/{} $SHELL", netns.as_fd().as_raw_fd());
    }
    println!("Enter ends them.");
    let mut line = String::new();
    if matches!(std::io::stdin().read_line(&mut line), Ok(0) | Err(_)) {
        nix::unistd::pause();
    }
}
