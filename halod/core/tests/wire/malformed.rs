//! Nothing that a peer sends panics.

use std::net::IpAddr;

use halod_core::wire::{Packet, reset_for};
use proptest::collection::vec;
use proptest::prelude::*;

use super::icmp;
use super::packets::{packet_and_ends, tcp};

/// Parses, and reads and rewrites all there is.
fn use_all(bytes: &mut [u8]) {
    let (address, end) = match bytes.first().map(|first| first >> 4) {
        Some(6) => (IpAddr::from([0xa5; 16]), "[2001:db8::1]:1"),
        _ => (IpAddr::from([0xa5; 4]), "192.0.2.1:1"),
    };
    let end = end.parse().expect("an address");
    match Packet::parse(bytes) {
        Ok(Packet::Tcp(mut packet)) => {
            let _ = (packet.source(), packet.destination(), packet.flags(), packet.checksum_ok());
            let _ = (packet.sequence(), packet.acknowledgement(), packet.segment_len());
            packet.rewrite_source(end);
            packet.rewrite_destination(end);
            packet.complete_checksum();
            if let Some(reset) = reset_for(&packet) {
                assert!(tcp(&mut reset.to_vec()).checksum_ok());
            }
        }
        Ok(Packet::IcmpError(mut packet)) => {
            let _ = (packet.outer_source(), packet.outer_destination());
            let _ = (packet.quoted_source(), packet.quoted_destination());
            packet.rewrite_outer_source(address);
            packet.rewrite_outer_destination(address);
            packet.rewrite_quoted_source(end);
            packet.rewrite_quoted_destination(end);
        }
        Ok(Packet::Fragment | Packet::Other) | Err(_) => {}
    }
}

/// Bytes at places, mostly in the headers, to be put into a packet.
fn mutations() -> impl Strategy<Value = Vec<(usize, u8)>> {
    vec((0..120_usize, any::<u8>()), 1..6)
}

fn mutate(bytes: &mut [u8], mutations: &[(usize, u8)]) {
    for &(at, value) in mutations {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes(mut bytes in vec(any::<u8>(), 0..200)) {
        use_all(&mut bytes);
    }

    #[test]
    fn arbitrary_bytes_behind_a_plausible_header(mut bytes in vec(any::<u8>(), 48..200), which in 0..4_usize) {
        let length = bytes.len() as u16;
        let (first, length_at, length, protocol_at, protocol) = [
            (0x45, 2, length, 9, 6),
            (0x46, 2, length, 9, 1),
            (0x60, 4, length - 40, 6, 0),
            (0x60, 4, length - 40, 6, 58),
        ][which];
        bytes[0] = first;
        bytes[length_at..length_at + 2].copy_from_slice(&u16::to_be_bytes(length));
        bytes[protocol_at] = protocol;
        use_all(&mut bytes);
    }

    #[test]
    fn mutated_tcp_packets((parts, _) in packet_and_ends(), mutations in mutations(), length in 0..1_600_usize) {
        let mut bytes = parts.bytes();
        mutate(&mut bytes, &mutations);
        use_all(&mut bytes.clone());
        bytes.truncate(length);
        use_all(&mut bytes);
    }

    #[test]
    fn mutated_icmp_errors(error in icmp::error(), cut in 0..200_usize, mutations in mutations()) {
        let mut bytes = error.quoting(&error.quoted.bytes(), cut);
        mutate(&mut bytes, &mutations);
        use_all(&mut bytes);
    }
}
