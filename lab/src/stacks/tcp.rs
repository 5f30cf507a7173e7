//! The TCP sockets of a host, whoever they belong to: the process, a listener's backlog, or nobody any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use halod_core::time::Instant;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::IpEndpoint;

use super::Buffers;
use super::link::Link;
use super::ports::Ports;
use super::segment::Tuple;
use crate::actors::ConnId;

/// Sockets of one host at a time; while there are more, dials are refused and SYNs dropped.
const SOCKETS_MAX: usize = 16_384;
/// Connections of one listener that wait to be accepted; more SYNs are dropped.
const BACKLOG_MAX: usize = 1024;
/// Sockets in TIME-WAIT that are kept to acknowledge a FIN that comes again. Beyond it the oldest goes.
const TIME_WAIT_MAX: usize = 4;
/// How long a socket may outlive its process: Linux's `tcp_fin_timeout`.
const ORPHANED_MAX: Duration = Duration::from_secs(60);

/// Whose a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A connection that the process dialled or accepted.
    Process(ConnId),
    /// It waits for its handshake, then for the process to accept it.
    Backlog,
    /// The process is done with it or dead: it only closes, and is gone at this time.
    Nobody(Instant),
}

struct Entry {
    owner: Owner,
    dialled: bool,
    set: SocketSet<'static>,
    handle: SocketHandle,
    due: Option<Instant>,
    /// Whether it is among `changed`.
    changed: bool,
    /// Whether it is among `ready`.
    ready: bool,
}

pub(super) struct Tcp {
    buffers: Buffers,
    ports: Ports,
    sockets: BTreeMap<Tuple, Entry>,
    due: BTreeSet<(Instant, Tuple)>,
    /// Sockets that may have something to send, in the order in which it came about.
    changed: VecDeque<Tuple>,
    /// Sockets that the process is to look at, in the order in which it came about.
    ready: VecDeque<Tuple>,
    time_wait: VecDeque<Tuple>,
}

impl Tcp {
    pub(super) fn new(buffers: Buffers, ports: Ports) -> Self {
        Self {
            buffers,
            ports,
            sockets: BTreeMap::new(),
            due: BTreeSet::new(),
            changed: VecDeque::new(),
            ready: VecDeque::new(),
            time_wait: VecDeque::new(),
        }
    }

    /// Opens a connection; `None` if it cannot even be tried.
    pub(super) fn dial(&mut self, link: &mut Link, id: ConnId, from: IpAddr, to: SocketAddr) -> Option<Tuple> {
        if self.sockets.len() >= SOCKETS_MAX {
            return None;
        }
        let tuple = |port| Tuple { local: SocketAddr::new(from, port), peer: to };
        let tuple = tuple(self.ports.take(|port| !self.sockets.contains_key(&tuple(port)))?);
        let mut socket = new_socket(self.buffers);
        let local = IpEndpoint::from(tuple.local);
        if socket.connect(link.interface.context(), IpEndpoint::from(to), local).is_err() {
            return None;
        }
        self.sockets.insert(tuple, Entry::new(Owner::Process(id), true, socket));
        self.changed(tuple);
        Some(tuple)
    }

    /// Takes in the next packet, which is a segment; `opens` says whether it is a SYN for a port that is listened on.
    pub(super) fn receive(&mut self, now: Instant, link: &mut Link, tuple: Tuple, opens: bool) {
        if opens && self.sockets.get_mut(&tuple).is_some_and(Entry::gives_way) {
            self.remove(tuple);
        }
        if opens && !self.sockets.contains_key(&tuple) {
            return self.open(now, link, tuple);
        }
        let Some(entry) = self.sockets.get_mut(&tuple) else {
            return link.receive(now, &mut SocketSet::new(Vec::new()));
        };
        link.receive(now, &mut entry.set);
        if matches!(entry.owner, Owner::Nobody(_)) {
            // Nobody will read it: RFC 1122 §4.2.2.13.
            let socket = entry.socket();
            if socket.can_recv() {
                socket.abort();
            }
            self.bound_time_wait(tuple);
        } else {
            self.ready(tuple);
        }
        self.changed(tuple);
    }

    /// Answers the next packet, a SYN, with a socket in the backlog of its port, or drops it if there is no room.
    fn open(&mut self, now: Instant, link: &mut Link, tuple: Tuple) {
        if self.sockets.len() >= SOCKETS_MAX || self.backlog(tuple.local) >= BACKLOG_MAX {
            return link.queues.drop_next();
        }
        let mut socket = new_socket(self.buffers);
        socket.listen(IpEndpoint::from(tuple.local)).expect("a listener's port is not zero");
        let mut entry = Entry::new(Owner::Backlog, false, socket);
        link.receive(now, &mut entry.set);
        // A SYN with a wrong checksum opens nothing.
        if entry.socket().state() == State::SynReceived {
            self.sockets.insert(tuple, entry);
            self.changed(tuple);
        }
    }

    /// How many connections to `local` wait.
    fn backlog(&self, local: SocketAddr) -> usize {
        let first = Tuple { local, peer: SocketAddr::from(([0; 4], 0)) };
        let same_local = self.sockets.range(first..).take_while(|(tuple, _)| tuple.local == local);
        same_local.filter(|(_, entry)| entry.owner == Owner::Backlog).count()
    }

    /// A socket and whose it is, until its owner is done with it.
    pub(super) fn get_mut(&mut self, tuple: Tuple) -> Option<(Owner, &mut Socket<'static>)> {
        let entry = self.sockets.get_mut(&tuple)?;
        Some((entry.owner, entry.socket()))
    }

    /// The process accepts a connection.
    pub(super) fn accept(&mut self, tuple: Tuple, id: ConnId) {
        self.sockets.get_mut(&tuple).expect("only what is there is accepted").owner = Owner::Process(id);
    }

    /// Something was done to a socket: it may have something to send.
    pub(super) fn changed(&mut self, tuple: Tuple) {
        if let Some(entry) = self.sockets.get_mut(&tuple)
            && !std::mem::replace(&mut entry.changed, true)
        {
            self.changed.push_back(tuple);
        }
    }

    /// The process is to look at a socket.
    pub(super) fn ready(&mut self, tuple: Tuple) {
        if let Some(entry) = self.sockets.get_mut(&tuple)
            && !std::mem::replace(&mut entry.ready, true)
        {
            self.ready.push_back(tuple);
        }
    }

    /// The next socket that the process is to look at.
    pub(super) fn next_ready(&mut self) -> Option<Tuple> {
        loop {
            let tuple = self.ready.pop_front()?;
            if let Some(entry) = self.sockets.get_mut(&tuple) {
                entry.ready = false;
                return Some(tuple);
            }
        }
    }

    /// The process is done with a socket that is closed or in TIME-WAIT.
    pub(super) fn release(&mut self, now: Instant, tuple: Tuple) {
        if let Some(entry) = self.sockets.get_mut(&tuple) {
            entry.owner = Owner::Nobody(now + ORPHANED_MAX);
            self.bound_time_wait(tuple);
            self.changed(tuple);
        }
    }

    /// Ends a connection with RST; one that is being dialled has nobody to reset.
    pub(super) fn abort(&mut self, now: Instant, tuple: Tuple) {
        let Some((_, socket)) = self.get_mut(tuple) else { return };
        if socket.state() == State::SynSent {
            // A late SYN-ACK finds no socket and is answered with RST.
            self.remove(tuple);
        } else {
            socket.abort();
            self.release(now, tuple);
        }
    }

    /// The process is dead: closes its sockets as Linux does, from the highest descriptor down, which are those that it
    /// dialled: a node keeps its control connection up there.
    pub(super) fn orphan_all(&mut self, now: Instant) {
        self.ready.clear();
        self.sockets.values_mut().for_each(|entry| entry.ready = false);
        for dialled in [true, false] {
            let owned = |entry: &Entry| entry.dialled == dialled && !matches!(entry.owner, Owner::Nobody(_));
            let tuples: Vec<Tuple> =
                self.sockets.iter().filter(|(_, entry)| owned(entry)).map(|(tuple, _)| *tuple).collect();
            tuples.into_iter().for_each(|tuple| self.orphan(now, tuple));
        }
    }

    /// What close(2) does.
    fn orphan(&mut self, now: Instant, tuple: Tuple) {
        let Some((owner, socket)) = self.get_mut(tuple) else { return };
        match (owner, socket.state()) {
            (_, State::SynSent | State::Listen) | (Owner::Backlog, State::SynReceived) => return self.remove(tuple),
            // Established, but nobody has accepted it.
            (Owner::Backlog, _) => socket.abort(),
            // Unread bytes are lost, which the peer is to know: RFC 2525 §2.17.
            _ if socket.can_recv() => socket.abort(),
            _ => socket.close(),
        }
        self.release(now, tuple);
    }

    /// All sockets are gone, without a word.
    pub(super) fn clear(&mut self) {
        let tuples: Vec<Tuple> = self.sockets.keys().copied().collect();
        tuples.into_iter().for_each(|tuple| self.remove(tuple));
        self.changed.clear();
        self.ready.clear();
        self.time_wait.clear();
    }

    /// Queues all that sockets have to send by now, and removes those that have nothing more to say.
    pub(super) fn send(&mut self, now: Instant, link: &mut Link) {
        while let Some(&(at, tuple)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            self.sockets.get_mut(&tuple).expect("only a socket is due").due = None;
            self.changed(tuple);
        }
        while let Some(tuple) = self.changed.pop_front() {
            let Some(entry) = self.sockets.get_mut(&tuple) else { continue };
            entry.changed = false;
            link.send(now, &mut entry.set);
            if entry.is_over(now) {
                self.remove(tuple);
                continue;
            }
            let gone = if let Owner::Nobody(until) = entry.owner { Some(until) } else { None };
            let due = [link.due(now, &entry.set), gone].into_iter().flatten().min();
            if due != entry.due {
                let former = std::mem::replace(&mut entry.due, due);
                former.map(|at| self.due.remove(&(at, tuple)));
                self.due.extend(due.map(|at| (at, tuple)));
            }
        }
    }

    /// When a socket has something to send.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Counts a socket that entered TIME-WAIT.
    fn bound_time_wait(&mut self, tuple: Tuple) {
        let is_new = |(_, socket): (Owner, &mut Socket<'_>)| socket.state() == State::TimeWait;
        if !self.get_mut(tuple).is_some_and(is_new) || self.time_wait.contains(&tuple) {
            return;
        }
        self.time_wait.push_back(tuple);
        if self.time_wait.len() > TIME_WAIT_MAX
            && let Some(oldest) = self.time_wait.pop_front()
        {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, tuple: Tuple) {
        let Some(entry) = self.sockets.remove(&tuple) else { return };
        if let Some(at) = entry.due {
            self.due.remove(&(at, tuple));
        }
        self.time_wait.retain(|waiting| *waiting != tuple);
    }
}

impl Entry {
    fn new(owner: Owner, dialled: bool, socket: Socket<'static>) -> Self {
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        Self { owner, dialled, set, handle, due: None, changed: false, ready: false }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// Whether a new connection may take its place.
    fn gives_way(&mut self) -> bool {
        matches!(self.owner, Owner::Nobody(_)) && matches!(self.socket().state(), State::TimeWait | State::Closed)
    }

    /// Whether it has nothing more to say, to nobody.
    fn is_over(&mut self, now: Instant) -> bool {
        match self.owner {
            Owner::Process(_) => false,
            // Reset before it was established.
            Owner::Backlog => self.socket().state() == State::Listen,
            Owner::Nobody(until) => until <= now || self.socket().remote_endpoint().is_none(),
        }
    }
}

fn new_socket(buffers: Buffers) -> Socket<'static> {
    let buffer = |length| SocketBuffer::new(vec![0; length]);
    let mut socket = Socket::new(buffer(buffers.receive), buffer(buffers.send));
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket
}
