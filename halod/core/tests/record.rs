//! Records: lines as they are written, and packets that are as good as those they were cut from.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use halod_core::cluster::{self, ClusterConfig, ConnId, Output};
use halod_core::flow::{FlowKey, SourcePorts, Toward};
use halod_core::ids::Epoch;
use halod_core::last_table::{LastHolder, LastTable};
use halod_core::plane::{PlaneConfig, PlaneKind, Seen, Stage};
use halod_core::protocol::{DecodeError, Endpoints, FromNode, Heartbeat, Token, decode_from_node};
use halod_core::record::{End, Head, Input, Line, LineError, PacketHeaders, write_cluster_input, write_packet};
use halod_core::routing::SessionId;
use halod_core::service::ServicePorts;
use halod_core::time::Instant;
use halod_core::wire::{Checksum, Packet, TcpFlags, TcpSegment};
use proptest::prelude::*;

const AT: Instant = Instant::from_nanos(1_234_567_890);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The line is this text, and is read as what was written.
#[track_caller]
fn check(input: &Input, expected: &str) {
    let mut line = Vec::new();
    input.write(AT, &mut line);
    assert_eq!(std::str::from_utf8(&line).unwrap(), format!("[1234567890,{expected}]\n"));
    assert_eq!(Line::parse(&line), Ok(Line::Input(AT, input.clone())));
    if let Input::Cluster(input) = input {
        let mut same = Vec::new();
        write_cluster_input(AT, input, &mut same);
        assert_eq!(same, line);
    }
}

#[test]
fn inputs_of_the_cluster() {
    use cluster::Input::*;
    let (conn, node, token) = (ConnId(3), SessionId(5), Token(0xFE));
    let check = |input, expected: &str| check(&Input::Cluster(input), &format!("{{\"cluster\":{expected}}}"));
    check(
        Opened { conn, peer: "10.2.1.1".parse().unwrap(), token },
        r#"{"opened":{"conn":3,"peer":"10.2.1.1","token":"00000000000000fe"}}"#,
    );
    check(Redialed { node, conn }, r#"{"redialed":{"node":5,"conn":3}}"#);
    check(RedialFailed { node }, r#"{"redial_failed":{"node":5}}"#);
    check(Ended { conn }, r#"{"ended":{"conn":3}}"#);
    check(GivenUp { conn }, r#"{"given_up":{"conn":3}}"#);
    check(
        Received { conn, message: Ok(FromNode::Leave) },
        r#"{"received":{"conn":3,"message":{"Ok":{"type":"leave"}}}}"#,
    );
    for error in [DecodeError::LineTooLong, DecodeError::WrongVersion(9)] {
        let kind = serde_json::to_string(&error).unwrap();
        check(
            Received { conn, message: Err(error) },
            &format!(r#"{{"received":{{"conn":3,"message":{{"Err":{kind}}}}}}}"#),
        );
    }
    let beat = Heartbeat { token, seq: 7, connections: Some(1 << 60) };
    check(
        Datagram { from: address("[fd00::1]:7"), message: Ok(FromNode::Heartbeat(beat)) },
        r#"{"datagram":{"from":"[fd00::1]:7","message":{"Ok":{"type":"heartbeat","token":"00000000000000fe","seq":7,"connections":1152921504606846976}}}}"#,
    );
}

#[test]
fn messages_that_a_node_may_send_are_read_as_they_were() {
    let hello = r#"{"type":"hello","version":1,"name":"nö\n","incarnation":"00000000000000aa","browser":["10.0.0.1:80","[fd00::1]:80"],"app":["10.0.0.1:90"],"admin":"10.0.0.1:91","other":1}"#;
    let drained = r#"{"type":"drained","route":7,"epoch":18446744073709551615}"#;
    for text in [hello, drained, "{}", "nothing", r#"{"type":"what"}"#, r#"{"type":"hello","version":2}"#] {
        let message = decode_from_node(text.as_bytes());
        let input = Input::Cluster(cluster::Input::Received { conn: ConnId(1), message });
        let mut line = Vec::new();
        input.write(AT, &mut line);
        assert_eq!(Line::parse(&line), Ok(Line::Input(AT, input)), "{text}");
    }
}

#[test]
fn inputs_of_the_plane() {
    let flow = FlowKey { client: address("198.51.100.7:40000"), service: address("192.0.2.1:8001") };
    check(&Input::Timeout, r#""timeout""#);
    check(&Input::Look, r#""look""#);
    check(&Input::Ask, r#""ask""#);
    check(&Input::Expire, r#""expire""#);
    let masquerades = BTreeMap::from([("10.2.1.1".parse().unwrap(), "10.2.0.1".parse().unwrap())]);
    check(
        &Input::Publish { epoch: Epoch(2), masquerades },
        r#"{"publish":{"epoch":2,"masquerades":{"10.2.1.1":"10.2.0.1"}}}"#,
    );
    check(
        &Input::End { flow, toward: Toward::Both },
        r#"{"end":{"flow":{"client":"198.51.100.7:40000","service":"192.0.2.1:8001"},"toward":"both"}}"#,
    );
    let headers =
        PacketHeaders { stage: Seen::Stage(Stage::Ingress), headers: vec![0x45, 0xA0], payload: 517, damaged: false };
    check(&Input::Packet(headers.clone()), r#"{"packet":{"stage":"ingress","headers":"45a0","payload":517}}"#);
    let damaged = PacketHeaders { stage: Seen::Stage(Stage::Egress { local: true }), damaged: true, ..headers };
    check(
        &Input::Packet(damaged),
        r#"{"packet":{"stage":{"egress":{"local":true}},"headers":"45a0","payload":517,"damaged":true}}"#,
    );
}

fn head() -> Head {
    let cluster = ClusterConfig {
        routes: 24,
        reserve: 1,
        heartbeat: Duration::from_millis(100),
        misses: 3,
        drain: Duration::from_secs(30),
        pace: 1000,
        redial_timeout: Duration::from_millis(250),
        own_addresses: vec!["10.2.0.1".parse().unwrap()],
    };
    let plane = PlaneConfig {
        ports: ServicePorts::new(24, 65_512..=65_535, 1..=24).unwrap(),
        addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        source_ports: SourcePorts::new(&(0..=65_535)).unwrap(),
        seed: u64::MAX,
    };
    Head::new(AT, cluster, PlaneKind::Rewrite, plane)
}

fn line_of(head: &Head) -> String {
    let mut line = Vec::new();
    head.write(&mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn a_head_with_a_former_table_makes_a_core_that_goes_on_with_it() {
    let endpoints = |address: &str| Endpoints::try_from(vec![address.parse().unwrap()]).unwrap();
    let holder = LastHolder { browser: endpoints("10.0.0.1:8000"), app: endpoints("10.0.0.1:9000") };
    let mut head = head();
    head.last = Some(LastTable { holders: vec![holder], nodes: ["10.0.0.1:8000".parse().unwrap()].into() });
    head.has_former_flows = true;
    let line = line_of(&head);
    let end = r#""last":{"holders":[{"browser":["10.0.0.1:8000"],"app":["10.0.0.1:9000"]}],"nodes":["10.0.0.1:8000"]},"has_former_flows":true}"#;
    assert!(line.trim_end().ends_with(end), "{line}");
    assert_eq!(Line::parse(line.as_bytes()), Ok(Line::Head(head.clone())));
    let (mut cluster, _) = head.core();
    let published = std::iter::from_fn(|| cluster.poll()).find_map(|output| match output {
        Output::Publish(routing) => Some((routing.epoch.0, routing.holders.len())),
        _ => None,
    });
    assert_eq!(published, Some((1, 1)));

    head.last.as_mut().unwrap().holders = vec![holder; 25];
    assert!(Line::parse(line_of(&head).as_bytes()).is_err(), "more nodes than routes");
}

#[test]
fn heads_and_ends() {
    let head = head();
    assert_eq!(Line::parse(line_of(&head).as_bytes()), Ok(Line::Head(head)));
    for (end, expected) in [(End::Stopped, "stopped"), (End::Panicked, "panicked"), (End::Overflow, "overflow")] {
        let mut line = Vec::new();
        end.write(&mut line);
        assert_eq!(line, format!("{{\"end\":\"{expected}\"}}\n").as_bytes());
        assert_eq!(Line::parse(&line), Ok(Line::End(end)));
    }
}

#[test]
fn what_is_no_line_is_refused() {
    let line = line_of(&head());
    let check = |line: &str, what: &str, column| {
        let error = LineError::Malformed { what: what.into(), column };
        assert_eq!(Line::parse(line.as_bytes()), Err(error), "{line}");
    };
    check("", "EOF while parsing a value", 0);
    check("7", "neither an input nor the head or the end of a record", 0);
    check("[7]", "invalid length 1, expected a tuple of size 2", 3);
    check("[-7,\"timeout\"]", "invalid value: integer `-7`, expected u64", 3);
    check(
        r#"[7,{"packet":{"stage":"ingress","headers":"4é","payload":0}}]"#,
        "invalid value: string \"4é\", expected an even number of hexadecimal digits",
        47,
    );
    check(r#"{"halod_record":"1"}"#, "the version of a record is a number", 0);
    for (former, latter) in [("\"pace\":1000", "\"pace\":0"), ("\"routes\":24", "\"routes\":25"), ("100000000", "0")] {
        check(&line.replacen(former, latter, 1), "a config that HaloD refuses", 0);
    }
    assert_eq!(Line::parse(br#"{"halod_record":4,"new":[]}"#), Err(LineError::WrongVersion(4)));
}

/// Everything that the core asks a TCP packet for.
fn asked_for(packet: &mut [u8]) -> (SocketAddr, SocketAddr, TcpFlags, u32, u32, u32, bool) {
    let Ok(Packet::Tcp(tcp)) = Packet::parse(packet) else { panic!("a TCP packet") };
    let (sequence, acknowledgement) = (tcp.sequence(), tcp.acknowledgement());
    (tcp.source(), tcp.destination(), tcp.flags(), sequence, acknowledgement, tcp.segment_len(), tcp.checksum_ok())
}

fn record_of(packet: &mut [u8]) -> Option<PacketHeaders> {
    record_with(Checksum::Ready, packet)
}

fn record_with(checksum: Checksum, packet: &mut [u8]) -> Option<PacketHeaders> {
    let mut line = Vec::new();
    write_packet(AT, Seen::Stage(Stage::Ingress), checksum, packet, &mut line);
    match Line::parse(&line) {
        Ok(Line::Input(AT, Input::Packet(headers))) => Some(headers),
        _ => {
            assert_eq!(line, b"");
            None
        }
    }
}

proptest! {
    #[test]
    fn a_packet_without_its_payload_is_as_good(
        v6: bool,
        ports: [u16; 2],
        [sequence, acknowledgement]: [u32; 2],
        flags: u8,
        payload in prop::collection::vec(any::<u8>(), 0..100),
        padding in 0_usize..4,
        damage in prop::option::of((any::<prop::sample::Index>(), 1_u8..)),
    ) {
        let [client, service] = if v6 { ["2001:db8::7", "2001:db8::1"] } else { ["198.51.100.7", "192.0.2.1"] };
        let segment = TcpSegment {
            source: SocketAddr::new(client.parse().unwrap(), ports[0]),
            destination: SocketAddr::new(service.parse().unwrap(), ports[1]),
            sequence, acknowledgement, flags: TcpFlags(flags), window: 0, payload: &payload,
        };
        let mut packet = segment.to_bytes();
        if let (Some((index, change)), false) = (damage, payload.is_empty()) {
            let at = packet.len() - 1 - index.index(payload.len());
            packet[at] ^= change;
        }
        packet.extend(vec![0xEE; padding]);
        let before = packet.clone();
        let headers = record_of(&mut packet).unwrap();
        prop_assert_eq!(&packet, &before);
        prop_assert_eq!(headers.headers.len(), if v6 { 60 } else { 40 });
        prop_assert_eq!(asked_for(&mut headers.to_packet()), asked_for(&mut packet));
        let partial = record_with(Checksum::Partial, &mut packet).unwrap();
        prop_assert_eq!(&partial, &PacketHeaders { damaged: false, ..headers });
    }
}

#[test]
fn an_icmp_error_is_cut_behind_what_identifies_its_flow() {
    let segment = TcpSegment {
        source: address("192.0.2.1:8001"),
        destination: address("198.51.100.7:40000"),
        sequence: 1,
        acknowledgement: 2,
        flags: TcpFlags::ACK,
        window: 0,
        payload: b"secret",
    };
    let quote = segment.to_bytes();
    // RFC 792: type 3, code 4, the next hop's MTU. Checksums do not matter here.
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 9, 192, 0, 2, 1, 3, 4, 0, 0, 0, 0, 5, 0];
    packet.extend(&quote);
    packet[3] = packet.len() as u8;
    let headers = record_of(&mut packet).unwrap();
    assert_eq!((headers.headers.len(), headers.payload), (20 + 8 + 20 + 8, 12 + 6));
    let mut again = headers.to_packet();
    assert_eq!(again.len(), packet.len());
    let Ok(Packet::IcmpError(error)) = Packet::parse(&mut again) else { panic!("an ICMP error") };
    assert_eq!((error.quoted_source(), error.quoted_destination()), (segment.source, segment.destination));
}

#[test]
fn what_leaves_nothing_behind_is_not_recorded() {
    let udp = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 0, 8, 0, 0];
    let mut fragment = udp;
    fragment[6..10].copy_from_slice(&[0x20, 0, 64, 6]);
    for mut packet in [udp.to_vec(), fragment.to_vec(), vec![0x45, 0, 0], Vec::new()] {
        assert_eq!(record_of(&mut packet), None);
    }
}
