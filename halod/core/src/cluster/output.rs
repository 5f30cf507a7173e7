//! What the cluster asks of its driver, and what it has to say for the log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::ConnId;
use crate::flow::{FlowKey, Toward};
use crate::ids::{Epoch, NodeId};
use crate::protocol::{ErrorCode, ToNode};
use crate::routing::{Routing, SessionId};

/// What the driver has to do.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send a message on a control connection.
    Send(ConnId, ToNode),
    /// Close a control connection after what was sent on it. Nothing more is reported about it.
    Close(ConnId),
    /// Send a heartbeat as a datagram.
    Beat(SocketAddr, ToNode),
    /// Dial a suspect node's admin address, and say [`Cluster::redialed`](super::Cluster::redialed) or
    /// [`Cluster::redial_failed`](super::Cluster::redial_failed).
    Redial(SessionId, SocketAddr),
    /// Have the data plane end a flow with RST.
    End(FlowKey, Toward),
    /// Make this the routing of every data plane, before any output that follows.
    Publish(Arc<Routing>),
    /// Something worth a line in the log.
    Note(Note),
}

/// A membership change, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The table of a former daemon is in force again; its holders are awaited.
    Resumed {
        /// Active nodes, M.
        active: usize,
    },
    /// All holders of the former table are back, or given up.
    Recovered {
        /// Those that are given up.
        missing: usize,
    },
    /// A node registered.
    Joined {
        /// Its name.
        name: String,
        /// Its id; `None` in reserve.
        id: Option<NodeId>,
    },
    /// A node said `leave`.
    Leaving {
        /// Its name.
        name: String,
    },
    /// A node that was leaving has drained, or its deadline has passed.
    Left {
        /// Its name.
        name: String,
    },
    /// A suspect node has proved itself, or a held one counts as reserve now.
    Cleared {
        /// Its name.
        name: String,
    },
    /// A node is gone without having said `leave`.
    Lost {
        /// Its name.
        name: String,
        /// How it was noticed.
        how: Loss,
    },
    /// The table or its holders changed.
    Changed {
        /// The new epoch.
        epoch: Epoch,
        /// Active nodes, M.
        active: usize,
        /// Routes whose node is another one now.
        moved: usize,
    },
    /// A `hello` was refused.
    Refused {
        /// The other end.
        peer: IpAddr,
        /// Why.
        code: ErrorCode,
    },
}

/// How the loss of a node was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its control connection ended and it could not be dialled.
    Refused,
    /// It did not prove itself in time when it had to.
    NoAnswer,
    /// Another process answered in its place.
    Replaced,
    /// It sent what cannot be read.
    Unreadable,
    /// No heartbeat came for longer than (misses + 1/2) intervals.
    Silent,
    /// It held an id before a restart of HaloD and did not come back.
    NotBack,
}
