//! After a restart: the former table, and who is waited for.

use std::time::Duration;

use halod_core::cluster::{Loss, Note};
use halod_core::flow::FlowPhase;
use halod_core::ids::Epoch;
use halod_core::last_table::{LastHolder, LastTable};
use halod_core::protocol::FromNode;
use halod_core::routing::SessionId;

use crate::bench::{Bench, HEARTBEAT, at, browser_flow, hello, route};

const RECOVERY: Duration = Duration::from_secs(10);

/// A cluster after a restart, before which nodes of these numbers held ids 1, 2 and so on.
fn resumed(routes: u16, reserve: usize, numbers: &[u8]) -> Bench {
    let mut bench = Bench::new(routes, reserve);
    let holder = |&number: &u8| LastHolder { browser: at(number, 8000), app: at(number, 9000) };
    let last = LastTable { holders: numbers.iter().map(holder).collect(), nodes: [].into() };
    bench.cluster.resume(bench.now, &last);
    bench
}

#[test]
fn the_former_table_is_in_force_at_once_and_all_come_back_to_their_ids() {
    let mut bench = resumed(4, 0, &[2, 1]);
    assert_eq!(bench.outputs(), "epoch 1 held by 10.0.0.2:8000 10.0.0.1:8000\n");
    assert_eq!(bench.join(1), "epoch 1 held by 10.0.0.2:8000 n1\nn1 <- welcome as 2 with 3,4\n");
    bench.open(2);
    bench.cluster.receive(bench.now, crate::bench::conn(2), Ok(FromNode::Hello(hello(2))));
    let recovered = |note: &Note| matches!(note, Note::Recovered { missing: 0 });
    assert!(bench.notes().iter().any(recovered));
    assert_eq!(bench.live(&[1, 2], RECOVERY * 2), "", "nobody is awaited any more");
    assert_eq!(bench.join(3).lines().next(), Some("epoch 2 held by n2 n1 n3"), "the policy is the usual one");
}

#[test]
fn others_wait_until_all_are_back() {
    let mut bench = resumed(4, 1, &[1, 2]);
    bench.outputs();
    assert!(bench.join(3).ends_with("n3 <- welcome while held\n"));
    bench.join(1);
    assert_eq!(
        bench.join(2),
        "epoch 1 held by n1 n2\nn2 <- welcome as 2 with 3,4\nepoch 1 held by n1 n2\nn3 <- welcome in reserve\n"
    );
}

#[test]
fn who_does_not_come_back_is_lost_and_the_highest_id_takes_the_place() {
    let mut bench = resumed(4, 0, &[1, 2, 3]);
    bench.join(2);
    bench.join(3);
    bench.flows.0 = vec![(route(1), SessionId(1), browser_flow(5000, FlowPhase::Established, 0))];
    let quiet = bench.live(&[2, 3], RECOVERY - HEARTBEAT);
    assert_eq!(quiet, "");
    let text = bench.live(&[2, 3], HEARTBEAT * 2);
    let expected = "epoch 2 held by n3 n2\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.contains("n3 <- assigned 1 with 1,2\n") && text.contains("end 203.0.113.1:5000 toward Client\n"),
        "{text}"
    );
}

#[test]
fn who_waits_takes_over_from_who_does_not_come_back() {
    let mut bench = resumed(4, 0, &[1, 2]);
    bench.join(2);
    bench.join(3);
    bench.live(&[2, 3], RECOVERY - HEARTBEAT);
    bench.outputs();
    let text = bench.live(&[2, 3], HEARTBEAT * 2);
    assert_eq!(text, "epoch 2 held by n3 n2\nn3 <- assigned 1 with 1,2\n");
}

#[test]
fn who_waits_and_is_not_needed_is_placed_by_the_policy() {
    let mut bench = resumed(4, 1, &[1]);
    bench.join(2);
    bench.join(3);
    bench.outputs();
    let text = bench.join(1);
    let tail = "epoch 2 held by n1 n2\nn1 <- moved 3 for 30000 ms\nn1 <- moved 4 for 30000 ms\n";
    let tail = format!("{tail}n2 <- assigned 2 with 3,4\nn3 <- welcome in reserve\n");
    assert_eq!(text, format!("epoch 1 held by n1\nn1 <- welcome as 1 with 1,2,3,4\n{tail}"));
}

#[test]
fn a_node_with_one_address_of_a_former_one_waits_for_its_id() {
    let mut bench = resumed(4, 0, &[1]);
    bench.outputs();
    bench.open(1);
    let mut changed = hello(1);
    changed.app = at(1, 9999);
    assert_eq!(bench.say(1, FromNode::Hello(changed)), "");
    assert_eq!(bench.pass(RECOVERY), "epoch 2 held by n1\nn1 <- welcome as 1 with 1,2,3,4\n");
}

#[test]
fn who_claims_an_address_of_a_former_holder_is_refused_when_that_one_is_back() {
    let mut bench = resumed(4, 0, &[1]);
    bench.outputs();
    bench.open(2);
    let mut claim = hello(2);
    claim.browser = at(1, 8000);
    assert_eq!(bench.say(2, FromNode::Hello(claim)), "");
    assert_eq!(bench.pass(RECOVERY - HEARTBEAT), "", "it has said hello, and is not closed for its silence");
    let text = bench.join(1);
    assert!(text.contains("n1 <- welcome as 1 with 1,2,3,4\n"), "{text}");
    assert!(text.contains("AddressTaken") && text.contains("n2 closed"), "{text}");
}

#[test]
fn a_node_that_is_lost_while_others_are_awaited_is_replaced_at_once() {
    let mut bench = resumed(4, 0, &[1, 2]);
    bench.join(1);
    bench.disconnect(1);
    assert_eq!(bench.refuse_redial(1), "epoch 2 held by 10.0.0.2:8000\n");
    bench.flows.0 = vec![(route(2), SessionId(2), browser_flow(5000, FlowPhase::Established, 0))];
    assert_eq!(bench.join(2), "epoch 2 held by n2\nn2 <- welcome as 1 with 1,2,3,4\n");
}

#[test]
fn a_name_like_the_address_of_a_former_holder_is_nobodys() {
    let mut bench = resumed(4, 0, &[1]);
    bench.outputs();
    bench.open(2);
    let mut named = hello(2);
    named.name = "10.0.0.1:8000".into();
    assert_eq!(bench.say(2, FromNode::Hello(named)), "epoch 1 held by 10.0.0.1:8000\nn2 <- welcome while held\n");
    bench.pass(RECOVERY);
}

#[test]
fn the_log_says_what_is_awaited_and_what_came_of_it() {
    let mut bench = resumed(2, 0, &[1]);
    assert_eq!(bench.notes(), [Note::Resumed { active: 1 }]);
    bench.now = bench.now + RECOVERY;
    bench.timeout();
    // Late is who was not called for 10 s: that time does not count.
    assert_eq!(bench.notes(), []);
    bench.now = bench.now + RECOVERY;
    while bench.cluster.deadline() <= bench.now {
        let due = bench.cluster.deadline();
        bench.cluster.timeout(due);
    }
    let lost = Note::Lost { name: "10.0.0.1:8000".into(), how: Loss::NotBack };
    let changed = Note::Changed { epoch: Epoch(2), active: 0, moved: 2 };
    assert_eq!(bench.notes(), [Note::Recovered { missing: 1 }, lost, changed]);
}
