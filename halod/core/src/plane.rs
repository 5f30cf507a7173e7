//! Data planes: what becomes of each packet.
//!
//! A plane takes packets, a [`Routing`] and time, and puts out verdicts, and packets of its own.
//! Here is what all planes have in common.

mod ending;
mod held;
mod rewrite;
pub mod steer;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::rewrite::Rewrite;
pub use self::steer::Steer;
use self::steer::{Mark, Tracking};
use crate::flow::{Flow, FlowKey, FlowView, Flows, SourcePorts, Toward};
use crate::ids::RouteId;
use crate::last_table::LastTable;
use crate::routing::{Routing, SessionId};
use crate::service::ServicePorts;
use crate::time::Instant;
use crate::wire::{Checksum, Reset, TcpPacket, reset_for};

/// Which plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaneKind {
    /// Every packet is rewritten in userspace.
    Rewrite,
    /// Userspace decides, the kernel rewrites.
    #[default]
    Steer,
}

impl fmt::Display for PlaneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rewrite => "rewrite",
            Self::Steer => "steer",
        })
    }
}

/// Flows at most.
const FLOWS_MAX: usize = 1_000_000;

/// Where on its way a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before it is routed: it has just arrived, or was made on this host.
    Ingress,
    /// After it was routed: it is about to leave, or to be delivered on this host.
    Egress {
        /// It is to be delivered on this host.
        local: bool,
    },
}

/// How a packet came to a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Seen {
    /// [`Rewrite`] sees every packet, at each stage.
    Stage(Stage),
    /// [`Steer`] sees those that its rules pick, by what connection tracking knows of them.
    Tracking(Tracking),
}

/// What is to become of a packet.
#[derive(Debug)]
pub enum Verdict {
    /// Let it pass as it is.
    Accept,
    /// Let it pass; it was rewritten in place.
    Rewritten,
    /// Let it pass with this mark, by which the kernel translates it and all that follow.
    Marked(Mark),
    /// Drop it.
    Drop,
    /// Drop it and send this: to its sender, that there is no connection; or to its client, that its node has ended it.
    Answer(Reset),
    /// Drop it, and answer it if the kernel tracks no connection that it may be of.
    Doubt(Doubt),
}

/// A packet that the kernel has called invalid: one out of place in its connection, or of none.
#[derive(Debug)]
pub struct Doubt {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it was to go.
    pub destination: SocketAddr,
    /// What its sender is to be told if there is no connection between the two.
    pub answer: Reset,
}

/// Packets that a plane has seen, as the kernel gives them: a large one may be several on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub packets: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
}

impl Traffic {
    fn count(&mut self, packet: &TcpPacket<'_>) {
        self.packets += 1;
        self.bytes += packet.payload_len() as u64;
    }
}

/// What the plane has seen, and how often it refused or could not handle a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// TCP packets to service ports. [`Steer`] sees a few of them only, unless its rules are to show all.
    pub from_clients: Traffic,
    /// TCP packets from nodes, likewise.
    pub from_nodes: Traffic,
    /// Cut short, or with a header that contradicts itself: dropped.
    pub malformed: u64,
    /// A fragment: dropped, for only the first one has the ports.
    pub fragments: u64,
    /// Belonged to no flow and could not begin one: answered with RST.
    pub strays: u64,
    /// Belonged to a flow that HaloD ended, or whose node is gone: answered with RST, or its client is told.
    pub late: u64,
    /// A SYN or a stray whose checksum was wrong: dropped.
    pub bad_checksums: u64,
    /// A SYN for a route that no node owns, or not over this IP version: answered with RST.
    pub unowned: u64,
    /// A SYN for which there was no room in the flow table, or no source port: dropped.
    pub no_room: u64,
    /// Flows that HaloD ended.
    pub ended: u64,
}

/// What the plane does not learn from the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneConfig {
    /// The service ports.
    pub ports: ServicePorts,
    /// The addresses that they are exposed on.
    pub addresses: Vec<IpAddr>,
    /// Ports for flows that cannot keep their own.
    pub source_ports: SourcePorts,
    /// Keeps others from predicting the hashes of the flow table.
    pub seed: u64,
}

/// Either plane.
#[derive(Debug)]
pub enum Plane {
    /// Every packet is rewritten here.
    Rewrite(Box<Rewrite>),
    /// Here is decided, the kernel rewrites.
    Steer(Box<Steer>),
}

impl Plane {
    /// A plane without nodes or flows.
    pub fn new(kind: PlaneKind, config: PlaneConfig) -> Self {
        match kind {
            PlaneKind::Rewrite => Self::Rewrite(Box::new(Rewrite::new(config))),
            PlaneKind::Steer => Self::Steer(Box::new(Steer::new(config))),
        }
    }

    /// Goes on where a former daemon has ended. Of `rewrite` nothing outlives it.
    pub fn resume(&mut self, now: Instant, last: &LastTable) {
        if let Self::Steer(plane) = self {
            plane.resume(now, last);
        }
    }

    /// The kernel tracks connections to service ports that a former daemon has steered, whatever else is left of it.
    pub fn expect_flows(&mut self) {
        if let Self::Steer(plane) = self {
            plane.expect_flows();
        }
    }

    /// Takes a new routing into force. `masquerades` is for [`Rewrite::publish`]; the kernel of [`Steer`] finds these
    /// addresses by itself.
    pub fn publish(&mut self, now: Instant, routing: Arc<Routing>, masquerades: BTreeMap<IpAddr, IpAddr>) {
        match self {
            Self::Rewrite(plane) => plane.publish(now, routing, masquerades),
            Self::Steer(plane) => plane.publish(now, routing),
        }
    }

    /// Decides about one IP packet. One that came in the way of the other plane passes.
    pub fn handle(&mut self, now: Instant, seen: Seen, checksum: Checksum, packet: &mut [u8]) -> Verdict {
        match (self, seen) {
            (Self::Rewrite(plane), Seen::Stage(stage)) => plane.handle(now, stage, checksum, packet),
            (Self::Steer(plane), Seen::Tracking(tracking)) => plane.handle(now, tracking, checksum, packet),
            _ => Verdict::Accept,
        }
    }

    /// What only the `steer` plane has.
    pub fn as_steer(&mut self) -> Option<&mut Steer> {
        match self {
            Self::Rewrite(_) => None,
            Self::Steer(plane) => Some(plane),
        }
    }

    /// Ends a flow with RST towards one or both ends. An end that does not seem to have heard it is asked again.
    pub fn end(&mut self, now: Instant, key: FlowKey, toward: Toward) {
        match self {
            Self::Rewrite(plane) => plane.end(now, key, toward),
            Self::Steer(plane) => plane.end(now, key, toward),
        }
    }

    /// The next packet of the plane's own to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        match self {
            Self::Rewrite(plane) => plane.poll_transmit().map(Transmit::from),
            Self::Steer(plane) => plane.poll_transmit(),
        }
    }

    /// When to call [`Plane::timeout`]; `None` while no flow is being ended.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Rewrite(plane) => plane.deadline(),
            Self::Steer(plane) => plane.deadline(),
        }
    }

    /// Asks again who does not seem to know of the end of a flow.
    pub fn timeout(&mut self, now: Instant) {
        match self {
            Self::Rewrite(plane) => plane.timeout(now),
            Self::Steer(plane) => plane.timeout(now),
        }
    }

    /// Drops flows that are over. Call it about once a second.
    pub fn expire(&mut self, now: Instant) {
        match self {
            Self::Rewrite(plane) => plane.expire(now),
            Self::Steer(plane) => plane.expire(now),
        }
    }

    /// How often a packet was refused.
    pub fn counters(&self) -> Counters {
        match self {
            Self::Rewrite(plane) => plane.counters(),
            Self::Steer(plane) => plane.counters(),
        }
    }

    /// Number of flows that are kept here.
    pub fn flow_count(&self) -> usize {
        match self {
            Self::Rewrite(plane) => plane.flow_count(),
            Self::Steer(plane) => plane.flow_count(),
        }
    }

    fn flows(&self) -> &dyn Flows {
        match self {
            Self::Rewrite(plane) => &**plane,
            Self::Steer(plane) => &**plane,
        }
    }
}

impl Flows for Plane {
    fn visit(&self, route: RouteId, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        self.flows().visit(route, node, each);
    }

    fn visit_node(&self, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        self.flows().visit_node(node, each);
    }
}

/// Whether nothing of a flow is forwarded any more: HaloD ended it, or its node is gone.
fn is_over(flow: &Flow, routing: &Routing) -> bool {
    flow.is_refused() || !routing.members.contains_key(&flow.session)
}

/// Tells the sender of a packet that there is no connection.
fn answer(packet: &TcpPacket<'_>) -> Verdict {
    reset_for(packet).map_or(Verdict::Drop, Verdict::Answer)
}

/// A packet of a plane's own: whole, with the addresses that its receiver knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The packet.
    pub packet: Vec<u8>,
    /// A client's SYN, still to be translated by the kernel as this mark says.
    pub mark: Option<Mark>,
}

impl From<Vec<u8>> for Transmit {
    fn from(packet: Vec<u8>) -> Self {
        Self { packet, mark: None }
    }
}
