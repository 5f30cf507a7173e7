//! What a cluster is told, as a value: a driver that makes one of each event can write it down as well.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Cluster, ConnId};
use crate::protocol::{DecodeError, FromNode, Token};
use crate::routing::SessionId;
use crate::time::Instant;

/// Something that happened at the control port. The passing of time is not among it: [`Cluster::timeout`] looks at the
/// flows of a plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// [`Cluster::open`]
    Opened {
        /// The connection.
        conn: ConnId,
        /// The other end.
        peer: IpAddr,
        /// Drawn for the session that may follow.
        token: Token,
    },
    /// [`Cluster::redialed`]
    Redialed {
        /// The suspect.
        node: SessionId,
        /// The connection to it.
        conn: ConnId,
    },
    /// [`Cluster::redial_failed`]
    RedialFailed {
        /// The suspect.
        node: SessionId,
    },
    /// [`Cluster::receive`]
    Received {
        /// The connection.
        conn: ConnId,
        /// The message, or why it was none.
        message: Result<FromNode, DecodeError>,
    },
    /// [`Cluster::receive_datagram`]
    Datagram {
        /// The sender.
        from: SocketAddr,
        /// The message, or why it was none.
        message: Result<FromNode, DecodeError>,
    },
    /// [`Cluster::disconnect`]
    Ended {
        /// The connection.
        conn: ConnId,
    },
    /// [`Cluster::disconnect`], of a peer that does not read what it is sent: noticed while outputs are carried out, so
    /// that some may still be waiting.
    GivenUp {
        /// The connection.
        conn: ConnId,
    },
}

impl Input {
    /// Tells `cluster`.
    pub fn tell(self, now: Instant, cluster: &mut Cluster) {
        match self {
            Input::Opened { conn, peer, token } => cluster.open(now, conn, peer, token),
            Input::Redialed { node, conn } => cluster.redialed(node, conn),
            Input::RedialFailed { node } => cluster.redial_failed(now, node),
            Input::Received { conn, message } => cluster.receive(now, conn, message),
            Input::Datagram { from, message } => cluster.receive_datagram(now, from, &message),
            Input::Ended { conn } | Input::GivenUp { conn } => cluster.disconnect(now, conn),
        }
    }
}
