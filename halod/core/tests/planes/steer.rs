//! The steer plane: what it decides, what it wants of the kernel, and what it makes of the kernel's answers.

mod losses;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use halod_core::flow::{FlowKey, FlowPhase, Flows, Progress, Toward};
use halod_core::ids::{NodeId, RouteId, Side};
use halod_core::last_table::LastTable;
use halod_core::plane::steer::{Changes, Entry, IpVersion, Owner, Tracking};
use halod_core::plane::{Counters, Steer, Traffic};
use halod_core::routing::{Member, Routing, SessionId};
use halod_core::time::Instant;
use halod_core::wire::Checksum;

use super::*;

/// A client, a browser port of n1 and one of n2, and where the nodes serve browsers.
const CLIENT: &str = "203.0.113.1:5000";
const TO_N1: &str = "192.0.2.1:8001";
const TO_N2: &str = "192.0.2.1:8003";
const N1: &str = "10.0.0.1:8000";
const N2: &str = "10.0.0.2:8000";

/// A plane of two nodes, which own two routes each.
struct Bench {
    plane: Steer,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { plane: Steer::new(config()), now: Instant::ORIGIN };
        bench.own(&[1, 1, 2, 2], &[1, 2]);
        bench.plane.take_changes();
        bench
    }

    /// With a flow that somebody has begun.
    fn in_use() -> Self {
        let mut bench = Self::new();
        bench.send(Tracking::New, "203.0.113.9:5000", TO_N2, SYN);
        bench
    }

    fn own(&mut self, owners: &[u16], nodes: &[u8]) {
        self.publish(routing(owners, nodes.iter().map(|&number| member(number)).collect()));
    }

    fn publish(&mut self, routing: Routing) {
        self.now = self.now + Duration::from_millis(1);
        self.plane.publish(self.now, Arc::new(routing));
    }

    fn send(&mut self, tracking: Tracking, from: &str, to: &str, flags: TcpFlags) -> String {
        self.now = self.now + Duration::from_millis(1);
        let mut packet = segment(from, to, flags).to_bytes();
        let verdict = self.plane.handle(self.now, tracking, Checksum::Ready, &mut packet);
        describe(&verdict, &mut packet)
    }

    /// The kernel tells its connections, among others that do not matter.
    fn survey(&mut self, entries: &[Entry]) {
        assert!(self.plane.wants_entries());
        self.plane.ask();
        let again = |flow| entries.iter().find(|entry| entry.flow == flow).copied();
        let relevant = self.plane.relevant(entries.to_vec(), again);
        self.plane.survey(self.now, &relevant);
        assert!(!self.plane.wants_entries());
    }

    fn deletions(&mut self) -> Vec<FlowKey> {
        std::iter::from_fn(|| self.plane.poll_deletion()).collect()
    }

    /// The packets of the plane's own, each with its mark.
    fn transmits(&mut self) -> Vec<String> {
        let words = |transmit: halod_core::plane::Transmit| {
            let mut packet = transmit.packet;
            let flags = match Packet::parse(&mut packet) {
                Ok(Packet::Tcp(tcp)) if tcp.flags().contains(RST) => "RST",
                Ok(Packet::Tcp(tcp)) if tcp.flags().contains(SYN) => "SYN",
                _ => "ACK",
            };
            let mark = transmit.mark.map_or(String::new(), |mark| format!(" as {mark}"));
            format!("{flags} {}{mark}", ends(&mut packet))
        };
        std::iter::from_fn(|| self.plane.poll_transmit()).map(words).collect()
    }

    fn browsers_at(&self, route: u16, node: u64) -> Vec<SocketAddr> {
        let mut peers = Vec::new();
        self.plane.visit(RouteId::new(route).unwrap(), SessionId(node), &mut |flow| peers.push(flow.peer));
        peers
    }
}

fn flow(client: &str, service: &str) -> FlowKey {
    FlowKey { client: at(client), service: at(service) }
}

fn entry(service: &str, node: &str, progress: Progress) -> Entry {
    Entry { flow: flow(CLIENT, service), node: at(node), peer: at(CLIENT), progress, idle: Duration::ZERO }
}

#[test]
fn a_syn_is_given_the_mark_of_the_owner_for_its_side() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(Tracking::New, CLIENT, "192.0.2.1:8001", SYN), "0x48440000");
    assert_eq!(bench.send(Tracking::New, CLIENT, "192.0.2.1:9001", SYN), "0x48440001");
    assert_eq!(bench.send(Tracking::New, CLIENT, "192.0.2.1:8003", SYN), "0x48440002");
    assert_eq!(bench.send(Tracking::New, "[2001:db8:9::1]:5000", "[2001:db8::1]:9004", SYN), "0x48440003");
    assert_eq!(bench.plane.flow_count(), 0, "the kernel keeps them");
}

#[test]
fn what_belongs_to_no_connection_is_refused_and_never_passes() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, ACK), format!("RST {TO_N1} > {CLIENT}"));
    assert_eq!(bench.send(Tracking::New, N1, CLIENT, ACK), format!("RST {CLIENT} > {N1}"));
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, RST), "dropped", "nobody answers an RST");
    assert_eq!(bench.send(Tracking::Invalid, CLIENT, TO_N1, FIN_ACK), format!("{CLIENT} to {TO_N1}: RST?"));
    assert_eq!(bench.send(Tracking::Invalid, N1, CLIENT, FIN_ACK), format!("{N1} to {CLIENT}: RST?"));
    assert_eq!(bench.send(Tracking::New, "198.51.100.7:22", CLIENT, ACK), "untouched", "no concern of this plane");
}

#[test]
fn what_is_seen_is_counted_by_where_it_comes_from() {
    let mut bench = Bench::new();
    bench.send(Tracking::New, CLIENT, TO_N1, SYN);
    bench.send(Tracking::Known, CLIENT, TO_N1, ACK);
    bench.send(Tracking::Known, N1, CLIENT, ACK);
    let Counters { from_clients, from_nodes, .. } = bench.plane.counters();
    assert_eq!((from_clients.packets, from_nodes.packets), (2, 1));
    let mut packet = TcpSegment { payload: b"hello", ..segment(N1, CLIENT, ACK) }.to_bytes();
    bench.plane.handle(bench.now, Tracking::Known, Checksum::Ready, &mut packet);
    assert_eq!(bench.plane.counters().from_nodes, Traffic { packets: 2, bytes: 3 + 5 });
}

#[test]
fn without_an_owner_connections_are_refused() {
    let mut bench = Bench::new();
    bench.own(&[0, 0, 0, 0], &[]);
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, SYN), format!("RST {TO_N1} > {CLIENT}"));
}

#[test]
fn nodes_of_a_former_daemon_are_seen_for_a_minute() {
    let mut plane = Steer::new(config());
    let former = [at("10.0.0.9:8000"), at(N1)];
    plane.resume(Instant::ORIGIN, &LastTable { holders: Vec::new(), nodes: former.into() });
    assert_eq!(plane.take_changes().nodes, former.map(|node| (node, true)).into());
    let mut bench = Bench { plane, now: Instant::ORIGIN };
    bench.own(&[1, 1, 1, 1], &[1]);
    let from_the_former = format!("RST {CLIENT} > 10.0.0.9:8000");
    assert_eq!(bench.send(Tracking::New, "10.0.0.9:8000", CLIENT, ACK), from_the_former);
    bench.plane.expire(Instant::ORIGIN + Duration::from_secs(59));
    bench.plane.take_changes();
    bench.plane.expire(Instant::ORIGIN + Duration::from_secs(60));
    assert_eq!(bench.plane.take_changes().nodes, [(former[0], false)].into());
}

#[test]
fn a_change_names_what_is_different_and_no_more() {
    let mut bench = Bench::new();
    bench.own(&[1, 3, 2, 2], &[1, 2, 3]);
    let Changes { owners, holders, marks, nodes, watched } = bench.plane.take_changes();
    let n3 = |side| Owner { id: NodeId::new(3).unwrap(), side };
    let [browsers, apps] = Side::ALL.map(n3);
    assert_eq!(owners, [(8002, Some(browsers)), (9002, Some(apps))].into());
    let v4: Vec<_> = holders.into_iter().filter(|((version, _), _)| *version == IpVersion::V4).collect();
    let expected = [(browsers, "10.0.0.3:8000"), (apps, "10.0.0.3:9000")];
    assert_eq!(v4, expected.map(|(owner, node)| ((IpVersion::V4, owner), Some(at(node)))));
    assert_eq!(marks.len(), 4, "browsers and apps, over IPv4 and IPv6");
    assert_eq!(nodes.keys().filter(|node| node.is_ipv4()).count(), 2);
    assert_eq!(watched, [(8002, true), (9002, true)].into());
    bench.own(&[1, 3, 2, 2], &[1, 2, 3]);
    assert!(bench.plane.take_changes().is_empty());
}

#[test]
fn a_syn_that_comes_again_after_its_flow_was_ended_is_of_another_connection() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, SYN), "0x48440000");
    bench.own(&[2, 2, 2, 2], &[1, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::SynSent)]);
    // It leaves, and its flows are ended before the kernel was asked again.
    bench.own(&[2, 2, 2, 2], &[9, 2]);
    bench.plane.end(bench.now, flow(CLIENT, TO_N1), Toward::Both);
    assert_eq!(bench.deletions(), [flow(CLIENT, TO_N1)]);
    // Another registration has the address, and the client tries again.
    let mut again = member(3);
    again.browser = member(1).browser;
    again.app = member(1).app;
    bench.publish(routing(&[1, 1, 1, 1], vec![again]));
    bench.send(Tracking::New, CLIENT, TO_N1, SYN);
    bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
    assert_eq!((bench.deletions(), bench.plane.flow_count()), (vec![], 0));
}

#[test]
fn a_node_that_takes_over_an_id_changes_no_owner() {
    let mut bench = Bench::new();
    bench.plane.take_changes();
    bench.own(&[1, 1, 2, 2], &[1, 9]);
    let Changes { owners, holders, .. } = bench.plane.take_changes();
    assert_eq!(owners, [].into());
    let n2 = |side| Owner { id: NodeId::new(2).unwrap(), side };
    assert_eq!(holders.get(&(IpVersion::V4, n2(Side::Browser))), Some(&Some(at("10.0.0.9:8000"))));
    assert!(holders.keys().all(|&(_, owner)| owner == n2(owner.side)));
    // Nobody holds it any more.
    bench.own(&[1, 1, 1, 1], &[1]);
    let Changes { owners, holders, .. } = bench.plane.take_changes();
    assert_eq!(owners.keys().copied().collect::<Vec<_>>(), [8003, 8004, 9003, 9004]);
    assert_eq!(holders.get(&(IpVersion::V4, n2(Side::App))), Some(&None));
}

#[test]
fn as_long_as_nobody_has_connected_there_is_nothing_to_ask() {
    let mut bench = Bench::new();
    bench.own(&[2, 1, 2, 2], &[9, 2]);
    assert!(!bench.plane.wants_entries());
    bench.send(Tracking::New, CLIENT, TO_N2, SYN);
    assert!(bench.plane.wants_entries(), "there may be more that were not shown");
    let mut bench = Bench::new();
    bench.own(&[2, 1, 2, 2], &[1, 2]);
    bench.plane.take_changes();
    bench.plane.expire(bench.now);
    assert_eq!(bench.plane.take_changes().watched, [(8001, false), (9001, false)].into());
}

#[test]
fn the_flows_of_a_former_daemon_are_asked_for_although_nobody_has_connected_to_this_one() {
    let mut bench = Bench::new();
    bench.plane.expect_flows();
    bench.own(&[2, 1, 2, 2], &[9, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
    assert_eq!(bench.deletions(), [flow(CLIENT, TO_N1)]);
}

#[test]
fn only_connections_of_moved_routes_and_of_lost_nodes_matter() {
    let mut bench = Bench::new();
    let mut third = entry("192.0.2.1:8004", "10.0.0.3:8000", Progress::Established);
    bench.publish(routing(&[1, 1, 2, 3], vec![member(1), member(2), member(3)]));
    bench.own(&[2, 1, 2, 2], &[1, 2]);
    let moved = entry(TO_N1, N1, Progress::Established);
    let stays = entry("192.0.2.1:8002", N1, Progress::Established);
    let again = |_| unreachable!("somebody has answered");
    assert_eq!(bench.plane.relevant(vec![moved, stays, third], again), [moved, third]);
    third.flow.service = at("192.0.2.1:80");
    assert_eq!(bench.plane.relevant(vec![third], again), [], "no service port");
}

#[test]
fn flows_of_a_moved_route_are_watched_until_they_have_ended() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 1, 2, 2], &[1, 2]);
    assert_eq!(bench.plane.take_changes().watched, [(8001, true), (9001, true)].into());
    bench.survey(&[entry(TO_N1, N1, Progress::Established), entry(TO_N2, N2, Progress::Established)]);
    assert_eq!(bench.browsers_at(1, 1), [at(CLIENT)]);
    assert_eq!(bench.plane.flow_count(), 1, "the other is where its route is");
    assert_eq!(bench.send(Tracking::Known, CLIENT, TO_N1, FIN_ACK), "untouched");
    assert_eq!(bench.send(Tracking::Known, N1, CLIENT, FIN_ACK), "untouched");
    bench.plane.expire(bench.now);
    assert_eq!(bench.plane.take_changes().watched, [(8001, false), (9001, false)].into());
}

#[test]
fn a_flow_that_was_half_open_when_the_kernel_told_of_it_is_established_when_it_tells_again() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 1, 2, 2], &[1, 2]);
    let phase = |bench: &Bench| {
        let mut phase = None;
        bench.plane.visit_node(SessionId(1), &mut |flow| phase = Some(flow.phase));
        phase
    };
    bench.survey(&[entry(TO_N1, N1, Progress::SynReceived)]);
    assert_eq!(phase(&bench), Some(FlowPhase::HalfOpen));
    bench.plane.expire(bench.now);
    bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
    assert_eq!(phase(&bench), Some(FlowPhase::Established));
}

#[test]
fn the_kernel_can_be_told_of_newcomers_before_anything_goes_to_them() {
    let mut bench = Bench::new();
    let next = || routing(&[1, 1, 3, 3], vec![member(1), member(2), member(3)]);
    bench.plane.prepare(&next());
    let prepared = bench.plane.take_changes();
    assert_eq!((prepared.marks.len(), prepared.nodes.len()), (4, 4), "each over IPv4 and IPv6");
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N2, SYN), "0x48440002", "as before");
    bench.publish(next());
    let Changes { marks, nodes, .. } = bench.plane.take_changes();
    assert!(marks.is_empty() && nodes.is_empty());
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N2, SYN), "0x48440004");
}

#[test]
fn a_drained_flow_is_deleted_and_its_ends_are_told_with_what_was_seen() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 1, 2, 2], &[1, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
    bench.send(Tracking::Known, CLIENT, TO_N1, ACK);
    bench.plane.end(bench.now, flow(CLIENT, TO_N1), Toward::Both);
    assert_eq!(bench.deletions(), [flow(CLIENT, TO_N1)]);
    let to_client = format!("ACK {TO_N1} > {CLIENT}");
    let to_node = format!("RST {CLIENT} > {N1}");
    assert_eq!(
        bench.transmits(),
        [to_client.clone(), to_client, to_node],
        "the node's number is not known, the client's is"
    );
    assert_eq!(
        bench.send(Tracking::New, CLIENT, TO_N1, ACK),
        format!("RST {TO_N1} > {CLIENT}"),
        "it answers the probe"
    );
    assert_eq!(bench.send(Tracking::New, N1, CLIENT, ACK), format!("RST {CLIENT} > {N1}"));
}

#[test]
fn what_happens_while_the_kernel_is_asked_is_a_reason_to_ask_again() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 1, 2, 2], &[1, 2]);
    bench.plane.take_changes();
    bench.plane.ask();
    assert!(bench.plane.wants_entries(), "there may be no answer");
    bench.plane.expire(bench.now);
    assert!(bench.plane.take_changes().watched.is_empty(), "nor is it known that there are no flows");
    bench.own(&[2, 2, 2, 2], &[9, 2]);
    bench.plane.survey(bench.now, &[]);
    assert!(bench.plane.wants_entries());
    bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
    assert_eq!(bench.browsers_at(1, 1), [at(CLIENT)]);
}

#[test]
fn a_syn_that_is_sent_again_before_the_kernel_was_asked_is_where_the_first_one_is() {
    let mut bench = Bench::new();
    bench.send(Tracking::New, CLIENT, TO_N1, SYN);
    bench.own(&[2, 2, 2, 2], &[9, 2]);
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, SYN), "0x48440002", "too late: the kernel has pinned it");
    bench.survey(&[entry(TO_N1, N1, Progress::SynSent)]);
    assert_eq!(bench.deletions(), [flow(CLIENT, TO_N1)]);
    assert_eq!(bench.transmits(), [format!("SYN {CLIENT} > {TO_N1} as 0x48440002")]);
}

#[test]
fn a_flow_that_is_over_does_not_stand_in_the_way_of_one_between_the_same_ends() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 1, 2, 2], &[1, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
    bench.plane.end(bench.now, flow(CLIENT, TO_N1), Toward::Both);
    bench.deletions();
    // From the same port to the other route that this node owned, which moves too.
    let second = Entry { flow: flow(CLIENT, "192.0.2.1:8002"), ..entry(TO_N1, N1, Progress::Established) };
    assert_eq!(bench.send(Tracking::Known, N1, CLIENT, ACK), "untouched");
    bench.own(&[2, 2, 2, 2], &[1, 2]);
    bench.survey(&[second]);
    assert_eq!(bench.browsers_at(2, 1), [at(CLIENT)]);
}

#[test]
fn a_syn_that_has_waited_is_of_the_node_that_it_is_sent_to() {
    let mut bench = Bench::new();
    let nodes = || vec![member(1), member(2)];
    bench.publish(Routing { suspects: BTreeSet::from([SessionId(1)]), ..routing(&[1, 1, 2, 2], nodes()) });
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, SYN), "dropped");
    // Another process serves the same addresses.
    let anew = Member { session: SessionId(11), ..member(1) };
    bench.publish(routing(&[1, 1, 2, 2], vec![anew, member(2)]));
    assert_eq!(bench.transmits(), [format!("SYN {CLIENT} > {TO_N1} as 0x48440004")]);
    bench.survey(&[entry(TO_N1, N1, Progress::SynReceived)]);
    assert_eq!(bench.deletions(), []);
}

#[test]
fn a_syn_waits_while_its_node_is_suspect() {
    let mut bench = Bench::new();
    assert_eq!(bench.send(Tracking::New, "203.0.113.1:5001", TO_N1, SYN), "0x48440000");
    let nodes = || vec![member(1), member(2)];
    bench.publish(Routing { suspects: BTreeSet::from([SessionId(1)]), ..routing(&[1, 1, 2, 2], nodes()) });
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, SYN), "dropped");
    assert_eq!(
        bench.send(Tracking::New, "203.0.113.1:5001", TO_N1, SYN),
        "untouched",
        "the kernel has pinned the first"
    );
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N2, SYN), "0x48440002");
    bench.publish(routing(&[1, 1, 2, 2], nodes()));
    assert_eq!(bench.transmits(), [format!("SYN {CLIENT} > {TO_N1} as 0x48440000")]);
}

#[test]
fn a_route_that_returns_takes_its_flows_out_of_the_drain() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 1, 2, 2], &[1, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
    bench.own(&[1, 1, 2, 2], &[1, 2]);
    assert_eq!(bench.browsers_at(1, 1), []);
}

#[test]
fn what_was_ended_before_its_route_returned_is_still_told() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 1, 2, 2], &[1, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
    bench.plane.end(bench.now, flow(CLIENT, TO_N1), Toward::Both);
    bench.own(&[1, 1, 2, 2], &[1, 2]);
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, ACK), format!("RST {TO_N1} > {CLIENT}"));
}
