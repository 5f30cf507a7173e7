//! Suspicion: a node whose control connection broke, or whose name another process claims, has to prove itself.
//!
//! HaloD dials its admin address. Only a `hello` of the same incarnation on that connection clears it: a dying process
//! still accepts for a moment, so that an accept proves nothing.

use super::session::Place;
use super::{Cluster, ConnId, Loss, Output};
use crate::protocol::{ErrorCode, FromNode};
use crate::routing::SessionId;
use crate::time::Instant;

/// What a suspect node has to do, and until when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suspicion {
    pub(super) deadline: Instant,
    /// The connection that was dialled to it, once it is established.
    pub(super) redial: Option<ConnId>,
}

impl Cluster {
    /// The connection that [`Output::Redial`] asked for is established.
    pub fn redialed(&mut self, node: SessionId, conn: ConnId) {
        let suspicion = self.sessions.get_mut(&node).and_then(|session| session.suspicion.as_mut());
        match suspicion {
            Some(suspicion) if suspicion.redial.is_none() => {
                suspicion.redial = Some(conn);
                self.redials.insert(conn, node);
            }
            _ => self.outputs.push_back(Output::Close(conn)),
        }
    }

    /// The connection that [`Output::Redial`] asked for could not be established.
    pub fn redial_failed(&mut self, now: Instant, node: SessionId) {
        let waits = |session: &super::Session| session.suspicion.is_some_and(|suspicion| suspicion.redial.is_none());
        if self.sessions.get(&node).is_some_and(waits) {
            self.lose(now, node, Loss::Refused);
        }
    }

    /// A node has to prove itself; one that does already goes on with that.
    pub(super) fn suspect(&mut self, now: Instant, node: SessionId) {
        let deadline = now + self.config.redial_timeout;
        let session = self.sessions.get_mut(&node).expect("a suspect is registered");
        if session.suspicion.is_some() {
            return;
        }
        session.suspicion = Some(Suspicion { deadline, redial: None });
        let admin = session.admin;
        self.suspects.insert((deadline, node));
        self.publish();
        self.outputs.push_back(Output::Redial(node, admin));
    }

    /// A control connection has ended that a session was held over.
    pub(super) fn lose_connection(&mut self, now: Instant, node: SessionId, conn: ConnId) {
        self.sessions_by_conn.remove(&conn);
        let session = self.sessions.get_mut(&node).expect("a connection belongs to a session");
        session.conn = None;
        if session.place == Place::Leaving {
            self.lose(now, node, Loss::Refused);
        } else {
            self.suspect(now, node);
        }
    }

    /// The first message on a connection that was dialled to a suspect.
    pub(super) fn receive_redialed(&mut self, now: Instant, node: SessionId, conn: ConnId, message: &FromNode) {
        let session = &self.sessions[&node];
        let same = matches!(message, FromNode::Hello(hello)
            if hello.incarnation == session.incarnation && hello.name == session.member.name);
        if same || mutant!(SuspectClearedByAnybody) {
            self.clear(now, node, conn);
        } else {
            self.lose(now, node, Loss::Replaced);
        }
    }

    /// The suspects whose time is up.
    pub(super) fn overdue_suspects(&self, now: Instant) -> Vec<(SessionId, Loss)> {
        let overdue = self.suspects.iter().take_while(|(deadline, _)| *deadline <= now);
        overdue.map(|&(_, node)| (node, Loss::NoAnswer)).collect()
    }

    /// A suspect has proved itself: the redialled connection is its control connection from now on.
    fn clear(&mut self, now: Instant, node: SessionId, conn: ConnId) {
        self.redials.remove(&conn);
        let session = self.sessions.get_mut(&node).expect("a suspect is registered");
        let suspicion = session.suspicion.take().expect("only a suspect is redialled");
        let former = session.conn.replace(conn);
        session.last_heard = now;
        self.suspects.remove(&(suspicion.deadline, node));
        if let Some(former) = former {
            self.sessions_by_conn.remove(&former);
            self.outputs.push_back(Output::Close(former));
        }
        self.sessions_by_conn.insert(conn, node);
        self.publish();
        if let Some((newcomer, hello)) = self.parked.remove(&node) {
            self.refuse(newcomer, ErrorCode::NameTaken, format!("a node named {:?} is registered", hello.name));
        }
        // What was said meanwhile went nowhere.
        self.send_welcome(conn, node);
        for message in self.drains.tell_again(now, node) {
            self.send(conn, message);
        }
        self.look_now(now);
    }
}
