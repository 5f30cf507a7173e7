//! Data planes: what becomes of each packet.
//!
//! A plane takes packets, a [`Routing`](crate::routing::Routing) and time, and puts out verdicts, and packets of its own.
//! Here is what all planes have in common.

mod ending;
mod held;
mod rewrite;
pub mod steer;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use self::rewrite::Rewrite;
use self::steer::Mark;
pub use self::steer::Steer;
use crate::flow::SourcePorts;
use crate::service::ServicePorts;
use crate::wire::Reset;

/// Which plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaneKind {
    /// Every packet is rewritten in userspace.
    #[default]
    Rewrite,
    /// Userspace decides, the kernel rewrites.
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
    /// Drop it and send this to its sender.
    Answer(Reset),
}

/// How often the plane refused or could not handle a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Cut short, or with a header that contradicts itself: dropped.
    pub malformed: u64,
    /// A fragment: dropped, for only the first one has the ports.
    pub fragments: u64,
    /// Belonged to no flow and could not begin one: answered with RST.
    pub strays: u64,
    /// Belonged to a flow that HaloD ended, or whose node is gone: answered with RST.
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
