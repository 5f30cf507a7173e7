//! ICMP errors about packets that were rewritten.

use super::*;

/// An ICMPv4 "fragmentation needed" from `reporter` to `to` that quotes a TCP packet between the ends.
fn too_big(reporter: &str, to: &str, quoted_from: &str, quoted_to: &str) -> Vec<u8> {
    let quote = segment(quoted_from, quoted_to, ACK).to_bytes();
    let builder = etherparse::PacketBuilder::ipv4(octets(reporter), octets(to), 64).icmpv4(
        etherparse::Icmpv4Type::DestinationUnreachable(
            etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 },
        ),
    );
    let mut packet = Vec::new();
    builder.write(&mut packet, &quote).unwrap();
    packet
}

fn octets(text: &str) -> [u8; 4] {
    text.parse::<std::net::Ipv4Addr>().unwrap().octets()
}

fn describe_error(packet: &mut [u8]) -> String {
    let Ok(Packet::IcmpError(error)) = Packet::parse(packet) else { panic!("no ICMP error") };
    let (outer, quoted) = (
        format!("{} > {}", error.outer_source(), error.outer_destination()),
        format!("{} > {}", error.quoted_source(), error.quoted_destination()),
    );
    let parsed = etherparse::PacketHeaders::from_ip_slice(packet).unwrap();
    let Some(etherparse::TransportHeader::Icmpv4(icmp)) = parsed.transport else { panic!("no ICMPv4") };
    let etherparse::PayloadSlice::Icmpv4(payload) = parsed.payload else { panic!("no ICMPv4 payload") };
    assert_eq!(icmp.icmp_type.calc_checksum(payload), icmp.checksum, "ICMP checksum");
    format!("{outer} about {quoted}")
}

#[test]
fn errors_reach_the_end_that_sent_the_quoted_packet() {
    let mut bench = Bench::new();
    bench.connect("203.0.113.1:5000", "192.0.2.1:8003", "203.0.113.1:5000", "10.0.0.2:8000");
    let mut error = too_big("10.9.9.9", "203.0.113.1", "203.0.113.1:5000", "10.0.0.2:8000");
    assert!(matches!(bench.plane.handle(bench.now, EGRESS, Checksum::Ready, &mut error), Verdict::Rewritten));
    assert_eq!(describe_error(&mut error), "10.9.9.9 > 203.0.113.1 about 203.0.113.1:5000 > 192.0.2.1:8003");

    let mut error = too_big("10.0.0.2", "203.0.113.1", "203.0.113.1:5000", "10.0.0.2:8000");
    assert!(matches!(bench.plane.handle(bench.now, EGRESS, Checksum::Ready, &mut error), Verdict::Rewritten));
    let expected = "192.0.2.1 > 203.0.113.1 about 203.0.113.1:5000 > 192.0.2.1:8003";
    assert_eq!(describe_error(&mut error), expected, "the node's own address is not shown");

    let mut error = too_big("198.51.100.9", "192.0.2.1", "192.0.2.1:8003", "203.0.113.1:5000");
    assert!(matches!(bench.plane.handle(bench.now, Stage::Ingress, Checksum::Ready, &mut error), Verdict::Rewritten));
    assert_eq!(describe_error(&mut error), "198.51.100.9 > 10.0.0.2 about 10.0.0.2:8000 > 203.0.113.1:5000");
    assert!(matches!(bench.plane.handle(bench.now, EGRESS, Checksum::Ready, &mut error), Verdict::Accept));

    let mut error = too_big("10.9.9.9", "203.0.113.1", "203.0.113.1:5001", "10.0.0.2:8000");
    assert!(
        matches!(bench.plane.handle(bench.now, EGRESS, Checksum::Ready, &mut error), Verdict::Accept),
        "of no flow"
    );
}

#[test]
fn errors_about_masqueraded_flows_pass_both_stages() {
    let mut bench = Bench::masquerading();
    assert_eq!(bench.forward("203.0.113.1:20003", "192.0.2.1:8003", SYN), "10.0.0.254:20003 > 10.0.0.2:8000");
    let mut error = too_big("10.9.9.9", "10.0.0.254", "10.0.0.254:20003", "10.0.0.2:8000");
    assert!(matches!(bench.plane.handle(bench.now, Stage::Ingress, Checksum::Ready, &mut error), Verdict::Rewritten));
    assert!(matches!(bench.plane.handle(bench.now, EGRESS, Checksum::Ready, &mut error), Verdict::Rewritten));
    assert_eq!(describe_error(&mut error), "10.9.9.9 > 203.0.113.1 about 203.0.113.1:20003 > 192.0.2.1:8003");

    let mut error = too_big("198.51.100.9", "192.0.2.1", "192.0.2.1:8003", "203.0.113.1:20003");
    assert!(matches!(bench.plane.handle(bench.now, Stage::Ingress, Checksum::Ready, &mut error), Verdict::Rewritten));
    assert!(matches!(bench.plane.handle(bench.now, EGRESS, Checksum::Ready, &mut error), Verdict::Rewritten));
    assert_eq!(describe_error(&mut error), "10.0.0.254 > 10.0.0.2 about 10.0.0.2:8000 > 10.0.0.254:20003");
}
