//! What a packet is, and what is in it.

use std::net::SocketAddr;

use halod_core::wire::{Malformed, Packet, TcpFlags, TcpSegment};
use proptest::prelude::*;

use super::packets::{packet_and_ends, tcp};

proptest! {
    #[test]
    fn a_tcp_packet_reads_as_etherparse_wrote_it((parts, _) in packet_and_ends()) {
        let mut bytes = parts.bytes();
        let packet = tcp(&mut bytes);
        let header = &parts.tcp;
        prop_assert_eq!((packet.source(), packet.destination()), (parts.source(), parts.destination()));
        prop_assert_eq!(packet.sequence(), header.sequence_number);
        prop_assert_eq!(packet.acknowledgement(), header.acknowledgment_number);
        let flags = [
            (TcpFlags::FIN, header.fin),
            (TcpFlags::SYN, header.syn),
            (TcpFlags::RST, header.rst),
            (TcpFlags::PSH, header.psh),
            (TcpFlags::ACK, header.ack),
        ];
        for (flag, is_set) in flags {
            prop_assert_eq!(packet.flags().contains(flag), is_set, "{:?}", flag);
        }
        let length = parts.payload.len() + usize::from(header.syn) + usize::from(header.fin);
        prop_assert_eq!(packet.segment_len() as usize, length);
        prop_assert!(packet.checksum_ok());
    }

    #[test]
    fn padding_is_not_part_of_the_packet((parts, ends) in packet_and_ends(), padding in 1..9_usize) {
        let (bytes, padding) = (parts.bytes(), vec![0xee; padding]);
        let mut padded = [&bytes[..], &padding].concat();
        let mut packet = tcp(&mut padded);
        prop_assert!(packet.checksum_ok());
        prop_assert_eq!(packet.segment_len(), tcp(&mut bytes.clone()).segment_len());
        packet.rewrite_source(ends.source);
        prop_assert_eq!(&padded[bytes.len()..], &padding);
    }

    #[test]
    fn a_packet_cut_short_is_truncated_at_every_length((parts, _) in packet_and_ends()) {
        let bytes = parts.bytes();
        for length in 0..bytes.len() {
            let mut cut = bytes[..length].to_vec();
            prop_assert_eq!(Packet::parse(&mut cut).err(), Some(Malformed::Truncated), "{} bytes", length);
        }
    }
}

/// What a packet is, in a word.
fn kind(mut bytes: Vec<u8>) -> &'static str {
    match Packet::parse(&mut bytes) {
        Ok(Packet::Tcp(_)) => "tcp",
        Ok(Packet::IcmpError(_)) => "icmp error",
        Ok(Packet::Fragment) => "fragment",
        Ok(Packet::Other) => "other",
        Err(Malformed::NotIp) => "not ip",
        Err(Malformed::Truncated) => "truncated",
        Err(Malformed::BadHeaderLength) => "bad header length",
    }
}

fn syn(source: &str, destination: &str) -> Vec<u8> {
    TcpSegment {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        sequence: 1,
        acknowledgement: 0,
        flags: TcpFlags::SYN,
        window: 1_000,
        payload: &[],
    }
    .to_bytes()
}

/// An IPv4 SYN with the bytes at an offset replaced.
fn v4_with(at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = syn("192.0.2.1:40000", "198.51.100.1:9001");
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// The number of an IPv6 extension header, and its bytes, the first of which is filled in.
type Extension = (u8, &'static [u8]);

/// An IPv6 SYN behind extension headers.
fn v6_behind(extensions: &[Extension]) -> Vec<u8> {
    let mut bytes = syn("[2001:db8::1]:40000", "[2001:db8::2]:9001");
    for (number, extension) in extensions.iter().rev() {
        let mut extension = extension.to_vec();
        extension[0] = std::mem::replace(&mut bytes[6], *number);
        bytes.splice(40..40, extension);
    }
    let length = (bytes.len() - 40) as u16;
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn kinds_of_ipv4_packets() {
    let cases: [(&str, Vec<u8>); 14] = [
        ("tcp", v4_with(0, &[])),
        ("tcp", v4_with(6, &[0x40, 0])), // don't fragment
        ("fragment", v4_with(6, &[0x20, 0])),
        ("fragment", v4_with(6, &[0x20, 1])),
        ("fragment", v4_with(6, &[0x00, 1])),
        ("fragment", v4_with(6, &[0x10, 0])),
        ("other", v4_with(9, &[17])),              // UDP
        ("other", v4_with(6, &[0x20, 0, 64, 17])), // and a fragment of it
        ("other", v4_with(9, &[58])),              // ICMPv6 has no business here
        ("not ip", v4_with(0, &[0x55])),
        ("bad header length", v4_with(0, &[0x44])),
        ("truncated", v4_with(0, &[0x4f])),          // options up to the end, no TCP
        ("bad header length", v4_with(32, &[0x40])), // TCP's data offset
        ("truncated", v4_with(32, &[0x60])),         // TCP options that are not there
    ];
    for (index, (expected, bytes)) in cases.into_iter().enumerate() {
        assert_eq!(kind(bytes), expected, "case {index}");
    }
}

#[test]
fn kinds_of_ipv6_packets() {
    const EMPTY: Extension = (0, &[0; 8]);
    const LONG_OPTIONS: Extension = (60, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    const ROUTED: Extension = (43, &[0, 0, 0, 0, 0, 0, 0, 0]);
    const TO_BE_ROUTED: Extension = (43, &[0, 0, 0, 1, 0, 0, 0, 0]);
    const ATOMIC_FRAGMENT: Extension = (44, &[0, 0, 0, 0, 0, 0, 0, 7]);
    const FIRST_FRAGMENT: Extension = (44, &[0, 0, 0, 1, 0, 0, 0, 7]);
    const LATER_FRAGMENT: Extension = (44, &[0, 0, 0, 8, 0, 0, 0, 7]);
    const AUTHENTICATION: Extension = (51, &[0; 8]);
    const BEYOND_THE_END: Extension = (60, &[0, 9, 0, 0, 0, 0, 0, 0]);
    let cases: [(&str, &[Extension]); 10] = [
        ("tcp", &[]),
        ("tcp", &[EMPTY, LONG_OPTIONS, ROUTED, LONG_OPTIONS]),
        ("tcp", &[ATOMIC_FRAGMENT]),
        ("fragment", &[EMPTY, FIRST_FRAGMENT]),
        ("fragment", &[LATER_FRAGMENT]),
        ("fragment", &[FIRST_FRAGMENT, LONG_OPTIONS]),
        ("other", &[LATER_FRAGMENT, LONG_OPTIONS]), // the options are in another fragment, and TCP may be
        ("other", &[TO_BE_ROUTED]),
        ("other", &[AUTHENTICATION]),
        ("truncated", &[BEYOND_THE_END]),
    ];
    for (index, (expected, extensions)) in cases.into_iter().enumerate() {
        assert_eq!(kind(v6_behind(extensions)), expected, "case {index}");
    }
}

#[test]
fn an_ipv6_packet_is_read_behind_its_extensions() {
    let mut bytes = v6_behind(&[(0, &[0; 8]), (43, &[0; 8]), (60, &[0; 8])]);
    let packet = tcp(&mut bytes);
    assert_eq!(packet.source(), "[2001:db8::1]:40000".parse::<SocketAddr>().expect("an address"));
    assert!(packet.flags().is_initial_syn());
    assert!(packet.checksum_ok(), "extensions are not part of what the checksum covers");
}
