//! Letting nodes in: `hello` is examined, answered, and its sender placed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::change::Change;
use super::recovery::Recovery;
use super::session::{Place, Session};
use super::{Cluster, ConnId, GREETINGS_MAX, Greeting, HELLO_TIMEOUT, NAME_LENGTH_MAX, Note, Output, SESSIONS_MAX};
use crate::protocol::{ErrorCode, ErrorMessage, FromNode, Hello, NodeState, PROTOCOL_VERSION, ToNode, Token, Welcome};
use crate::routing::{Member, SessionId};
use crate::time::Instant;

/// Why a `hello` cannot be accepted as it is.
enum Obstacle {
    /// Another process holds the name, or held an address, and is to prove that it is alive.
    Claimed(SessionId),
    /// It is wrong.
    Refused(ErrorCode, String),
}

impl Cluster {
    /// A control connection was accepted. `token` is drawn at random by the driver, for the session that may follow.
    pub fn open(&mut self, now: Instant, conn: ConnId, peer: std::net::IpAddr, token: Token) {
        self.greetings.insert(conn, Greeting { peer, token, deadline: now + HELLO_TIMEOUT });
        if self.greetings.len() > GREETINGS_MAX
            && let Some((&oldest, _)) = self.greetings.first_key_value()
        {
            // Not the newest: it may be a node that is about to say hello, which silent peers must not keep out.
            self.parked.retain(|_, &mut (parked, _)| parked != oldest);
            self.refuse(oldest, ErrorCode::Full, "too many connections have not said hello; try again later".into());
        }
    }

    pub(super) fn receive_greeting(&mut self, now: Instant, conn: ConnId, message: FromNode) {
        if !self.greetings.contains_key(&conn) {
            return;
        }
        if self.parked.values().any(|&(parked, _)| parked == conn) {
            if message == FromNode::Leave {
                // It does not want in any more.
                self.parked.retain(|_, &mut (parked, _)| parked != conn);
                self.greetings.remove(&conn);
                self.outputs.push_back(Output::Close(conn));
            }
            return;
        }
        let FromNode::Hello(hello) = message else {
            return self.refuse(conn, ErrorCode::HelloExpected, "the first message must be hello".into());
        };
        self.answer_hello(now, conn, hello);
    }

    /// Lets the sender of a `hello` in, lets it wait, or says why not.
    pub(super) fn answer_hello(&mut self, now: Instant, conn: ConnId, hello: Hello) {
        let Some((_, node)) = self.register(now, conn, hello) else { return };
        let mut change = Change::default();
        self.place_newcomer(&mut change, node);
        self.settle(now, change);
        self.send_welcome(conn, node);
        // It may have come back to an id whose routes have moved meanwhile.
        for message in self.drains.tell_again(now, node) {
            self.send(conn, message);
        }
        if self.recovery.as_ref().is_some_and(Recovery::is_complete) {
            self.end_recovery(now);
        }
    }

    /// Connections that have said nothing for too long.
    pub(super) fn close_silent_greetings(&mut self, now: Instant) {
        while let Some((&conn, _)) = self.greetings.iter().find(|(_, greeting)| greeting.deadline <= now) {
            self.parked.retain(|_, &mut (parked, _)| parked != conn);
            self.refuse(conn, ErrorCode::HelloExpected, format!("no hello within {HELLO_TIMEOUT:?}"));
        }
    }

    /// Nodes that have waited for as long as their former deaths ask for.
    pub(super) fn release_the_held(&mut self, now: Instant) {
        while let Some(&(due, node)) = self.held.first().filter(|&&(due, _)| due <= now) {
            self.held.remove(&(due, node));
            let mut change = Change::default();
            self.place_node(&mut change, node);
            self.settle(now, change);
            let session = &self.sessions[&node];
            if let (Place::Reserve, Some(conn)) = (session.place, session.conn) {
                self.send_welcome(conn, node);
            }
        }
    }

    /// Makes the sender of a `hello` a member that has no place yet, unless its name has to wait. `None` if it is refused,
    /// or has to wait until the holder of its name has proved itself.
    pub(super) fn register(&mut self, now: Instant, conn: ConnId, hello: Hello) -> Option<(ConnId, SessionId)> {
        let former = match self.examine(&hello) {
            Ok(former) => former,
            Err(Obstacle::Claimed(holder)) => {
                self.park(now, holder, conn, hello);
                return None;
            }
            Err(Obstacle::Refused(code, message)) => {
                self.refuse(conn, code, message);
                return None;
            }
        };
        let greeting = self.greetings.remove(&conn).expect("only a greeting connection says hello");
        let node = former.unwrap_or_else(|| self.next_session());
        let hold = self.losses.hold(now, &hello.name);
        let mut session = Session::new(now, conn, greeting.peer, greeting.token, node, hello);
        if let Some(former) = self.sessions.get(&node) {
            session.place = former.place;
        }
        self.sessions_by_conn.insert(conn, node);
        self.sessions_by_token.insert(greeting.token, node);
        self.sessions.insert(node, session);
        self.expect_beat(node);
        if former.is_some() {
            self.welcome_back(node);
        } else if hold > Duration::ZERO {
            self.session_mut(node).place = Place::Held(now + hold);
            self.held.insert((now + hold, node));
        } else if let Some(recovery) = &mut self.recovery {
            let until = recovery.keep_waiting(node);
            self.session_mut(node).place = Place::Held(until);
        } else {
            self.reserve.push_back(node);
        }
        Some((conn, node))
    }

    pub(super) fn next_session(&mut self) -> SessionId {
        self.sessions_opened += 1;
        SessionId(self.sessions_opened)
    }

    /// Places a node that has just registered and was not needed to take over an id.
    pub(super) fn place_newcomer(&mut self, change: &mut Change, node: SessionId) {
        if self.sessions[&node].place == Place::Reserve {
            self.reserve.retain(|&waiting| waiting != node);
            self.place_node(change, node);
        }
    }

    /// Tells a node what it is; the first time that is news for the log.
    pub(super) fn send_welcome(&mut self, conn: ConnId, node: SessionId) {
        let session = self.session_mut(node);
        let is_new = !std::mem::replace(&mut session.welcomed, true);
        let (token, id, name) = (session.token, session.node_id(), session.member.name.clone());
        let state = match session.place {
            Place::Active(_) => NodeState::Active,
            Place::Reserve | Place::Leaving => NodeState::Reserve,
            Place::Held(_) => NodeState::Held,
        };
        let routes = id.map_or(&[][..], |id| self.table.routes_of(id)).to_vec();
        self.send(
            conn,
            ToNode::Welcome(Welcome {
                version: PROTOCOL_VERSION,
                token,
                state,
                id,
                routes,
                epoch: self.epoch,
                heartbeat_ms: u64::try_from(self.config.heartbeat.as_millis()).unwrap_or(u64::MAX),
                misses: self.config.misses,
            }),
        );
        self.note(if is_new { Note::Joined { name, id } } else { Note::Cleared { name } });
    }

    /// Says what is wrong and closes a connection without a session.
    pub(super) fn refuse(&mut self, conn: ConnId, code: ErrorCode, message: String) {
        self.send(conn, ToNode::Error(ErrorMessage { code, message }));
        if let Some(greeting) = self.greetings.remove(&conn) {
            self.outputs.push_back(Output::Close(conn));
            self.note(Note::Refused { peer: greeting.peer, code });
        }
    }

    /// Lets a `hello` wait until the holder of its name, or of an address, has proved itself or is lost.
    fn park(&mut self, now: Instant, holder: SessionId, conn: ConnId, hello: Hello) {
        if self.parked.contains_key(&holder) {
            let message = format!("another process waits for the name {:?} already", hello.name);
            return self.refuse(conn, ErrorCode::NameTaken, message);
        }
        self.parked.insert(holder, (conn, hello));
        match self.awaited_until(holder) {
            // Nobody can be asked before; it has said what it had to.
            Some(until) => {
                let greeting = self.greetings.get_mut(&conn).expect("only a greeting connection says hello");
                greeting.deadline = until + HELLO_TIMEOUT;
            }
            None => self.suspect(now, holder),
        }
    }

    /// Whether the sender of a `hello` may be let in; if it has come back to a session that awaits it, to which.
    fn examine(&self, hello: &Hello) -> Result<Option<SessionId>, Obstacle> {
        let refused = |code, message: String| Err(Obstacle::Refused(code, message));
        let length = hello.name.len();
        if hello.version != PROTOCOL_VERSION {
            let message = format!("version {} is not spoken here, only {PROTOCOL_VERSION}", hello.version);
            return refused(ErrorCode::WrongVersion, message);
        }
        if length == 0 || length > NAME_LENGTH_MAX || hello.name.chars().any(char::is_control) {
            let message = format!("a name has 1 to {NAME_LENGTH_MAX} bytes and no control characters");
            return refused(ErrorCode::Malformed, message);
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return refused(ErrorCode::Full, format!("{SESSIONS_MAX} nodes are registered already"));
        }
        let mut present = self.sessions.iter().filter(|(node, _)| !self.is_awaited(**node));
        let holder = present.find(|(_, session)| session.member.name == hello.name);
        match holder {
            Some((_, session)) if session.incarnation == hello.incarnation && session.place == Place::Leaving => {
                return refused(ErrorCode::NameTaken, format!("{:?} is leaving; join again when it has", hello.name));
            }
            Some((&node, _)) => return Err(Obstacle::Claimed(node)),
            None => {}
        }
        let addresses: Vec<SocketAddr> = hello.browser.iter().chain(hello.app.iter()).collect();
        let distinct: BTreeSet<&SocketAddr> = addresses.iter().collect();
        if distinct.len() < addresses.len() {
            return refused(ErrorCode::AddressTaken, "browser and app addresses must differ".into());
        }
        let is_taken = |address: &&SocketAddr| {
            let present = self.sessions.iter().filter(|(node, _)| !self.is_awaited(**node));
            let mut others = present.flat_map(|(_, session)| session.member.service_addresses());
            self.config.own_addresses.contains(&address.ip()) || others.any(|other| other == **address)
        };
        match addresses.iter().find(is_taken) {
            Some(address) => {
                refused(ErrorCode::AddressTaken, format!("{address} is another node's or the router's own"))
            }
            None => self.find_awaited(hello).map_err(Obstacle::Claimed),
        }
    }
}

impl Session {
    fn new(now: Instant, conn: ConnId, peer: std::net::IpAddr, token: Token, id: SessionId, hello: Hello) -> Self {
        let Hello { name, incarnation, browser, app, admin, .. } = hello;
        Self {
            conn: Some(conn),
            token,
            member: Arc::new(Member { session: id, name, browser, app }),
            incarnation,
            admin,
            place: Place::Reserve,
            suspicion: None,
            welcomed: false,
            last_heard: now,
            silence_due: now,
            peer,
            beats_from: None,
            seq_heard: 0,
            seq_sent: 0,
        }
    }
}
