//! A whole TCP segment in its IP packet.

use std::net::SocketAddr;
use std::ops::BitOr;

use super::checksum::{self, Sum};
use super::ip::{End, IpHeader, protocol};
use super::{Malformed, field};

/// Length of a TCP header without options, in bytes (RFC 9293, section 3.1).
pub(super) const TCP_HEADER_LENGTH: usize = 20;

pub(super) const SEQUENCE: usize = 4;
pub(super) const ACKNOWLEDGEMENT: usize = 8;
pub(super) const DATA_OFFSET: usize = 12;
pub(super) const FLAGS: usize = 13;
pub(super) const WINDOW: usize = 14;
pub(super) const CHECKSUM: usize = 16;

/// Where the port of an end is in a TCP header.
pub(super) const fn port(end: End) -> usize {
    match end {
        End::Source => 0,
        End::Destination => 2,
    }
}

/// The control bits of a TCP segment (RFC 9293, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// The sender has no more data.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Opens a connection: synchronises sequence numbers.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// Ends a connection at once.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Data is to be handed to the receiver without delay.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// The acknowledgement number holds.
    pub const ACK: TcpFlags = TcpFlags(0x10);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: TcpFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the segment asks for a new connection: SYN without ACK, RST or FIN.
    pub const fn is_initial_syn(self) -> bool {
        const DECISIVE: u8 = TcpFlags::FIN.0 | TcpFlags::SYN.0 | TcpFlags::RST.0 | TcpFlags::ACK.0;
        self.0 & DECISIVE == TcpFlags::SYN.0
    }
}

impl BitOr for TcpFlags {
    type Output = TcpFlags;

    fn bitor(self, other: TcpFlags) -> TcpFlags {
        TcpFlags(self.0 | other.0)
    }
}

/// What is in the checksum field of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksum {
    /// The checksum, as the sender or the network left it.
    #[default]
    Ready,
    /// The sum of the pseudo header alone. The packet was made on this host, and its kernel has left the rest to the
    /// network card; or the kernel has checked several segments and joined them. Nothing can be wrong with it yet.
    Partial,
}

/// A whole TCP segment in its IP packet, borrowed from the bytes that it was parsed from.
#[derive(Debug)]
pub struct TcpPacket<'a> {
    ip: IpHeader<'a>,
    header: &'a mut [u8; TCP_HEADER_LENGTH],
    /// Options and payload.
    rest: &'a mut [u8],
    payload_length: usize,
    checksum: Checksum,
}

impl<'a> TcpPacket<'a> {
    pub(super) fn new(ip: IpHeader<'a>, segment: &'a mut [u8]) -> Result<Self, Malformed> {
        let (header, rest) = segment.split_first_chunk_mut::<TCP_HEADER_LENGTH>().ok_or(Malformed::Truncated)?;
        let header_length = usize::from(header[DATA_OFFSET] >> 4) * 4;
        let options_length = header_length.checked_sub(TCP_HEADER_LENGTH).ok_or(Malformed::BadHeaderLength)?;
        let payload_length = rest.len().checked_sub(options_length).ok_or(Malformed::Truncated)?;
        Ok(Self { ip, header, rest, payload_length, checksum: Checksum::Ready })
    }

    /// The packet, of which the kernel has told what its checksum is; without that it is taken for ready.
    #[must_use]
    pub fn with(self, checksum: Checksum) -> Self {
        Self { checksum, ..self }
    }

    /// Address and port of the sender.
    pub fn source(&self) -> SocketAddr {
        self.end(End::Source)
    }

    /// Address and port of the receiver.
    pub fn destination(&self) -> SocketAddr {
        self.end(End::Destination)
    }

    /// The control bits.
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.header[FLAGS])
    }

    /// The number of the first byte of the payload, or of SYN.
    pub fn sequence(&self) -> u32 {
        u32::from_be_bytes(field::get(self.header, SEQUENCE))
    }

    /// The number that the sender expects next. It means something with ACK only.
    pub fn acknowledgement(&self) -> u32 {
        u32::from_be_bytes(field::get(self.header, ACKNOWLEDGEMENT))
    }

    /// How many sequence numbers the segment takes: its payload, and one each for SYN and FIN.
    pub fn segment_len(&self) -> u32 {
        let payload_length = u32::try_from(self.payload_length).expect("a packet has at most 65,575 bytes");
        let flags = self.flags();
        payload_length + u32::from(flags.contains(TcpFlags::SYN)) + u32::from(flags.contains(TcpFlags::FIN))
    }

    /// Bytes behind the header and its options.
    pub fn payload_len(&self) -> usize {
        self.payload_length
    }

    /// Whether the TCP checksum holds; reads the whole segment, unless it is partial.
    pub fn checksum_ok(&self) -> bool {
        self.checksum == Checksum::Partial || self.sum().verifies()
    }

    /// Makes the TCP checksum ready: a partial one is computed, which reads the whole segment. To be called after the last
    /// rewrite, for a packet that others will check.
    pub fn finish(&mut self) {
        if self.checksum == Checksum::Partial {
            self.complete_checksum();
        }
    }

    /// Computes the TCP checksum anew, whatever it is. Reads the whole segment.
    pub fn complete_checksum(&mut self) {
        self.checksum = Checksum::Ready;
        *field::get_mut(self.header, CHECKSUM) = [0; 2];
        *field::get_mut(self.header, CHECKSUM) = self.sum().checksum();
    }

    /// Computes a checksum that does not hold, for a packet that stands for one which was damaged on its way.
    pub fn falsify_checksum(&mut self) {
        self.complete_checksum();
        // One bit of one word changes the sum by a power of two, which is never zero modulo 0xFFFF.
        self.header[CHECKSUM] ^= 1;
    }

    /// Replaces the sender and updates the checksums by the difference: right stays right, and wrong stays wrong. A
    /// partial one is left for [`finish`](Self::finish).
    ///
    /// `to` has to be of the packet's IP version. If it is not, a debug build panics and a release build leaves the
    /// packet as it is.
    pub fn rewrite_source(&mut self, to: SocketAddr) {
        self.rewrite(End::Source, to);
    }

    /// Replaces the receiver, as [`rewrite_source`](Self::rewrite_source) replaces the sender.
    pub fn rewrite_destination(&mut self, to: SocketAddr) {
        self.rewrite(End::Destination, to);
    }

    fn end(&self, end: End) -> SocketAddr {
        SocketAddr::new(self.ip.address(end), u16::from_be_bytes(field::get(self.header, port(end))))
    }

    fn rewrite(&mut self, end: End, to: SocketAddr) {
        let Some(growth) = self.ip.rewrite(end, to.ip()) else { return };
        let port = checksum::replace(field::get_mut(self.header, port(end)), to.port().to_be_bytes());
        if self.checksum == Checksum::Ready {
            checksum::update(field::get_mut(self.header, CHECKSUM), growth.pseudo_header + port);
        }
    }

    fn sum(&self) -> Sum {
        let length = self.header.len() + self.rest.len();
        self.ip.pseudo_header(protocol::TCP, length) + Sum::of(self.header) + Sum::of(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_syn_starts_a_connection() {
        const ECE_CWR: TcpFlags = TcpFlags(0xC0);
        let (fin, syn, rst, psh, ack) = (TcpFlags::FIN, TcpFlags::SYN, TcpFlags::RST, TcpFlags::PSH, TcpFlags::ACK);
        let starts = [syn, syn | psh, syn | ECE_CWR];
        let others = [TcpFlags::default(), ack, psh, syn | ack, syn | rst, syn | fin, fin | ack, ECE_CWR];
        assert!(starts.into_iter().all(TcpFlags::is_initial_syn));
        assert!(!others.into_iter().any(TcpFlags::is_initial_syn));
    }
}
