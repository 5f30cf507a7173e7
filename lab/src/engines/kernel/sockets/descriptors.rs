//! The numbers of descriptors, by which the kernel closes those of a killed process: the highest first.
//!
//! As docs/protocol.md advises a node, the last listener (the admin address) has the highest of all and what it dials
//! (the control connection) the next, so that HaloD hears of a death before the browsers do, and finds nobody who
//! accepts any more. On its own this module decides nothing: it only moves descriptors.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, getrlimit};

/// The kernel's table of descriptors grows with the highest number: this many are enough.
const LIMIT_MAX: u64 = 1 << 16;
/// Room between the highest descriptor and the connections below it.
const DIALLED_MAX: i32 = 64;

/// Moves a descriptor above all others.
pub(super) fn to_the_top(fd: OwnedFd) -> OwnedFd {
    raise(fd, 1)
}

/// Moves a descriptor above those of all accepted connections. There is room for [`DIALLED_MAX`]; others stay.
pub(super) fn near_the_top(fd: OwnedFd) -> OwnedFd {
    raise(fd, 1 + DIALLED_MAX)
}

fn raise(fd: OwnedFd, below_limit: i32) -> OwnedFd {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft.min(LIMIT_MAX));
    let least = i32::try_from(limit).expect("at most LIMIT_MAX") - below_limit;
    match fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(least)) {
        // SAFETY: fcntl has just made this descriptor, and nobody else knows it.
        Ok(raised) => unsafe { OwnedFd::from_raw_fd(raised) },
        // None so high is free: it works all the same.
        Err(_) => fd,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_last_listener_is_above_dialled_connections_and_those_above_the_rest() {
        let open = || OwnedFd::from(File::open("/dev/null").unwrap());
        let (dialled, top, accepted) = (near_the_top(open()), to_the_top(open()), open());
        assert!(top.as_raw_fd() > dialled.as_raw_fd(), "{top:?} {dialled:?}");
        assert!(dialled.as_raw_fd() > accepted.as_raw_fd(), "{dialled:?} {accepted:?}");
    }
}
