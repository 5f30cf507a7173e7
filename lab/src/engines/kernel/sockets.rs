//! Runs one actor on the kernel's sockets, in this process and its namespace, until its stdin ends.
//!
//! One thread, one level-triggered epoll. Commands come in as lines of JSON, observations go out as lines of JSON (see
//! [`wire`](super::wire)). Writing observations blocks: who starts the process reads them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, BufWriter, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use halod_core::time::Instant;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::prctl::set_timerslack;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, Backlog};
use nix::sys::time::TimeSpec;
use serde::de::DeserializeOwned;

use super::clock;
use super::wire::Stamped;
use crate::actors::{Actor, ConnId, End, Input, Output};

mod ack_events;
mod connection;
mod descriptors;
mod lines;

use connection::{Connection, Step};
use lines::Lines;

const STDIN: u64 = 0;
const UDP: u64 = 1;
const FIRST_LISTENER: u64 = 2;
const FIRST_CONNECTION: u64 = 1 << 32;
/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 256;
/// Connections accepted, or datagrams read, before others have their turn.
const BATCH: usize = 64;
const DATAGRAM_LENGTH_MAX: usize = 65_535;

/// Drives `actor` until stdin ends. Listens on `listen`, of which the last has the highest descriptor of all; binds its UDP
/// socket to `udp_bind`.
///
/// # Errors
///
/// An address that cannot be bound, a command that cannot be read, stdout that is closed.
pub fn run<A: Actor>(actor: A, listen: &[SocketAddr], udp_bind: Option<SocketAddr>) -> io::Result<()>
where
    A::Command: DeserializeOwned,
{
    // An app may hold thousands of connections; the soft limit is often 1,024.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    // Linux lets a thread sleep 50 us too long unless told otherwise.
    set_timerslack(1)?;
    let commands = io::stdin().as_fd().try_clone_to_owned()?;
    Driver::new(actor, listen, udp_bind, commands, BufWriter::new(io::stdout().lock()))?.run()
}

/// An actor and its sockets.
struct Driver<A, W> {
    actor: A,
    epoll: Epoll,
    commands: Lines,
    observations: W,
    listeners: Vec<TcpListener>,
    udp: Option<UdpSocket>,
    connections: BTreeMap<ConnId, Connection>,
    /// Whether some connection, of now or before, has to be polled: then all are asked, and there may be thousands.
    polls: bool,
    /// Connections to look at without an event.
    touched: BTreeSet<ConnId>,
    /// Dials that could not even be tried.
    refused: VecDeque<ConnId>,
}

impl<A: Actor, W: Write> Driver<A, W>
where
    A::Command: DeserializeOwned,
{
    fn new(
        actor: A,
        listen: &[SocketAddr],
        udp_bind: Option<SocketAddr>,
        commands: OwnedFd,
        observations: W,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&commands, EpollEvent::new(EpollFlags::EPOLLIN, STDIN))?;
        let udp = udp_bind.map(UdpSocket::bind).transpose()?;
        if let Some(udp) = &udp {
            udp.set_nonblocking(true)?;
            epoll.add(udp, EpollEvent::new(EpollFlags::EPOLLIN, UDP))?;
        }
        let mut listeners = Vec::new();
        for (token, address) in (FIRST_LISTENER..).zip(listen) {
            // std sets SO_REUSEADDR.
            let listener = TcpListener::bind(address)
                .map_err(|error| io::Error::new(error.kind(), format!("listen on {address}: {error}")))?;
            // All browsers of a lost node may come at once. std has room for 128, and the kernel drops the others' SYNs.
            socket::listen(&listener, Backlog::MAXALLOWABLE)?;
            let is_last = listeners.len() + 1 == listen.len();
            let listener = if is_last { descriptors::to_the_top(listener.into()).into() } else { listener };
            listener.set_nonblocking(true)?;
            epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
            listeners.push(listener);
        }
        Ok(Self {
            actor,
            epoll,
            commands: Lines::new(commands),
            observations,
            listeners,
            udp,
            connections: BTreeMap::new(),
            polls: false,
            touched: BTreeSet::new(),
            refused: VecDeque::new(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        self.obey(clock::now())?;
        loop {
            self.wait()?;
            let count = match self.epoll.wait(&mut events, 0u8) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..count] {
                if !self.on_event(clock::now(), event)? {
                    return Ok(());
                }
            }
            self.on_time(clock::now())?;
        }
    }

    /// Sleeps until an event or the next deadline, to the nanosecond that epoll_wait does not know.
    fn wait(&self) -> io::Result<()> {
        let now = clock::now();
        let polling = self.polled().next().map(|_| now + ack_events::POLL_INTERVAL);
        let next = [self.actor.deadline(), polling].into_iter().flatten().min();
        let timeout = next.map(|next| TimeSpec::from_duration(next.since(now)));
        match ppoll(&mut [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)], timeout, None) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether to go on.
    fn on_event(&mut self, now: Instant, event: &EpollEvent) -> io::Result<bool> {
        match event.data() {
            STDIN => {
                let Some(lines) = self.commands.read()? else { return Ok(false) };
                for line in lines {
                    self.actor.command(now, serde_json::from_slice(&line)?);
                    self.obey(now)?;
                }
            }
            UDP => self.receive_datagrams(now)?,
            token @ FIRST_LISTENER..FIRST_CONNECTION => self.accept(now, token)?,
            token => self.service(now, ConnId(token.wrapping_sub(FIRST_CONNECTION)), event.events())?,
        }
        self.obey(now)?;
        Ok(true)
    }

    fn on_time(&mut self, now: Instant) -> io::Result<()> {
        if self.actor.deadline().is_some_and(|deadline| deadline <= now) {
            self.actor.handle(now, Input::Timeout);
            self.obey(now)?;
        }
        let polled: Vec<ConnId> = self.polled().collect();
        self.touched.extend(polled);
        self.obey(now)
    }

    /// Connections to look at again soon.
    fn polled(&self) -> impl Iterator<Item = ConnId> {
        let all = self.polls.then_some(&self.connections).into_iter().flatten();
        all.filter(|(_, connection)| connection.needs_polling()).map(|(id, _)| *id)
    }

    fn receive_datagrams(&mut self, now: Instant) -> io::Result<()> {
        let mut buffer = [0; DATAGRAM_LENGTH_MAX];
        for _ in 0..BATCH {
            let received = self.udp.as_ref().map(|udp| udp.recv_from(&mut buffer));
            // An error is about a datagram sent earlier: it is lost, as datagrams are.
            let Some(Ok((length, from))) = received else { break };
            self.actor.handle(now, Input::Datagram(from, &buffer[..length]));
            self.obey(now)?;
        }
        Ok(())
    }

    fn accept(&mut self, now: Instant, token: u64) -> io::Result<()> {
        let index = usize::try_from(token - FIRST_LISTENER).expect("a listener's token is its index");
        for _ in 0..BATCH {
            let (stream, peer) = match self.listeners[index].accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It was reset while it waited.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let local = stream.local_addr()?;
            let id = self.actor.accept(now, local, peer);
            let connection = Connection::accepted(stream)?;
            self.register(id, connection)?;
            self.obey(now)?;
        }
        Ok(())
    }

    fn register(&mut self, id: ConnId, connection: Connection) -> io::Result<()> {
        self.epoll.add(connection.as_fd(), EpollEvent::new(connection.interest(), token(id)))?;
        self.connections.insert(id, connection);
        Ok(())
    }

    /// Tells the actor all that happened to a connection, in order, and does what that brings about.
    fn service(&mut self, now: Instant, id: ConnId, events: EpollFlags) -> io::Result<()> {
        // An event may be of a connection that was aborted a moment ago.
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(()) };
        connection.begin(events);
        while let Some(step) = self.connections.get_mut(&id).and_then(Connection::step) {
            match step {
                Step::Connected => self.actor.handle(now, Input::Connected(id)),
                Step::Acked(offset) => self.actor.handle(now, Input::Acked(id, offset)),
                Step::Received(bytes) => self.actor.handle(now, Input::Received(id, &bytes)),
                Step::PeerFinished => self.actor.handle(now, Input::PeerFinished(id)),
                Step::Ended(end) => {
                    let connection = self.connections.remove(&id).expect("it took the step");
                    if end == End::Reset {
                        connection.reset();
                    }
                    self.actor.handle(now, Input::Ended(id, end));
                }
            }
            self.perform_all(now)?;
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            self.polls |= connection.needs_polling();
            if let Some(interest) = connection.new_interest() {
                self.epoll.modify(connection.as_fd(), &mut EpollEvent::new(interest, token(id)))?;
            }
        }
        Ok(())
    }

    /// Does what the actor wants, until it wants nothing more.
    fn obey(&mut self, now: Instant) -> io::Result<()> {
        loop {
            self.perform_all(now)?;
            if let Some(id) = self.refused.pop_front() {
                self.actor.handle(now, Input::Ended(id, End::Refused));
            } else if let Some(id) = self.touched.pop_first() {
                self.service(now, id, EpollFlags::empty())?;
            } else {
                return self.observations.flush();
            }
        }
    }

    fn perform_all(&mut self, now: Instant) -> io::Result<()> {
        while let Some(output) = self.actor.poll() {
            self.perform(now, output)?;
        }
        Ok(())
    }

    fn perform(&mut self, now: Instant, output: Output) -> io::Result<()> {
        match output {
            Output::Dial(id, to) => match Connection::dial(to, !self.listeners.is_empty()) {
                Ok(connection) => self.register(id, connection)?,
                Err(_) => self.refused.push_back(id),
            },
            Output::Send(id, bytes) => self.touch(id, |connection| connection.queue(&bytes)),
            Output::Finish(id) => self.touch(id, Connection::finish),
            Output::Abort(id) => {
                if let Some(connection) = self.connections.remove(&id) {
                    connection.reset();
                }
            }
            Output::SendDatagram(to, bytes) => {
                if let Some(udp) = &self.udp {
                    // A full buffer loses it, as datagrams are lost.
                    let _ = udp.send_to(&bytes, to);
                }
            }
            Output::Observe(observation) => {
                serde_json::to_writer(&mut self.observations, &Stamped::new(now, observation))?;
                self.observations.write_all(b"\n")?;
            }
        }
        Ok(())
    }

    fn touch(&mut self, id: ConnId, act: impl FnOnce(&mut Connection)) {
        // The connection may have ended while the actor was making up its mind.
        if let Some(connection) = self.connections.get_mut(&id) {
            act(connection);
            self.touched.insert(id);
        }
    }
}

fn token(id: ConnId) -> u64 {
    FIRST_CONNECTION.wrapping_add(id.0)
}

#[cfg(test)]
mod tests;
