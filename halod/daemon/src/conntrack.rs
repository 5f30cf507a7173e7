//! The kernel's connection tracking by netlink: which connections to service ports there are, and forgetting some.
//!
//! Numbers and structures are those of `linux/netfilter/nfnetlink_conntrack.h`. Nothing is subscribed to: the kernel is
//! asked when it matters.

mod message;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use halod_core::flow::FlowKey;
use halod_core::plane::steer::Entry;
use netlink_packet_core::{NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::libc;

use crate::netlink::{error_of, messages};

/// Deletions in one send.
const DELETIONS_PER_SEND: usize = 256;

/// A socket to connection tracking, in the network namespace of the thread that opened it.
pub(crate) struct Conntrack {
    socket: Socket,
    /// How long the kernel keeps an established connection that is silent: what is left of it says for how long it is.
    established_timeout: Duration,
}

impl Conntrack {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// There are no netlink sockets, or the kernel has no connection tracking.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        let timeout = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")?;
        let seconds = timeout.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Self { socket, established_timeout: Duration::from_secs(seconds) })
    }

    /// All TCP connections whose original destination `is_service`.
    ///
    /// # Errors
    ///
    /// The kernel does not answer, or refuses: CAP_NET_ADMIN is missing.
    pub(crate) fn entries(&self, is_service: impl Fn(&FlowKey) -> bool) -> io::Result<Vec<Entry>> {
        self.socket.send(&message::dump(), 0)?;
        let mut entries = Vec::new();
        let mut replies = Vec::with_capacity(64 * 1024);
        loop {
            replies.clear();
            self.socket.recv(&mut replies, 0)?;
            for reply in messages(&replies) {
                match reply.message_type() {
                    NLMSG_DONE => return Ok(entries),
                    NLMSG_ERROR => return Err(error_of(&reply)),
                    _ => {
                        let entry = message::entry(reply.payload(), self.established_timeout);
                        entries.extend(entry.filter(|entry| is_service(&entry.flow)));
                    }
                }
            }
        }
    }

    /// Whether there is a connection with packets from `source` to `destination`.
    ///
    /// # Errors
    ///
    /// The kernel does not answer, or refuses.
    pub(crate) fn is_tracked(&self, source: SocketAddr, destination: SocketAddr) -> io::Result<bool> {
        self.socket.send(&message::question(source, destination), 0)?;
        let mut replies = Vec::with_capacity(8 * 1024);
        self.socket.recv(&mut replies, 0)?;
        match messages(&replies).next() {
            Some(reply) if reply.message_type() == NLMSG_ERROR => match error_of(&reply) {
                error if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
                error => Err(error),
            },
            reply => Ok(reply.is_some()),
        }
    }

    /// Forgets connections. Those that are not there are no error.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(crate) fn delete(&self, flows: &[FlowKey]) -> io::Result<()> {
        for chunk in flows.chunks(DELETIONS_PER_SEND) {
            let messages: Vec<u8> = chunk.iter().flat_map(message::deletion).collect();
            self.socket.send(&messages, 0)?;
            self.read_refusals()?;
        }
        Ok(())
    }

    /// The kernel has carried out what was sent when the send returns, and answers only what it did not do.
    fn read_refusals(&self) -> io::Result<()> {
        let mut replies = Vec::with_capacity(64 * 1024);
        loop {
            replies.clear();
            match self.socket.recv(&mut replies, libc::MSG_DONTWAIT) {
                Ok(_) => {
                    let errors = messages(&replies).map(|reply| error_of(&reply));
                    if let Some(error) = { errors }.find(|error| error.raw_os_error() != Some(libc::ENOENT)) {
                        return Err(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
