//! A browser: holds a connection to the node of its user's route, shows each event once, and reconnects as its
//! transport does.
//!
//! * The loss of a connection is followed by a dial at once. If that is refused, or lost before it was of use, the
//!   browser backs off with jitter.
//! * A long poll ends with its event and is followed by the next one; that is no disconnection.
//! * Asked to move (iframe), it dials first and leaves the former connection when the new one has its first byte.
//! * Whatever connection an event comes by, it counts, also on one that is being left.

mod backoff;
mod connection;
mod shown;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use halod_core::time::Instant;
use serde::{Deserialize, Serialize};

use self::backoff::Backoff;
use self::connection::{Connection, Phase};
use self::shown::ShownEvents;
use super::event::{EventBody, LOCATION, SESSION};
use super::{Actor, ConnId, Input, Output};
use crate::observation::{EventId, Observation};
use crate::orbited::Transport;
use crate::orbited::decode::Decoded;
use crate::orbited::request::Request;

/// One in use, one that replaces it, one that is being left.
const CONNECTIONS_MAX: usize = 3;

/// Who a browser is and where it connects to.
#[derive(Debug, Clone)]
pub struct BrowserConfig {
    /// The user that it shows events to.
    pub user: String,
    /// How it receives them.
    pub transport: Transport,
    /// The service address of HaloD with the browser port of the user's route.
    pub server: SocketAddr,
    /// Of its random numbers. Browsers with equal seeds back off alike.
    pub seed: u64,
    /// The span of the first wait, and how long a connection has to last to be worth a redial at once.
    pub backoff_first: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
}

/// What a scenario can tell a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BrowserCommand {
    /// Connect, and stay connected.
    Connect,
    /// Close the connection and stay away. What is in flight is still read.
    Close,
    /// Close the connection and read nothing more, as when a process ends: what still comes is answered with RST.
    Abandon,
    /// End the connection with RST and stay away.
    Abort,
}

/// A browser without I/O.
#[derive(Debug)]
pub struct Browser {
    config: BrowserConfig,
    shown: ShownEvents,
    backoff: Backoff,
    /// The id of the last event that had one (standard SSE).
    last_event_id: Option<EventId>,
    connections: BTreeMap<ConnId, Connection>,
    /// The connection that was dialled last, unless it was lost. Every other one is being left.
    newest: Option<ConnId>,
    redial_at: Option<Instant>,
    /// Between the commands to connect and to close.
    wanted: bool,
    dial_count: u64,
    outputs: VecDeque<Output>,
}

impl Browser {
    /// A browser that waits for its first command.
    pub fn new(config: BrowserConfig) -> Self {
        Self {
            backoff: Backoff::new(config.backoff_first, config.backoff_max, config.seed),
            config,
            shown: ShownEvents::default(),
            last_event_id: None,
            connections: BTreeMap::new(),
            newest: None,
            redial_at: None,
            wanted: false,
            dial_count: 0,
            outputs: VecDeque::new(),
        }
    }

    fn connect(&mut self) {
        if !self.wanted {
            self.wanted = true;
            self.backoff.reset();
            self.dial();
        }
    }

    /// Sends FIN where that is not done; connections are then in `phase` until they have ended.
    fn close(&mut self, phase: Phase) {
        self.stay_away();
        for (&id, connection) in &mut self.connections {
            match connection.phase {
                Phase::Dialling => self.outputs.push_back(Output::Abort(id)),
                Phase::Open { .. } => finish(id, connection, &mut self.outputs),
                Phase::Finishing | Phase::Abandoned => {}
            }
        }
        self.connections.retain(|_, connection| connection.phase != Phase::Dialling);
        self.connections.values_mut().for_each(|connection| connection.phase = phase);
    }

    fn abort(&mut self) {
        self.stay_away();
        self.outputs.extend(std::mem::take(&mut self.connections).into_keys().map(Output::Abort));
    }

    fn stay_away(&mut self) {
        self.wanted = false;
        self.newest = None;
        self.redial_at = None;
    }

    fn dial(&mut self) {
        self.redial_at = None;
        if self.connections.len() == CONNECTIONS_MAX {
            let mut leaving = self.connections.iter().filter(|(_, connection)| connection.is_left());
            let (&oldest, _) = leaving.next().expect("at most the newest and the one that it replaces are not left");
            self.connections.remove(&oldest);
            self.outputs.push_back(Output::Abort(oldest));
        }
        let id = ConnId(self.dial_count);
        self.dial_count += 1;
        self.connections.insert(id, Connection::new(self.config.transport));
        self.newest = Some(id);
        self.outputs.push_back(Output::Dial(id, self.config.server));
    }

    fn dial_after(&mut self, now: Instant, wait: Duration) {
        if wait.is_zero() {
            self.dial();
        } else {
            self.redial_at = Some(now + wait);
        }
    }

    fn connected(&mut self, now: Instant, id: ConnId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.phase = Phase::Open { since: now };
        let request = Request {
            location: LOCATION.into(),
            user: self.config.user.clone(),
            session: SESSION.into(),
            transport: self.config.transport,
            last_event_id: self.last_event_id,
        };
        self.outputs.push_back(Output::Send(id, request.to_bytes()));
        self.observe(Observation::Connected { user: self.config.user.clone() });
    }

    fn received(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.phase == Phase::Abandoned {
            self.connections.remove(&id);
            self.outputs.push_back(Output::Abort(id));
            return;
        }
        let heard_before = connection.is_heard();
        let items = connection.receive(bytes);
        if !heard_before {
            self.observe(Observation::FirstByte { user: self.config.user.clone() });
            if self.newest == Some(id) {
                self.leave_former(id);
            }
        }
        for item in items {
            self.take(now, id, item);
        }
    }

    /// The new connection works: ends the ones before it.
    fn leave_former(&mut self, newest: ConnId) {
        for (&id, connection) in self.connections.range_mut(..newest) {
            if connection.is_open() {
                finish(id, connection, &mut self.outputs);
            }
        }
    }

    fn peer_finished(&mut self, now: Instant, id: ConnId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Some(item) = connection.receive_end() {
            self.take(now, id, item);
        }
        let Some(connection) = self.connections.get_mut(&id).filter(|connection| connection.is_open()) else { return };
        let held = connection.held(now, self.config.backoff_first);
        finish(id, connection, &mut self.outputs);
        if self.config.transport != Transport::Xhr {
            self.observe_disconnected();
        }
        self.lost(now, id, held);
    }

    fn ended(&mut self, now: Instant, id: ConnId) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        // A poll's body that has come whole counts, also if the connection was then reset.
        if let Some(item) = connection.receive_end() {
            self.take(now, id, item);
        }
        match connection.phase {
            Phase::Finishing | Phase::Abandoned => {}
            Phase::Dialling => {
                self.observe_disconnected();
                if self.newest.take_if(|newest| *newest == id).is_some() {
                    let wait = self.backoff.after_refusal();
                    self.dial_after(now, wait);
                }
            }
            Phase::Open { .. } => {
                self.observe_disconnected();
                self.lost(now, id, connection.held(now, self.config.backoff_first));
            }
        }
    }

    /// A connection that was established is none any more. If it was the newest, dials again.
    fn lost(&mut self, now: Instant, id: ConnId, held: bool) {
        if self.newest.take_if(|newest| *newest == id).is_some() {
            if held {
                self.backoff.reset();
            }
            let wait = self.backoff.after_loss();
            self.dial_after(now, wait);
        }
    }

    fn take(&mut self, now: Instant, id: ConnId, item: Decoded) {
        match item {
            Decoded::Opened | Decoded::Ping => {}
            Decoded::Event { body, id: event_id } => {
                self.last_event_id = event_id.or(self.last_event_id);
                self.show(&body);
            }
            Decoded::ReconnectAsked => {
                if self.newest == Some(id) {
                    self.dial();
                }
            }
            Decoded::Retry(wait) => self.backoff.set_first(wait),
            Decoded::Garbage(why) => self.drop_garbled(now, id, why),
        }
    }

    fn show(&mut self, body: &[u8]) {
        let user = self.config.user.clone();
        let event = match EventBody::parse(body) {
            Some(body) if body.user == user => body.event,
            Some(body) => {
                return self.observe(Observation::Garbled { user, why: format!("an event of {}", body.user) });
            }
            None => return self.observe(Observation::Garbled { user, why: "a body of no app of the lab".into() }),
        };
        let new = self.shown.insert(event);
        self.observe(if new { Observation::Shown { user, event } } else { Observation::Repeated { user, event } });
    }

    /// The decoder has lost its step: nothing more can be read from this connection.
    fn drop_garbled(&mut self, now: Instant, id: ConnId, why: String) {
        self.observe(Observation::Garbled { user: self.config.user.clone(), why });
        let Some(connection) = self.connections.remove(&id) else { return };
        self.outputs.push_back(Output::Abort(id));
        if connection.is_open() {
            self.observe_disconnected();
            self.lost(now, id, false);
        }
    }

    fn observe(&mut self, observation: Observation) {
        self.outputs.push_back(Output::Observe(observation));
    }

    /// Reports a loss or a refusal, unless another connection is open.
    fn observe_disconnected(&mut self) {
        if !self.connections.values().any(Connection::is_open) {
            self.observe(Observation::Disconnected { user: self.config.user.clone() });
        }
    }
}

/// Sends FIN and reads on.
fn finish(id: ConnId, connection: &mut Connection, outputs: &mut VecDeque<Output>) {
    connection.phase = Phase::Finishing;
    outputs.push_back(Output::Finish(id));
}

impl Actor for Browser {
    type Command = BrowserCommand;

    fn command(&mut self, _: Instant, command: BrowserCommand) {
        match command {
            BrowserCommand::Connect => self.connect(),
            BrowserCommand::Close => self.close(Phase::Finishing),
            BrowserCommand::Abandon => self.close(Phase::Abandoned),
            BrowserCommand::Abort => self.abort(),
        }
    }

    /// # Panics
    ///
    /// Always: a browser listens on nothing.
    fn accept(&mut self, _: Instant, local: SocketAddr, peer: SocketAddr) -> ConnId {
        unreachable!("a browser listens on nothing, yet {peer} was accepted at {local}")
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected(id) => self.connected(now, id),
            Input::Received(id, bytes) => self.received(now, id, bytes),
            Input::PeerFinished(id) => self.peer_finished(now, id),
            Input::Ended(id, _) => self.ended(now, id),
            Input::Timeout => {
                if self.redial_at.is_some_and(|at| at <= now) {
                    self.dial();
                }
            }
            // A request is short and never sent again, and a browser has no datagrams.
            Input::Acked(..) | Input::Datagram(..) => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.redial_at
    }
}

#[cfg(test)]
mod tests;
