//! Flows of nodes that are lost: what the kernel forgets, who is told, and what goes on elsewhere.

use super::*;

#[test]
fn flows_of_a_lost_node_are_forgotten_by_the_kernel_and_ended_when_their_turn_comes() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 2, 2, 2], &[9, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::Established), entry(TO_N2, N2, Progress::Established)]);
    assert_eq!(bench.deletions(), [flow(CLIENT, TO_N1)]);
    assert_eq!(bench.transmits(), [""; 0], "it waits for the pace");
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, ACK), format!("RST {TO_N1} > {CLIENT}"), "unless it speaks");
    assert_eq!(bench.send(Tracking::New, CLIENT, TO_N1, SYN), "0x48440002", "and it may begin anew");
}

#[test]
fn what_a_lost_nodes_kernel_ends_late_is_ended_at_once() {
    for (tracking, flags) in [(Tracking::New, FIN_ACK), (Tracking::Invalid, FIN_ACK), (Tracking::Invalid, RST | ACK)] {
        let mut bench = Bench::in_use();
        bench.own(&[2, 2, 2, 2], &[9, 2]);
        bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
        let mut packet = TcpSegment { sequence: 4_711, ..segment(N1, CLIENT, flags) }.to_bytes();
        let mut damaged = packet.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let verdict = bench.plane.handle(bench.now, tracking, Checksum::Ready, &mut damaged);
        assert_ne!(describe(&verdict, &mut damaged), format!("RST {TO_N1} > {CLIENT}"), "nobody believes it");
        match bench.plane.handle(bench.now, tracking, Checksum::Ready, &mut packet) {
            Verdict::Answer(to_client) => {
                let mut to_client = to_client.to_vec();
                assert_eq!(ends(&mut to_client), format!("{TO_N1} > {CLIENT}"));
                let Ok(Packet::Tcp(tcp)) = Packet::parse(&mut to_client) else { panic!("no TCP") };
                assert!(tcp.flags().contains(RST) && tcp.sequence() == 4_711 && tcp.checksum_ok());
            }
            other => panic!("{other:?}"),
        }
        assert_ne!(bench.send(tracking, N1, CLIENT, flags), format!("RST {TO_N1} > {CLIENT}"), "once");
        bench.plane.end(bench.now, flow(CLIENT, TO_N1), Toward::Client);
        assert_eq!(bench.transmits(), [""; 0], "it has been told");
        assert!(bench.plane.deadline().is_some(), "its RST may be lost");
    }
}

#[test]
fn a_host_that_has_started_anew_ends_nothing_before_its_turn() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 2, 2, 2], &[9, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::Established)]);
    let mut back = member(1);
    back.session = SessionId(3);
    bench.publish(routing(&[3, 3, 2, 2], vec![back, member(2)]));
    assert_eq!(bench.transmits().len(), 2, "it is asked");
    for _ in 0..2 {
        assert_eq!(bench.send(Tracking::Invalid, N1, CLIENT, RST), "dropped", "it knows of no connection");
    }
    bench.plane.end(bench.now, flow(CLIENT, TO_N1), Toward::Client);
    assert_eq!(bench.transmits().len(), 2, "now the client is asked");
}

#[test]
fn whoever_may_have_heard_from_a_lost_node_is_told() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 2, 2, 2], &[9, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::SynReceived)]);
    let mut phases = Vec::new();
    bench.plane.visit_node(SessionId(1), &mut |flow| phases.push(flow.phase));
    assert_eq!(phases, [FlowPhase::Established], "to be ended like the others");
}

#[test]
fn a_syn_that_a_lost_node_has_not_answered_is_sent_to_the_next() {
    let mut bench = Bench::new();
    bench.send(Tracking::New, CLIENT, TO_N1, SYN);
    bench.own(&[2, 2, 2, 2], &[9, 2]);
    bench.survey(&[entry(TO_N1, N1, Progress::SynSent)]);
    assert_eq!(bench.deletions(), [flow(CLIENT, TO_N1)]);
    assert_eq!(bench.transmits(), [format!("SYN {CLIENT} > {TO_N1} as 0x48440002")]);
}

#[test]
fn a_lost_node_may_answer_while_the_kernel_says_that_it_has_not() {
    let mut bench = Bench::new();
    bench.send(Tracking::New, CLIENT, TO_N1, SYN);
    bench.own(&[2, 2, 2, 2], &[9, 2]);
    bench.plane.ask();
    let unanswered = entry(TO_N1, N1, Progress::SynSent);
    let answered = entry(TO_N1, N1, Progress::Established);
    let again = |of| (of == unanswered.flow).then_some(answered);
    assert_eq!(bench.plane.relevant(vec![unanswered], again), [answered]);
    bench.plane.survey(bench.now, &[answered]);
    assert_eq!(bench.deletions(), [flow(CLIENT, TO_N1)]);
    assert_eq!(bench.transmits(), [""; 0], "it is ended like the others");
}

#[test]
fn a_node_that_starts_anew_at_its_address_is_not_taken_for_the_lost_one() {
    let mut bench = Bench::new();
    let anew = Member { session: SessionId(11), ..member(1) };
    bench.publish(routing(&[1, 1, 2, 2], vec![anew, member(2)]));
    bench.send(Tracking::New, "203.0.113.1:5001", TO_N1, SYN);
    let young = Entry {
        flow: flow("203.0.113.1:5001", TO_N1),
        peer: at("203.0.113.1:5001"),
        ..entry(TO_N1, N1, Progress::SynSent)
    };
    bench.survey(&[entry(TO_N1, N1, Progress::Established), young]);
    assert_eq!(bench.deletions(), [flow(CLIENT, TO_N1)]);
    bench.plane.timeout(bench.now + Duration::from_millis(200));
    let asked = format!("ACK {CLIENT} > {N1}");
    assert_eq!(bench.transmits(), [asked.clone(), asked], "the process that is there now may have answered");
}

#[test]
fn of_a_lost_nodes_flows_that_are_over_those_are_asked_for_whose_client_may_not_know() {
    let mut bench = Bench::in_use();
    bench.own(&[2, 2, 2, 2], &[9, 2]);
    let other = |port: u16, progress, idle| Entry {
        flow: flow(&format!("203.0.113.1:{port}"), TO_N1),
        peer: at(&format!("203.0.113.1:{port}")),
        idle: Duration::from_secs(idle),
        ..entry(TO_N1, N1, progress)
    };
    let (late, long_ago) = (other(5001, Progress::Closed, 3), other(5002, Progress::Closed, 11));
    bench.survey(&[entry(TO_N1, N1, Progress::Reset), late, long_ago]);
    assert_eq!(bench.deletions(), [flow(CLIENT, TO_N1), late.flow, long_ago.flow]);
    bench.plane.timeout(bench.now + Duration::from_millis(200));
    let asked = [CLIENT, CLIENT, "203.0.113.1:5001", "203.0.113.1:5001"];
    assert_eq!(bench.transmits(), asked.map(|client| format!("ACK {TO_N1} > {client}")));
}
