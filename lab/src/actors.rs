//! The players of a scenario, without I/O: fake nodes, apps and browsers.
//!
//! An actor is told what happened and answers with what to do. Who moves its bytes and its time (kernel sockets,
//! smoltcp, a simulator) is not its business. It never reads a clock and draws random numbers only from its seed.

pub mod app;
mod backoff;
pub mod browser;
pub mod event;
pub mod node;
pub mod player;
mod timers;
#[cfg(test)]
mod transcript;
mod wire;

use std::net::SocketAddr;

use halod_core::time::Instant;

use crate::observation::Observation;

/// A TCP connection of one actor. The actor numbers its own connections, those that it dials and those that it accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What happened to an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A dialled connection is established.
    Connected(ConnId),
    /// Bytes arrived, in order.
    Received(ConnId, &'a [u8]),
    /// The peer's TCP has acknowledged all bytes sent before this offset of the stream. A driver may report each
    /// offset or only the latest.
    Acked(ConnId, u64),
    /// The peer sent FIN: nothing more will be received. Sending is still possible.
    PeerFinished(ConnId),
    /// The connection has ended and its id is not used again: refused, reset, timed out or closed by both ends.
    Ended(ConnId, End),
    /// A datagram arrived on the actor's UDP socket.
    Datagram(SocketAddr, &'a [u8]),
    /// The deadline of [`Actor::deadline`] has come.
    Timeout,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both ends sent FIN and everything was acknowledged.
    Closed,
    /// It was never established.
    Refused,
    /// It was established and ended by RST or a timeout; what was not acknowledged may be lost.
    Reset,
}

/// What an actor wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Open a connection; answered by [`Input::Connected`] or [`Input::Ended`].
    Dial(ConnId, SocketAddr),
    /// Send bytes, in order. The driver buffers what the connection does not take yet.
    Send(ConnId, Vec<u8>),
    /// Send FIN after all bytes that are queued. Receiving goes on until [`Input::Ended`].
    Finish(ConnId),
    /// End with RST (or give up a dial) at once. The driver reports nothing more about the connection.
    Abort(ConnId),
    /// Send a datagram from the actor's UDP socket.
    SendDatagram(SocketAddr, Vec<u8>),
    /// Something that the scenario may want to know.
    Observe(Observation),
}

/// A player without I/O. After each call the driver takes all outputs, then asks for the deadline.
pub trait Actor {
    /// What the scenario can tell it to do.
    type Command;

    /// Carries out a command of the scenario.
    fn command(&mut self, now: Instant, command: Self::Command);

    /// A connection arrived at `local`, one of the addresses that the actor listens on; names it.
    fn accept(&mut self, now: Instant, local: SocketAddr, peer: SocketAddr) -> ConnId;

    /// Takes in what happened.
    fn handle(&mut self, now: Instant, input: Input<'_>);

    /// The next thing to do, in order; `None` when there is nothing more.
    fn poll(&mut self) -> Option<Output>;

    /// When to call [`Input::Timeout`], unless something else happens first.
    fn deadline(&self) -> Option<Instant>;
}
