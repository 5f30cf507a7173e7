//! One TCP connection of a driver: what its socket says, one step at a time, in the order that an actor is told.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket};

use super::ack_events::{AckEvents, unacked};
use super::descriptors;
use crate::actors::End;
use crate::outbox::Outbox;

/// Bytes read at a time.
const READ_LENGTH: usize = 16 << 10;

/// A connection, dialled or accepted.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// `None` until the connection is established.
    acks: Option<AckEvents>,
    outbox: Outbox,
    /// Bytes that the kernel took.
    sent: u64,
    /// Bytes that the actor knows as acknowledged.
    acked: u64,
    fin_sent: bool,
    peer_finished: bool,
    failed: bool,
    /// What epoll said and has not been dealt with.
    events: EpollFlags,
    interest: EpollFlags,
}

/// What to tell the actor next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connected,
    Acked(u64),
    Received(Vec<u8>),
    PeerFinished,
    Ended(End),
}

impl Connection {
    /// Starts to connect; by a descriptor above those of accepted connections if wanted.
    pub(super) fn dial(to: SocketAddr, near_the_top: bool) -> io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let mut fd = socket(family, SockType::Stream, flags, None)?;
        if near_the_top {
            fd = descriptors::near_the_top(fd);
        }
        match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(nix::Error::EINPROGRESS) => Self::new(TcpStream::from(fd), EpollFlags::EPOLLOUT),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes over an established connection.
    pub(super) fn accepted(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let acks = Some(AckEvents::start(&stream));
        Ok(Self { acks, ..Self::new(stream, EpollFlags::EPOLLIN)? })
    }

    fn new(stream: TcpStream, interest: EpollFlags) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            acks: None,
            outbox: Outbox::default(),
            sent: 0,
            acked: 0,
            fin_sent: false,
            peer_finished: false,
            failed: false,
            events: EpollFlags::empty(),
            interest,
        })
    }

    /// Queues bytes. A connection whose queue overflows is given up as reset.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.failed |= self.outbox.push(bytes).is_err();
    }

    /// Queues FIN.
    pub(super) fn finish(&mut self) {
        self.outbox.finish();
    }

    /// Ends it with RST; a dial is given up.
    pub(super) fn reset(self) {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        // It fails on a socket that is closed already: then there is nobody to reset.
        let _ = setsockopt(&self.stream, Linger, &at_once);
    }

    /// Notes what epoll said; [`Connection::step`] then tells what it means.
    pub(super) fn begin(&mut self, events: EpollFlags) {
        self.events |= events;
        self.write();
    }

    /// The next thing that the actor does not know yet. Acknowledgements and bytes come before an end.
    pub(super) fn step(&mut self) -> Option<Step> {
        let Some(acks) = &mut self.acks else { return self.step_of_dial() };
        let acked = acks.acked(&self.stream, self.sent);
        if acked > self.acked {
            self.acked = acked;
            return Some(Step::Acked(acked));
        }
        if let Some(step) = self.read() {
            return Some(step);
        }
        // Only now: to ask takes the error away that reading would have found after the last byte.
        if self.events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            self.failed |= !matches!(self.stream.take_error(), Ok(None));
        }
        self.events = EpollFlags::empty();
        self.write();
        if self.failed {
            return Some(Step::Ended(End::Reset));
        }
        if self.fin_sent && self.peer_finished && unacked(&self.stream).is_ok_and(|count| count == 0) {
            // The last event may still be on its way when the last acknowledgement has come.
            if self.acked < self.sent {
                self.acked = self.sent;
                return Some(Step::Acked(self.sent));
            }
            return Some(Step::Ended(End::Closed));
        }
        None
    }

    fn step_of_dial(&mut self) -> Option<Step> {
        let done = EpollFlags::EPOLLOUT | EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        if self.failed {
            return Some(Step::Ended(End::Refused));
        }
        if !self.events.intersects(done) {
            return None;
        }
        if !matches!(self.stream.take_error(), Ok(None)) {
            return Some(Step::Ended(End::Refused));
        }
        self.acks = Some(AckEvents::start(&self.stream));
        self.write();
        Some(Step::Connected)
    }

    fn read(&mut self) -> Option<Step> {
        let readable = EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP;
        // After a failed write the peer's last bytes may still wait here.
        if self.peer_finished || !(self.failed || self.events.intersects(readable)) {
            return None;
        }
        let mut buffer = vec![0; READ_LENGTH];
        match self.stream.read(&mut buffer) {
            // The error that ended it has been taken by a failed write: this is no FIN.
            Ok(0) if self.failed => None,
            Ok(0) => {
                self.peer_finished = true;
                Some(Step::PeerFinished)
            }
            Ok(length) => {
                buffer.truncate(length);
                if length < READ_LENGTH {
                    // That was all; epoll says when there is more. After a hang-up only the error or EOF is the end.
                    self.events.remove(EpollFlags::EPOLLIN);
                }
                Some(Step::Received(buffer))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.read(),
            Err(_) => {
                self.failed = true;
                None
            }
        }
    }

    /// Hands over what the kernel takes now, FIN after the last byte.
    fn write(&mut self) {
        if self.acks.is_none() || self.failed {
            return;
        }
        while !self.outbox.is_empty() {
            match self.stream.write(self.outbox.head()) {
                Ok(length) => {
                    self.outbox.advance(length);
                    self.sent += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.failed = true;
                    return;
                }
            }
        }
        if self.outbox.is_finished() && !self.fin_sent {
            self.fin_sent = true;
            self.failed = self.stream.shutdown(std::net::Shutdown::Write).is_err();
        }
    }

    /// Whether it has to be looked at every [`POLL_INTERVAL`](super::ack_events::POLL_INTERVAL).
    pub(super) fn needs_polling(&self) -> bool {
        self.acked < self.sent && self.acks.as_ref().is_some_and(AckEvents::need_polling)
    }

    /// What epoll is to look for, to begin with.
    pub(super) fn interest(&self) -> EpollFlags {
        self.interest
    }

    /// What epoll is to look for from now on, if that has changed.
    pub(super) fn new_interest(&mut self) -> Option<EpollFlags> {
        let mut interest = EpollFlags::empty();
        // EOF is readable for ever.
        interest.set(EpollFlags::EPOLLIN, self.acks.is_some() && !self.peer_finished);
        interest.set(EpollFlags::EPOLLOUT, self.acks.is_none() || !self.outbox.is_empty());
        // So is a hang-up, which a socket has from both FINs on; only news is of interest while it waits for the last
        // acknowledgement.
        interest.set(EpollFlags::EPOLLET, self.fin_sent && self.peer_finished);
        (interest != self.interest).then(|| {
            self.interest = interest;
            interest
        })
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
