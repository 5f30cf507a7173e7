//! Segments made here, plain ones and resets, against etherparse's.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader, ip_number};
use halod_core::wire::{TcpFlags, TcpSegment, reset_for};
use proptest::collection::vec;
use proptest::prelude::*;

use super::packets::{Ends, ends, packet_and_ends, tcp};

pub(crate) fn syn_between(source: SocketAddr, destination: SocketAddr) -> TcpSegment<'static> {
    let (flags, window) = (TcpFlags::SYN, 64_240);
    TcpSegment { source, destination, sequence: 7, acknowledgement: 0, flags, window, payload: &[] }
}

/// The segment as etherparse writes it, in an IP header with a hop limit of 64 and, in IPv4, "don't fragment".
fn by_etherparse(segment: &TcpSegment<'_>) -> Vec<u8> {
    let ip = match (segment.source.ip(), segment.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header =
                Ipv4Header::new(0, 64, ip_number::TCP, source.octets(), destination.octets()).expect("a short payload");
            header.dont_fragment = true;
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (source, destination) = (source.octets(), destination.octets());
            IpHeaders::Ipv6(Ipv6Header { source, destination, hop_limit: 64, ..Default::default() }, Default::default())
        }
        _ => panic!("two IP versions"),
    };
    let (source_port, destination_port) = (segment.source.port(), segment.destination.port());
    let mut header = TcpHeader::new(source_port, destination_port, segment.sequence, segment.window);
    header.acknowledgment_number = segment.acknowledgement;
    header.fin = segment.flags.contains(TcpFlags::FIN);
    header.syn = segment.flags.contains(TcpFlags::SYN);
    header.rst = segment.flags.contains(TcpFlags::RST);
    header.psh = segment.flags.contains(TcpFlags::PSH);
    header.ack = segment.flags.contains(TcpFlags::ACK);
    let mut bytes = Vec::new();
    PacketBuilder::ip(ip).tcp_header(header).write(&mut bytes, segment.payload).expect("a packet that can be built");
    bytes
}

proptest! {
    #[test]
    fn a_segment_is_written_as_etherparse_writes_it(
        Ends { source, destination } in any::<bool>().prop_flat_map(ends),
        (sequence, acknowledgement, window, flags) in (any::<u32>(), any::<u32>(), any::<u16>(), 0..32_u8),
        payload in vec(any::<u8>(), 0..200),
    ) {
        let flags = TcpFlags(flags);
        let segment =
            TcpSegment { source, destination, sequence, acknowledgement, flags, window, payload: &payload };
        prop_assert_eq!(segment.to_bytes(), by_etherparse(&segment));
    }

    #[test]
    fn a_reset_answers_with_the_number_the_sender_expects((parts, _) in packet_and_ends()) {
        let mut bytes = parts.bytes();
        let reset = reset_for(&tcp(&mut bytes));
        let answered = &parts.tcp;
        if answered.rst {
            prop_assert!(reset.is_none());
            return Ok(());
        }
        let taken = parts.payload.len() as u32 + u32::from(answered.syn) + u32::from(answered.fin);
        let (sequence, acknowledgement, flags) = if answered.ack {
            (answered.acknowledgment_number, 0, TcpFlags::RST)
        } else {
            (0, answered.sequence_number.wrapping_add(taken), TcpFlags::RST | TcpFlags::ACK)
        };
        let (source, destination) = (parts.destination(), parts.source());
        let expected =
            TcpSegment { source, destination, sequence, acknowledgement, flags, window: 0, payload: &[] };
        prop_assert_eq!(reset.as_deref(), Some(&by_etherparse(&expected)[..]));
    }
}

#[test]
fn a_refused_syn_to_the_byte() {
    let [client, service] = ["192.0.2.1:40000", "198.51.100.1:9001"].map(|end| end.parse().expect("an address"));
    let mut bytes = syn_between(client, service).to_bytes();
    let reset = reset_for(&tcp(&mut bytes)).expect("an answer to a SYN");
    #[rustfmt::skip]
    let expected = [
        0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0x4e, 0x9a, 198, 51, 100, 1, 192, 0, 2, 1,
        0x23, 0x29, 0x9c, 0x40, 0, 0, 0, 0, 0, 0, 0, 8, 0x50, 0x14, 0, 0, 0x04, 0x29, 0, 0,
    ];
    assert_eq!(*reset, expected);
}

#[test]
#[should_panic(expected = "different IP versions")]
fn a_segment_has_one_ip_version() {
    let [v4, v6] = ["192.0.2.1:1", "[2001:db8::1]:1"].map(|end| end.parse().expect("an address"));
    syn_between(v4, v6).to_bytes();
}
