use super::*;

const ALICE: &str = "10.0.2.1:4000";
const BOB: &str = "10.0.2.2:4000";

fn reconnect(side: &str, peers: &[&str], left: u64) -> String {
    format!(
        "{{\"type\":\"reconnect\",\"route\":2,\"epoch\":5,\"side\":\"{side}\",\"peers\":{peers:?},\"left\":{left}}}\n"
    )
}

fn draining() -> Stage<Node> {
    drain(welcomed())
}

fn drain(mut node: Stage<Node>) -> Stage<Node> {
    let lines = node.received(ConnId(1), "{\"type\":\"route_moved\",\"route\":2,\"epoch\":5,\"deadline_ms\":1000}\n");
    assert_eq!(lines, ["RouteMoved { route: RouteId(2), epoch: Epoch(5) }"]);
    node
}

fn drained() -> [String; 2] {
    [
        "send 1 {\"type\":\"drained\",\"route\":2,\"epoch\":5}\n".into(),
        "Drained { route: RouteId(2), epoch: Epoch(5) }".into(),
    ]
}

#[test]
fn a_drain_is_reported_when_the_last_named_browser_has_ended() {
    let mut node = draining();
    let alice = browser(&mut node, "alice", "raw", ALICE);
    let bob = browser(&mut node, "bob", "iframe", BOB);
    node.drain();

    // An iframe is asked by an event, every other transport by a close.
    let named = node.received(ConnId(1), reconnect("browser", &[ALICE], 1));
    assert_eq!(named, [finish(alice), detached("alice")]);
    assert_eq!(node.input(Input::Ended(alice, End::Closed)), Vec::<String>::new());
    let named = node.received(ConnId(1), reconnect("browser", &[BOB], 0));
    assert_eq!(named, [send(bob, "<script>r();</script>")]);

    assert_eq!(node.input(Input::PeerFinished(bob)), [finish(bob), detached("bob")]);
    assert_eq!(node.received(ConnId(1), reconnect("browser", &[BOB], 0)), Vec::<String>::new());
    assert_eq!(node.input(Input::Ended(bob, End::Closed)), drained());
    assert_eq!(node.received(ConnId(1), reconnect("browser", &[], 0)), Vec::<String>::new());
}

#[test]
fn a_node_that_does_not_obey_waits_for_the_end_of_what_is_named() {
    let config = NodeConfig { obeys: false, ..config(Success::HandedOver) };
    let mut node = drain(welcome(Stage::new(Node::new(config).unwrap())));
    let alice = browser(&mut node, "alice", "raw", ALICE);
    node.accept(APP, "10.0.9.1:5001");
    node.drain();
    assert_eq!(node.received(ConnId(1), reconnect("browser", &[ALICE], 0)), Vec::<String>::new());
    assert_eq!(node.received(ConnId(1), reconnect("app", &["10.0.9.1:5001"], 0)), Vec::<String>::new());
    let lines = node.input(Input::Ended(alice, End::Reset));
    assert_eq!(lines, [vec![detached("alice")], drained().to_vec()].concat());
}

#[test]
fn a_peer_that_is_unknown_has_ended() {
    let mut node = draining();
    assert_eq!(node.received(ConnId(1), reconnect("browser", &[ALICE], 0)), drained());
}

#[test]
fn a_browser_that_never_closes_is_reset_and_counts_as_ended() {
    let mut node = draining();
    let alice = browser(&mut node, "alice", "raw", ALICE);
    node.drain();
    node.received(ConnId(1), reconnect("browser", &[ALICE], 0));
    let lines: Vec<String> = node.pass_ms(5_000).into_iter().filter(|line| !line.starts_with("datagram")).collect();
    assert_eq!(lines, [vec![format!("abort {}", alice.0)], drained().to_vec()].concat());
}

#[test]
fn a_route_that_returns_is_not_reported_as_drained() {
    let mut node = draining();
    let returned = node.received(ConnId(1), "{\"type\":\"route_returned\",\"route\":2,\"epoch\":6}\n");
    assert_eq!(returned, ["RouteReturned { route: RouteId(2), epoch: Epoch(6) }"]);
    assert_eq!(node.received(ConnId(1), reconnect("browser", &[], 0)), Vec::<String>::new());
}

#[test]
fn a_lost_session_forgets_its_drains() {
    let mut node = draining();
    let alice = browser(&mut node, "alice", "raw", ALICE);
    node.received(ConnId(1), reconnect("browser", &[ALICE], 0));
    node.input(Input::Ended(ConnId(1), End::Reset));
    assert_eq!(node.input(Input::Ended(alice, End::Closed)), Vec::<String>::new());
}

#[test]
fn an_app_connection_is_ended_at_once_when_idle_and_after_its_replies_otherwise() {
    let mut node = draining();
    let alice = browser(&mut node, "alice", "raw", ALICE);
    let idle = node.accept(APP, "10.0.9.1:5001");
    let busy = node.accept(APP, "10.0.9.1:5002");
    node.received(busy, orbit("7", &["alice"], "x"));

    let named = node.received(ConnId(1), reconnect("app", &["10.0.9.1:5001", "10.0.9.1:5002"], 0));
    assert_eq!(named, [finish(idle)]);
    assert_eq!(
        node.received(busy, orbit("8", &["alice"], "y")),
        [send(busy, "Failure\r\nid: 8\r\nmsg: The connection is being closed\r\n\r\n")]
    );
    assert_eq!(node.input(Input::Acked(alice, 1)), [success(busy, "7"), finish(busy)]);
}
