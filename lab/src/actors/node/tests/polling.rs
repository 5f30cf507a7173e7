use super::*;

const ALICE: &str = "10.0.2.1:4000";

fn polling() -> (Stage<Node>, ConnId, ConnId) {
    let mut node = node();
    let app = app(&mut node);
    let first = node.accept(BROWSER, ALICE);
    assert_eq!(node.received(first, poll("alice")), [attached("alice", "Xhr", ALICE)]);
    (node, app, first)
}

#[test]
fn parked_polls_take_events_in_order_each_with_its_close() {
    let (mut node, app, first) = polling();
    let second = node.accept(BROWSER, "10.0.2.1:4001");
    assert_eq!(node.received(second, poll("alice")), Vec::<String>::new());
    assert_eq!(node.received(app, orbit("1", &["alice"], "x")), [send(first, "x"), finish(first)]);
    assert_eq!(node.received(app, orbit("2", &["alice"], "y")), [send(second, "y"), finish(second)]);
    assert_eq!(node.received(app, orbit("3", &["alice"], "z")), [failure(app, "3", &["alice"])]);
    assert_eq!(node.input(Input::Acked(second, 1)), [success(app, "2")]);
    assert_eq!(node.input(Input::Acked(first, 1)), [success(app, "1")]);
}

#[test]
fn a_browser_that_polls_again_in_time_stays_attached() {
    let (mut node, app, first) = polling();
    node.received(app, orbit("1", &["alice"], "x"));
    node.input(Input::Acked(first, 1));
    // The absence begins when the answered poll has ended.
    assert_eq!(node.pass_ms(2_500), Vec::<String>::new());
    node.input(Input::Ended(first, End::Closed));
    assert_eq!(node.pass_ms(1_999), Vec::<String>::new());
    let second = node.accept(BROWSER, "10.0.2.1:4001");
    assert_eq!(node.received(second, poll("alice")), [attached("alice", "Xhr", "10.0.2.1:4001")]);
    assert_eq!(node.pass_ms(10_000), Vec::<String>::new());
    assert_eq!(node.received(app, orbit("2", &["alice"], "y")), [send(second, "y"), finish(second)]);
}

#[test]
fn a_browser_that_stays_away_is_detached_once() {
    let (mut node, _, first) = polling();
    assert_eq!(node.input(Input::Ended(first, End::Reset)), Vec::<String>::new());
    assert_eq!(node.pass_ms(1_999), Vec::<String>::new());
    assert_eq!(node.pass_ms(1), [detached("alice")]);
    assert_eq!(node.pass_ms(60_000), Vec::<String>::new());
}

#[test]
fn an_idle_poll_is_closed() {
    let (mut node, _, first) = polling();
    assert_eq!(node.pass_ms(29_999), Vec::<String>::new());
    assert_eq!(node.pass_ms(1), [finish(first)]);
}

#[test]
fn a_dead_poll_takes_no_event() {
    let (mut node, app, first) = polling();
    let second = node.accept(BROWSER, "10.0.2.1:4001");
    node.received(second, poll("alice"));
    node.input(Input::PeerFinished(first));
    assert_eq!(node.received(app, orbit("1", &["alice"], "x")), [send(second, "x"), finish(second)]);
}

#[test]
fn a_stream_takes_the_place_of_polls_and_the_reverse() {
    let (mut node, _, first) = polling();
    let stream = node.accept(BROWSER, "10.0.2.1:4001");
    let lines = node.received(stream, get("alice", "raw"));
    assert_eq!(lines, [attached("alice", "Raw", "10.0.2.1:4001"), finish(first)]);
    let second = node.accept(BROWSER, "10.0.2.1:4002");
    let lines = node.received(second, poll("alice"));
    assert_eq!(lines, [attached("alice", "Xhr", "10.0.2.1:4002"), finish(stream)]);
    node.input(Input::Ended(first, End::Closed));
    assert_eq!(node.input(Input::Ended(stream, End::Closed)), Vec::<String>::new());
}

#[test]
fn one_poll_too_many_displaces_the_oldest() {
    let (mut node, _, first) = polling();
    let mut lines = Vec::new();
    for port in 0..16 {
        let conn = node.accept(BROWSER, &format!("10.0.2.1:{}", 5000 + port));
        lines.extend(node.received(conn, poll("alice")));
    }
    assert_eq!(lines, [finish(first)]);
}
