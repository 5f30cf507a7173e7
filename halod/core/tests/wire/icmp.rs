//! ICMP errors: to the byte what etherparse builds around a quote of the rewritten packet.

use std::net::IpAddr;

use etherparse::{PacketBuilder, PacketBuilderStep};
use halod_core::wire::{IcmpErrorPacket, Malformed, Packet, TcpSegment};
use proptest::prelude::*;

use super::packets::{Ends, Parts, address, ends, packet, tcp};

/// An ICMP error in parts, and to what it is to be rewritten.
#[derive(Debug, Clone)]
pub(crate) struct Error {
    outer: (IpAddr, IpAddr),
    kind: u8,
    code: u8,
    /// Bytes 5 to 8 of the ICMP header. Those that RFC 4884 may use for a length are 0.
    detail: [u8; 4],
    pub(crate) quoted: Parts,
    to_outer: (IpAddr, IpAddr),
    to_quoted: Ends,
}

impl Error {
    /// The error with the first `cut` bytes of `packet` quoted, as etherparse builds it.
    pub(crate) fn quoting(&self, packet: &[u8], cut: usize) -> Vec<u8> {
        build(self.outer, self.kind, self.code, self.detail, &packet[..cut.min(packet.len())])
    }

    fn rewrite(&self, bytes: &mut [u8]) {
        let mut error = icmp_error(bytes);
        error.rewrite_outer_source(self.to_outer.0);
        error.rewrite_quoted_destination(self.to_quoted.destination);
        error.rewrite_outer_destination(self.to_outer.1);
        error.rewrite_quoted_source(self.to_quoted.source);
    }

    fn rewritten(&self) -> Error {
        Error { outer: self.to_outer, ..self.clone() }
    }
}

fn build(outer: (IpAddr, IpAddr), kind: u8, code: u8, detail: [u8; 4], quote: &[u8]) -> Vec<u8> {
    fn write<Last>(step: PacketBuilderStep<Last>, f: impl FnOnce(PacketBuilderStep<Last>, &mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        f(step, &mut bytes);
        bytes
    }
    match outer {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let step = PacketBuilder::ipv4(source.octets(), destination.octets(), 60);
            let step = step.icmpv4_raw(kind, code, detail);
            write(step, |step, bytes| step.write(bytes, quote).expect("a packet that can be built"))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let step = PacketBuilder::ipv6(source.octets(), destination.octets(), 60);
            let step = step.icmpv6_raw(kind, code, detail);
            write(step, |step, bytes| step.write(bytes, quote).expect("a packet that can be built"))
        }
        _ => panic!("two IP versions"),
    }
}

/// The packet, which has to be an ICMP error about TCP.
fn icmp_error(bytes: &mut [u8]) -> IcmpErrorPacket<'_> {
    match Packet::parse(bytes) {
        Ok(Packet::IcmpError(error)) => error,
        other => panic!("not an ICMP error: {other:?}"),
    }
}

fn is_other(mut bytes: Vec<u8>) -> bool {
    matches!(Packet::parse(&mut bytes), Ok(Packet::Other))
}

pub(crate) fn error() -> impl Strategy<Value = Error> {
    any::<bool>().prop_flat_map(|is_v4| {
        let kind =
            if is_v4 { prop::sample::select(&[3, 4, 11, 12][..]) } else { prop::sample::select(&[1, 2, 3, 4][..]) };
        let outer = || (address(is_v4), address(is_v4));
        (outer(), kind, any::<u8>(), any::<[u8; 2]>(), packet(is_v4), outer(), ends(is_v4)).prop_map(
            |(outer, kind, code, [high, low], quoted, to_outer, to_quoted)| {
                let detail = [0, 0, high, low];
                Error { outer, kind, code, detail, quoted, to_outer, to_quoted }
            },
        )
    })
}

proptest! {
    #[test]
    fn an_error_reads_as_etherparse_wrote_it(error in error()) {
        let quoted = error.quoted.bytes();
        let mut bytes = error.quoting(&quoted, quoted.len());
        let packet = icmp_error(&mut bytes);
        prop_assert_eq!((packet.outer_source(), packet.outer_destination()), error.outer);
        prop_assert_eq!(packet.quoted_source(), error.quoted.source());
        prop_assert_eq!(packet.quoted_destination(), error.quoted.destination());
    }

    #[test]
    fn a_rewritten_error_is_the_one_built_around_the_rewritten_packet(error in error()) {
        let (quoted, tcp_offset) = (error.quoted.bytes(), error.quoted.tcp_offset());
        let rewritten = error.quoted.between(error.to_quoted).bytes();
        let every_cut = (tcp_offset + 8..=quoted.len().min(tcp_offset + 70)).chain([quoted.len()]);
        for cut in every_cut {
            let mut bytes = error.quoting(&quoted, cut);
            error.rewrite(&mut bytes);
            let mut expected = rewritten.clone();
            if cut == tcp_offset + 17 {
                // Half a checksum is none.
                expected[tcp_offset + 16] = quoted[tcp_offset + 16];
            }
            prop_assert!(bytes == error.rewritten().quoting(&expected, cut), "a quote of {} bytes", cut);
        }
    }

    #[test]
    fn a_quote_without_ports_and_sequence_number_is_not_ours(error in error()) {
        for cut in 0..error.quoted.tcp_offset() + 8 {
            prop_assert!(is_other(error.quoting(&error.quoted.bytes(), cut)), "a quote of {} bytes", cut);
        }
    }

    #[test]
    fn an_error_cut_short_is_truncated_at_every_length(error in error()) {
        let bytes = error.quoting(&error.quoted.bytes(), 80);
        for length in 0..bytes.len() {
            let mut cut = bytes[..length].to_vec();
            prop_assert_eq!(Packet::parse(&mut cut).err(), Some(Malformed::Truncated), "{} bytes", length);
        }
    }

    #[test]
    fn a_wrong_icmp_checksum_stays_wrong(error in error(), bit in 0..8) {
        let quoted = error.quoted.bytes();
        let rewritten = error.quoted.between(error.to_quoted).bytes();
        let (mut bytes, expected) = (error.quoting(&quoted, 200), error.rewritten().quoting(&rewritten, 200));
        let code = if error.outer.0.is_ipv4() { 21 } else { 41 };
        bytes[code] ^= 1_u8 << bit;
        error.rewrite(&mut bytes);
        bytes[code] ^= 1_u8 << bit;
        prop_assert!(bytes == expected, "the flipped bit is all that differs");
    }
}

/// A small error about a SYN, IPv4 or IPv6, with its quote as `edit` makes it.
fn about_syn(is_v4: bool, kind: u8, detail: [u8; 4], edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut quote = syn(is_v4).to_bytes();
    edit(&mut quote);
    build((syn(is_v4).destination.ip(), syn(is_v4).source.ip()), kind, 0, detail, &quote)
}

fn syn(is_v4: bool) -> TcpSegment<'static> {
    let ends = if is_v4 { ["192.0.2.1:1", "198.51.100.1:2"] } else { ["[2001:db8::1]:1", "[2001:db8::2]:2"] };
    let [source, destination] = ends.map(|end| end.parse().expect("an address"));
    super::segment::syn_between(source, destination)
}

#[test]
fn only_errors_are_errors() {
    for kind in 0..=255 {
        let is_error = |is_v4| !is_other(about_syn(is_v4, kind, [0; 4], |_| ()));
        assert_eq!(is_error(true), [3, 4, 11, 12].contains(&kind), "ICMPv4 type {kind}");
        assert_eq!(is_error(false), (1..=4).contains(&kind), "ICMPv6 type {kind}");
    }
}

#[test]
fn only_errors_about_the_beginning_of_a_tcp_packet_are_ours() {
    let v4 = |at: usize, new: u8| is_other(about_syn(true, 3, [0; 4], |quote| quote[at] = new));
    assert!(v4(9, 17), "UDP");
    assert!(v4(7, 1), "a later fragment");
    assert!(!v4(6, 0x20), "the first fragment has the ports");
    assert!(v4(0, 0x44), "a header length below the minimum");
    assert!(is_other(about_syn(false, 1, [0; 4], |quote| quote[6] = 58)), "about ICMPv6");
    assert!(is_other(about_syn(true, 3, [0; 4], |quote| *quote = syn(false).to_bytes())), "IPv6 quoted in IPv4");
    assert!(is_other(about_syn(false, 1, [0; 4], |quote| *quote = syn(true).to_bytes())), "IPv4 quoted in IPv6");
}

#[test]
fn extensions_behind_the_quote_stay_as_they_are() {
    // A quote of 28 bytes (7 words) in ICMPv4 and of 48 bytes (6 words) in ICMPv6: 8 bytes of TCP. What lies where the
    // TCP checksum would be is an extension.
    for (is_v4, kind, detail, length) in [(true, 11, [0, 7, 0, 0], 28), (false, 3, [6, 0, 0, 0], 48)] {
        let extension = [0x20; 40];
        let mut bytes = about_syn(is_v4, kind, detail, |quote| {
            quote.truncate(length);
            quote.extend(extension);
        });
        let mut error = icmp_error(&mut bytes);
        let to = error.quoted_destination();
        error.rewrite_quoted_source(to);
        assert!(bytes.ends_with(&extension));

        let expected = about_syn(is_v4, kind, detail, |quote| {
            tcp(quote).rewrite_source(to);
            quote.truncate(length);
            quote.extend(extension);
        });
        assert_eq!(bytes, expected);
    }
}

#[test]
fn zeros_behind_a_short_packet_are_padding() {
    // The quoted packet, a first fragment, has only 8 bytes of TCP; its quote is padded to the 128 of RFC 4884.
    let shorten = |quote: &mut Vec<u8>| {
        quote[2..4].copy_from_slice(&[0, 28]);
        quote[6..8].copy_from_slice(&[0x20, 0]);
        quote.truncate(28);
        quote.resize(128, 0);
    };
    let mut bytes = about_syn(true, 3, [0; 4], shorten);
    let mut error = icmp_error(&mut bytes);
    let to = error.quoted_destination();
    error.rewrite_quoted_source(to);
    let expected = about_syn(true, 3, [0; 4], |quote| {
        tcp(quote).rewrite_source(to);
        shorten(quote);
    });
    assert_eq!(bytes, expected);
}

#[test]
fn a_packet_too_big_has_no_length_field() {
    // The first byte of ICMPv6's MTU is where other types have the length of the quote.
    let mut bytes = about_syn(false, 2, [1, 0, 0x05, 0x78], |_| ());
    let error = icmp_error(&mut bytes);
    assert_eq!(error.quoted_source(), "[2001:db8::1]:1".parse().expect("an address"));
}
