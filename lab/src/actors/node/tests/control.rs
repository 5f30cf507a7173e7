use super::*;

const HELLO: &str = "{\"type\":\"hello\",\"version\":1,\"name\":\"n1\",\"incarnation\":\"0000000000000abc\",\
                     \"browser\":[\"10.0.1.1:8000\"],\"app\":[\"10.0.1.1:9000\"],\"admin\":\"10.0.1.1:9001\"}\n";

fn heartbeat(seq: u64, connections: u64) -> String {
    format!(
        "datagram 10.0.0.1:7000 {{\"type\":\"heartbeat\",\"token\":\"00000000000000ff\",\"seq\":{seq},\
         \"connections\":{connections}}}\n"
    )
}

#[test]
fn a_node_that_joins_says_hello_and_beats_once_it_is_welcomed() {
    let mut node = node();
    assert_eq!(node.command(NodeCommand::Join), ["dial 1 10.0.0.1:7000"]);
    assert_eq!(node.input(Input::Connected(ConnId(1))), [send(ConnId(1), HELLO)]);
    assert_eq!(
        node.received(ConnId(1), WELCOME),
        [
            "Welcomed { state: Active, id: Some(NodeId(1)), routes: [RouteId(1), RouteId(2)], epoch: Epoch(1) }".into(),
            heartbeat(1, 0)
        ]
    );
    app(&mut node);
    browser(&mut node, "alice", "raw", "10.0.2.1:4000");
    node.drain();
    assert_eq!(node.pass_ms(49), Vec::<String>::new());
    assert_eq!(node.pass_ms(1), [heartbeat(2, 2)]);
    assert_eq!(node.pass_ms(50), [heartbeat(3, 2)]);
}

#[test]
fn a_timer_that_was_late_does_not_make_up_for_what_was_missed() {
    let mut node = welcomed();
    node.now = node.now + Duration::from_millis(170);
    assert_eq!(node.input(Input::Timeout), [heartbeat(2, 0)]);
    assert_eq!(node.pass_ms(49), Vec::<String>::new());
    assert_eq!(node.pass_ms(1), [heartbeat(3, 0)]);
}

#[test]
fn what_halod_says_is_reported() {
    let mut node = welcomed();
    assert_eq!(
        node.received(
            ConnId(1),
            "{\"type\":\"assigned\",\"id\":2,\"routes\":[3],\"epoch\":4}\n{\"type\":\"new_kind\"}\n\
             {\"type\":\"error\",\"code\":\"unexpected\",\"message\":\"twice\"}\n"
        ),
        [
            "Assigned { id: NodeId(2), routes: [RouteId(3)], epoch: Epoch(4) }",
            "Rejected { code: Unexpected, message: \"twice\" }"
        ]
    );
    assert_eq!(node.received(ConnId(1), "nonsense\n"), ["abort 1", "ControlEnded"]);
}

#[test]
fn a_lost_session_is_dialled_again_with_growing_waits() {
    let mut node = welcomed();
    assert_eq!(node.input(Input::PeerFinished(ConnId(1))), ["finish 1", "ControlEnded"]);
    assert_eq!(node.input(Input::Ended(ConnId(1), End::Closed)), Vec::<String>::new());
    assert_eq!(node.pass_ms(100), ["dial 2 10.0.0.1:7000"]);
    assert_eq!(node.input(Input::Ended(ConnId(2), End::Refused)), Vec::<String>::new());
    assert_eq!(node.pass_ms(99), Vec::<String>::new());
    assert_eq!(node.pass_ms(101), ["dial 3 10.0.0.1:7000"]);
}

#[test]
fn a_node_that_left_stays_until_halod_closes_and_does_not_come_back() {
    let mut node = welcomed();
    assert_eq!(node.command(NodeCommand::Leave), ["send 1 {\"type\":\"leave\"}\n"]);
    assert_eq!(node.pass_ms(50), [heartbeat(2, 0)]);
    assert_eq!(node.input(Input::PeerFinished(ConnId(1))), ["finish 1", "ControlEnded"]);
    node.input(Input::Ended(ConnId(1), End::Closed));
    assert_eq!(node.actor.deadline(), None);
    assert_eq!(node.command(NodeCommand::Join), ["dial 2 10.0.0.1:7000"]);
}

#[test]
fn a_node_that_leaves_before_it_was_let_in_gives_up_its_dial() {
    let mut node = node();
    node.command(NodeCommand::Join);
    assert_eq!(node.command(NodeCommand::Leave), ["abort 1", "ControlEnded"]);
    assert_eq!(node.actor.deadline(), None);
}

#[test]
fn a_redial_is_answered_with_hello_and_becomes_the_session_once_welcomed() {
    let mut node = welcomed();
    let redial = node.accept(ADMIN, "10.0.0.1:6000");
    assert_eq!(node.drain(), [send(redial, HELLO)]);
    let lines = node.received(redial, WELCOME);
    assert_eq!(lines[0], "abort 1");
    assert!(lines[1].starts_with("Welcomed"), "{lines:?}");
    assert_eq!(node.command(NodeCommand::Leave), [send(redial, "{\"type\":\"leave\"}\n")]);
}

#[test]
fn a_redial_that_ends_without_a_welcome_changes_nothing() {
    let mut node = welcomed();
    let redial = node.accept(ADMIN, "10.0.0.1:6000");
    node.drain();
    assert_eq!(node.input(Input::Ended(redial, End::Reset)), Vec::<String>::new());
    assert_eq!(node.pass_ms(50), [heartbeat(2, 0)]);
}

#[test]
fn a_node_that_does_not_hear_halod_ends_the_session_and_dials_anew() {
    let mut node = node();
    node.command(NodeCommand::Join);
    node.input(Input::Connected(ConnId(1)));
    node.received(ConnId(1), WELCOME.replace("\"misses\":1000", "\"misses\":3"));
    node.pass_ms(100);
    let beat = br#"{"type":"heartbeat","token":"00000000000000ff","seq":1}"#;
    node.input(Input::Datagram("10.0.0.1:7000".parse().unwrap(), beat));
    let silent: Vec<String> = node.pass_ms(174).into_iter().filter(|line| !line.starts_with("datagram")).collect();
    assert_eq!(silent, Vec::<String>::new());
    assert_eq!(node.pass_ms(1), ["abort 1", "ControlEnded"]);
}
