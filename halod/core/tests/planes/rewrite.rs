//! The rewrite plane: packets in, packets and verdicts out. Every packet that leaves has right checksums.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use halod_core::flow::{FlowKey, Flows, Toward};
use halod_core::ids::RouteId;
use halod_core::plane::{Rewrite, Stage, Verdict};
use halod_core::routing::{Member, Routing, SessionId};
use halod_core::time::Instant;
use halod_core::wire::{Checksum, Packet, TcpFlags, TcpSegment};

use super::*;

mod endings;
mod icmp;

const CLIENT: &str = "203.0.113.1:5000";
const SERVICE: &str = "192.0.2.1:8003";
const NODE: &str = "10.0.0.2:8000";
const EGRESS: Stage = Stage::Egress { local: false };

/// A plane of 4 routes (browser ports 8001-8004, app ports 9001-9004) in front of n1 and n2, which own two each.
struct Bench {
    plane: Rewrite,
    now: Instant,
    suspects: BTreeSet<SessionId>,
    /// What the checksums of packets are that have not been rewritten yet.
    checksum: Checksum,
}

impl Bench {
    fn new() -> Self {
        let plane = Rewrite::new(config());
        let mut bench = Self { plane, now: Instant::ORIGIN, suspects: BTreeSet::new(), checksum: Checksum::Ready };
        bench.own(&[1, 1, 2, 2], &[1, 2], BTreeMap::new());
        bench
    }

    fn masquerading() -> Self {
        let mut bench = Self::new();
        bench.own(
            &[1, 1, 2, 2],
            &[1, 2],
            BTreeMap::from([(ip("10.0.0.1"), ip("10.0.0.254")), (ip("10.0.0.2"), ip("10.0.0.254"))]),
        );
        bench
    }

    fn own(&mut self, owners: &[u16], nodes: &[u8], masquerades: BTreeMap<IpAddr, IpAddr>) {
        let members = nodes.iter().map(|&number| member(number)).collect();
        self.publish_as(owners, members, masquerades);
    }

    fn publish_with(&mut self, owners: &[u16], members: Vec<Member>) {
        self.publish_as(owners, members, BTreeMap::new());
    }

    fn publish_as(&mut self, owners: &[u16], members: Vec<Member>, masquerades: BTreeMap<IpAddr, IpAddr>) {
        let routing = Routing { suspects: self.suspects.clone(), ..routing(owners, members) };
        self.plane.publish(self.now, Arc::new(routing), masquerades);
    }

    /// What becomes of a TCP packet, in words.
    fn send(&mut self, stage: Stage, from: &str, to: &str, flags: TcpFlags) -> String {
        let mut packet = self.packet(from, to, flags);
        let verdict = self.plane.handle(self.now, stage, self.checksum, &mut packet);
        describe(&verdict, &mut packet)
    }

    /// A client's packet through both stages.
    fn forward(&mut self, from: &str, to: &str, flags: TcpFlags) -> String {
        self.pass(Stage::Ingress, from, to, flags)
    }

    fn pass(&mut self, first: Stage, from: &str, to: &str, flags: TcpFlags) -> String {
        self.pass_segment(first, segment(from, to, flags))
    }

    /// The SYN of another connection between the same ends.
    fn begin_again(&mut self, from: &str, to: &str) -> String {
        self.pass_segment(Stage::Ingress, TcpSegment { sequence: 1 << 24, ..segment(from, to, SYN) })
    }

    fn pass_segment(&mut self, first: Stage, segment: TcpSegment<'_>) -> String {
        let mut packet = self.bytes_of(&segment);
        let verdict = self.plane.handle(self.now, first, self.checksum, &mut packet);
        let checksum = match verdict {
            Verdict::Drop | Verdict::Answer(_) | Verdict::Marked(_) | Verdict::Doubt(_) => {
                return describe(&verdict, &mut packet);
            }
            Verdict::Accept => self.checksum,
            Verdict::Rewritten => Checksum::Ready,
        };
        let verdict = self.plane.handle(self.now, EGRESS, checksum, &mut packet);
        match verdict {
            Verdict::Accept => describe(&Verdict::Rewritten, &mut packet),
            verdict => describe(&verdict, &mut packet),
        }
    }

    fn packet(&self, from: &str, to: &str, flags: TcpFlags) -> Vec<u8> {
        self.bytes_of(&segment(from, to, flags))
    }

    fn bytes_of(&self, segment: &TcpSegment<'_>) -> Vec<u8> {
        let mut packet = segment.to_bytes();
        if self.checksum == Checksum::Partial {
            let checksum = if segment.source.is_ipv4() { 20 + 16 } else { 40 + 16 };
            packet[checksum..checksum + 2].copy_from_slice(&[0xBE, 0xEF]);
        }
        packet
    }

    fn connect(&mut self, client: &str, service: &str, peer: &str, node: &str) {
        assert_eq!(self.forward(client, service, SYN), format!("{peer} > {node}"));
        assert_eq!(self.forward(node, peer, SYN_ACK), format!("{service} > {client}"));
        assert_eq!(self.forward(client, service, ACK), format!("{peer} > {node}"));
    }
}

impl Bench {
    /// The packets that the plane sends of itself.
    fn transmits(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.plane.poll_transmit())
            .map(|mut packet| {
                let text = ends(&mut packet);
                let Ok(Packet::Tcp(tcp)) = Packet::parse(&mut packet) else { panic!("not a TCP packet") };
                let kind = if tcp.flags().contains(RST) {
                    "RST"
                } else if tcp.flags() == SYN {
                    "SYN"
                } else {
                    "probe"
                };
                format!("{kind} {text} seq {}", tcp.sequence())
            })
            .collect()
    }

    fn lose(&mut self, owners: &[u16], nodes: &[u8]) {
        self.own(owners, nodes, BTreeMap::new());
    }
}

fn key(client: &str, service: &str) -> FlowKey {
    FlowKey { client: at(client), service: at(service) }
}

#[test]
fn a_flow_goes_to_the_owner_and_back() {
    let mut bench = Bench::new();
    bench.connect("203.0.113.1:5000", "192.0.2.1:8003", "203.0.113.1:5000", "10.0.0.2:8000");
    bench.connect("203.0.113.1:5000", "192.0.2.1:9001", "203.0.113.1:5000", "10.0.0.1:9000");
    bench.connect("[2001:db8:9::1]:5000", "[2001:db8::1]:8001", "[2001:db8:9::1]:5000", "[fd00::1]:8000");
}

#[test]
fn a_flow_stays_on_its_node_when_its_route_moves() {
    let mut bench = Bench::new();
    bench.connect("203.0.113.1:5000", "192.0.2.1:8003", "203.0.113.1:5000", "10.0.0.2:8000");
    bench.own(&[1, 1, 1, 1], &[1, 2], BTreeMap::new());
    assert_eq!(bench.forward("203.0.113.1:5000", "192.0.2.1:8003", ACK), "203.0.113.1:5000 > 10.0.0.2:8000");
    bench.connect("203.0.113.1:5001", "192.0.2.1:8003", "203.0.113.1:5001", "10.0.0.1:8000");
}

#[test]
fn only_a_syn_starts_a_flow() {
    let mut bench = Bench::new();
    for flags in [ACK, SYN_ACK, FIN_ACK] {
        let answer = bench.forward("203.0.113.1:5000", "192.0.2.1:8003", flags);
        assert_eq!(answer, "RST 192.0.2.1:8003 > 203.0.113.1:5000");
    }
    assert_eq!(bench.forward("203.0.113.1:5000", "192.0.2.1:8003", RST), "dropped", "an RST is never answered");
    assert_eq!(bench.plane.counters().strays, 4);
}

#[test]
fn a_node_that_speaks_out_of_turn_is_reset() {
    let mut bench = Bench::new();
    let answer = bench.send(EGRESS, "10.0.0.1:8000", "203.0.113.1:5000", ACK);
    assert_eq!(answer, "RST 203.0.113.1:5000 > 10.0.0.1:8000");
    assert_eq!(bench.send(EGRESS, "10.0.0.1:22", "203.0.113.1:5000", ACK), "untouched", "not a service address");
}

#[test]
fn connections_of_the_router_itself_pass() {
    let mut bench = Bench::new();
    let local = Stage::Egress { local: true };
    assert_eq!(bench.send(local, "10.0.0.1:8000", "10.0.0.254:40000", SYN_ACK), "untouched");
}

#[test]
fn what_is_not_for_a_service_port_passes() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(Stage::Ingress, "203.0.113.1:5000", "192.0.2.1:22", SYN), "untouched");
    assert_eq!(bench.send(Stage::Ingress, "203.0.113.1:5000", "198.51.100.1:8001", SYN), "untouched");
}

#[test]
fn a_route_without_owner_is_refused_at_once() {
    let mut bench = Bench::new();
    bench.own(&[0, 0, 0, 0], &[], BTreeMap::new());
    let answer = bench.forward("203.0.113.1:5000", "192.0.2.1:8003", SYN);
    assert_eq!(answer, "RST 192.0.2.1:8003 > 203.0.113.1:5000");
    assert_eq!(bench.plane.counters().unowned, 1);
}

#[test]
fn two_flows_that_would_look_the_same_at_a_node_get_different_ports() {
    let mut bench = Bench::new();
    bench.connect("203.0.113.1:5000", "192.0.2.1:8001", "203.0.113.1:5000", "10.0.0.1:8000");
    let other = bench.forward("203.0.113.1:5000", "192.0.2.1:8002", SYN);
    let peer = other.strip_suffix(" > 10.0.0.1:8000").unwrap().to_owned();
    assert!((20_000..=20_009).contains(&at(&peer).port()), "{peer}");
    let reply = bench.forward("10.0.0.1:8000", &peer, SYN_ACK);
    assert_eq!(reply, "192.0.2.1:8002 > 203.0.113.1:5000");
    let reply = bench.forward("10.0.0.1:8000", "203.0.113.1:5000", ACK);
    assert_eq!(reply, "192.0.2.1:8001 > 203.0.113.1:5000", "the first keeps its port");
    // The port that was given away is another client port now: it has to give way.
    let third = bench.forward(&peer, "192.0.2.1:8001", SYN);
    assert_ne!(third, other);
}

#[test]
fn when_no_source_port_is_left_a_connection_waits() {
    let mut bench = Bench::new();
    let services = ["8001", "8002"];
    for port in 20_000..=20_009 {
        let client = format!("203.0.113.1:{port}");
        bench.forward(&client, "192.0.2.1:8001", SYN);
    }
    let service = format!("192.0.2.1:{}", services[1]);
    assert_eq!(bench.forward("203.0.113.1:20000", &service, SYN), "dropped");
    assert_eq!(bench.plane.counters().no_room, 1);
}

#[test]
fn a_masqueraded_node_sees_the_routers_address() {
    let mut bench = Bench::masquerading();
    let forwarded = bench.forward("203.0.113.1:20003", "192.0.2.1:8003", SYN);
    assert_eq!(forwarded, "10.0.0.254:20003 > 10.0.0.2:8000");
    let back = bench.pass(Stage::Ingress, "10.0.0.2:8000", "10.0.0.254:20003", SYN_ACK);
    assert_eq!(back, "192.0.2.1:8003 > 203.0.113.1:20003");
    let other = bench.forward("203.0.113.2:20003", "192.0.2.1:8003", SYN);
    assert_ne!(other, forwarded, "another client with the same port");
    let outside = bench.forward("203.0.113.2:50000", "192.0.2.1:8003", SYN);
    let peer = outside.strip_suffix(" > 10.0.0.2:8000").unwrap();
    assert!((20_000..=20_009).contains(&at(peer).port()), "ports of the router's own connections are left alone");
}

#[test]
fn a_new_syn_after_the_end_goes_to_the_owner_of_now() {
    let mut bench = Bench::new();
    let (client, service) = ("203.0.113.1:5000", "192.0.2.1:8003");
    bench.connect(client, service, client, "10.0.0.2:8000");
    bench.own(&[1, 1, 1, 1], &[1, 2], BTreeMap::new());
    assert_eq!(bench.forward(client, service, SYN), "203.0.113.1:5000 > 10.0.0.2:8000", "the node has to challenge it");
    bench.forward(client, service, FIN_ACK);
    bench.forward("10.0.0.2:8000", client, FIN_ACK);
    assert_eq!(bench.begin_again(client, service), "203.0.113.1:5000 > 10.0.0.1:8000");
}

#[test]
fn a_late_copy_of_a_syn_begins_no_flow() {
    let mut bench = Bench::new();
    bench.connect(CLIENT, SERVICE, CLIENT, NODE);
    bench.own(&[1, 1, 1, 1], &[1, 2], BTreeMap::new());
    bench.forward(CLIENT, SERVICE, FIN_ACK);
    bench.forward(NODE, CLIENT, FIN_ACK);
    assert_eq!(bench.forward(CLIENT, SERVICE, SYN), "203.0.113.1:5000 > 10.0.0.2:8000");
    assert_eq!(
        bench.forward(NODE, CLIENT, FIN_ACK),
        "192.0.2.1:8003 > 203.0.113.1:5000",
        "what the client still lacks"
    );
    bench.lose(&[1, 1, 1, 1], &[1]);
    assert_eq!(bench.forward(CLIENT, SERVICE, SYN), "RST 192.0.2.1:8003 > 203.0.113.1:5000");
    assert_eq!(bench.begin_again(CLIENT, SERVICE), "203.0.113.1:5000 > 10.0.0.1:8000");
}

/// Packets whose checksums are left to the network card, or that the kernel has joined.
#[test]
fn partial_checksums_are_completed_wherever_a_packet_is_rewritten() {
    for (mut bench, peer) in [(Bench::new(), "203.0.113.1:20003"), (Bench::masquerading(), "10.0.0.254:20003")] {
        bench.checksum = Checksum::Partial;
        bench.connect("203.0.113.1:20003", "192.0.2.1:8003", peer, "10.0.0.2:8000");
        assert_eq!(bench.send(Stage::Ingress, "203.0.113.1:6", "192.0.2.1:22", ACK), "untouched");
        assert_eq!(
            bench.send(Stage::Ingress, "203.0.113.1:6", "192.0.2.1:8001", ACK),
            "RST 192.0.2.1:8001 > 203.0.113.1:6"
        );
        let node = "10.0.0.2:8000";
        assert_eq!(bench.send(EGRESS, node, "203.0.113.1:6", ACK), "RST 203.0.113.1:6 > 10.0.0.2:8000");
    }
    let mut bench = Bench::new();
    bench.checksum = Checksum::Partial;
    bench.connect("[2001:db8:9::1]:5000", "[2001:db8::1]:8003", "[2001:db8:9::1]:5000", "[fd00::2]:8000");
    bench.send(Stage::Ingress, "203.0.113.1:5000", "192.0.2.1:8003", SYN);
    bench.suspects = BTreeSet::from([SessionId(1)]);
    bench.own(&[1, 1, 2, 2], &[1, 2], BTreeMap::new());
    assert_eq!(bench.forward("203.0.113.1:5001", "192.0.2.1:8001", SYN), "dropped", "held");
    bench.suspects.clear();
    bench.own(&[1, 1, 1, 1], &[1], BTreeMap::new());
    let sent_on = [5001, 5000].map(|port| format!("SYN 203.0.113.1:{port} > 10.0.0.1:8000 seq 1000"));
    assert_eq!(bench.transmits(), sent_on, "the one that was held, and the one that was not answered");
}

#[test]
fn a_half_open_flow_of_a_node_that_is_gone_is_decided_anew() {
    let mut bench = Bench::new();
    let (client, service) = ("203.0.113.1:5000", "192.0.2.1:8003");
    assert_eq!(bench.forward(client, service, SYN), "203.0.113.1:5000 > 10.0.0.2:8000");
    assert_eq!(bench.forward(client, service, SYN), "203.0.113.1:5000 > 10.0.0.2:8000", "a retransmission");
    bench.own(&[1, 1, 1, 1], &[1], BTreeMap::new());
    assert_eq!(bench.transmits(), ["SYN 203.0.113.1:5000 > 10.0.0.1:8000 seq 1000"], "at once");
    assert_eq!(bench.forward(client, service, SYN), "203.0.113.1:5000 > 10.0.0.1:8000", "and at its next SYN");
}

#[test]
fn silent_flows_expire() {
    let mut bench = Bench::new();
    bench.forward("203.0.113.1:5000", "192.0.2.1:8003", SYN);
    bench.connect("203.0.113.1:5001", "192.0.2.1:8003", "203.0.113.1:5001", "10.0.0.2:8000");
    bench.plane.expire(bench.now + Duration::from_secs(59));
    assert_eq!(bench.plane.flow_count(), 2);
    bench.plane.expire(bench.now + Duration::from_secs(61));
    assert_eq!(bench.plane.flow_count(), 1, "the half-open one");
    bench.plane.expire(bench.now + Duration::from_secs(4 * 24 * 3600));
    assert_eq!(bench.plane.flow_count(), 1);
    bench.plane.expire(bench.now + Duration::from_secs(6 * 24 * 3600));
    assert_eq!(bench.plane.flow_count(), 0);
}

#[test]
fn flows_are_found_by_route_and_node() {
    let mut bench = Bench::new();
    for port in 5000..5003 {
        let client = format!("203.0.113.1:{port}");
        bench.forward(&client, "192.0.2.1:8003", SYN);
    }
    bench.forward("203.0.113.9:1", "192.0.2.1:8004", SYN);
    let peers = |bench: &Bench| {
        let mut ports = Vec::new();
        bench.plane.visit(RouteId::new(3).unwrap(), SessionId(2), &mut |flow| ports.push(flow.peer.port()));
        ports
    };
    assert_eq!(peers(&bench), [5000, 5001, 5002]);
    bench.forward("203.0.113.1:5000", "192.0.2.1:8003", RST);
    bench.plane.expire(bench.now + Duration::from_secs(11));
    assert_eq!(peers(&bench), [5001, 5002]);
}

#[test]
fn damaged_packets_start_nothing_and_are_not_answered() {
    let mut bench = Bench::new();
    for flags in [SYN, ACK] {
        let mut packet = segment("203.0.113.1:5000", "192.0.2.1:8003", flags).to_bytes();
        let last = packet.len() - 1;
        packet[last] ^= 1;
        assert!(matches!(bench.plane.handle(bench.now, Stage::Ingress, Checksum::Ready, &mut packet), Verdict::Drop));
    }
    assert_eq!(bench.plane.counters().bad_checksums, 2);
    assert_eq!(bench.plane.flow_count(), 0);
}

#[test]
fn packets_cut_at_any_length_are_counted_and_dropped() {
    let whole = segment("203.0.113.1:5000", "192.0.2.1:8003", ACK).to_bytes();
    for length in 0..whole.len() {
        let mut bench = Bench::new();
        let mut packet = whole[..length].to_vec();
        assert!(
            matches!(bench.plane.handle(bench.now, Stage::Ingress, Checksum::Ready, &mut packet), Verdict::Drop),
            "{length} bytes"
        );
        assert_eq!(bench.plane.counters().malformed, 1);
    }
}
