//! Builds packets that belong to no connection, whole or damaged on purpose.
//!
//! Not with the code of HaloD, which is to judge them: a checksum that it gets wrong would be right here.

use std::net::{IpAddr, SocketAddr};

use etherparse::{Ipv4Header, PacketBuilder, TcpHeader};
use halod_core::wire::{Packet, TcpFlags};

use crate::scenario::{Stray, TcpFlag};

/// Four NOPs (RFC 9293, 3.1), so that the header is a word longer.
const OPTIONS: [u8; 4] = [1; 4];
const HOP_LIMIT: u8 = 64;

/// The packet of a `stray` step between two ends.
///
/// # Panics
///
/// If they are of different IP versions.
pub fn packet(stray: &Stray, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut tcp = TcpHeader::new(source.port(), destination.port(), 1_000_000, 1024);
    stray.flags.iter().for_each(|flag| set(&mut tcp, *flag));
    if stray.options {
        tcp.set_options_raw(&OPTIONS).expect("a word of options fits");
    }
    // Of an odd length, so that the checksum is not as simple as it can be.
    let payload: &[u8] = if tcp.psh { b"stray" } else { b"" };
    let ip = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), HOP_LIMIT),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), HOP_LIMIT),
        _ => panic!("source and destination are of different IP versions"),
    };
    let mut packet = Vec::new();
    ip.tcp_header(tcp).write(&mut packet, payload).expect("a vector takes all, and a stray packet is short");
    let tcp_start = if source.is_ipv4() { Ipv4Header::MIN_LEN } else { etherparse::Ipv6Header::LEN };
    if stray.bad_checksum {
        packet[tcp_start + 16] ^= 0xff;
    }
    if let Some(length) = stray.cut {
        packet.truncate(tcp_start + usize::from(length));
        state_length(&mut packet);
    }
    packet
}

/// Whether a packet that came back is an RST with a right checksum.
pub fn is_reset(mut packet: Vec<u8>) -> bool {
    matches!(Packet::parse(&mut packet), Ok(Packet::Tcp(tcp)) if tcp.flags().contains(TcpFlags::RST) && tcp.checksum_ok())
}

/// Makes the IP header tell the length that the packet has.
fn state_length(packet: &mut [u8]) {
    let length = u16::try_from(packet.len()).expect("a stray packet is short");
    if let Ok((mut header, _)) = Ipv4Header::from_slice(packet) {
        header.total_len = length;
        header.header_checksum = header.calc_header_checksum();
        packet[..Ipv4Header::MIN_LEN].copy_from_slice(&header.to_bytes());
    } else {
        packet[4..6].copy_from_slice(&(length - 40).to_be_bytes());
    }
}

fn set(tcp: &mut TcpHeader, flag: TcpFlag) {
    match flag {
        TcpFlag::Fin => tcp.fin = true,
        TcpFlag::Syn => tcp.syn = true,
        TcpFlag::Rst => tcp.rst = true,
        TcpFlag::Psh => tcp.psh = true,
        TcpFlag::Ack => (tcp.ack, tcp.acknowledgment_number) = (true, 2_000_000),
    }
}
