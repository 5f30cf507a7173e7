//! A network namespace held as a file descriptor: it has no name in any file system and vanishes with its last user.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::netlink::{self, InterfaceConfig, Route};

/// A network namespace of the lab's own, with `lo` up.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

impl Netns {
    /// Makes an empty one.
    ///
    /// # Errors
    ///
    /// EPERM without CAP_SYS_ADMIN, ENOSPC at `user.max_net_namespaces`.
    pub fn new() -> io::Result<Self> {
        let netns = in_own_thread(|| -> io::Result<Self> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(Self { fd: File::open("/proc/thread-self/ns/net")?.into() })
        })?;
        netns.silence_ipv6()?;
        netns.configure(&InterfaceConfig { name: "lo", addresses: &[], mtu: None, queue: None })?;
        Ok(netns)
    }

    /// Does `work` inside, on a thread of its own that has no other use.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered; `work` was not called then.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_own_thread(|| {
            setns(&self.fd, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
    }

    /// Sets a sysctl of this namespace, by its path below /proc/sys/net with dots: `ipv4.ip_forward`.
    ///
    /// # Errors
    ///
    /// Any other path, or what the kernel says.
    pub fn set_sysctl(&self, name: &str, value: &str) -> io::Result<()> {
        let valid = |part: &str| !part.is_empty() && !part.contains('/');
        if !name.split('.').all(valid) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is not a sysctl")));
        }
        let path: PathBuf = std::iter::once("/proc/sys/net").chain(name.split('.')).collect();
        self.run(|| std::fs::write(path, value))?
            .map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))
    }

    /// Gives an interface its addresses and MTU, and brings it up.
    ///
    /// # Errors
    ///
    /// If there is none of that name, or what rtnetlink says.
    pub fn configure(&self, interface: &InterfaceConfig<'_>) -> io::Result<()> {
        self.run(|| netlink::configure(interface))?
    }

    /// Adds a route to the main table.
    ///
    /// # Errors
    ///
    /// What rtnetlink says.
    pub fn add_route(&self, route: &Route<'_>) -> io::Result<()> {
        self.run(|| netlink::add_route(route))?
    }

    /// Connects it with another one by a pair of interfaces, which are down: `name` here, `peer_name` there.
    ///
    /// # Errors
    ///
    /// If either name is taken, or what rtnetlink says.
    pub fn add_veth(&self, name: &str, peer: &Netns, peer_name: &str) -> io::Result<()> {
        self.run(|| netlink::add_veth(name, peer.as_fd(), peer_name))?
    }

    /// The descriptor to hand to another process: `nsenter --net=/proc/PID/fd/FD`.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Keeps new interfaces from talking by themselves: no link-local addresses, no router solicitations.
    fn silence_ipv6(&self) -> io::Result<()> {
        let silenced = self
            .set_sysctl("ipv6.conf.default.addr_gen_mode", "1")
            .and_then(|()| self.set_sysctl("ipv6.conf.default.accept_ra", "0"));
        match silenced {
            // A kernel without IPv6 has nothing to silence.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Namespaces belong to threads: one that changed its own is not used for anything else.
fn in_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
