//! TCP segments as far as rules and connection tracking can tell them apart.

use std::fmt;
use std::net::SocketAddr;

use halod_core::wire::{Packet, TcpFlags, TcpSegment};

/// A segment without data. Each end's numbers begin at 100, so that connection tracking finds nothing wrong with them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    flags: TcpFlags,
    source: SocketAddr,
    destination: SocketAddr,
}

/// Begins a connection.
pub(crate) fn syn(source: SocketAddr, destination: SocketAddr) -> Segment {
    Segment { flags: TcpFlags::SYN, source, destination }
}

/// Begins a connection, with what explicit congestion notification adds (RFC 3168).
pub(crate) fn syn_with_ecn(source: SocketAddr, destination: SocketAddr) -> Segment {
    Segment { flags: TcpFlags(0xC2), source, destination }
}

pub(crate) fn syn_ack(source: SocketAddr, destination: SocketAddr) -> Segment {
    Segment { flags: TcpFlags::SYN | TcpFlags::ACK, source, destination }
}

pub(crate) fn ack(source: SocketAddr, destination: SocketAddr) -> Segment {
    Segment { flags: TcpFlags::ACK, source, destination }
}

pub(crate) fn rst(source: SocketAddr, destination: SocketAddr) -> Segment {
    Segment { flags: TcpFlags::RST, source, destination }
}

/// How a host answers a SYN to a port that nobody listens to.
pub(crate) fn refusal(source: SocketAddr, destination: SocketAddr) -> Segment {
    Segment { flags: TcpFlags::RST | TcpFlags::ACK, source, destination }
}

impl Segment {
    /// The whole IP packet.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        const FIRST: u32 = 100;
        let has = |flag| self.flags.contains(flag);
        let segment = TcpSegment {
            source: self.source,
            destination: self.destination,
            sequence: if has(TcpFlags::SYN) { FIRST } else { FIRST + 1 },
            acknowledgement: if has(TcpFlags::ACK) { FIRST + 1 } else { 0 },
            flags: self.flags,
            window: 1000,
            payload: &[],
        };
        segment.to_bytes()
    }

    /// What an IP packet holds, if that is TCP.
    pub(crate) fn read(packet: &mut [u8]) -> Option<Self> {
        match Packet::parse(packet) {
            Ok(Packet::Tcp(tcp)) => {
                Some(Self { flags: tcp.flags(), source: tcp.source(), destination: tcp.destination() })
            }
            _ => None,
        }
    }

    pub(crate) fn destination(self) -> SocketAddr {
        self.destination
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flags: TcpFlags(flags), source, destination } = self;
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let set = (0..).zip(names).filter(|(bit, _)| flags >> bit & 1 == 1).map(|(_, name)| name);
        write!(f, "{} {source} > {destination}", set.collect::<Vec<_>>().join("+"))
    }
}
