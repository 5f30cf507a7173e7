//! Membership: who is registered, who holds which node id, and which routes move when that changes.
//!
//! One state machine without I/O. The driver hands in connections, messages and time, then carries out the
//! [`Output`]s in order; it calls [`Cluster::timeout`] when [`Cluster::deadline`] has come. A packet never comes here:
//! data planes read the [`Routing`](crate::routing::Routing) that is published.
//!
//! Now and then the cluster looks at the flows of the data plane. The plane may have to ask the kernel for them, and
//! that takes long enough for the world to go on, so a look has a beginning, [`Cluster::begin_look`], and an end,
//! [`Cluster::look`]. What happens between the two is for the next look.

mod admission;
mod change;
mod drain;
mod input;
mod look;
mod loss;
mod output;
mod pace;
mod placement;
mod recovery;
mod session;
mod suspicion;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::change::Change;
use self::drain::{Confirmation, Drains};
pub use self::input::Input;
use self::look::Looks;
use self::loss::Losses;
pub use self::output::{Loss, Note, Output};
use self::pace::Pacer;
use self::recovery::Recovery;
use self::session::{Beat, Place, Session};
use crate::flow::{FlowKey, Flows, Toward};
use crate::ids::{Epoch, Side};
use crate::protocol::{DecodeError, ErrorCode, ErrorMessage, FromNode, Hello, ToNode, Token};
use crate::route_table::RouteTable;
use crate::routing::SessionId;
use crate::time::Instant;

/// How long a connection may stay without a `hello`.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that have not said `hello`, at most.
const GREETINGS_MAX: usize = 256;
/// Registered nodes, at most: twice the 2,048 that the proposal thinks of.
const SESSIONS_MAX: usize = 4096;
/// The longest name of a node, in bytes.
const NAME_LENGTH_MAX: usize = 64;

/// A control connection, numbered by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnId(pub u64);

/// The policy of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterConfig {
    /// Number of routes, N.
    pub routes: u16,
    /// Nodes that shall wait in reserve if possible.
    pub reserve: usize,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Whole intervals of silence that are forgiven.
    pub misses: u32,
    /// How long flows of a moved route may stay on the former node.
    pub drain: Duration,
    /// Browser connections that are told to move, or ended, in a second.
    pub pace: u32,
    /// How long a node may take to prove that it is alive.
    pub redial_timeout: Duration,
    /// The addresses of the router's host, the service's among them, which no node may claim: its packets would be
    /// taken for the router's.
    pub own_addresses: Vec<IpAddr>,
}

/// The membership state machine.
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    table: RouteTable,
    epoch: Epoch,
    /// Who holds node ids 1..=M.
    holders: Vec<SessionId>,
    /// Who waits to take over, longest first.
    reserve: VecDeque<SessionId>,
    leaving: BTreeSet<SessionId>,
    sessions: BTreeMap<SessionId, Session>,
    sessions_by_conn: BTreeMap<ConnId, SessionId>,
    sessions_by_token: BTreeMap<Token, SessionId>,
    greetings: BTreeMap<ConnId, Greeting>,
    /// A `hello` that waits until the holder of its name has proved itself, by that holder.
    parked: BTreeMap<SessionId, (ConnId, Hello)>,
    /// Nodes that have to prove themselves, and until when.
    suspects: BTreeSet<(Instant, SessionId)>,
    /// Connections that were dialled to suspects.
    redials: BTreeMap<ConnId, SessionId>,
    /// Nodes that wait until they are trusted again.
    held: BTreeSet<(Instant, SessionId)>,
    /// Under way since a restart.
    recovery: Option<Recovery>,
    losses: Losses,
    /// When to see whether each session has been silent for too long.
    silences: BTreeSet<(Instant, SessionId)>,
    drains: Drains,
    looks: Looks,
    /// Flows that are to be ended at the pace.
    endings: VecDeque<(FlowKey, Toward)>,
    pacer: Pacer,
    next_tick: Instant,
    sessions_opened: u64,
    beats_ignored: u64,
    outputs: VecDeque<Output>,
}

/// A connection that has not said `hello`.
#[derive(Debug)]
struct Greeting {
    peer: IpAddr,
    token: Token,
    deadline: Instant,
}

impl Cluster {
    /// A cluster without nodes.
    pub fn new(now: Instant, config: ClusterConfig) -> Self {
        Self {
            table: RouteTable::new(config.routes),
            next_tick: now + config.heartbeat,
            pacer: Pacer::new(config.pace),
            config,
            epoch: Epoch::default(),
            holders: Vec::new(),
            reserve: VecDeque::new(),
            leaving: BTreeSet::new(),
            sessions: BTreeMap::new(),
            sessions_by_conn: BTreeMap::new(),
            sessions_by_token: BTreeMap::new(),
            greetings: BTreeMap::new(),
            parked: BTreeMap::new(),
            suspects: BTreeSet::new(),
            redials: BTreeMap::new(),
            held: BTreeSet::new(),
            recovery: None,
            losses: Losses::default(),
            silences: BTreeSet::new(),
            drains: Drains::default(),
            looks: Looks::default(),
            endings: VecDeque::new(),
            sessions_opened: 0,
            beats_ignored: 0,
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Cluster::timeout`].
    pub fn deadline(&self) -> Instant {
        let first = |set: &BTreeSet<(Instant, SessionId)>| set.first().map(|&(due, _)| due);
        let others = [
            self.greetings.values().map(|greeting| greeting.deadline).min(),
            first(&self.silences),
            first(&self.suspects),
            first(&self.held),
            self.recovery.as_ref().map(Recovery::until),
            self.looks.deadline(),
            (self.paced() > 0).then(|| self.pacer.retry_at()),
        ];
        others.into_iter().flatten().fold(self.next_tick, Instant::min)
    }

    /// Datagrams that were not a heartbeat of a session: wrong token, old number, foreign address.
    pub fn beats_ignored(&self) -> u64 {
        self.beats_ignored
    }

    /// A message, or what was none, came on a control connection.
    pub fn receive(&mut self, now: Instant, conn: ConnId, message: Result<FromNode, DecodeError>) {
        match message {
            Err(error) => {
                let error = ErrorMessage::from(&error);
                if error.code.is_fatal() {
                    self.give_up(now, conn, error);
                } else {
                    self.send(conn, ToNode::Error(error));
                }
            }
            Ok(message) => match (self.sessions_by_conn.get(&conn), self.redials.get(&conn)) {
                (Some(&node), _) => self.receive_in_session(now, node, conn, &message),
                (None, Some(&node)) => self.receive_redialed(now, node, conn, &message),
                (None, None) => self.receive_greeting(now, conn, message),
            },
        }
    }

    /// A control connection has ended, one that was accepted or one that was dialled.
    pub fn disconnect(&mut self, now: Instant, conn: ConnId) {
        self.greetings.remove(&conn);
        self.parked.retain(|_, &mut (parked, _)| parked != conn);
        if let Some(&node) = self.sessions_by_conn.get(&conn) {
            self.lose_connection(now, node, conn);
        } else if let Some(&node) = self.redials.get(&conn) {
            self.lose(now, node, Loss::Refused);
        }
    }

    /// A datagram came from `from`.
    pub fn receive_datagram(&mut self, now: Instant, from: SocketAddr, message: &Result<FromNode, DecodeError>) {
        let session = match message {
            Ok(FromNode::Heartbeat(beat)) => self.sessions_by_token.get(&beat.token).map(|&session| (session, beat)),
            _ => None,
        };
        let heard = session.map_or(Beat::Ignored, |(session, beat)| {
            self.sessions.get_mut(&session).expect("a token belongs to a session").hear(now, from, beat)
        });
        match (heard, session) {
            (Beat::Counted, Some((node, _))) => self.expect_beat(node),
            (Beat::First, Some((node, _))) => {
                // From now on it may be silent for less long.
                self.expect_beat(node);
                // It waits for an answer before it counts the silence of this end.
                if let Some((to, beat)) = self.session_mut(node).next_beat() {
                    self.outputs.push_back(Output::Beat(to, ToNode::Heartbeat(beat)));
                }
            }
            (Beat::Ignored, _) => self.beats_ignored += 1,
            _ => {}
        }
    }

    /// Time has come to [`Cluster::deadline`] or beyond.
    pub fn timeout(&mut self, now: Instant) {
        let late = now.since(self.deadline());
        if late > self.config.heartbeat / 2 && !mutant!(LatenessNotForgiven) {
            self.forgive(now, late);
        }
        self.close_silent_greetings(now);
        let is_tick = self.next_tick <= now;
        self.looks.timeout(now, is_tick);
        self.move_browsers_on(now);
        let mut lost = self.overdue_suspects(now);
        lost.extend(self.silent_nodes(now));
        if !lost.is_empty() {
            self.lose_all(now, lost);
        }
        self.release_the_held(now);
        if self.recovery.as_ref().is_some_and(|recovery| recovery.until() <= now) {
            self.end_recovery(now);
        }
        if is_tick {
            self.next_tick = now + self.config.heartbeat;
            self.beat();
        }
    }

    /// How long a node may be silent: (misses + 1/2) intervals.
    fn silence_max(&self) -> Duration {
        let misses = self.config.misses - u32::from(mutant!(SilenceTooShort));
        self.config.heartbeat * misses + self.config.heartbeat / 2
    }

    /// The driver was late by `late`: whoever seems silent may have been heard had it looked.
    fn forgive(&mut self, now: Instant, late: Duration) {
        for greeting in self.greetings.values_mut() {
            greeting.deadline = greeting.deadline + late;
        }
        for session in self.sessions.values_mut() {
            session.last_heard = (session.last_heard + late).min(now);
            if let Some(suspicion) = &mut session.suspicion {
                suspicion.deadline = suspicion.deadline + late;
            }
        }
        self.suspects = self.suspects.iter().map(|&(due, node)| (due + late, node)).collect();
        self.drains.forgive(late);
        if let Some(recovery) = &mut self.recovery {
            recovery.forgive(late);
        }
    }

    fn silent_nodes(&mut self, now: Instant) -> Vec<(SessionId, Loss)> {
        let mut silent = Vec::new();
        while let Some(&(due, node)) = self.silences.first().filter(|&&(due, _)| due <= now) {
            self.silences.remove(&(due, node));
            let silent_at = self.sessions[&node].silent_at(self.silence_max());
            if silent_at <= now {
                silent.push((node, Loss::Silent));
            } else {
                self.expect_beat(node);
            }
        }
        silent
    }

    /// Has it seen again when this node is silent for too long from now on. Each heartbeat does: a set that was in order
    /// only when it is looked at would wake the driver for each node, thousands of times a second.
    fn expect_beat(&mut self, node: SessionId) {
        let silence_max = self.silence_max();
        let session = self.session_mut(node);
        let due = session.silent_at(silence_max);
        let former = std::mem::replace(&mut session.silence_due, due);
        self.silences.remove(&(former, node));
        self.silences.insert((due, node));
    }

    fn receive_in_session(&mut self, now: Instant, session: SessionId, conn: ConnId, message: &FromNode) {
        let wrong = match *message {
            FromNode::Leave => return self.leave(now, session),
            FromNode::Drained { route, epoch } => match self.drains.confirm(session, route, epoch) {
                Confirmation::Known | Confirmation::Past => return,
                Confirmation::Unknown => format!("no drain of route {route} from epoch {epoch} is under way"),
            },
            FromNode::Hello(_) => "this connection has said hello already".into(),
            FromNode::Heartbeat(_) => "heartbeats are datagrams to the same address and port".into(),
        };
        self.send(conn, ToNode::Error(ErrorMessage { code: ErrorCode::Unexpected, message: wrong }));
    }

    fn leave(&mut self, now: Instant, node: SessionId) {
        let session = self.session_mut(node);
        let place = std::mem::replace(&mut session.place, Place::Leaving);
        if place == Place::Leaving {
            return;
        }
        let name = session.member.name.clone();
        self.note(Note::Leaving { name });
        self.leaving.insert(node);
        let mut change = Change::default();
        match place {
            Place::Active(id) => match self.next_reserve(None) {
                Some(successor) => self.succeed(&mut change, id, successor),
                None => self.close_up(&mut change, id),
            },
            Place::Reserve => self.reserve.retain(|&waiting| waiting != node),
            Place::Held(until) => {
                self.held.remove(&(until, node));
            }
            Place::Leaving => {}
        }
        self.settle(now, change);
        self.release_the_drained(now);
    }

    fn survey_drains(&mut self, now: Instant, flows: &dyn Flows) {
        let (sessions, outputs) = (&self.sessions, &mut self.outputs);
        let overdue = self.drains.survey(now, self.looks.epoch(), self.config.heartbeat, flows, |node, message| {
            // A suspect hears it all again when it has proved itself.
            outputs.extend(sessions[&node].conn.map(|conn| Output::Send(conn, message)));
        });
        for flow in overdue {
            match flow.side {
                Side::App => self.outputs.push_back(Output::End(flow.key, Toward::Both)),
                Side::Browser => self.endings.push_back((flow.key, Toward::Both)),
            }
        }
        self.release_the_drained(now);
    }

    /// Browser connections that wait for the pace.
    fn paced(&self) -> usize {
        self.endings.len() + self.drains.waiting()
    }

    /// Ends or names as many browser connections as the pace allows; first those whose node is gone.
    fn move_browsers_on(&mut self, now: Instant) {
        let allowed = self.pacer.take(now, self.paced());
        let ended = allowed.min(self.endings.len());
        self.outputs.extend(self.endings.drain(..ended).map(|(flow, toward)| Output::End(flow, toward)));
        let (sessions, outputs) = (&self.sessions, &mut self.outputs);
        self.drains.name(now, allowed - ended, |node, message| {
            outputs.extend(sessions[&node].conn.map(|conn| Output::Send(conn, message)));
        });
    }

    /// Lets go of nodes that have left and have nothing to drain any more.
    fn release_the_drained(&mut self, now: Instant) {
        let done: Vec<SessionId> =
            self.leaving.iter().copied().filter(|&session| !self.drains.is_draining(session)).collect();
        for id in done {
            let session = self.forget(id).expect("a leaving node is registered");
            self.outputs.extend(session.conn.map(Output::Close));
            self.note(Note::Left { name: session.member.name.clone() });
            self.publish();
            // Its name is free for who has waited for it.
            if let Some((conn, hello)) = self.parked.remove(&id) {
                self.answer_hello(now, conn, hello);
            }
        }
    }

    /// Removes a session from every index but its place in the table.
    fn forget(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        if let Some(conn) = session.conn {
            self.sessions_by_conn.remove(&conn);
        }
        if let Some(suspicion) = session.suspicion {
            self.suspects.remove(&(suspicion.deadline, id));
            if let Some(redial) = suspicion.redial {
                self.redials.remove(&redial);
                self.outputs.push_back(Output::Close(redial));
            }
        }
        if let Place::Held(until) = session.place {
            self.held.remove(&(until, id));
        }
        if self.sessions_by_token.get(&session.token) == Some(&id) {
            self.sessions_by_token.remove(&session.token);
        }
        self.silences.remove(&(session.silence_due, id));
        self.reserve.retain(|&waiting| waiting != id);
        self.leaving.remove(&id);
        self.drains.forget(id);
        Some(session)
    }

    fn beat(&mut self) {
        for session in self.sessions.values_mut() {
            if let Some((to, beat)) = session.next_beat() {
                self.outputs.push_back(Output::Beat(to, ToNode::Heartbeat(beat)));
            }
        }
    }

    fn send(&mut self, conn: ConnId, message: ToNode) {
        self.outputs.push_back(Output::Send(conn, message));
    }

    /// A peer sent what cannot be read: there is no going on with it.
    fn give_up(&mut self, now: Instant, conn: ConnId, error: ErrorMessage) {
        match self.sessions_by_conn.get(&conn).or(self.redials.get(&conn)) {
            Some(&node) => {
                self.send(conn, ToNode::Error(error));
                self.lose(now, node, Loss::Unreadable);
            }
            None => {
                self.parked.retain(|_, &mut (parked, _)| parked != conn);
                self.refuse(conn, error.code, error.message);
            }
        }
    }

    fn session_mut(&mut self, node: SessionId) -> &mut Session {
        self.sessions.get_mut(&node).expect("only registered nodes are spoken of")
    }

    fn note(&mut self, note: Note) {
        self.outputs.push_back(Output::Note(note));
    }
}
