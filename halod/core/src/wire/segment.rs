//! TCP packets made from nothing: without options, in a plain IP header.

use std::net::{IpAddr, SocketAddr};

use super::ip::{End, IpHeader, V4_HEADER_LENGTH, V6_HEADER_LENGTH, protocol};
use super::tcp::{self, TCP_HEADER_LENGTH, TcpFlags, TcpPacket};

/// TTL or hop limit of packets that begin here: the value IANA recommends.
const HOP_LIMIT: u8 = 64;

/// A TCP segment to be sent: TTL or hop limit 64, "don't fragment" in IPv4, complete checksums.
#[derive(Debug, Clone, Copy)]
pub struct TcpSegment<'a> {
    /// The sender.
    pub source: SocketAddr,
    /// The receiver, of the same IP version.
    pub destination: SocketAddr,
    /// The number of the first byte of the payload, or of SYN.
    pub sequence: u32,
    /// The number that is expected next; 0 without ACK.
    pub acknowledgement: u32,
    /// The control bits.
    pub flags: TcpFlags,
    /// The receive window in bytes, as it goes into the header: unscaled.
    pub window: u16,
    /// The data.
    pub payload: &'a [u8],
}

impl TcpSegment<'_> {
    /// The packet.
    ///
    /// # Panics
    ///
    /// If source and destination are of different IP versions, or the packet would be too long for its length field.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.packet_length()];
        self.write(&mut bytes);
        bytes
    }

    /// Length of the packet in bytes.
    pub(super) fn packet_length(&self) -> usize {
        self.ip_header_length() + TCP_HEADER_LENGTH + self.payload.len()
    }

    /// Writes the packet into `bytes`, which have its length and are zero. Panics as [`to_bytes`](Self::to_bytes) does.
    pub(super) fn write(&self, bytes: &mut [u8]) {
        let (ip, segment) = bytes.split_at_mut(self.ip_header_length());
        self.write_segment(segment);
        let mut ip = self.write_ip_header(ip, segment.len());
        ip.complete_checksum();
        TcpPacket::new(ip, segment).expect("a valid header was just written").complete_checksum();
    }

    fn ip_header_length(&self) -> usize {
        if self.source.is_ipv4() { V4_HEADER_LENGTH } else { V6_HEADER_LENGTH }
    }

    fn write_segment(&self, bytes: &mut [u8]) {
        let (header, payload) = bytes.split_at_mut(TCP_HEADER_LENGTH);
        let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
        put(tcp::port(End::Source), &self.source.port().to_be_bytes());
        put(tcp::port(End::Destination), &self.destination.port().to_be_bytes());
        put(tcp::SEQUENCE, &self.sequence.to_be_bytes());
        put(tcp::ACKNOWLEDGEMENT, &self.acknowledgement.to_be_bytes());
        put(tcp::DATA_OFFSET, &[(TCP_HEADER_LENGTH as u8 / 4) << 4]);
        put(tcp::FLAGS, &[self.flags.0]);
        put(tcp::WINDOW, &self.window.to_be_bytes());
        payload.copy_from_slice(self.payload);
    }

    fn write_ip_header<'b>(&self, bytes: &'b mut [u8], payload_length: usize) -> IpHeader<'b> {
        let length = |bytes: usize| u16::try_from(bytes).expect("a packet has at most 65,535 bytes").to_be_bytes();
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = bytes.first_chunk_mut().expect("room for an IPv4 header");
                header[0] = 0x45; // version 4, 5 words long
                header[2..4].copy_from_slice(&length(V4_HEADER_LENGTH + payload_length));
                header[6] = 0x40; // don't fragment
                header[8..10].copy_from_slice(&[HOP_LIMIT, protocol::TCP]);
                header[12..16].copy_from_slice(&source.octets());
                header[16..].copy_from_slice(&destination.octets());
                IpHeader::V4(header)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = bytes.first_chunk_mut().expect("room for an IPv6 header");
                header[0] = 0x60; // version 6
                header[4..6].copy_from_slice(&length(payload_length));
                header[6..8].copy_from_slice(&[protocol::TCP, HOP_LIMIT]);
                header[8..24].copy_from_slice(&source.octets());
                header[24..].copy_from_slice(&destination.octets());
                IpHeader::V6(header)
            }
            _ => panic!("source and destination are of different IP versions"),
        }
    }
}
