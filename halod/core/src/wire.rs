//! IP packets as the kernel hands them over: parsed in place, rewritten in place.
//!
//! [`Packet::parse`] checks a raw IP packet (no link header) once; what it returns is read and rewritten without errors
//! and without allocation. A rewrite updates checksums by the difference (RFC 1624), so that a packet that came corrupt
//! stays corrupt and its receiver drops it.
//!
//! But for a partial checksum ([`Checksum::Partial`]), which is completed once, after the last change.
//!
//! This module knows no flows and no routes, reassembles nothing and verifies nothing that it is not asked to verify:
//! see [`TcpPacket::checksum_ok`].

pub mod checksum;
mod field;
mod icmp;
mod ip;
mod reset;
mod segment;
mod tcp;

pub use icmp::IcmpErrorPacket;
pub use ip::stated_length;
pub use reset::{Reset, reset_for};
pub use segment::TcpSegment;
pub use tcp::{Checksum, TcpFlags, TcpPacket};

use ip::{Fragment, Ip, Protocol};

/// What a raw IP packet is to a TCP router.
#[derive(Debug)]
pub enum Packet<'a> {
    /// A whole TCP segment.
    Tcp(TcpPacket<'a>),
    /// An ICMP error about a TCP packet, of which it quotes the beginning.
    IcmpError(IcmpErrorPacket<'a>),
    /// A fragment, first or later, of a TCP packet: not all of it is here, so it cannot be assigned or checked.
    Fragment,
    /// No concern of a TCP router: another protocol, ICMP that is no error about TCP, or IPv6 headers that it does not
    /// know or that send the packet elsewhere first (a routing header with segments left).
    Other,
}

/// Why bytes are not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The version is neither 4 nor 6.
    #[error("neither an IPv4 nor an IPv6 packet")]
    NotIp,
    /// The packet ends, by its own account or in fact, before its headers or its payload do.
    #[error("the packet ends before its headers say")]
    Truncated,
    /// A header gives itself a length below its fixed part.
    #[error("a header's length is below its minimum")]
    BadHeaderLength,
}

impl<'a> Packet<'a> {
    /// Reads a raw IPv4 or IPv6 packet. Bytes behind the length that the packet states are padding, and never touched.
    ///
    /// An IPv6 fragment header that makes the packet its only fragment (RFC 6946) counts as no fragmentation.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the headers down to TCP or ICMP do not hold together.
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, Malformed> {
        let length = stated_length(bytes)?;
        let bytes = bytes.get_mut(..length).ok_or(Malformed::Truncated)?;
        let Ip { header, protocol, fragment, payload } = ip::split(bytes)?;
        match (protocol, fragment) {
            (Protocol::Tcp, Fragment::Whole) => TcpPacket::new(header, payload).map(Packet::Tcp),
            (Protocol::Tcp, Fragment::First | Fragment::Later) => Ok(Packet::Fragment),
            (Protocol::Icmp, Fragment::Whole) => {
                Ok(IcmpErrorPacket::new(header, payload)?.map_or(Packet::Other, Packet::IcmpError))
            }
            _ => Ok(Packet::Other),
        }
    }
}
