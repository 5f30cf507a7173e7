//! What a connection may say, and when.

use std::time::Duration;

use halod_core::cluster::ConnId;
use halod_core::protocol::{DecodeError, Endpoints, FromNode, Heartbeat, Hello, Token, decode_from_node};

use crate::bench::{Bench, at, conn, drained, hello, host};

#[test]
fn a_connection_without_hello_is_closed() {
    let mut bench = Bench::new(2, 0);
    bench.open(1);
    assert_eq!(bench.pass(Duration::from_secs(5)), "n1 <- error HelloExpected\nn1 closed\n");
    bench.open(2);
    assert_eq!(bench.say(2, FromNode::Leave), "n2 <- error HelloExpected\nn2 closed\n");
    assert_eq!(bench.say(2, FromNode::Hello(hello(2))), "", "it is closed");
}

#[test]
fn addresses_are_held_by_one_node_and_names_have_a_form() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    let mut refused = |change: &dyn Fn(&mut Hello)| {
        let mut message = hello(2);
        change(&mut message);
        bench.open(2);
        bench.say(2, FromNode::Hello(message))
    };
    assert_eq!(refused(&|hello| hello.browser = at(1, 8000)), "n2 <- error AddressTaken\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.app = at(2, 8000)), "n2 <- error AddressTaken\nn2 closed\n");
    let own = Endpoints::try_from(vec!["192.0.2.1:80".parse().unwrap()]).unwrap();
    assert_eq!(refused(&|hello| hello.app = own), "n2 <- error AddressTaken\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.version = 2), "n2 <- error WrongVersion\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.name = String::new()), "n2 <- error Malformed\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.name = "a\nb".into()), "n2 <- error Malformed\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.name = "x".repeat(65)), "n2 <- error Malformed\nn2 closed\n");
    assert!(!refused(&|hello| hello.name = "x".repeat(64)).contains("error"));
}

#[test]
fn what_does_not_fit_a_session_is_said_and_forgiven() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    assert_eq!(bench.say(1, FromNode::Hello(hello(1))), "n1 <- error Unexpected\n");
    assert_eq!(bench.say(1, drained(1, 1)), "n1 <- error Unexpected\n");
    let beat = Heartbeat { token: Token(1), seq: 1, connections: None };
    assert_eq!(bench.say(1, FromNode::Heartbeat(beat)), "n1 <- error Unexpected\n");
    bench.cluster.receive(bench.now, conn(1), decode_from_node(br#"{"type":"dance"}"#));
    assert_eq!(bench.outputs(), "n1 <- error UnknownType\n");
}

#[test]
fn a_line_that_cannot_be_read_ends_the_session() {
    for error in [DecodeError::LineTooLong, DecodeError::Malformed("why".into())] {
        let mut bench = Bench::new(2, 0);
        bench.join(1);
        let code = if error == DecodeError::LineTooLong { "LineTooLong" } else { "Malformed" };
        bench.cluster.receive(bench.now, conn(1), Err(error));
        assert_eq!(bench.outputs(), format!("n1 <- error {code}\nn1 closed\nepoch 2 held by \n"));
    }
}

#[test]
fn greetings_are_bounded_and_the_oldest_makes_room() {
    let mut bench = Bench::new(2, 0);
    for number in 0..256 {
        bench.cluster.open(bench.now, ConnId(number), host(1), Token(number));
    }
    assert_eq!(bench.outputs(), "");
    bench.cluster.open(bench.now, ConnId(256), host(1), Token(256));
    assert_eq!(bench.outputs(), "n0 <- error Full\nn0 closed\n");
}
