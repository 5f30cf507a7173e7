//! Routes that move while their former node lives.

use std::time::Duration;

use halod_core::flow::{FlowPhase, FlowView};
use halod_core::ids::{RouteId, Side};
use halod_core::protocol::FromNode;
use halod_core::routing::SessionId;

use crate::bench::{Bench, DRAIN, HEARTBEAT, browser_flow, drained, hello, route};

#[test]
fn a_drain_names_browsers_first_the_most_recent_before_others() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = [
        browser_flow(1002, FlowPhase::Established, 2),
        browser_flow(1001, FlowPhase::Established, 1),
        browser_flow(1003, FlowPhase::HalfOpen, 3),
        browser_flow(1004, FlowPhase::Ended, 4),
    ]
    .map(|flow| (route(2), SessionId(1), flow))
    .to_vec();
    bench.join(2);
    let named = "n1 <- reconnect 2 browser [203.0.113.1:1002,203.0.113.1:1001] left 1\n";
    assert_eq!(bench.pass(Duration::from_millis(1)), named);

    bench.flows.0[2].2.phase = FlowPhase::Established;
    assert_eq!(bench.pass(HEARTBEAT), "n1 <- reconnect 2 browser [203.0.113.1:1003] left 0\n");
    assert_eq!(bench.pass(HEARTBEAT), "", "nobody is named twice");
}

#[test]
fn changes_that_follow_each_other_closely_share_one_look_at_the_flows() {
    let mut bench = Bench::new(6, 0);
    bench.join(1);
    let flow = |number| (route(number), SessionId(1), browser_flow(1000 + number, FlowPhase::Established, 0));
    bench.flows.0 = (1..=6).map(flow).collect();
    let millisecond = Duration::from_millis(1);
    bench.join(2);
    assert_eq!(bench.pass(millisecond).lines().count(), 3, "the first change is followed at once");
    bench.join(3);
    assert_eq!(bench.pass(18 * millisecond), "");
    bench.join(4);
    let named = "n2 <- reconnect 6 browser [] left 0\n\
                 n1 <- reconnect 2 browser [203.0.113.1:1002] left 0\n\
                 n1 <- reconnect 3 browser [203.0.113.1:1003] left 0\n";
    assert_eq!(bench.pass(2 * millisecond), named);
}

/// Browser flows of route 2 at the first node, so many that naming them all takes three seconds.
fn crowd() -> Vec<(RouteId, SessionId, FlowView)> {
    let flow = |index: u16| browser_flow(1000 + index, FlowPhase::Established, 0);
    (0..3000).map(|index| (route(2), SessionId(1), flow(index))).collect()
}

#[test]
fn who_waits_long_for_the_pace_is_named_once_all_the_same() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = crowd();
    bench.join(2);
    let mut named = 0;
    for _ in 0..60 {
        let text = bench.live(&[1, 2], HEARTBEAT);
        let peers = text.lines().filter_map(|line| line.split_once('[')?.1.split_once(']'));
        for peer in peers.flat_map(|(peers, _)| peers.split(',')) {
            named += 1;
            bench.flows.0.retain(|(_, _, flow)| flow.peer.to_string() != peer);
        }
    }
    assert_eq!((named, bench.flows.0.len()), (3000, 0));
}

#[test]
fn who_waited_to_be_named_is_forgotten_when_the_route_returns() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = crowd();
    bench.join(2);
    bench.live(&[1, 2], HEARTBEAT);
    bench.say(2, FromNode::Leave);
    bench.say(2, drained(2, 3));
    assert_eq!(bench.live(&[1, 2], HEARTBEAT), "n2 <- reconnect 2 browser [] left 0\n");
}

#[test]
fn app_flows_follow_when_no_browser_is_left_and_they_are_silent() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    let app = FlowView { side: Side::App, ..browser_flow(2001, FlowPhase::Established, 50) };
    let browser = browser_flow(1001, FlowPhase::Established, 0);
    bench.flows.0 = vec![(route(2), SessionId(1), browser), (route(2), SessionId(1), app)];
    bench.join(2);
    assert_eq!(bench.pass(Duration::from_millis(1)), "n1 <- reconnect 2 browser [203.0.113.1:1001] left 0\n");
    bench.flows.0.remove(0);
    assert_eq!(bench.pass(HEARTBEAT), "", "the app spoke 50 ms ago");
    assert_eq!(bench.pass(HEARTBEAT), "n1 <- reconnect 2 app [203.0.113.1:2001] left 0\n");
}

#[test]
fn a_node_that_leaves_is_let_go_when_it_has_drained() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    bench.say(2, drained(2, 9));
    let text = bench.say(2, FromNode::Leave);
    assert_eq!(text, "epoch 3 held by n1\nn1 <- returned 2\nn2 <- moved 2 for 30000 ms\nn1 <- assigned 1 with 1,2\n");
    assert_eq!(bench.pass(Duration::from_millis(1)), "n2 <- reconnect 2 browser [] left 0\n");
    assert_eq!(bench.say(2, drained(2, 3)), "");
    assert_eq!(bench.pass(HEARTBEAT), "n2 closed\nepoch 3 held by n1\n");
}

#[test]
fn a_reserve_that_leaves_is_let_go_at_once() {
    let mut bench = Bench::new(2, 1);
    bench.join(1);
    bench.join(2);
    assert_eq!(bench.say(2, FromNode::Leave), "epoch 1 held by n1\nn2 closed\nepoch 1 held by n1\n");
}

#[test]
fn what_a_drain_leaves_at_its_deadline_holds_nobody() {
    let mut bench = Bench::new(1, 1);
    bench.join(1);
    bench.join(2);
    bench.flows.0 = vec![(route(1), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.say(1, FromNode::Leave);
    for seq in 1..300 {
        for number in [1, 2] {
            bench.beat_from(number, number, number.into(), seq);
        }
        let text = bench.pass(HEARTBEAT);
        assert!(!text.contains("closed"), "after {seq} heartbeats: {text}");
    }
    bench.beat_from(1, 1, 1, 300);
    bench.beat_from(2, 2, 2, 300);
    assert!(bench.pass(HEARTBEAT * 2).contains("n1 closed"));
}

#[test]
fn what_a_drain_leaves_at_its_deadline_is_ended_towards_both() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    let app = FlowView { side: Side::App, ..browser_flow(2001, FlowPhase::Established, 50) };
    bench.flows.0 =
        vec![(route(2), SessionId(1), browser_flow(1001, FlowPhase::Established, 0)), (route(2), SessionId(1), app)];
    bench.join(2);
    assert!(!bench.live(&[1, 2], DRAIN - HEARTBEAT).contains("end "));
    assert_eq!(
        bench.live(&[1, 2], HEARTBEAT * 2),
        "end 203.0.113.1:2001 toward Both\nend 203.0.113.1:1001 toward Both\n"
    );
}

#[test]
fn a_second_move_never_extends_a_deadline() {
    let mut bench = Bench::new(2, 1);
    bench.join(1);
    bench.join(2);
    bench.flows.0 = vec![(route(1), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.say(1, FromNode::Leave);
    bench.live(&[1, 2], DRAIN / 2);
    bench.disconnect(2);
    bench.refuse_redial(2);
    assert!(!bench.live(&[1], DRAIN / 2 - HEARTBEAT).contains("end "), "the drain goes on");
    assert!(bench.live(&[1], HEARTBEAT * 2).contains("end 203.0.113.1:1001 toward Both"));
}

#[test]
fn a_former_node_that_is_lost_takes_its_drain_with_it() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = vec![(route(2), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.join(2);
    bench.pass(Duration::from_millis(1));
    bench.disconnect(1);
    bench.refuse_redial(1);
    assert_eq!(bench.pass(Duration::from_millis(20)), "end 203.0.113.1:1001 toward Client\n");
}

#[test]
fn a_cleared_suspect_hears_again_what_it_may_have_missed() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = vec![(route(2), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.disconnect(1);
    assert!(!bench.join(2).contains("n1 <-"));
    let again = bench.answer_redial(1, 1, FromNode::Hello(hello(1)));
    assert!(again.ends_with("n101 <- welcome as 1 with 1\nn101 <- moved 2 for 30000 ms\n"), "{again}");
    let text = bench.pass(Duration::from_millis(20));
    assert_eq!(text, "n101 <- reconnect 2 browser [203.0.113.1:1001] left 0\n");
}

#[test]
fn who_waits_to_be_named_goes_with_its_node() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = crowd();
    bench.join(2);
    bench.pass(Duration::from_millis(1));
    bench.disconnect(1);
    bench.refuse_redial(1);
    assert!(!bench.pass(HEARTBEAT).contains("reconnect"));
}

#[test]
fn who_waits_to_be_named_when_its_drain_is_over_is_forgotten() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    assert_eq!(bench.pass(Duration::from_millis(1)), "n1 <- reconnect 2 browser [] left 0\n");
    // Connections whose handshake was under way.
    bench.flows.0 = crowd();
    bench.say(1, drained(2, 2));
    assert!(bench.pass(HEARTBEAT).contains("reconnect"));
    bench.flows.0.clear();
    bench.pass(HEARTBEAT);
    assert_eq!(bench.pass(HEARTBEAT), "");
}

#[test]
fn who_waited_to_be_named_waits_again_when_a_suspect_is_cleared() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = crowd();
    bench.join(2);
    bench.pass(Duration::from_millis(1));
    bench.disconnect(1);
    bench.answer_redial(1, 1, FromNode::Hello(hello(1)));
    let text = bench.pass(Duration::from_millis(30));
    assert!(text.lines().all(|line| line.starts_with("n101 <- reconnect 2 browser [")), "{text}");
    assert!(text.contains("left 29"), "{text}");
}

#[test]
fn who_waits_to_be_named_by_others_does_so_when_a_suspect_is_cleared() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = crowd();
    bench.join(2);
    bench.pass(Duration::from_millis(1));
    bench.disconnect(2);
    bench.answer_redial(2, 2, FromNode::Hello(hello(2)));
    let text = bench.live(&[1, 2], HEARTBEAT);
    assert!(text.starts_with("n1 <- reconnect 2 browser [203.0.113.1:1021] left 2978\n"), "{text}");
}

#[test]
fn who_waits_to_be_named_does_so_when_another_node_is_lost() {
    let mut bench = Bench::new(4, 0);
    bench.join(1);
    bench.flows.0 = crowd().into_iter().map(|(_, node, flow)| (route(4), node, flow)).collect();
    bench.join(2);
    bench.pass(Duration::from_millis(1));
    bench.join(3);
    bench.disconnect(3);
    bench.refuse_redial(3);
    let text = bench.live(&[1, 2], HEARTBEAT);
    assert!(text.contains("reconnect 4 browser [203.0.113.1:1022,"), "{text}");
}

#[test]
fn nothing_drains_at_a_node_that_is_lost() {
    let mut bench = Bench::new(3, 0);
    bench.join(1);
    bench.join(2);
    bench.join(3);
    // It has just been established, and would be named.
    bench.flows.0 = vec![(route(2), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.disconnect(1);
    bench.refuse_redial(1);
    let text = bench.live(&[2, 3], DRAIN + HEARTBEAT);
    assert!(!text.contains("reconnect 2"), "{text}");
}

#[test]
fn a_node_that_comes_again_before_it_has_left_is_told_to_wait() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = vec![(route(1), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.join(2);
    bench.say(1, FromNode::Leave);
    bench.open(3);
    assert_eq!(bench.say(3, FromNode::Hello(hello(1))), "n3 <- error NameTaken\nn3 closed\n");
}

#[test]
fn only_what_was_named_can_be_drained() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = crowd();
    bench.join(2);
    let wrong = "n1 <- error Unexpected\n";
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.say(1, drained(2, 2)), wrong, "most have not been named");
    bench.flows.0.truncate(1);
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.say(1, drained(2, 1)), wrong, "another epoch");
    assert_eq!(bench.say(1, drained(2, 2)), "");
}

#[test]
fn what_is_said_of_a_drain_that_is_over_is_no_mistake() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    bench.pass(Duration::from_millis(1));
    bench.say(1, drained(2, 2));
    bench.pass(HEARTBEAT);
    bench.disconnect(2);
    bench.refuse_redial(2);
    assert_eq!(bench.say(1, drained(2, 2)), "", "though another node was lost since");
    assert_eq!(bench.say(1, drained(2, 1)), "");
    assert_eq!(bench.say(1, drained(2, 3)), "n1 <- error Unexpected\n");
}

#[test]
fn a_node_that_has_drained_is_kept_as_long_as_connections_are_seen() {
    let app = FlowView { side: Side::App, ..browser_flow(2001, FlowPhase::Established, 50) };
    for left in [app, browser_flow(1001, FlowPhase::Established, 0)] {
        let mut bench = Bench::new(1, 1);
        bench.join(1);
        bench.join(2);
        bench.say(1, FromNode::Leave);
        bench.pass(Duration::from_millis(1));
        bench.flows.0 = vec![(route(1), SessionId(1), left)];
        assert_eq!(bench.say(1, drained(1, 2)), "");
        assert!(!bench.live(&[1, 2], HEARTBEAT * 2).contains("closed"));
        bench.flows.0.clear();
        assert!(bench.live(&[1, 2], HEARTBEAT * 2).contains("n1 closed"));
    }
}

#[test]
fn time_that_the_daemon_lost_is_not_taken_from_a_drain() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = vec![(route(2), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.join(2);
    assert!(!bench.live(&[1, 2], DRAIN - HEARTBEAT * 2).contains("end "));
    bench.now = bench.now + HEARTBEAT * 10;
    assert!(!bench.pass(HEARTBEAT / 2).contains("end "));
    assert!(bench.live(&[1, 2], HEARTBEAT * 3).contains("end 203.0.113.1:1001 toward Both"));
}
