//! A registered node: its place, its connection and its heartbeats.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::ConnId;
use crate::ids::NodeId;
use crate::protocol::{Heartbeat, Token};
use crate::routing::Member;
use crate::time::Instant;

/// What a registered node is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Holds an id.
    Active(NodeId),
    /// Waits to take over, or has not been placed yet.
    Reserve,
    /// Has given up its id; stays until its flows have drained.
    Leaving,
}

/// A registered node.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) conn: ConnId,
    pub(super) token: Token,
    pub(super) member: Arc<Member>,
    pub(super) place: Place,
    /// `welcome` was sent, so changes are told by messages of their own.
    pub(super) welcomed: bool,
    pub(super) last_heard: Instant,
    /// The host of the control connection; heartbeats from another are forged.
    peer: IpAddr,
    /// Where the last heartbeat came from and HaloD's go to.
    beats_from: Option<SocketAddr>,
    seq_heard: u64,
    seq_sent: u64,
}

/// What became of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    Counted,
    Ignored,
}

impl Session {
    pub(super) fn new(now: Instant, conn: ConnId, peer: IpAddr, token: Token, member: Arc<Member>) -> Self {
        Self {
            conn,
            token,
            member,
            place: Place::Reserve,
            welcomed: false,
            last_heard: now,
            peer,
            beats_from: None,
            seq_heard: 0,
            seq_sent: 0,
        }
    }

    pub(super) fn node_id(&self) -> Option<NodeId> {
        match self.place {
            Place::Active(id) => Some(id),
            Place::Reserve | Place::Leaving => None,
        }
    }

    /// Takes in a heartbeat with this session's token.
    pub(super) fn hear(&mut self, now: Instant, from: SocketAddr, beat: &Heartbeat) -> Beat {
        if from.ip() != self.peer || beat.seq <= self.seq_heard {
            return Beat::Ignored;
        }
        self.seq_heard = beat.seq;
        self.beats_from = Some(from);
        self.last_heard = now;
        Beat::Counted
    }

    /// The next heartbeat to the node; `None` until one of its own has shown where to.
    pub(super) fn next_beat(&mut self) -> Option<(SocketAddr, Heartbeat)> {
        let to = self.beats_from?;
        self.seq_sent += 1;
        Some((to, Heartbeat { token: self.token, seq: self.seq_sent, connections: None }))
    }
}
