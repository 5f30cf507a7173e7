//! Flows: TCP connections through HaloD, each pinned to the node that it started on.

mod phase;
mod source_port;
mod table;

use std::net::SocketAddr;

pub use phase::{FlowPhase, Sender};
pub use source_port::SourcePorts;
pub use table::{Flow, FlowTable, NewFlow, NoRoom};

use crate::ids::{RouteId, Side};
use crate::routing::SessionId;
use crate::time::Instant;

/// What a drain needs to know of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowView {
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
}
