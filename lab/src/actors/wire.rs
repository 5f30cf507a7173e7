//! What an actor wants done, in order: its outputs, the numbers of its connections, and the connections that it is
//! closing. Which connection is what, the actor knows.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use halod_core::time::Instant;

use super::timers::Timers;
use super::{ConnId, Output};
use crate::observation::Observation;

/// The outputs of one actor.
#[derive(Debug)]
pub(crate) struct Wire {
    outputs: VecDeque<Output>,
    opened: u64,
    half_close: Duration,
    closing: Timers<ConnId>,
}

impl Wire {
    /// `half_close` is how long a connection that was finished may take to end.
    pub(crate) fn new(half_close: Duration) -> Self {
        Self { outputs: VecDeque::new(), opened: 0, half_close, closing: Timers::default() }
    }

    /// The name of a connection that was accepted.
    pub(crate) fn open(&mut self) -> ConnId {
        self.opened += 1;
        ConnId(self.opened)
    }

    pub(crate) fn dial(&mut self, to: SocketAddr) -> ConnId {
        let conn = self.open();
        self.outputs.push_back(Output::Dial(conn, to));
        conn
    }

    pub(crate) fn send(&mut self, conn: ConnId, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.outputs.push_back(Output::Send(conn, bytes));
        }
    }

    /// Ends a connection after what is queued. To be called once a connection.
    pub(crate) fn finish(&mut self, now: Instant, conn: ConnId) {
        self.outputs.push_back(Output::Finish(conn));
        self.closing.set(conn, now + self.half_close);
    }

    pub(crate) fn abort(&mut self, conn: ConnId) {
        self.closing.cancel(&conn);
        self.outputs.push_back(Output::Abort(conn));
    }

    pub(crate) fn send_datagram(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.outputs.push_back(Output::SendDatagram(to, bytes));
    }

    pub(crate) fn observe(&mut self, observation: Observation) {
        self.outputs.push_back(Output::Observe(observation));
    }

    /// Takes note that a connection has ended.
    pub(crate) fn ended(&mut self, conn: ConnId) {
        self.closing.cancel(&conn);
    }

    /// Aborts a connection whose time to end has passed, and names it.
    pub(crate) fn abort_overdue(&mut self, now: Instant) -> Option<ConnId> {
        let conn = self.closing.take_due(now)?;
        self.abort(conn);
        Some(conn)
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.closing.next()
    }
}
