//! Flows that end: who is told, who is asked again, and what waits meanwhile.

use super::*;

#[test]
fn an_ended_flow_is_reset_with_the_number_that_comes_next() {
    let mut bench = Bench::new();
    bench.connect(CLIENT, SERVICE, CLIENT, NODE);
    // The node sent SYN at 1000, then three bytes at 1000: 1003 is next. The client likewise.
    bench.forward(NODE, CLIENT, ACK);
    bench.plane.end(bench.now, key(CLIENT, SERVICE), Toward::Both);
    assert_eq!(
        bench.transmits(),
        ["RST 192.0.2.1:8003 > 203.0.113.1:5000 seq 1003", "RST 203.0.113.1:5000 > 10.0.0.2:8000 seq 1003"]
    );
    assert_eq!(bench.forward(NODE, CLIENT, ACK), "RST 203.0.113.1:5000 > 10.0.0.2:8000", "nothing passes any more");
    assert_eq!(bench.forward(CLIENT, SERVICE, ACK), "RST 192.0.2.1:8003 > 203.0.113.1:5000");
    assert_eq!(bench.begin_again(CLIENT, SERVICE), "203.0.113.1:5000 > 10.0.0.2:8000");
}

#[test]
fn a_client_that_did_not_hear_is_asked_until_it_shows_that_it_did() {
    let mut bench = Bench::new();
    bench.connect(CLIENT, SERVICE, CLIENT, NODE);
    bench.plane.end(bench.now, key(CLIENT, SERVICE), Toward::Client);
    assert_eq!(bench.transmits().len(), 1);
    for wait_ms in [200, 1100] {
        let due = bench.plane.deadline().unwrap();
        assert_eq!(due.since(bench.now), Duration::from_millis(wait_ms));
        bench.now = due;
        bench.plane.timeout(bench.now);
        assert_eq!(bench.transmits(), [format!("probe 192.0.2.1:8003 > 203.0.113.1:5000 seq {}", 1001 + (1 << 30))]);
    }
    assert_eq!(bench.forward(CLIENT, SERVICE, RST), "dropped");
    assert_eq!(bench.plane.deadline(), None);
}

#[test]
fn a_client_that_never_answers_is_given_up() {
    let mut bench = Bench::new();
    bench.connect(CLIENT, SERVICE, CLIENT, NODE);
    bench.plane.end(bench.now, key(CLIENT, SERVICE), Toward::Client);
    while let Some(due) = bench.plane.deadline() {
        bench.now = due;
        bench.plane.timeout(bench.now);
    }
    assert_eq!(bench.transmits().len(), 1 + 8);
}

#[test]
fn a_packet_on_a_flow_of_a_lost_node_is_answered_at_once() {
    let mut bench = Bench::new();
    bench.connect(CLIENT, SERVICE, CLIENT, NODE);
    bench.lose(&[1, 1, 1, 1], &[1]);
    assert_eq!(bench.forward(CLIENT, SERVICE, ACK), "RST 192.0.2.1:8003 > 203.0.113.1:5000");
    assert_eq!(bench.forward(NODE, CLIENT, ACK), "RST 203.0.113.1:5000 > 10.0.0.2:8000", "also from the node itself");
    assert!(bench.plane.node_addresses().contains(&at(NODE)), "its packets still have to pass here");
    bench.now = bench.now + Duration::from_secs(61);
    bench.plane.expire(bench.now);
    assert!(!bench.plane.node_addresses().contains(&at(NODE)));
}

#[test]
fn what_a_lost_nodes_kernel_ends_late_is_ended_at_once() {
    for flags in [FIN_ACK, RST | ACK] {
        let mut bench = Bench::new();
        bench.connect(CLIENT, SERVICE, CLIENT, NODE);
        bench.lose(&[1, 1, 1, 1], &[1]);
        assert_eq!(bench.forward(NODE, CLIENT, flags), "RST 192.0.2.1:8003 > 203.0.113.1:5000");
        assert_ne!(bench.forward(NODE, CLIENT, flags), "RST 192.0.2.1:8003 > 203.0.113.1:5000", "once");
        bench.plane.end(bench.now, key(CLIENT, SERVICE), Toward::Client);
        assert_eq!(bench.transmits(), [""; 0], "it has been told");
        bench.now = bench.plane.deadline().expect("its RST may be lost");
        bench.plane.timeout(bench.now);
        assert_eq!(bench.transmits(), [format!("probe 192.0.2.1:8003 > 203.0.113.1:5000 seq {}", 1001 + (1 << 30))]);
    }
}

#[test]
fn a_host_that_has_started_anew_ends_nothing_before_its_turn() {
    let mut bench = Bench::new();
    bench.connect(CLIENT, SERVICE, CLIENT, NODE);
    bench.lose(&[1, 1, 1, 1], &[1]);
    let mut back = member(2);
    back.session = SessionId(3);
    bench.publish_with(&[1, 1, 2, 2], vec![member(1), back]);
    bench.transmits();
    assert_eq!(bench.forward(NODE, CLIENT, RST), "dropped", "it knows of no connection");
    bench.plane.end(bench.now, key(CLIENT, SERVICE), Toward::Client);
    assert_eq!(bench.transmits(), ["RST 192.0.2.1:8003 > 203.0.113.1:5000 seq 1001"]);
}

#[test]
fn a_node_that_comes_back_is_told_what_has_ended() {
    let mut bench = Bench::new();
    bench.connect(CLIENT, SERVICE, CLIENT, NODE);
    bench.lose(&[1, 1, 1, 1], &[1]);
    bench.plane.end(bench.now, key(CLIENT, SERVICE), Toward::Client);
    bench.transmits();
    let mut back = member(2);
    back.session = SessionId(3);
    bench.publish_with(&[1, 1, 2, 2], vec![member(1), back]);
    assert_eq!(bench.transmits(), ["RST 203.0.113.1:5000 > 10.0.0.2:8000 seq 1003"]);
}

#[test]
fn connections_to_a_suspect_wait_until_it_is_known() {
    let mut bench = Bench::new();
    bench.suspects = BTreeSet::from([SessionId(2)]);
    bench.lose(&[1, 1, 2, 2], &[1, 2]);
    assert_eq!(bench.forward(CLIENT, SERVICE, SYN), "dropped");
    assert_eq!(bench.forward(CLIENT, SERVICE, SYN), "dropped", "a retransmission");
    assert!(bench.transmits().is_empty());
    bench.suspects.clear();
    let mut cleared = bench;
    cleared.lose(&[1, 1, 2, 2], &[1, 2]);
    assert_eq!(cleared.transmits(), ["SYN 203.0.113.1:5000 > 10.0.0.2:8000 seq 1000"]);

    let mut lost = Bench::new();
    lost.suspects = BTreeSet::from([SessionId(2)]);
    lost.lose(&[1, 1, 2, 2], &[1, 2]);
    lost.forward(CLIENT, SERVICE, SYN);
    lost.suspects.clear();
    lost.lose(&[1, 1, 1, 1], &[1]);
    assert_eq!(lost.transmits(), ["SYN 203.0.113.1:5000 > 10.0.0.1:8000 seq 1000"]);

    let mut alone = Bench::new();
    alone.suspects = BTreeSet::from([SessionId(2)]);
    alone.lose(&[1, 1, 2, 2], &[1, 2]);
    alone.forward(CLIENT, SERVICE, SYN);
    alone.lose(&[0, 0, 0, 0], &[]);
    assert_eq!(alone.transmits(), ["RST 192.0.2.1:8003 > 203.0.113.1:5000 seq 0"]);
}

#[test]
fn a_held_connection_is_masqueraded_like_any_other() {
    let mut bench = Bench::masquerading();
    let masquerades = BTreeMap::from([(ip("10.0.0.2"), ip("10.0.0.254"))]);
    bench.suspects = BTreeSet::from([SessionId(2)]);
    bench.own(&[1, 1, 2, 2], &[1, 2], masquerades.clone());
    bench.forward("203.0.113.1:20003", SERVICE, SYN);
    bench.suspects.clear();
    bench.own(&[1, 1, 2, 2], &[1, 2], masquerades);
    assert_eq!(bench.transmits(), ["SYN 10.0.0.254:20003 > 10.0.0.2:8000 seq 1000"]);
}

#[test]
fn held_connections_are_bounded() {
    let mut bench = Bench::new();
    bench.suspects = BTreeSet::from([SessionId(2)]);
    bench.lose(&[1, 1, 2, 2], &[1, 2]);
    for port in 1..=16_400 {
        bench.forward(&format!("203.0.113.1:{port}"), SERVICE, SYN);
    }
    bench.suspects.clear();
    bench.lose(&[1, 1, 2, 2], &[1, 2]);
    assert_eq!(bench.transmits().len(), 16_384);
}

#[test]
fn a_blind_reset_does_not_end_a_flow() {
    let mut bench = Bench::new();
    bench.connect(CLIENT, SERVICE, CLIENT, NODE);
    let mut blind = TcpSegment { sequence: 1000 + (1 << 21), ..segment(CLIENT, SERVICE, RST) }.to_bytes();
    bench.plane.handle(bench.now, Stage::Ingress, Checksum::Ready, &mut blind);
    bench.plane.expire(bench.now + Duration::from_secs(3600));
    assert_eq!(bench.plane.flow_count(), 1);
    bench.forward(CLIENT, SERVICE, RST);
    bench.plane.expire(bench.now + Duration::from_secs(11));
    assert_eq!(bench.plane.flow_count(), 0);
}
