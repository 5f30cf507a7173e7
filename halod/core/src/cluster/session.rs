//! A registered node: its place, its connection and its heartbeats.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::ConnId;
use super::suspicion::Suspicion;
use crate::ids::NodeId;
use crate::protocol::{Heartbeat, Incarnation, Token};
use crate::routing::Member;
use crate::time::Instant;

/// How long a `welcome` may take. TCP sends what was lost again after 1 s, and that after 2 s more (RFC 6298, section 2).
const WELCOME_TIMEOUT: Duration = Duration::from_millis(3500);

/// What a registered node is in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Holds an id.
    Active(NodeId),
    /// Waits to take over.
    Reserve,
    /// Was lost too often of late to be trusted before this time, or came while the cluster recovers until then.
    Held(Instant),
    /// Has given up its id; stays until its flows have drained.
    Leaving,
}

/// A registered node.
#[derive(Debug)]
pub(super) struct Session {
    /// `None` while it is broken and the node suspect.
    pub(super) conn: Option<ConnId>,
    pub(super) token: Token,
    pub(super) member: Arc<Member>,
    pub(super) incarnation: Incarnation,
    /// Where the node proves that it is alive.
    pub(super) admin: SocketAddr,
    pub(super) place: Place,
    pub(super) suspicion: Option<Suspicion>,
    /// `welcome` was sent, so changes are told by messages of their own.
    pub(super) welcomed: bool,
    pub(super) last_heard: Instant,
    /// Its entry in [`Cluster::silences`](super::Cluster).
    pub(super) silence_due: Instant,
    /// The host of the control connection; heartbeats from another are forged.
    pub(super) peer: IpAddr,
    /// Where the last heartbeat came from and HaloD's go to.
    pub(super) beats_from: Option<SocketAddr>,
    pub(super) seq_heard: u64,
    pub(super) seq_sent: u64,
}

/// What became of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// It is the first of its session.
    First,
    Counted,
    Ignored,
}

impl Session {
    pub(super) fn node_id(&self) -> Option<NodeId> {
        match self.place {
            Place::Active(id) => Some(id),
            Place::Reserve | Place::Held(_) | Place::Leaving => None,
        }
    }

    /// When it counts as lost unless it is heard before, if `silence_max` is forgiven. A node that has sent no heartbeat
    /// yet may not have its token: the `welcome` that gives it can be under way for the third time.
    pub(super) fn silent_at(&self, silence_max: Duration) -> Instant {
        let forgiven = if self.beats_from.is_none() { silence_max.max(WELCOME_TIMEOUT) } else { silence_max };
        self.last_heard + forgiven
    }

    /// Takes in a heartbeat with this session's token.
    pub(super) fn hear(&mut self, now: Instant, from: SocketAddr, beat: &Heartbeat) -> Beat {
        let is_old = if mutant!(HeartbeatReplayed) { beat.seq < self.seq_heard } else { beat.seq <= self.seq_heard };
        if from.ip() != self.peer || is_old {
            return Beat::Ignored;
        }
        self.seq_heard = beat.seq;
        self.last_heard = now;
        if self.beats_from.replace(from).is_none() { Beat::First } else { Beat::Counted }
    }

    /// The next heartbeat to the node; `None` until one of its own has shown where to.
    pub(super) fn next_beat(&mut self) -> Option<(SocketAddr, Heartbeat)> {
        let to = self.beats_from?;
        self.seq_sent += 1;
        Some((to, Heartbeat { token: self.token, seq: self.seq_sent, connections: None }))
    }
}
