//! An actor as the process of a host: tells it what happened to its sockets and does what it wants.

use std::collections::{BTreeMap, VecDeque};

use halod_core::time::Instant;
use smoltcp::socket::tcp::State;

use super::connection::{Connection, News};
use super::host::Host;
use super::segment::Tuple;
use super::tcp::Owner;
use crate::actors::{Actor, ConnId, End, Input, Output};
use crate::observation::Observation;

/// Who is told what an actor observes.
pub(super) type Observe<'a> = &'a mut dyn FnMut(Observation);

pub(super) struct Process<A> {
    pub(super) actor: A,
    connections: BTreeMap<ConnId, Connection>,
    /// Dials that could not even be tried.
    refused: VecDeque<ConnId>,
}

impl<A: Actor> Process<A> {
    pub(super) fn new(actor: A) -> Self {
        Self { actor, connections: BTreeMap::new(), refused: VecDeque::new() }
    }

    /// Does what it was told or has slept through, and what it wants done by now.
    pub(super) fn wake(&mut self, now: Instant, host: &mut Host, observe: Observe<'_>) {
        self.settle(now, host, observe);
        if self.actor.deadline().is_some_and(|deadline| deadline <= now) {
            self.actor.handle(now, Input::Timeout);
            self.settle(now, host, observe);
        }
    }

    /// Tells the actor what happened to its sockets and does what it wants, until there is nothing more.
    pub(super) fn settle(&mut self, now: Instant, host: &mut Host, observe: Observe<'_>) {
        loop {
            self.perform_all(now, host, observe);
            if let Some(id) = self.refused.pop_front() {
                self.actor.handle(now, Input::Ended(id, End::Refused));
            } else if let Some(tuple) = host.tcp.next_ready() {
                self.attend(now, tuple, host, observe);
            } else if let Some((from, bytes)) = host.read_datagram() {
                self.actor.handle(now, Input::Datagram(from, &bytes));
            } else {
                break;
            }
        }
    }

    /// Looks at a socket to which something happened.
    fn attend(&mut self, now: Instant, tuple: Tuple, host: &mut Host, observe: Observe<'_>) {
        let Some((owner, socket)) = host.tcp.get_mut(tuple) else { return };
        let id = match (owner, socket.state()) {
            (Owner::Process(id), _) => id,
            (Owner::Nobody(_), _) | (Owner::Backlog, State::Listen | State::SynReceived) => return,
            (Owner::Backlog, _) => {
                let id = self.actor.accept(now, tuple.local, tuple.peer);
                host.tcp.accept(tuple, id);
                self.connections.insert(id, Connection::accepted(tuple));
                self.perform_all(now, host, observe);
                id
            }
        };
        while let Some(news) = self.news(id, host) {
            self.tell(now, id, news, host);
            self.perform_all(now, host, observe);
        }
        self.write(id, host);
    }

    fn news(&mut self, id: ConnId, host: &mut Host) -> Option<News> {
        // It may have been aborted on the news before.
        let connection = self.connections.get_mut(&id)?;
        let (_, socket) = host.tcp.get_mut(connection.tuple)?;
        connection.news(socket)
    }

    fn tell(&mut self, now: Instant, id: ConnId, news: News, host: &mut Host) {
        match news {
            News::Connected => self.actor.handle(now, Input::Connected(id)),
            News::Received(bytes) => self.actor.handle(now, Input::Received(id, &bytes)),
            News::Acked(offset) => self.actor.handle(now, Input::Acked(id, offset)),
            News::PeerFinished => self.actor.handle(now, Input::PeerFinished(id)),
            News::Ended(end) => {
                let connection = self.connections.remove(&id).expect("only a connection has news");
                host.tcp.release(now, connection.tuple);
                self.actor.handle(now, Input::Ended(id, end));
            }
        }
    }

    fn perform_all(&mut self, now: Instant, host: &mut Host, observe: Observe<'_>) {
        while let Some(output) = self.actor.poll() {
            self.perform(now, output, host, observe);
        }
    }

    fn perform(&mut self, now: Instant, output: Output, host: &mut Host, observe: Observe<'_>) {
        match output {
            Output::Dial(id, to) => {
                if let Some(tuple) = host.dial(id, to) {
                    self.connections.insert(id, Connection::dialled(tuple));
                } else {
                    self.refused.push_back(id);
                }
            }
            Output::Send(id, bytes) => self.with_connection(id, host, |connection| connection.queue(&bytes)),
            Output::Finish(id) => self.with_connection(id, host, Connection::finish),
            Output::Abort(id) => {
                if let Some(connection) = self.connections.remove(&id) {
                    host.tcp.abort(now, connection.tuple);
                }
            }
            Output::SendDatagram(to, bytes) => host.send_datagram(now, to, &bytes),
            Output::Observe(observation) => observe(observation),
        }
    }

    fn with_connection(&mut self, id: ConnId, host: &mut Host, act: impl FnOnce(&mut Connection)) {
        // The connection may have ended while the actor was making up its mind.
        if let Some(connection) = self.connections.get_mut(&id) {
            act(connection);
            self.write(id, host);
        }
    }

    /// Hands over what the socket takes now.
    fn write(&mut self, id: ConnId, host: &mut Host) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let tuple = connection.tuple;
        let (_, socket) = host.tcp.get_mut(tuple).expect("a connection has its socket until it has ended");
        connection.write(socket);
        if connection.is_overflowed() {
            // It is aborted: the actor is to be told.
            host.tcp.ready(tuple);
        }
        host.tcp.changed(tuple);
    }
}
