//! A node's session with HaloD: the control connection, heartbeats, and the way back after a loss.
//!
//! What HaloD says of routes is handed to the node; this module does not know connections of browsers or apps.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use halod_core::ids::{Epoch, RouteId};
use halod_core::protocol::{
    DecodeError, ErrorMessage, FromNode, Heartbeat, Hello, LineBuffer, RouteMoved, ToNode, Token, Welcome,
    decode_to_node, encode,
};
use halod_core::time::Instant;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::actors::ConnId;
use crate::actors::backoff::Backoff;
use crate::actors::wire::Wire;
use crate::observation::Observation;

/// How long HaloD's first heartbeat may take, as long as it waits for a node's.
const FIRST_ANSWER: Duration = Duration::from_millis(3500);

/// How many control connections there may be: the one in use, and redials of HaloD.
const SESSIONS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Control {
    halod: SocketAddr,
    hello: Vec<u8>,
    rng: StdRng,
    backoff: Backoff,
    phase: Phase,
    sessions: BTreeMap<ConnId, Session>,
    /// The session that counts: the one that was dialled, or a redial that was welcomed.
    current: Option<ConnId>,
    heartbeats: Option<Heartbeats>,
    /// The token that heartbeats were last sent with, and the number of the last.
    former_token: Option<(Token, u64)>,
    redial_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Out,
    Joined,
    Leaving,
}

#[derive(Debug, Default)]
struct Session {
    established: bool,
    lines: LineBuffer,
}

#[derive(Debug)]
struct Heartbeats {
    token: Token,
    interval: Duration,
    seq: u64,
    due: Instant,
    /// How long HaloD may be silent now, and after each of its heartbeats.
    until: Instant,
    patience: Duration,
}

impl Control {
    pub(super) fn new(halod: SocketAddr, hello: Hello, seed: u64) -> Self {
        Self {
            halod,
            hello: encode(&FromNode::Hello(hello)),
            rng: StdRng::seed_from_u64(seed),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
            phase: Phase::Out,
            sessions: BTreeMap::new(),
            current: None,
            heartbeats: None,
            former_token: None,
            redial_at: None,
        }
    }

    pub(super) fn owns(&self, conn: ConnId) -> bool {
        self.sessions.contains_key(&conn)
    }

    pub(super) fn join(&mut self, wire: &mut Wire) {
        if self.phase == Phase::Out {
            self.phase = Phase::Joined;
            self.dial(wire);
        }
    }

    /// Whether it has left, or never joined.
    pub(super) fn is_out(&self) -> bool {
        self.phase == Phase::Out
    }

    /// Says `leave` where there is a session; gives up what is not established, which is an end too.
    pub(super) fn leave(&mut self, now: Instant, wire: &mut Wire) {
        if self.phase != Phase::Joined {
            return;
        }
        self.phase = Phase::Leaving;
        self.redial_at = None;
        match self.current {
            Some(conn) if self.sessions[&conn].established => wire.send(conn, encode(&FromNode::Leave)),
            Some(conn) => {
                wire.abort(conn);
                self.ended(now, conn, wire);
                wire.observe(Observation::ControlEnded);
            }
            None => {
                self.phase = Phase::Out;
                wire.observe(Observation::ControlEnded);
            }
        }
        if self.phase == Phase::Out {
            // HaloD may have dialled, to see whether this process is alive: it has left.
            std::mem::take(&mut self.sessions).into_keys().for_each(|conn| wire.abort(conn));
        }
    }

    /// HaloD dials the admin address to learn whether this process is alive; only `hello` proves it.
    pub(super) fn accept(&mut self, conn: ConnId, wire: &mut Wire) {
        if self.phase == Phase::Out || self.sessions.len() >= SESSIONS_MAX {
            wire.abort(conn);
            return;
        }
        self.sessions.insert(conn, Session::default());
        self.connected(conn, wire);
    }

    pub(super) fn connected(&mut self, conn: ConnId, wire: &mut Wire) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.established = true;
            wire.send(conn, self.hello.clone());
        }
    }

    /// Returns what HaloD said of routes.
    pub(super) fn received(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: &[u8],
        connections: u64,
        wire: &mut Wire,
    ) -> Vec<ToNode> {
        let Some(session) = self.sessions.get_mut(&conn) else { return Vec::new() };
        session.lines.push(bytes);
        let mut said = Vec::new();
        while let Some(session) = self.sessions.get_mut(&conn) {
            let message = match session.lines.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => decode_to_node(&line),
                Err(error) => Err(error),
            };
            match message {
                Ok(ToNode::Welcome(welcome)) => self.welcomed(now, conn, welcome, connections, wire),
                Ok(message) if self.current == Some(conn) => said.extend(observe(message, wire)),
                Ok(_) | Err(DecodeError::UnknownType(_)) => {}
                Err(DecodeError::Malformed(_) | DecodeError::LineTooLong | DecodeError::WrongVersion(_)) => {
                    wire.abort(conn);
                    self.ended(now, conn, wire);
                }
            }
        }
        said
    }

    fn welcomed(&mut self, now: Instant, conn: ConnId, welcome: Welcome, connections: u64, wire: &mut Wire) {
        self.current = Some(conn);
        // Whatever else there is belongs to a session that is over: what comes by it late must not be taken for news.
        self.sessions.extract_if(.., |&other, _| other != conn).for_each(|(other, _)| wire.abort(other));
        self.redial_at = None;
        self.backoff.reset();
        let Welcome { token, state, id, routes, epoch, heartbeat_ms, misses, .. } = welcome;
        wire.observe(Observation::Welcomed { state, id, routes, epoch });
        if self.phase == Phase::Leaving {
            // It was said on a connection that was lost.
            wire.send(conn, encode(&FromNode::Leave));
        }
        let interval = Duration::from_millis(heartbeat_ms.max(1));
        let patience = interval * misses + interval / 2;
        // A session that goes on, goes on counting.
        let seq = self.former_token.filter(|(former, _)| *former == token).map_or(0, |(_, seq)| seq);
        // HaloD answers the first heartbeat: it takes a round trip, or more if a datagram is lost.
        let until = now + patience.max(FIRST_ANSWER);
        self.heartbeats = Some(Heartbeats { token, interval, seq, due: now, until, patience });
        self.timeout(now, connections, wire);
    }

    pub(super) fn report_drained(&mut self, route: RouteId, epoch: Epoch, wire: &mut Wire) {
        if let Some(conn) = self.current {
            wire.send(conn, encode(&FromNode::Drained { route, epoch }));
            wire.observe(Observation::Drained { route, epoch });
        }
    }

    /// A connection has ended, or nothing more will come by it. Returns whether it was the session that counts.
    pub(super) fn ended(&mut self, now: Instant, conn: ConnId, wire: &mut Wire) -> bool {
        let Some(session) = self.sessions.remove(&conn) else { return false };
        if self.current != Some(conn) {
            return false;
        }
        self.current = None;
        self.heartbeats = None;
        if session.established {
            wire.observe(Observation::ControlEnded);
        }
        match self.phase {
            Phase::Joined => self.redial_at = Some(now + self.backoff.wait(&mut self.rng)),
            Phase::Out | Phase::Leaving => self.phase = Phase::Out,
        }
        true
    }

    pub(super) fn timeout(&mut self, now: Instant, connections: u64, wire: &mut Wire) {
        if self.redial_at.is_some_and(|due| due <= now) {
            self.redial_at = None;
            self.dial(wire);
        }
        if let Some(heartbeats) = self.heartbeats.as_mut().filter(|heartbeats| heartbeats.due <= now) {
            heartbeats.seq += 1;
            self.former_token = Some((heartbeats.token, heartbeats.seq));
            let next = heartbeats.due + heartbeats.interval;
            // Late by more than an interval: what was missed is not made up for.
            heartbeats.due = if next <= now { now + heartbeats.interval } else { next };
            let heartbeat = Heartbeat { token: heartbeats.token, seq: heartbeats.seq, connections: Some(connections) };
            wire.send_datagram(self.halod, encode(&FromNode::Heartbeat(heartbeat)));
        }
    }

    /// A datagram came: HaloD is alive if it is a heartbeat of this session.
    pub(super) fn heard(&mut self, now: Instant, datagram: &[u8]) {
        if let (Some(heartbeats), Ok(ToNode::Heartbeat(heartbeat))) = (&mut self.heartbeats, decode_to_node(datagram))
            && heartbeat.token == heartbeats.token
        {
            heartbeats.until = now + heartbeats.patience;
        }
    }

    /// HaloD has been silent for too long: it may not know that it does not reach this node. The end of the control
    /// connection tells it. Returns whether that was so.
    pub(super) fn give_up_on_silence(&mut self, now: Instant, wire: &mut Wire) -> bool {
        let beats = self.heartbeats.as_mut();
        let silent = beats.is_some_and(|beats| {
            let late = now.since(beats.due);
            if late > beats.interval / 2 {
                // The node itself was late: what came meanwhile has not been read yet.
                beats.until = (beats.until + late).min(now + beats.patience);
            }
            now >= beats.until
        });
        match self.current.filter(|_| silent) {
            Some(conn) => {
                wire.abort(conn);
                self.ended(now, conn, wire)
            }
            None => false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let heartbeat = self.heartbeats.as_ref().map(|beats| beats.due.min(beats.until));
        heartbeat.into_iter().chain(self.redial_at).min()
    }

    fn dial(&mut self, wire: &mut Wire) {
        let conn = wire.dial(self.halod);
        self.sessions.insert(conn, Session::default());
        self.current = Some(conn);
    }
}

/// Reports what HaloD said, and returns it if the node has to act on it.
fn observe(message: ToNode, wire: &mut Wire) -> Option<ToNode> {
    match message {
        ToNode::Assigned(assigned) => {
            let (id, routes, epoch) = (assigned.id, assigned.routes, assigned.epoch);
            wire.observe(Observation::Assigned { id, routes, epoch });
            None
        }
        ToNode::Error(ErrorMessage { code, message }) => {
            wire.observe(Observation::Rejected { code, message });
            None
        }
        ToNode::RouteMoved(RouteMoved { route, epoch, .. }) => {
            wire.observe(Observation::RouteMoved { route, epoch });
            Some(message)
        }
        ToNode::RouteReturned { route, epoch } => {
            wire.observe(Observation::RouteReturned { route, epoch });
            Some(message)
        }
        ToNode::Reconnect(_) => Some(message),
        ToNode::Welcome(_) | ToNode::Heartbeat(_) => None,
    }
}
