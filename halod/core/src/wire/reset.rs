//! The RST that refuses a segment which belongs to no connection.

use std::ops::Deref;

use super::ip::V6_HEADER_LENGTH;
use super::segment::TcpSegment;
use super::tcp::{TCP_HEADER_LENGTH, TcpFlags, TcpPacket};

const LENGTH_MAX: usize = V6_HEADER_LENGTH + TCP_HEADER_LENGTH;

/// A RST packet: 40 bytes in IPv4, 60 in IPv6.
#[derive(Debug, Clone, Copy)]
pub struct Reset {
    bytes: [u8; LENGTH_MAX],
    length: usize,
}

impl Reset {
    /// This segment, which has no payload.
    pub(crate) fn new(segment: &TcpSegment<'_>) -> Self {
        let mut reset = Self { bytes: [0; LENGTH_MAX], length: segment.packet_length() };
        segment.write(&mut reset.bytes[..reset.length]);
        reset
    }
}

impl Deref for Reset {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The answer to `packet` of a host on which its connection does not exist (RFC 9293, section 3.10.7.1); `None` for a
/// packet that is a RST itself.
///
/// Whether the packet's checksum holds is for the caller to check: a corrupt packet deserves no answer.
pub fn reset_for(packet: &TcpPacket<'_>) -> Option<Reset> {
    let flags = packet.flags();
    if flags.contains(TcpFlags::RST) {
        return None;
    }
    let (sequence, acknowledgement, flags) = if flags.contains(TcpFlags::ACK) {
        (packet.acknowledgement(), 0, TcpFlags::RST)
    } else {
        (0, packet.sequence().wrapping_add(packet.segment_len()), TcpFlags::RST | TcpFlags::ACK)
    };
    let (source, destination) = (packet.destination(), packet.source());
    let segment = TcpSegment { source, destination, sequence, acknowledgement, flags, window: 0, payload: &[] };
    Some(Reset::new(&segment))
}
