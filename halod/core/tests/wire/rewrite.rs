//! Rewritten TCP packets: to the byte what etherparse builds for the new ends.

use etherparse::{SlicedPacket, TransportSlice};
use halod_core::wire::Checksum;
use proptest::prelude::*;

use super::packets::{Ends, ends, packet, packet_and_ends, tcp};

fn rewrite(bytes: &mut [u8], to: Ends) {
    let mut packet = tcp(bytes);
    packet.rewrite_source(to.source);
    packet.rewrite_destination(to.destination);
}

/// The IPv4 header checksum and the TCP checksum, each with the value that etherparse computes over the packet.
fn checksums(bytes: &[u8]) -> [(u16, u16); 2] {
    let packet = SlicedPacket::from_ip(bytes).expect("a packet that etherparse reads");
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP: {packet:?}") };
    match packet.net.expect("an IP header") {
        etherparse::NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            let expected = tcp.calc_checksum_ipv4(header.source, header.destination).expect("not too long");
            [(header.header_checksum, header.calc_header_checksum()), (tcp.checksum(), expected)]
        }
        etherparse::NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let expected = tcp.calc_checksum_ipv6(header.source, header.destination).expect("not too long");
            [(0, 0), (tcp.checksum(), expected)]
        }
        other => panic!("not IP: {other:?}"),
    }
}

proptest! {
    #[test]
    fn a_rewritten_packet_is_the_one_built_for_its_new_ends((parts, to) in packet_and_ends()) {
        let mut bytes = parts.bytes();
        rewrite(&mut bytes, to);
        prop_assert!(bytes == parts.between(to).bytes());
        prop_assert!(tcp(&mut bytes).checksum_ok());
        for (found, expected) in checksums(&bytes) {
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn there_and_back_restores_every_byte((parts, to) in packet_and_ends(), noise in 0..0xFFFF_u16) {
        let mut bytes = parts.bytes();
        // Any checksum, right or wrong, but 0xFFFF, which is the same as 0 and comes back as 0.
        let checksum = parts.tcp_offset() + 16;
        bytes[checksum..checksum + 2].copy_from_slice(&noise.to_be_bytes());
        let original = bytes.clone();
        rewrite(&mut bytes, to);
        rewrite(&mut bytes, parts.ends());
        prop_assert!(bytes == original);
    }

    #[test]
    fn a_wrong_checksum_stays_wrong((parts, to) in packet_and_ends(), bit in 0..32) {
        let mut bytes = parts.bytes();
        bytes[parts.tcp_offset() + 4 + bit as usize / 8] ^= 1_u8 << (bit % 8);
        prop_assert!(!tcp(&mut bytes).checksum_ok());
        rewrite(&mut bytes, to);
        prop_assert!(!tcp(&mut bytes).checksum_ok());
        let [_, (found, expected)] = checksums(&bytes);
        prop_assert_ne!(found, expected);
    }

    #[test]
    fn a_wrong_ipv4_header_checksum_stays_wrong(parts in packet(true), to in ends(true), bit in 0..8) {
        const TTL: usize = 8;
        let mut bytes = parts.bytes();
        bytes[TTL] ^= 1_u8 << bit;
        rewrite(&mut bytes, to);
        let [(found, expected), _] = checksums(&bytes);
        prop_assert_ne!(found, expected);
        prop_assert!(tcp(&mut bytes).checksum_ok(), "the TTL is no part of TCP's checksum");
    }

    #[test]
    fn a_checksum_is_completed_whatever_was_there((parts, _) in packet_and_ends(), partial in any::<[u8; 2]>()) {
        let original = parts.bytes();
        let mut bytes = original.clone();
        let checksum = parts.tcp_offset() + 16;
        bytes[checksum..checksum + 2].copy_from_slice(&partial);
        tcp(&mut bytes).complete_checksum();
        prop_assert!(bytes == original);
    }

    #[test]
    fn a_partial_checksum_is_completed_after_the_last_change(
        (parts, to) in packet_and_ends(),
        partial in any::<[u8; 2]>(),
    ) {
        let mut bytes = parts.bytes();
        let checksum = parts.tcp_offset() + 16;
        bytes[checksum..checksum + 2].copy_from_slice(&partial);
        let mut packet = tcp(&mut bytes).with(Checksum::Partial);
        packet.rewrite_source(to.source);
        packet.rewrite_destination(to.destination);
        prop_assert!(packet.checksum_ok(), "nothing can be wrong with it");
        packet.finish();
        prop_assert!(packet.checksum_ok());
        prop_assert!(bytes == parts.between(to).bytes());
    }

    #[test]
    fn a_checksum_that_is_ready_is_finished((parts, to) in packet_and_ends(), wrong in 1_u8..) {
        let mut bytes = parts.bytes();
        bytes[parts.tcp_offset() + 16] ^= wrong;
        let mut packet = tcp(&mut bytes).with(Checksum::Ready);
        packet.rewrite_source(to.source);
        packet.finish();
        prop_assert!(!packet.checksum_ok(), "what came damaged stays damaged");
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "the same IP version")]
fn a_debug_build_refuses_an_address_of_the_other_version() {
    let [v4, v6] = ["192.0.2.1:1", "[2001:db8::1]:1"].map(|end| end.parse().expect("an address"));
    tcp(&mut super::segment::syn_between(v4, v4).to_bytes()).rewrite_source(v6);
}

#[test]
#[cfg(not(debug_assertions))]
fn a_release_build_ignores_an_address_of_the_other_version() {
    let [v4, v6] = ["192.0.2.1:1", "[2001:db8::1]:1"].map(|end| end.parse().expect("an address"));
    let original = super::segment::syn_between(v4, v4).to_bytes();
    let mut bytes = original.clone();
    tcp(&mut bytes).rewrite_source(v6);
    assert_eq!(bytes, original);
}
