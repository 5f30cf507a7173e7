//! Looks at the flows of the data plane, which take time.

use std::time::Duration;

use halod_core::flow::FlowPhase;
use halod_core::routing::SessionId;

use crate::bench::{Bench, HEARTBEAT, browser_flow, route};

const MILLISECOND: Duration = Duration::from_millis(1);

/// Lets the driver's timer come, and the look begin that it asks for.
fn begin_look(bench: &mut Bench) {
    bench.now = bench.now + MILLISECOND;
    bench.cluster.timeout(bench.now);
    assert!(bench.cluster.wants_look(bench.now));
    bench.outputs();
    bench.cluster.begin_look(bench.now);
    assert!(!bench.cluster.wants_look(bench.now), "one is under way");
}

fn lose(bench: &mut Bench, number: u8) {
    bench.disconnect(number);
    bench.refuse_redial(number.into());
}

fn end_look(bench: &mut Bench) -> String {
    bench.now = bench.now + MILLISECOND;
    bench.cluster.look(bench.now, &bench.flows);
    bench.outputs()
}

#[test]
fn the_flows_of_a_node_that_is_lost_during_a_look_are_found_by_the_next() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    bench.pass(HEARTBEAT);
    bench.flows.0 = [1, 2]
        .map(|node| (route(node), SessionId(node.into()), browser_flow(node, FlowPhase::Established, 0)))
        .to_vec();
    lose(&mut bench, 1);
    begin_look(&mut bench);
    lose(&mut bench, 2);
    assert_eq!(end_look(&mut bench), "end 203.0.113.1:1 toward Client\n");
    begin_look(&mut bench);
    assert_eq!(end_look(&mut bench), "end 203.0.113.1:2 toward Client\n");
}

#[test]
fn a_look_that_comes_to_no_end_is_made_up_for() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.pass(HEARTBEAT);
    bench.flows.0 = vec![(route(1), SessionId(1), browser_flow(1, FlowPhase::Established, 0))];
    lose(&mut bench, 1);
    begin_look(&mut bench);
    bench.now = bench.now + HEARTBEAT;
    begin_look(&mut bench);
    assert_eq!(end_look(&mut bench), "end 203.0.113.1:1 toward Client\n");
}

#[test]
fn looks_that_take_long_are_far_apart_unless_a_node_is_lost() {
    let mut bench = Bench::new(6, 0);
    bench.join(1);
    bench.join(2);
    begin_look(&mut bench);
    bench.join(3);
    assert!(bench.cluster.deadline() > bench.now + 20 * MILLISECOND, "nobody knows how long this one takes");
    bench.now = bench.now + 5 * MILLISECOND;
    end_look(&mut bench);
    assert_eq!(bench.cluster.deadline(), bench.now + 54 * MILLISECOND, "it took 6 ms");
    lose(&mut bench, 3);
    assert_eq!(bench.cluster.deadline(), bench.now);
}

#[test]
fn heartbeats_that_are_shorter_than_a_look_do_not_make_it_go_on_for_ever() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    begin_look(&mut bench);
    bench.now = bench.now + 2 * HEARTBEAT;
    bench.cluster.timeout(bench.now);
    end_look(&mut bench);
    assert!(!bench.cluster.wants_look(bench.now));
    let second = Duration::from_secs(1);
    assert!(!bench.cluster.wants_look(bench.now + second - MILLISECOND), "it took a fifth of one");
    assert!(bench.cluster.wants_look(bench.now + second));
}

#[test]
fn a_drain_that_begins_during_a_look_is_judged_by_the_next() {
    let mut bench = Bench::new(3, 0);
    bench.join(1);
    bench.join(2);
    begin_look(&mut bench);
    bench.join(3);
    assert_eq!(end_look(&mut bench), "n1 <- reconnect 3 browser [] left 0\n");
    // It had flows that the data plane did not know of yet.
    bench.flows.0 = vec![(route(2), SessionId(1), browser_flow(1, FlowPhase::Established, 0))];
    bench.now = bench.now + HEARTBEAT;
    begin_look(&mut bench);
    assert_eq!(end_look(&mut bench), "n1 <- reconnect 2 browser [203.0.113.1:1] left 0\n");
}
