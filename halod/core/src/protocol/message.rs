//! The messages, as types.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::routes;
use crate::ids::{Epoch, NodeId, RouteId, Side};

/// The version of the protocol that this crate speaks, said in `hello` and `welcome`.
pub const PROTOCOL_VERSION: u32 = 1;

/// What a node says to HaloD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromNode {
    /// The first message of a connection: who the node is and where it listens.
    Hello(Hello),
    /// A sign of life, as a datagram; over the connection it is an error.
    Heartbeat(Heartbeat),
    /// Every connection that was named for this move has ended.
    Drained {
        /// The route that moved.
        route: RouteId,
        /// The epoch of the `route_moved` that began the drain.
        epoch: Epoch,
    },
    /// The node gives up its id at once and stays connected until its flows have drained.
    Leave,
}

/// What HaloD says to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToNode {
    /// The answer to a `hello` that was accepted.
    Welcome(Welcome),
    /// A sign of life, as a datagram.
    Heartbeat(Heartbeat),
    /// The id and all the routes that the node has from this epoch on.
    Assigned(Assigned),
    /// A route of the node has a new owner; its flows at this node drain.
    RouteMoved(RouteMoved),
    /// Connections that the node shall end now, as their transport needs it.
    Reconnect(Reconnect),
    /// A route that was draining is the node's again; the drain is cancelled.
    RouteReturned {
        /// The route.
        route: RouteId,
        /// The epoch of the table that returned it.
        epoch: Epoch,
    },
    /// Something the node sent was wrong. Fatal codes are followed by the end of the connection.
    Error(ErrorMessage),
}

/// Who a node is and where it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol version, [`PROTOCOL_VERSION`].
    pub version: u32,
    /// What the node is known by, 1 to 64 bytes.
    pub name: String,
    /// Drawn at random at each start of the process.
    pub incarnation: Incarnation,
    /// Where browsers are served.
    pub browser: Endpoints,
    /// Where apps are served.
    pub app: Endpoints,
    /// Where the node listens for HaloD's redial.
    pub admin: SocketAddr,
}

/// One address for each IP version that the node serves, as a JSON list of one or two `"addr:port"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<SocketAddr>", into = "Vec<SocketAddr>")]
pub struct Endpoints {
    v4: Option<SocketAddr>,
    v6: Option<SocketAddr>,
}

impl Endpoints {
    /// The address of the same IP version as `like`.
    pub fn matching(&self, like: IpAddr) -> Option<SocketAddr> {
        if like.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// The one or two addresses.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.v4.into_iter().chain(self.v6)
    }
}

impl TryFrom<Vec<SocketAddr>> for Endpoints {
    type Error = &'static str;

    fn try_from(addresses: Vec<SocketAddr>) -> Result<Self, Self::Error> {
        let mut endpoints = Endpoints { v4: None, v6: None };
        if addresses.is_empty() {
            return Err("at least one address is needed");
        }
        for address in addresses {
            if !is_reachable(address) {
                return Err("an address needs a host and a port that others can reach");
            }
            let place = if address.is_ipv4() { &mut endpoints.v4 } else { &mut endpoints.v6 };
            if place.replace(address).is_some() {
                return Err("at most one IPv4 and one IPv6 address are allowed");
            }
        }
        Ok(endpoints)
    }
}

/// Whether packets from other hosts can carry this destination.
fn is_reachable(address: SocketAddr) -> bool {
    let ip = address.ip();
    let is_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !(is_local || ip.is_unspecified() || ip.is_multicast() || address.port() == 0)
}

impl From<Endpoints> for Vec<SocketAddr> {
    fn from(endpoints: Endpoints) -> Self {
        endpoints.iter().collect()
    }
}

/// Proof in both directions that the other process is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The token of the session, from `welcome`.
    pub token: Token,
    /// Counts up from 1 in each direction; a number that is not higher than the last is ignored.
    pub seq: u64,
    /// The node's open connections; absent from HaloD's own heartbeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
}

/// The answer to a `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol version, [`PROTOCOL_VERSION`].
    pub version: u32,
    /// Proves later datagrams to be of this session.
    pub token: Token,
    /// Whether the node serves routes or waits.
    pub state: NodeState,
    /// The node's id, if it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NodeId>,
    /// The routes the node owns, lowest first.
    #[serde(with = "routes")]
    pub routes: Vec<RouteId>,
    /// The epoch of the table that gives them.
    pub epoch: Epoch,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_ms: u64,
    /// Whole intervals of silence that are forgiven.
    pub misses: u32,
}

/// Whether a node serves routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Has an id and routes.
    Active,
    /// Waits to take over.
    Reserve,
    /// Was lost more than once of late, or came while HaloD awaits the nodes of before its restart; waits until it counts.
    Held,
}

/// The id and all the routes a node has from an epoch on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The node's id.
    pub id: NodeId,
    /// Its routes, lowest first.
    #[serde(with = "routes")]
    pub routes: Vec<RouteId>,
    /// The epoch of the table that gives them.
    pub epoch: Epoch,
}

/// A route of the node has a new owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMoved {
    /// The route.
    pub route: RouteId,
    /// The epoch of the table that moved it.
    pub epoch: Epoch,
    /// Milliseconds until flows that are left are reset.
    pub deadline_ms: u64,
}

/// Connections that the node shall end now. A move has at least one, so that a node without connections can answer
/// `drained` too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconnect {
    /// The route that moved.
    pub route: RouteId,
    /// The epoch of the `route_moved` that this belongs to.
    pub epoch: Epoch,
    /// Which kind of connection.
    pub side: Side,
    /// The other ends, as the node sees them.
    pub peers: Vec<SocketAddr>,
    /// How many connections of the same route, epoch and side are still to be named.
    pub left: u64,
}

/// Something a peer sent was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMessage {
    /// What kind of mistake.
    pub code: ErrorCode,
    /// What was wrong and what to do, for a person.
    pub message: String,
}

/// The kinds of mistake a peer can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, or not an object with a `type`, or a field is missing or of the wrong type. Fatal.
    Malformed,
    /// A line of more than 64 KiB. Fatal.
    LineTooLong,
    /// A `hello` of another protocol version. Fatal.
    WrongVersion,
    /// The first message was not `hello`, or none came in time. Fatal.
    HelloExpected,
    /// The name is held by another process that is alive. Fatal.
    NameTaken,
    /// One of the addresses is another node's or HaloD's own, or is given twice. Fatal.
    AddressTaken,
    /// No more nodes or connections are accepted. Fatal.
    Full,
    /// A message of a kind that this version does not know. The connection stays.
    UnknownType,
    /// A message that does not fit the state of the session, such as a second `hello`. The connection stays.
    Unexpected,
}

impl ErrorCode {
    /// Whether HaloD ends the connection after saying this.
    pub fn is_fatal(self) -> bool {
        !matches!(self, ErrorCode::UnknownType | ErrorCode::Unexpected)
    }
}

macro_rules! hex_u64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = &'static str;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let valid = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                let value = u64::from_str_radix(&text, 16).ok().filter(|_| valid);
                value.map($name).ok_or("16 hexadecimal digits are expected")
            }
        }
    };
}

hex_u64! {
    /// A random number drawn at each start of a node's process, as 16 hexadecimal digits (JSON numbers are exact
    /// only to 53 bits).
    Incarnation
}

hex_u64! {
    /// The secret that proves a datagram to be of a session, as 16 hexadecimal digits.
    Token
}
