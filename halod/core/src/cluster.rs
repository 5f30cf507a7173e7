//! Membership: who is registered, who holds which node id, and which routes move when that changes.
//!
//! One state machine without I/O. The driver hands in connections, messages and time, then carries out the
//! [`Output`]s in order; it calls [`Cluster::timeout`] when [`Cluster::deadline`] has come. A packet never comes here:
//! data planes read the [`Routing`] that is published.

mod change;
mod drain;
mod placement;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use self::drain::{Confirmation, Drains};
use self::placement::{Headcount, place};
use self::session::{Beat, Place, Session};
use crate::flow::Flows;
use crate::ids::{Epoch, NodeId};
use crate::protocol::{
    DecodeError, ErrorCode, ErrorMessage, FromNode, Hello, NodeState, PROTOCOL_VERSION, ToNode, Token, Welcome,
};
use crate::route_table::RouteTable;
use crate::routing::{Member, Routing, SessionId};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The policy of a cluster.
#[derive(Debug, Clone)]
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
    /// The router's own service addresses, which no node may claim.
    pub service_addresses: Vec<IpAddr>,
}

/// What the driver has to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send a message on a control connection.
    Send(ConnId, ToNode),
    /// Close a control connection after what was sent on it. Nothing more is reported about it.
    Close(ConnId),
    /// Send a heartbeat as a datagram.
    Beat(SocketAddr, ToNode),
    /// Make this the routing of every data plane, before any output that follows.
    Publish(Arc<Routing>),
    /// Something worth a line in the log.
    Note(Note),
}

/// A membership change, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A node registered.
    Joined {
        /// Its name.
        name: String,
        /// Its id; `None` in reserve.
        id: Option<NodeId>,
    },
    /// A node said `leave`.
    Leaving {
        /// Its name.
        name: String,
    },
    /// A node that was leaving has drained, or its deadline has passed.
    Left {
        /// Its name.
        name: String,
    },
    /// A node is gone without having said `leave`.
    Lost {
        /// Its name.
        name: String,
        /// How it was noticed.
        how: Loss,
    },
    /// The table or its holders changed.
    Changed {
        /// The new epoch.
        epoch: Epoch,
        /// Active nodes, M.
        active: usize,
        /// Routes whose node is another one now.
        moved: usize,
    },
    /// A `hello` was refused.
    Refused {
        /// The other end.
        peer: IpAddr,
        /// Why.
        code: ErrorCode,
    },
}

/// How the loss of a node was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its control connection ended.
    Disconnected,
    /// No heartbeat came for longer than (misses + 1/2) intervals.
    Silent,
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
    /// When to see whether each session has been silent for too long.
    silences: BTreeSet<(Instant, SessionId)>,
    drains: Drains,
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
            config,
            epoch: Epoch::default(),
            holders: Vec::new(),
            reserve: VecDeque::new(),
            leaving: BTreeSet::new(),
            sessions: BTreeMap::new(),
            sessions_by_conn: BTreeMap::new(),
            sessions_by_token: BTreeMap::new(),
            greetings: BTreeMap::new(),
            silences: BTreeSet::new(),
            drains: Drains::default(),
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
        let greeting = self.greetings.values().next().map(|greeting| greeting.deadline);
        let silence = self.silences.first().map(|&(due, _)| due);
        [greeting, silence].into_iter().flatten().fold(self.next_tick, Instant::min)
    }

    /// The route table in force.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }

    /// Datagrams that were not a heartbeat of a session: wrong token, old number, foreign address.
    pub fn beats_ignored(&self) -> u64 {
        self.beats_ignored
    }

    /// A control connection was accepted. `token` is drawn at random by the driver, for the session that may follow.
    pub fn open(&mut self, now: Instant, conn: ConnId, peer: IpAddr, token: Token) {
        self.greetings.insert(conn, Greeting { peer, token, deadline: now + HELLO_TIMEOUT });
        if self.greetings.len() > GREETINGS_MAX
            && let Some((&oldest, _)) = self.greetings.first_key_value()
        {
            // Not the newest: it may be a node that is about to say hello, which silent peers must not keep out.
            self.refuse(oldest, ErrorCode::Full, "too many connections have not said hello; try again later".into());
        }
    }

    /// A message, or what was none, came on a control connection.
    pub fn receive(&mut self, now: Instant, conn: ConnId, message: Result<FromNode, DecodeError>) {
        match message {
            Err(error) => {
                let error = ErrorMessage::from(&error);
                if error.code.is_fatal() {
                    self.refuse(conn, error.code, error.message);
                    self.disconnect(now, conn);
                } else {
                    self.send(conn, ToNode::Error(error));
                }
            }
            Ok(message) => match self.sessions_by_conn.get(&conn) {
                Some(&session) => self.receive_in_session(now, session, conn, &message),
                None => self.receive_greeting(now, conn, message),
            },
        }
    }

    /// A control connection has ended.
    pub fn disconnect(&mut self, now: Instant, conn: ConnId) {
        self.greetings.remove(&conn);
        if let Some(&session) = self.sessions_by_conn.get(&conn) {
            self.lose(now, session, Loss::Disconnected);
        }
    }

    /// A datagram came from `from`.
    pub fn receive_datagram(&mut self, now: Instant, from: SocketAddr, message: &Result<FromNode, DecodeError>) {
        let session = match message {
            Ok(FromNode::Heartbeat(beat)) => self.sessions_by_token.get(&beat.token).map(|&session| (session, beat)),
            _ => None,
        };
        let heard = session.is_some_and(|(session, beat)| {
            let session = self.sessions.get_mut(&session).expect("a token belongs to a session");
            session.hear(now, from, beat) == Beat::Counted
        });
        if !heard {
            self.beats_ignored += 1;
        }
    }

    /// Time has come to [`Cluster::deadline`] or beyond. `flows` are those of the data plane that the published
    /// routings go to.
    pub fn timeout(&mut self, now: Instant, flows: &dyn Flows) {
        let late = now.since(self.deadline());
        if late > self.config.heartbeat / 2 {
            self.forgive(late);
        }
        while let Some((&conn, _)) = self.greetings.iter().next().filter(|(_, greeting)| greeting.deadline <= now) {
            self.refuse(conn, ErrorCode::HelloExpected, format!("no hello within {HELLO_TIMEOUT:?}"));
        }
        while let Some(&(due, session)) = self.silences.first().filter(|&&(due, _)| due <= now) {
            self.silences.remove(&(due, session));
            let silent_at = self.sessions[&session].last_heard + self.silence_max();
            if silent_at <= now {
                self.lose(now, session, Loss::Silent);
            } else {
                self.silences.insert((silent_at, session));
            }
        }
        if self.next_tick <= now {
            self.next_tick = now + self.config.heartbeat;
            self.beat();
            self.advance_drains(now, flows);
        }
    }

    /// How long a node may be silent: (misses + 1/2) intervals.
    fn silence_max(&self) -> Duration {
        self.config.heartbeat * self.config.misses + self.config.heartbeat / 2
    }

    /// The driver was late by `late`: whoever seems silent may have been heard had it looked.
    fn forgive(&mut self, late: Duration) {
        for session in self.sessions.values_mut() {
            session.last_heard = session.last_heard + late;
        }
    }

    fn receive_greeting(&mut self, now: Instant, conn: ConnId, message: FromNode) {
        if !self.greetings.contains_key(&conn) {
            return;
        }
        let FromNode::Hello(hello) = message else {
            return self.refuse(conn, ErrorCode::HelloExpected, "the first message must be hello".into());
        };
        match self.examine(&hello) {
            Ok(()) => self.welcome(now, conn, hello),
            Err((code, message)) => self.refuse(conn, code, message),
        }
    }

    fn receive_in_session(&mut self, now: Instant, session: SessionId, conn: ConnId, message: &FromNode) {
        let wrong = match *message {
            FromNode::Leave => return self.leave(now, session),
            FromNode::Drained { route, epoch } => match self.drains.confirm(session, route, epoch) {
                Confirmation::Known => return,
                Confirmation::Unknown => format!("no drain of route {route} from epoch {epoch} is under way"),
            },
            FromNode::Hello(_) => "this connection has said hello already".into(),
            FromNode::Heartbeat(_) => "heartbeats are datagrams to the same address and port".into(),
        };
        self.send(conn, ToNode::Error(ErrorMessage { code: ErrorCode::Unexpected, message: wrong }));
    }

    /// Whether a `hello` can be accepted.
    fn examine(&self, hello: &Hello) -> Result<(), (ErrorCode, String)> {
        let length = hello.name.len();
        if hello.version != PROTOCOL_VERSION {
            let message = format!("version {} is not spoken here, only {PROTOCOL_VERSION}", hello.version);
            return Err((ErrorCode::WrongVersion, message));
        }
        if length == 0 || length > NAME_LENGTH_MAX || hello.name.chars().any(char::is_control) {
            let message = format!("a name has 1 to {NAME_LENGTH_MAX} bytes and no control characters");
            return Err((ErrorCode::Malformed, message));
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err((ErrorCode::Full, format!("{SESSIONS_MAX} nodes are registered already")));
        }
        if self.sessions.values().any(|session| session.member.name == hello.name) {
            return Err((ErrorCode::NameTaken, format!("a node named {:?} is registered", hello.name)));
        }
        let addresses: Vec<SocketAddr> = hello.browser.iter().chain(hello.app.iter()).collect();
        let distinct: BTreeSet<&SocketAddr> = addresses.iter().collect();
        if distinct.len() < addresses.len() {
            return Err((ErrorCode::AddressTaken, "browser and app addresses must differ".into()));
        }
        let taken = addresses.iter().find(|address| {
            let others = self.sessions.values().flat_map(|session| session.member.service_addresses());
            self.config.service_addresses.contains(&address.ip()) || others.into_iter().any(|other| other == **address)
        });
        match taken {
            Some(address) => Err((ErrorCode::AddressTaken, format!("{address} is another node's or the router's own"))),
            None => Ok(()),
        }
    }

    fn welcome(&mut self, now: Instant, conn: ConnId, hello: Hello) {
        let greeting = self.greetings.remove(&conn).expect("only a greeting connection is welcomed");
        self.sessions_opened += 1;
        let id = SessionId(self.sessions_opened);
        let name = hello.name.clone();
        let member = Member { session: id, name: hello.name, browser: hello.browser, app: hello.app };
        self.sessions.insert(id, Session::new(now, conn, greeting.peer, greeting.token, Arc::new(member)));
        self.sessions_by_conn.insert(conn, id);
        self.sessions_by_token.insert(greeting.token, id);
        self.silences.insert((now + self.silence_max(), id));

        let state = place(Headcount {
            routes: self.table.route_count(),
            active: self.holders.len(),
            waiting: self.reserve.len(),
            wanted: self.config.reserve,
        });
        match state {
            NodeState::Active => self.activate(now, id),
            NodeState::Reserve => {
                self.reserve.push_back(id);
                self.publish();
            }
        }
        let node_id = self.sessions[&id].node_id();
        let routes = node_id.map_or(&[][..], |node| self.table.routes_of(node)).to_vec();
        self.send(
            conn,
            ToNode::Welcome(Welcome {
                version: PROTOCOL_VERSION,
                token: greeting.token,
                state,
                id: node_id,
                routes,
                epoch: self.epoch,
                heartbeat_ms: u64::try_from(self.config.heartbeat.as_millis()).unwrap_or(u64::MAX),
                misses: self.config.misses,
            }),
        );
        self.sessions.get_mut(&id).expect("the session was just made").welcomed = true;
        self.note(Note::Joined { name, id: node_id });
    }

    fn leave(&mut self, now: Instant, id: SessionId) {
        let session = &self.sessions[&id];
        let (name, place) = (session.member.name.clone(), session.place);
        if place == Place::Leaving {
            return;
        }
        self.note(Note::Leaving { name });
        self.leaving.insert(id);
        self.sessions.get_mut(&id).expect("a session that speaks exists").place = Place::Leaving;
        self.vacate(now, id, place);
        self.release_the_drained();
    }

    fn lose(&mut self, now: Instant, id: SessionId, how: Loss) {
        let Some(session) = self.forget(id) else { return };
        self.note(match session.place {
            Place::Leaving => Note::Left { name: session.member.name.clone() },
            _ => Note::Lost { name: session.member.name.clone(), how },
        });
        self.outputs.push_back(Output::Close(session.conn));
        self.vacate(now, id, session.place);
    }

    fn advance_drains(&mut self, now: Instant, flows: &dyn Flows) {
        if self.drains.is_empty() {
            return;
        }
        let (sessions, outputs) = (&self.sessions, &mut self.outputs);
        self.drains.advance(now, self.config.heartbeat, flows, |session, message| {
            outputs.push_back(Output::Send(sessions[&session].conn, message));
        });
        self.release_the_drained();
    }

    /// Lets go of nodes that have left and have nothing to drain any more.
    fn release_the_drained(&mut self) {
        let done: Vec<SessionId> =
            self.leaving.iter().copied().filter(|&session| !self.drains.is_draining(session)).collect();
        for id in done {
            let session = self.forget(id).expect("a leaving node is registered");
            self.outputs.push_back(Output::Close(session.conn));
            self.note(Note::Left { name: session.member.name.clone() });
            self.publish();
        }
    }

    /// Removes a session from every index but its place in the table.
    fn forget(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        self.sessions_by_conn.remove(&session.conn);
        self.sessions_by_token.remove(&session.token);
        self.silences.retain(|&(_, other)| other != id);
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

    /// Says what is wrong and closes a connection. One with a session is still the session's until `disconnect`.
    fn refuse(&mut self, conn: ConnId, code: ErrorCode, message: String) {
        self.send(conn, ToNode::Error(ErrorMessage { code, message }));
        if let Some(greeting) = self.greetings.remove(&conn) {
            self.outputs.push_back(Output::Close(conn));
            self.note(Note::Refused { peer: greeting.peer, code });
        }
    }

    fn note(&mut self, note: Note) {
        self.outputs.push_back(Output::Note(note));
    }
}
