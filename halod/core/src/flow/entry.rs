//! One flow: where it goes, how far it has come, and which RST it may believe.

use std::net::SocketAddr;

use super::phase::{Phase, Sender};
use super::source_port::Disguise;
use super::{FlowKey, FlowPhase};
use crate::ids::{RouteId, Side};
use crate::routing::SessionId;
use crate::time::Instant;
use crate::wire::TcpPacket;

/// How far the sequence number of an RST may be from the last byte that was forwarded.
const RESET_DISTANCE_MAX: u32 = 1 << 20;

/// A connection and where its packets go.
#[derive(Debug)]
pub struct Flow {
    /// The browser or app.
    pub client: SocketAddr,
    /// The service address and port that it connected to.
    pub service: SocketAddr,
    /// The node's address that it is pinned to.
    pub node: SocketAddr,
    /// The node's registration.
    pub session: SessionId,
    /// The route of the service port.
    pub route: RouteId,
    /// The side of the service port.
    pub side: Side,
    pub(super) disguise: Disguise,
    pub(super) phase: Phase,
    /// The sequence number of the SYN that began it, if it passed here.
    pub(super) syn_sequence: Option<u32>,
    /// The handshake was completed, whatever has become of the connection since.
    pub(super) was_established: bool,
    /// The packet that began it, as the client sent it, until the node has answered.
    pub(super) syn: Option<Box<[u8]>>,
    /// The sequence number after the last byte that each end sent, as far as it was forwarded.
    pub(super) sent: Sent,
    pub(super) last_active: Instant,
    /// When the table looks at the flow again; it is dropped then if it was silent for long enough.
    pub(super) due: Instant,
    pub(super) neighbours: Neighbours,
}

impl Flow {
    /// Which flow it is.
    pub fn key(&self) -> FlowKey {
        FlowKey { client: self.client, service: self.service }
    }

    /// The client as the node sees it.
    pub fn peer(&self) -> SocketAddr {
        self.disguise.peer
    }

    /// What a packet to or from the node carries as the client between the hooks: the client's own address with the
    /// port that the node sees.
    pub fn transit(&self) -> SocketAddr {
        self.disguise.transit
    }

    /// How far the connection has come.
    pub fn phase(&self) -> FlowPhase {
        self.phase.seen_from_outside()
    }

    /// Whether HaloD itself has ended it: whoever still sends on it is told so.
    pub fn is_refused(&self) -> bool {
        self.phase == Phase::Refused
    }

    /// Whether `syn` is a copy of the one that began it, and was delivered late: its client has gone beyond it.
    pub fn is_late_copy(&self, syn: &TcpPacket<'_>) -> bool {
        self.was_established && self.syn_sequence == Some(syn.sequence())
    }

    /// Whether an RST may be from who it says: one far from where the stream is, or damaged, is forwarded like any
    /// packet and believed by nobody (RFC 5961, section 3).
    pub(super) fn may_believe(&self, sender: Sender, packet: &TcpPacket<'_>) -> bool {
        let sent = match sender {
            Sender::Client => self.sent.by_client,
            Sender::Node if self.phase == Phase::SynSent => None,
            Sender::Node => self.sent.by_node,
        };
        let distance = |sent: u32| packet.sequence().wrapping_sub(sent).cast_signed().unsigned_abs();
        sent.is_none_or(|sent| distance(sent) <= RESET_DISTANCE_MAX) && packet.checksum_ok()
    }

    /// What the client will accept next, if nothing that was forwarded to it is lost or under way; `None` if the plane
    /// has seen nothing of it.
    pub fn next_to_client(&self) -> Option<u32> {
        self.sent.by_node
    }

    /// What the node will accept next, likewise.
    pub fn next_to_node(&self) -> Option<u32> {
        self.sent.by_client
    }
}

/// How far the two streams of a flow have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    by_client: Option<u32>,
    by_node: Option<u32>,
}

impl Sent {
    /// Takes in a segment that ends before sequence number `end`. Sequence numbers wrap (RFC 9293, 3.4).
    pub(super) fn advance(&mut self, sender: Sender, end: u32, is_first: bool) {
        let sent = match sender {
            Sender::Client => &mut self.by_client,
            Sender::Node => &mut self.by_node,
        };
        let is_ahead = |sent: u32| end.wrapping_sub(sent).cast_signed() > 0;
        if is_first || sent.is_none_or(is_ahead) {
            *sent = Some(end);
        }
    }
}

/// The flows of one route at one node form a ring of places; a place points at its neighbours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Neighbours {
    pub(super) before: usize,
    pub(super) after: usize,
}
