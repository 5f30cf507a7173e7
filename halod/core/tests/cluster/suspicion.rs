//! A node that has to prove itself, and who waits for its name.

use std::time::Duration;

use halod_core::cluster::{ConnId, Note};
use halod_core::ids::{Epoch, NodeId};
use halod_core::protocol::{DecodeError, FromNode, Hello, Incarnation, Token};
use halod_core::routing::SessionId;

use crate::bench::{Bench, REDIAL, conn, drained, hello, host, redialled};

#[test]
fn a_broken_connection_makes_a_suspect_that_a_hello_clears() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    assert_eq!(bench.disconnect(1), "epoch 1 held by n1 suspects 1\nredial 1 at 10.0.0.1:9001\n");
    assert_eq!(
        bench.answer_redial(1, 1, FromNode::Hello(hello(1))),
        "epoch 1 held by n1\nn101 <- welcome as 1 with 1,2\n"
    );
    assert_eq!(bench.live(&[1], REDIAL * 2), "");
    assert_eq!(bench.say(redialled(1), FromNode::Leave).lines().next(), Some("epoch 2 held by "));
}

#[test]
fn a_suspect_that_cannot_be_dialled_is_lost_at_once() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    bench.disconnect(1);
    assert_eq!(bench.refuse_redial(1), "epoch 3 held by n2\nn2 <- assigned 1 with 1,2\n");
}

#[test]
fn an_accept_proves_nothing() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.disconnect(1);
    bench.cluster.redialed(SessionId(1), conn(101));
    assert_eq!(bench.pass(REDIAL - Duration::from_millis(1)), "");
    assert_eq!(bench.pass(Duration::from_millis(1)), "n101 closed\nepoch 2 held by \n");
}

#[test]
fn another_process_in_its_place_proves_that_it_is_gone() {
    let mut other = hello(1);
    other.incarnation = Incarnation(99);
    for answer in [FromNode::Hello(other), FromNode::Leave] {
        let mut bench = Bench::new(2, 0);
        bench.join(1);
        bench.disconnect(1);
        assert_eq!(bench.answer_redial(1, 1, answer), "n101 closed\nepoch 2 held by \n");
    }
}

#[test]
fn a_redial_that_breaks_or_comes_late_proves_nothing() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.disconnect(1);
    bench.cluster.redialed(SessionId(1), conn(101));
    assert_eq!(bench.disconnect(101), "n101 closed\nepoch 2 held by \n");
    bench.cluster.redialed(SessionId(1), conn(102));
    assert_eq!(bench.outputs(), "n102 closed\n");
}

#[test]
fn a_suspect_proves_itself_on_one_connection() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.disconnect(1);
    for number in [101, 102] {
        bench.cluster.redialed(SessionId(1), conn(number));
    }
    assert_eq!(bench.outputs(), "n102 closed\n");
}

#[test]
fn a_newcomer_of_a_name_waits_for_the_holder_to_prove_itself() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    let mut newcomer = hello(2);
    newcomer.name = "n1".into();
    bench.open(2);
    let asked = "epoch 1 held by n1 suspects 1\nredial 1 at 10.0.0.1:9001\n";
    assert_eq!(bench.say(2, FromNode::Hello(newcomer.clone())), asked);
    bench.open(3);
    assert_eq!(bench.say(3, FromNode::Hello(newcomer)), "n3 <- error NameTaken\nn3 closed\n", "one may wait");
    assert_eq!(
        bench.answer_redial(1, 1, FromNode::Hello(hello(1))),
        "n1 closed\nepoch 1 held by n1\nn2 <- error NameTaken\nn2 closed\nn101 <- welcome as 1 with 1,2\n"
    );
}

#[test]
fn a_newcomer_is_let_in_when_the_holder_of_its_name_has_left() {
    let mut bench = Bench::new(1, 1);
    bench.join(1);
    bench.join(2);
    bench.say(1, FromNode::Leave);
    bench.pass(Duration::from_millis(1));
    let mut restarted = hello(1);
    restarted.incarnation = Incarnation(77);
    bench.open(3);
    let asked = "epoch 2 held by n2 suspects 1\nredial 1 at 10.0.0.1:9001\n";
    assert_eq!(bench.say(3, FromNode::Hello(restarted)), asked);
    bench.say(1, drained(1, 2));
    let let_in = "n1 closed\nepoch 2 held by n2\nn3 <- welcome in reserve\n";
    assert_eq!(bench.pass(REDIAL), let_in);
    assert_eq!(bench.refuse_redial(1), "", "it is of no interest any more");
}

#[test]
fn a_newcomer_that_has_waited_for_its_name_is_examined_like_any_other() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    let newcomer = Hello { name: "n1".into(), incarnation: Incarnation(77), ..hello(2) };
    bench.open(3);
    bench.say(3, FromNode::Hello(newcomer));
    let refused = "n1 closed\nn3 <- error AddressTaken\nn3 closed\nepoch 3 held by n2\nn2 <- assigned 1 with 1,2\n";
    assert_eq!(bench.refuse_redial(1), refused);
}

#[test]
fn a_process_that_was_started_again_takes_its_own_id_back() {
    let mut bench = Bench::new(2, 1);
    for number in [1, 2, 3] {
        bench.join(number);
    }
    // n2 waits in reserve, but n1's new process has the better claim to n1's id.
    let mut restarted = hello(1);
    restarted.incarnation = Incarnation(77);
    bench.open(4);
    bench.say(4, FromNode::Hello(restarted));
    assert_eq!(bench.refuse_redial(1), "n1 closed\nepoch 3 held by n1 n3\nn4 <- welcome as 1 with 1\n");
}

/// Connection 4 waits for the name of n1, and 5 for that of n2.
fn two_wait() -> Bench {
    let mut bench = Bench::new(2, 0);
    for number in [1, 2] {
        bench.join(number);
        bench.open(number + 3);
        bench.say(number + 3, FromNode::Hello(Hello { incarnation: Incarnation(77), ..hello(number) }));
    }
    bench
}

/// How a connection ceases to wait. Returns what is said to it.
type WayOut = fn(&mut Bench) -> String;

#[test]
fn who_no_longer_waits_for_a_name_takes_nobody_with_it() {
    let crowd = |bench: &mut Bench| {
        for number in 1000..1255 {
            bench.cluster.open(bench.now, ConnId(number), host(1), Token(number));
        }
        bench.outputs()
    };
    let garbage = |bench: &mut Bench| {
        bench.cluster.receive(bench.now, conn(4), Err(DecodeError::LineTooLong));
        bench.outputs()
    };
    let ways: [(&str, WayOut); 4] = [
        ("n4 closed\n", |bench| bench.say(4, FromNode::Leave)),
        ("", |bench| bench.disconnect(4)),
        ("n4 <- error LineTooLong\nn4 closed\n", garbage),
        ("n4 <- error Full\nn4 closed\n", crowd),
    ];
    for (expected, way) in ways {
        let mut bench = two_wait();
        assert_eq!(bench.say(4, drained(1, 1)), "", "it has nothing to say yet");
        assert_eq!(way(&mut bench), expected);
        let cleared = bench.answer_redial(1, 1, FromNode::Hello(hello(1)));
        assert!(!cleared.contains("n4"), "{cleared}");
        let cleared = bench.answer_redial(2, 2, FromNode::Hello(hello(2)));
        assert!(cleared.contains("n5 <- error NameTaken\nn5 closed\n"), "{cleared}");
    }
}

#[test]
fn while_some_wait_for_a_name_others_are_let_in() {
    let mut bench = two_wait();
    assert!(bench.join(6).ends_with("n6 <- welcome in reserve\n"));
}

#[test]
fn who_says_hello_at_the_last_moment_is_given_up_alone() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    bench.open(4);
    bench.live(&[1, 2], Duration::from_millis(4900));
    bench.open(5);
    bench.pass(Duration::from_millis(60));
    for number in [1, 2] {
        bench.say(number + 3, FromNode::Hello(Hello { incarnation: Incarnation(77), ..hello(number) }));
    }
    let given_up = bench.pass(Duration::from_millis(40));
    assert!(given_up.contains("n4 <- error HelloExpected\nn4 closed\n"), "{given_up}");
    let cleared = bench.answer_redial(2, 2, FromNode::Hello(hello(2)));
    assert!(cleared.contains("n5 <- error NameTaken\nn5 closed\n"), "{cleared}");
}

#[test]
fn the_log_tells_who_joins_from_who_is_back() {
    let mut bench = Bench::new(2, 0);
    bench.open(1);
    bench.cluster.receive(bench.now, conn(1), Ok(FromNode::Hello(hello(1))));
    let changed = Note::Changed { epoch: Epoch(1), active: 1, moved: 2 };
    assert_eq!(bench.notes(), [changed, Note::Joined { name: "n1".into(), id: NodeId::new(1) }]);
    bench.disconnect(1);
    bench.cluster.redialed(SessionId(1), conn(101));
    bench.cluster.receive(bench.now, conn(101), Ok(FromNode::Hello(hello(1))));
    assert_eq!(bench.notes(), [Note::Cleared { name: "n1".into() }]);
}
