//! The kernel's connection tracking by netlink: which connections to service ports there are, and forgetting some.
//!
//! Numbers and structures are those of `linux/netfilter/nfnetlink_conntrack.h`. Nothing is subscribed to: the kernel is
//! asked when it matters.

mod message;
mod question;

use std::fs;
use std::io;
use std::net::SocketAddr;

use halod_core::flow::FlowKey;
use halod_core::plane::steer::Entry;
use netlink_packet_core::{NLMSG_DONE, NLMSG_ERROR};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use self::message::Timeouts;
pub(crate) use self::question::Question;
use crate::netlink::{error_of, messages};

/// Deletions in one send: the refusals of all of them fit the smallest receive buffer that a system has by default.
const DELETIONS_PER_SEND: usize = 128;

/// A socket to connection tracking, in the network namespace of the thread that opened it.
pub struct Conntrack {
    socket: Socket,
    timeouts: Timeouts,
    /// The number of the last message, by which its answers are known: what is left of the answers to another counts for
    /// nothing.
    sequence: u32,
}

impl Conntrack {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// There are no netlink sockets, or the kernel has no connection tracking.
    pub fn open() -> io::Result<Self> {
        const RECEIVE_BUFFER: usize = 4 << 20;
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        // Denied without the right to ask, which is reported better by the first answer.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        let timeouts = Timeouts {
            established: timeout("established")?,
            unacknowledged: timeout("unacknowledged")?.max(timeout("max_retrans")?),
            last_ack: timeout("last_ack")?,
            time_wait: timeout("time_wait")?,
        };
        Ok(Self { socket, timeouts, sequence: 0 })
    }

    /// All TCP connections with a translated destination that `is_service`.
    ///
    /// # Errors
    ///
    /// The kernel does not answer, or refuses: CAP_NET_ADMIN is missing.
    pub fn entries(&mut self, is_service: impl Fn(&FlowKey) -> bool) -> io::Result<Vec<Entry>> {
        let sequence = self.next();
        self.socket.send(&message::dump(sequence), 0)?;
        let mut entries = Vec::new();
        let mut replies = Vec::with_capacity(64 * 1024);
        loop {
            replies.clear();
            self.socket.recv(&mut replies, 0)?;
            for reply in messages(&replies).filter(|reply| reply.sequence_number() == sequence) {
                match reply.message_type() {
                    NLMSG_DONE => return Ok(entries),
                    NLMSG_ERROR => return Err(error_of(&reply)),
                    _ => {
                        let entry = message::entry(reply.payload(), self.timeouts);
                        entries.extend(entry.filter(|entry| is_service(&entry.flow)));
                    }
                }
            }
        }
    }

    /// The connection of a flow, if there is one.
    ///
    /// # Errors
    ///
    /// The kernel does not answer, or refuses.
    pub fn entry(&mut self, flow: FlowKey) -> io::Result<Option<Entry>> {
        let timeouts = self.timeouts;
        Ok(self.find(flow.client, flow.service, |payload| message::entry(payload, timeouts))?.flatten())
    }

    /// Whether there is a connection with packets from `source` to `destination`.
    ///
    /// # Errors
    ///
    /// The kernel does not answer, or refuses.
    pub fn is_tracked(&mut self, source: SocketAddr, destination: SocketAddr) -> io::Result<bool> {
        Ok(self.find(source, destination, |_| ())?.is_some())
    }

    /// What `read` makes of the connection with packets from `source` to `destination`, if there is one.
    fn find<T>(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        read: impl FnOnce(&[u8]) -> T,
    ) -> io::Result<Option<T>> {
        let sequence = self.next();
        self.socket.send(&message::question(sequence, source, destination), 0)?;
        let mut replies = Vec::with_capacity(8 * 1024);
        loop {
            replies.clear();
            self.socket.recv(&mut replies, 0)?;
            let answer = messages(&replies).find(|reply| reply.sequence_number() == sequence);
            return match answer {
                None => continue,
                Some(reply) if reply.message_type() != NLMSG_ERROR => Ok(Some(read(reply.payload()))),
                Some(refusal) => match error_of(&refusal) {
                    error if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
                    error => Err(error),
                },
            };
        }
    }

    /// Forgets connections, as many as can be. Those that are not there are no error.
    ///
    /// # Errors
    ///
    /// The first reason why the kernel refused one.
    pub fn delete(&mut self, flows: &[FlowKey]) -> io::Result<()> {
        let mut outcome = Ok(());
        for chunk in flows.chunks(DELETIONS_PER_SEND) {
            let messages: Vec<u8> = chunk.iter().flat_map(|flow| message::deletion(self.next(), flow)).collect();
            let deleted = self.socket.send(&messages, 0).and_then(|_| self.read_refusals());
            outcome = outcome.and(deleted);
        }
        outcome
    }

    /// The kernel has carried out what was sent when the send returns, and answers only what it did not do. Reads all that
    /// there is.
    fn read_refusals(&self) -> io::Result<()> {
        let mut outcome = Ok(());
        let mut replies = Vec::with_capacity(64 * 1024);
        loop {
            replies.clear();
            match self.socket.recv(&mut replies, libc::MSG_DONTWAIT) {
                Ok(_) => {
                    let errors = messages(&replies).map(|reply| error_of(&reply));
                    let refusal = { errors }.find(|error| error.raw_os_error() != Some(libc::ENOENT));
                    outcome = outcome.and(refusal.map_or(Ok(()), Err));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return outcome,
                // Some answers are lost, others still there.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => outcome = outcome.and(Err(error)),
                Err(error) => return Err(error),
            }
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

fn timeout(of: &str) -> io::Result<u32> {
    let seconds = fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{of}"))?;
    seconds.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}
