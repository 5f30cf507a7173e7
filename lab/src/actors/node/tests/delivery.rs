use super::*;

const ALICE: &str = "10.0.2.1:4000";
const BOB: &str = "10.0.2.2:4000";

/// A node with an app and a raw browser of alice.
fn attached_to_alice(promise: Success) -> (Stage<Node>, ConnId, ConnId) {
    let mut node = node_with(promise);
    let (app, alice) = (app(&mut node), browser(&mut node, "alice", "raw", ALICE));
    node.drain();
    (node, app, alice)
}

#[test]
fn a_browser_gets_its_preamble_and_events_when_its_request_is_complete() {
    let mut node = node();
    let conn = node.accept(BROWSER, ALICE);
    let request = get("alice", "server_sent_events");
    assert_eq!(node.received(conn, &request[..20]), Vec::<String>::new());
    assert_eq!(
        node.received(conn, &request[20..]),
        [
            send(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/x-dom-event-stream\r\n\r\n"),
            attached("alice", "ServerSentEvents", ALICE)
        ]
    );
    let app = app(&mut node);
    assert_eq!(node.received(app, orbit("1", &["alice"], "x")), [send(conn, "Event: orbited\ndata: x\n\n")]);
    assert_eq!(node.received(conn, "GET what is not read"), Vec::<String>::new());
}

#[test]
fn what_is_no_request_is_closed() {
    let mut node = node();
    let conn = node.accept(BROWSER, ALICE);
    assert_eq!(
        node.received(conn, "POST / HTTP/1.1\r\n\r\n"),
        [send(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), finish(conn)]
    );
    let silent = node.accept(BROWSER, BOB);
    node.input(Input::Ended(conn, End::Closed));
    assert_eq!(node.pass_ms(30_000), [finish(silent)]);
}

#[test]
fn success_is_the_acknowledgement_of_the_last_byte() {
    let mut node = node();
    let conn = browser(&mut node, "alice", "sse", ALICE);
    let preamble = crate::orbited::encode::preamble(crate::orbited::Transport::Sse).len() as u64;
    let app = app(&mut node);
    node.drain();
    assert_eq!(node.received(app, orbit("1", &["alice"], "x")), [send(conn, "id: 1\ndata: x\n\n")]);
    assert_eq!(node.received(app, orbit("2", &["alice"], "y")), [send(conn, "id: 2\ndata: y\n\n")]);
    assert_eq!(node.input(Input::Acked(conn, preamble + 14)), Vec::<String>::new());
    assert_eq!(node.input(Input::Acked(conn, preamble + 15)), [success(app, "1")]);
    assert_eq!(node.input(Input::Acked(conn, preamble + 30)), [success(app, "2")]);
}

#[test]
fn handed_over_is_success_at_once() {
    let (mut node, app, alice) = attached_to_alice(Success::HandedOver);
    assert_eq!(node.received(app, orbit("1", &["alice"], "x")), [send(alice, "x"), success(app, "1")]);
}

#[test]
fn a_node_that_only_hands_over_does_not_notice_a_fin_but_a_reset() {
    let (mut node, app, alice) = attached_to_alice(Success::HandedOver);
    assert_eq!(node.input(Input::PeerFinished(alice)), Vec::<String>::new());
    assert_eq!(node.received(app, orbit("1", &["alice"], "x")), [send(alice, "x"), success(app, "1")]);
    assert_eq!(node.input(Input::Ended(alice, End::Reset)), [detached("alice")]);
    assert_eq!(node.received(app, orbit("2", &["alice"], "y")), [failure(app, "2", &["alice"])]);
}

#[test]
fn failure_names_only_those_that_were_not_reached() {
    let (mut node, app, alice) = attached_to_alice(Success::Acknowledged);
    let lines = node.received(app, orbit("1", &["carol", "alice", "bob", "alice"], "x"));
    assert_eq!(lines, [send(alice, "x")]);
    assert_eq!(node.input(Input::Acked(alice, 1)), [failure(app, "1", &["bob", "carol"])]);
}

#[test]
fn a_connection_that_ends_before_its_acknowledgement_is_a_failure() {
    let (mut node, app, alice) = attached_to_alice(Success::Acknowledged);
    node.received(app, orbit("1", &["alice"], "x"));
    assert_eq!(node.input(Input::Ended(alice, End::Reset)), [detached("alice"), failure(app, "1", &["alice"])]);
}

#[test]
fn a_connection_that_both_ends_closed_was_acknowledged_to_its_last_byte() {
    let (mut node, app, alice) = attached_to_alice(Success::Acknowledged);
    node.received(app, orbit("1", &["alice"], "x"));
    node.input(Input::PeerFinished(alice));
    assert_eq!(node.input(Input::Ended(alice, End::Closed)), [success(app, "1")]);
}

#[test]
fn a_browser_that_closes_is_detached_and_what_was_sent_still_settles() {
    let (mut node, app, alice) = attached_to_alice(Success::Acknowledged);
    node.received(app, orbit("1", &["alice"], "x"));
    assert_eq!(node.input(Input::PeerFinished(alice)), [finish(alice), detached("alice")]);
    assert_eq!(node.received(app, orbit("2", &["alice"], "y")), [failure(app, "2", &["alice"])]);
    assert_eq!(node.input(Input::Acked(alice, 1)), [success(app, "1")]);
}

#[test]
fn a_closing_browser_that_acknowledges_nothing_is_reset_in_time() {
    let (mut node, app, alice) = attached_to_alice(Success::Acknowledged);
    node.received(app, orbit("1", &["alice"], "x"));
    node.input(Input::PeerFinished(alice));
    assert_eq!(node.pass_ms(4_999), Vec::<String>::new());
    assert_eq!(node.pass_ms(1), [format!("abort {}", alice.0), failure(app, "1", &["alice"])]);
}

#[test]
fn a_new_connection_of_the_same_key_takes_the_place_of_the_old() {
    let (mut node, app, old) = attached_to_alice(Success::Acknowledged);
    let new = node.accept(BROWSER, BOB);
    assert_eq!(node.received(new, get("alice", "raw")), [attached("alice", "Raw", BOB), finish(old)]);
    assert_eq!(node.input(Input::Ended(old, End::Closed)), Vec::<String>::new());
    assert_eq!(node.received(app, orbit("1", &["alice"], "x")), [send(new, "x")]);
}

#[test]
fn an_event_that_the_browser_has_had_is_not_sent_again() {
    let mut node = node();
    let conn = node.accept(BROWSER, ALICE);
    node.received(conn, "GET /demo?user=alice&transport=sse HTTP/1.1\r\nLast-Event-ID: 7\r\n\r\n");
    let app = app(&mut node);
    assert_eq!(
        node.received(app, orbit("7", &["alice"], "x")),
        ["AlreadyHad { user: \"alice\", event: 7 }".into(), success(app, "7")]
    );
    assert_eq!(node.received(app, orbit("8", &["alice"], "y")), [send(conn, "id: 8\ndata: y\n\n")]);
}

#[test]
fn a_browser_that_does_not_read_is_written_to_up_to_a_limit() {
    let (mut node, app, alice) = attached_to_alice(Success::Acknowledged);
    let half = "x".repeat(512 * 1024);
    node.received(app, orbit("1", &["alice"], &half));
    node.received(app, orbit("2", &["alice"], &half));
    assert_eq!(node.received(app, orbit("3", &["alice"], "y")), [failure(app, "3", &["alice"])]);
    assert_eq!(node.input(Input::Acked(alice, 512 * 1024)), [success(app, "1")]);
    assert_eq!(node.received(app, orbit("4", &["alice"], "y")), [send(alice, "y")]);
}

#[test]
fn a_quiet_connection_is_pinged() {
    let mut node = node();
    let conn = browser(&mut node, "alice", "sse", ALICE);
    let app = app(&mut node);
    node.drain();
    node.pass_ms(30_000);
    node.received(app, orbit("1", &["alice"], "x"));
    assert_eq!(node.pass_ms(59_999), Vec::<String>::new());
    assert_eq!(node.pass_ms(1), [send(conn, ": ping\n\n")]);
    assert_eq!(node.pass_ms(60_000), [send(conn, ": ping\n\n")]);
}

#[test]
fn the_reply_to_an_app_that_is_gone_is_dropped() {
    let (mut node, app, alice) = attached_to_alice(Success::Acknowledged);
    node.received(app, orbit("1", &["alice"], "x"));
    node.input(Input::Ended(app, End::Reset));
    assert_eq!(node.input(Input::Acked(alice, 1)), Vec::<String>::new());
}

#[test]
fn an_app_that_stops_sending_gets_its_replies_before_the_close() {
    let (mut node, app, alice) = attached_to_alice(Success::Acknowledged);
    node.received(app, orbit("1", &["alice"], "x"));
    assert_eq!(node.input(Input::PeerFinished(app)), Vec::<String>::new());
    assert_eq!(node.input(Input::Acked(alice, 1)), [success(app, "1"), finish(app)]);
}

#[test]
fn a_stream_that_is_not_orbit_is_told_so_and_closed_after_what_came_before() {
    let (mut node, app, alice) = attached_to_alice(Success::Acknowledged);
    let lines = node.received(app, format!("{}GET / HTTP/1.1\r\n", orbit("1", &["alice"], "x")));
    assert_eq!(lines, [send(app, "Failure\r\nid: \r\nmsg: Not ORBIT 1.0\r\n\r\n"), send(alice, "x")]);
    assert_eq!(node.received(app, "more"), Vec::<String>::new());
    assert_eq!(node.input(Input::Acked(alice, 1)), [success(app, "1"), finish(app)]);
}

#[test]
fn an_app_that_reads_no_replies_is_reset() {
    let mut node = node();
    let app = app(&mut node);
    let id = "x".repeat(60_000);
    let aborted_at =
        (1..100).find(|_| node.received(app, orbit(&id, &["nobody"], "")).contains(&format!("abort {}", app.0)));
    // 4 MiB in replies of about 60,000 bytes.
    assert_eq!(aborted_at, Some(70));
    assert_eq!(node.received(app, orbit(&id, &["nobody"], "")), Vec::<String>::new());
}
