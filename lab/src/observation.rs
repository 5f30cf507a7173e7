//! What actors report of themselves, for expectations, snapshots and the report.

use std::net::SocketAddr;
use std::time::Duration;

use halod_core::ids::{Epoch, NodeId, RouteId};
use halod_core::protocol::{ErrorCode, NodeState};
use serde::{Deserialize, Serialize};

use crate::orbited::Transport;

/// The number of an event of an app, unique in a scenario: the app's place in its file above, and below, in
/// [`EVENT_NUMBER_BITS`], a number counted from 1 across all its users.
pub type EventId = u64;

/// The lower bits of an [`EventId`].
pub const EVENT_NUMBER_BITS: u32 = 32;

/// The first event of app number `app`, counted from 0.
pub fn first_event(app: usize) -> EventId {
    ((app as EventId) << EVENT_NUMBER_BITS) + 1
}

/// One thing that an actor saw or did. Who reported it is known from the channel that it came by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "saw", rename_all = "snake_case")]
pub enum Observation {
    /// A node was welcomed.
    Welcomed {
        /// Active or reserve.
        state: NodeState,
        /// Its id, if active.
        id: Option<NodeId>,
        /// Its routes.
        routes: Vec<RouteId>,
        /// The epoch of the table that gives them.
        epoch: Epoch,
    },
    /// A node has another id or other routes.
    Assigned {
        /// Its id.
        id: NodeId,
        /// All its routes.
        routes: Vec<RouteId>,
        /// The epoch of the table that gives them.
        epoch: Epoch,
    },
    /// A node heard that one of its routes moved away.
    RouteMoved {
        /// The route.
        route: RouteId,
        /// The epoch of the move.
        epoch: Epoch,
    },
    /// A node heard that a draining route is its own again.
    RouteReturned {
        /// The route.
        route: RouteId,
        /// The epoch of the return.
        epoch: Epoch,
    },
    /// A node reported a move as drained.
    Drained {
        /// The route.
        route: RouteId,
        /// The epoch of the move.
        epoch: Epoch,
    },
    /// HaloD told a node of a mistake.
    Rejected {
        /// Which kind.
        code: ErrorCode,
        /// In words.
        message: String,
    },
    /// A node's control connection ended.
    ControlEnded,
    /// A user's browser has an open connection (or a parked poll) at this node.
    Attached {
        /// The user.
        user: String,
        /// How.
        transport: Transport,
        /// The browser's address as the node sees it.
        peer: SocketAddr,
    },
    /// A user's browser has no connection at this node any more.
    Detached {
        /// The user.
        user: String,
    },
    /// A node answered an event that its browser proved to have had, by `Last-Event-ID`, without sending it again.
    AlreadyHad {
        /// The user.
        user: String,
        /// The event.
        event: EventId,
    },
    /// An app wrote an event to a node, for the first time or again.
    Sent {
        /// The user.
        user: String,
        /// The event.
        event: EventId,
        /// Counts from 1.
        attempt: u32,
        /// How long it had been due when it was written for the first time, behind others of its user or for want of a
        /// connection.
        waited: Duration,
    },
    /// An app has `Success` for an event.
    Settled {
        /// The user.
        user: String,
        /// The event.
        event: EventId,
    },
    /// An app got `Failure`, or lost the connection before an answer; it will try again.
    Failed {
        /// The user.
        user: String,
        /// The event.
        event: EventId,
    },
    /// An app's answer on a connection did not fit any request in flight: bytes of another flow.
    Mismatched {
        /// The id that came back.
        id: String,
    },
    /// An app that tries each event once got `Failure` for one, or lost the connection before an answer.
    GivenUp {
        /// The user.
        user: String,
        /// The event.
        event: EventId,
    },
    /// A held app connection was answered by a node (command `hold`).
    FlowAnswered {
        /// The number of the connection in its command, from 0.
        index: u32,
    },
    /// A held app connection failed or was answered wrongly.
    FlowFailed {
        /// The number of the connection in its command, from 0.
        index: u32,
    },
    /// A browser's TCP connection is established and its request is sent.
    Connected {
        /// The user.
        user: String,
    },
    /// A browser received its first byte on a connection.
    FirstByte {
        /// The user.
        user: String,
    },
    /// A browser's connection was lost or refused; it will dial again.
    Disconnected {
        /// The user.
        user: String,
    },
    /// A browser showed an event to its user.
    Shown {
        /// The user.
        user: String,
        /// The event.
        event: EventId,
    },
    /// A browser received an event that it had shown already, and dropped it.
    Repeated {
        /// The user.
        user: String,
        /// The event.
        event: EventId,
    },
    /// A browser received bytes that are not of its transport, or an event of another user.
    Garbled {
        /// The user.
        user: String,
        /// What was wrong.
        why: String,
    },
}
