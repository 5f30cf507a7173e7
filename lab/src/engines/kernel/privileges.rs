//! What the lab may do on this machine: enter namespaces, as root or in a user namespace of its own.

use std::fmt;
use std::fs;
use std::io;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::netns::Netns;

mod facilities;

pub use facilities::{Facilities, probe};

/// How the lab came by the right to make namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// The process may make network namespaces as it is.
    Root,
    /// The process is root of a user namespace that it made, and of nothing else.
    UserNamespace,
}

/// Why the lab may not make namespaces, and what to do about it, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Makes sure that this process can make network namespaces; without root it moves into a user namespace of its own,
/// in a network namespace without interfaces.
///
/// To be called once, before any thread is started: the kernel refuses a process with threads.
///
/// # Errors
///
/// If the system does not allow it.
pub fn enter() -> Result<Privileges, Refusal> {
    if geteuid().is_root() {
        return match Netns::new() {
            Ok(_) => Ok(Privileges::Root),
            Err(error) => Err(Refusal(format!(
                "root may not make network namespaces here ({error}): in a container, add --privileged"
            ))),
        };
    }
    enter_user_namespace().map_err(|error| Refusal(cure(&error)))?;
    Ok(Privileges::UserNamespace)
}

fn enter_user_namespace() -> io::Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    // A group map may only be written by who has given up setgroups (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn cure(error: &io::Error) -> String {
    let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned();
    let or_allow = if error.raw_os_error() == Some(Errno::EINVAL as i32) {
        // EINVAL of unshare: a kernel without user namespaces, or a process with threads.
        String::new()
    } else if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" {
        ", or allow it: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0".into()
    } else if sysctl("kernel/unprivileged_userns_clone") == "0" {
        ", or allow it: sudo sysctl kernel.unprivileged_userns_clone=1".into()
    } else if sysctl("user/max_user_namespaces") == "0" {
        ", or allow it: sudo sysctl user.max_user_namespaces=10000".into()
    } else {
        String::new()
    };
    let lab = std::env::current_exe().map_or("target/debug/lab".into(), |lab| lab.display().to_string());
    format!("this system lets no user make a namespace ({error}): run `sudo {lab}`{or_allow}")
}
