//! Nodes that are lost: who takes over, and what becomes of their flows.

use std::time::Duration;

use halod_core::flow::{FlowPhase, FlowView};
use halod_core::ids::Side;
use halod_core::protocol::{FromNode, Hello, Incarnation};
use halod_core::routing::SessionId;

use crate::bench::{Bench, HEARTBEAT, browser_flow, hello, route};

#[test]
fn losses_at_once_are_one_change_and_reserves_go_to_the_lowest_ids() {
    // n1 is active, n2 waits, n3 to n5 are active as 2 to 4. Then 1, 2 and 4 fall silent.
    let mut bench = Bench::new(8, 1);
    for number in 1..=5 {
        bench.join(number);
    }
    bench.live(&[1, 2, 3, 4, 5], HEARTBEAT);
    let text = bench.live(&[2, 4], HEARTBEAT * 5);
    let changes: Vec<&str> = text.lines().filter(|line| line.starts_with("epoch")).collect();
    assert_eq!(changes, ["epoch 5 held by n2 n4"], "{text}");
}

#[test]
fn a_name_that_keeps_dying_has_to_wait() {
    let mut bench = Bench::new(2, 0);
    let mut number = 10;
    for expected in ["welcome as 1", "welcome as 1", "welcome while held"] {
        number += 1;
        let mut again = hello(1);
        again.incarnation = Incarnation(number.into());
        bench.open(number);
        let text = bench.say(number, FromNode::Hello(again));
        assert!(text.contains(expected), "{text}");
        if expected != "welcome while held" {
            bench.disconnect(number);
            bench.refuse_redial((number - 10).into());
        }
    }
    // Its heartbeats carry the token of the connection that it was welcomed on.
    for seq in 1..=9 {
        bench.beat_from(1, number, number.into(), seq);
        assert!(!bench.pass(HEARTBEAT).contains("assigned"));
    }
    bench.beat_from(1, number, number.into(), 10);
    assert!(bench.pass(HEARTBEAT).contains("n13 <- assigned 1 with 1,2\n"));
}

#[test]
fn who_dies_while_it_has_to_wait_is_not_waited_for() {
    let mut bench = Bench::new(2, 0);
    for number in 11..=13 {
        bench.open(number);
        bench.say(number, FromNode::Hello(Hello { incarnation: Incarnation(number.into()), ..hello(1) }));
        bench.disconnect(number);
        bench.refuse_redial((number - 10).into());
    }
    assert_eq!(bench.pass(Duration::from_secs(2)), "");
}

#[test]
fn flows_of_a_lost_node_end_at_the_pace_those_of_apps_at_once() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = (0..60)
        .map(|index| (route(2), SessionId(1), browser_flow(1000 + index, FlowPhase::Established, index.into())))
        .collect();
    bench.flows.0.push((route(1), SessionId(1), browser_flow(9, FlowPhase::HalfOpen, 0)));
    let app = FlowView { side: Side::App, ..browser_flow(2001, FlowPhase::Established, 50) };
    bench.flows.0.push((route(1), SessionId(1), app));
    bench.disconnect(1);
    bench.pass(Duration::from_millis(40));
    bench.refuse_redial(1);
    let first = bench.pass(Duration::ZERO);
    let ends: Vec<&str> = first.lines().collect();
    assert_eq!(ends[..2], ["end 203.0.113.1:2001 toward Client", "end 203.0.113.1:1059 toward Client"]);
    assert_eq!(ends.len(), 22, "one app, and 20 ms of 1,000 a second");
    assert_eq!(bench.pass(Duration::from_millis(33)).lines().count(), 33, "1,000 a second, in batches");
    assert_eq!(bench.pass(Duration::from_millis(100)).lines().count(), 6);
}
