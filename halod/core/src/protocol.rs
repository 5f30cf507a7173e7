//! The control protocol between nodes and HaloD: newline-delimited JSON over TCP, heartbeats as single datagrams.
//!
//! `docs/protocol.md` specifies it for those who write a node in another language.

mod codec;
mod message;
mod routes;

pub use codec::{DecodeError, LINE_LENGTH_MAX, LineBuffer, decode_from_node, decode_to_node, encode};
pub use message::{
    Assigned, Endpoints, ErrorCode, ErrorMessage, FromNode, Heartbeat, Hello, Incarnation, NodeState, PROTOCOL_VERSION,
    Reconnect, RouteMoved, ToNode, Token, Welcome,
};
