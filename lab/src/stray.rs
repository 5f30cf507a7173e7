//! Builds packets that belong to no connection, whole or damaged on purpose.

use std::net::SocketAddr;

use halod_core::wire::checksum::Sum;
use halod_core::wire::{Packet, TcpFlags, TcpSegment};

use crate::scenario::{Stray, TcpFlag};

/// Four NOPs (RFC 9293, 3.1), so that the header is a word longer.
const OPTIONS: [u8; 4] = [1; 4];
const TCP_HEADER_LENGTH: usize = 20;

/// The packet of a `stray` step between two ends.
pub fn packet(stray: &Stray, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let flags = stray.flags.iter().fold(TcpFlags(0), |all, flag| TcpFlags(all.0 | bit(*flag).0));
    let segment = TcpSegment {
        source,
        destination,
        sequence: 1_000_000,
        acknowledgement: if flags.contains(TcpFlags::ACK) { 2_000_000 } else { 0 },
        flags,
        window: 1024,
        payload: if flags.contains(TcpFlags::PSH) { b"stray" } else { b"" },
    };
    let mut packet = segment.to_bytes();
    let tcp_start = if source.is_ipv4() { 20 } else { 40 };
    if stray.options {
        let options_start = tcp_start + TCP_HEADER_LENGTH;
        packet.splice(options_start..options_start, OPTIONS);
        packet[tcp_start + 12] += 1 << 4;
        state_length(&mut packet);
        if let Ok(Packet::Tcp(mut tcp)) = Packet::parse(&mut packet) {
            tcp.complete_checksum();
        }
    }
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
    if packet[0] >> 4 == 4 {
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[10..12].fill(0);
        let checksum = Sum::of(&packet[..20]).checksum();
        packet[10..12].copy_from_slice(&checksum);
    } else {
        packet[4..6].copy_from_slice(&(length - 40).to_be_bytes());
    }
}

fn bit(flag: TcpFlag) -> TcpFlags {
    match flag {
        TcpFlag::Fin => TcpFlags::FIN,
        TcpFlag::Syn => TcpFlags::SYN,
        TcpFlag::Rst => TcpFlags::RST,
        TcpFlag::Psh => TcpFlags::PSH,
        TcpFlag::Ack => TcpFlags::ACK,
    }
}
