//! Flows: TCP connections through HaloD, each pinned to the node that it started on.

mod entry;
mod index;
mod phase;
mod source_port;
mod table;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use entry::Flow;
pub use phase::{FlowPhase, Progress, Sender};
pub use source_port::SourcePorts;
pub use table::{FlowTable, KnownFlow, NewFlow, NoRoom};

use crate::ids::{RouteId, Side};
use crate::routing::SessionId;
use crate::time::Instant;

/// The two ends of a flow as its client sees them; no two flows have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    /// The browser or app.
    pub client: SocketAddr,
    /// The service address and port that it connected to.
    pub service: SocketAddr,
}

/// Which ends of a flow are told of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toward {
    /// The client; its node is gone.
    Client,
    /// The client and the node.
    Both,
}

/// What membership needs to know of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowView {
    /// Which flow.
    pub key: FlowKey,
    /// Browser or app.
    pub side: Side,
    /// The client as the node sees it.
    pub peer: SocketAddr,
    /// How far the connection has come.
    pub phase: FlowPhase,
    /// When a packet last passed, in either direction.
    pub last_active: Instant,
}

/// The flows of a data plane, as the membership logic asks for them.
pub trait Flows {
    /// Shows each flow of `route` that is pinned to `node`, in an order that depends only on the packets so far.
    fn visit(&self, route: RouteId, node: SessionId, each: &mut dyn FnMut(FlowView));

    /// Shows each flow that is pinned to `node`, likewise.
    fn visit_node(&self, node: SessionId, each: &mut dyn FnMut(FlowView));
}
