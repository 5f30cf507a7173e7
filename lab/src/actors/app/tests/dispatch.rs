//! Events on their way to users: which connection each attempt takes, and what ends it.

use super::*;

/// An app of alice alone, with event 1 written on connection 1.
fn sending() -> Stage<App> {
    let mut app = app_for(&["alice"]);
    assert_eq!(app.command(load(1, 0)), [dial(1)]);
    assert_eq!(app.input(Input::Connected(ConnId(1))), sent(1, "alice", 1, 1));
    app
}

/// An app that reached alice on connection 1 long ago, with event 2 written on it.
fn reached_before() -> Stage<App> {
    let mut app = sending();
    assert_eq!(app.received(ConnId(1), success(1)), [settled("alice", 1)]);
    app.pass_ms(1_000);
    assert_eq!(app.command(load(1, 0)), sent(1, "alice", 2, 1));
    app
}

#[test]
fn an_event_is_written_when_the_connection_is_established_and_settled_by_success() {
    let mut app = sending();
    assert_eq!(app.received(ConnId(1), success(1)), [settled("alice", 1)]);
    assert_eq!(app.actor.deadline(), None);
}

#[test]
fn events_are_evenly_spaced_and_a_connection_serves_many() {
    let mut app = app_for(&["alice"]);
    assert_eq!(app.command(load(3, 10)), [dial(1)]);
    assert_eq!(app.input(Input::Connected(ConnId(1))), sent(1, "alice", 1, 1));
    assert_eq!(app.received(ConnId(1), success(1)), [settled("alice", 1)]);
    assert_eq!(app.pass_ms(9), Vec::<String>::new());
    assert_eq!(app.pass_ms(1), sent(1, "alice", 2, 1));
}

#[test]
fn a_user_has_one_unsettled_event_and_the_others_wait() {
    let mut app = app_for(&["alice", "bob"]);
    assert_eq!(app.command(load(4, 0)), [dial(1)]);
    let lines = app.input(Input::Connected(ConnId(1)));
    // Each of the two users has one event out.
    let (first, second) = if lines[1].contains("alice") { ("alice", "bob") } else { ("bob", "alice") };
    assert_eq!(lines, [sent(1, first, 1, 1), sent(1, second, 2, 1)].concat());
    let lines = app.received(ConnId(1), success(2));
    assert_eq!(lines[0], settled(second, 2));
    assert_eq!(lines.len(), 3, "one more event of the user that was settled: {lines:?}");
    assert!(lines[2].contains(second));
}

#[test]
fn a_failure_is_tried_again_after_a_wait_on_a_connection_that_is_fresh() {
    let mut app = sending();
    assert_eq!(app.received(ConnId(1), failure(1)), [failed("alice", 1)]);
    // Dialled less than 20 ms ago: the connection cannot be out of date.
    assert_eq!(app.pass_ms(5), sent(1, "alice", 1, 2));
    app.pass_ms(20);
    assert_eq!(app.received(ConnId(1), failure(1)), [failed("alice", 1)]);
    // Nobody was ever reached by the former one.
    assert_eq!(app.pass_ms(10), [dial(2), "finish 1".into()]);
    assert_eq!(app.input(Input::Connected(ConnId(2))), sent(2, "alice", 1, 3));
    assert_eq!(app.received(ConnId(2), success(1)), [settled("alice", 1)]);
}

#[test]
fn the_newest_is_tried_first_then_the_connection_by_which_the_user_was_reached() {
    let mut app = reached_before();
    app.received(ConnId(1), failure(2));
    assert_eq!(app.pass_ms(5), [dial(2)]);
    assert_eq!(app.input(Input::Connected(ConnId(2))), sent(2, "alice", 2, 2));
    let lines = app.received(ConnId(2), failure(2));
    assert_eq!(lines, [vec![failed("alice", 2)], sent(1, "alice", 2, 3).to_vec()].concat());
    // Both failed: a wait, then a new round.
    assert_eq!(app.received(ConnId(1), failure(2)), [failed("alice", 2)]);
    assert_eq!(app.pass_ms(10), sent(2, "alice", 2, 4));
}

#[test]
fn a_former_connection_is_closed_when_its_last_user_was_reached_elsewhere() {
    let mut app = reached_before();
    app.received(ConnId(1), failure(2));
    app.pass_ms(5);
    app.input(Input::Connected(ConnId(2)));
    assert_eq!(app.received(ConnId(2), success(2)), [settled("alice", 2), "finish 1".into()]);
    assert_eq!(app.input(Input::PeerFinished(ConnId(1))), Vec::<String>::new());
    assert_eq!(app.input(Input::Ended(ConnId(1), End::Closed)), Vec::<String>::new());
}

#[test]
fn when_the_newest_is_refused_the_former_is_tried() {
    let mut app = reached_before();
    app.received(ConnId(1), failure(2));
    assert_eq!(app.pass_ms(5), [dial(2)]);
    // It was not written, so it has not failed.
    assert_eq!(app.input(Input::Ended(ConnId(2), End::Refused)), sent(1, "alice", 2, 2));
}

#[test]
fn a_reset_or_a_close_ends_the_wait_for_an_answer_and_not_the_event() {
    for end in [Input::Ended(ConnId(1), End::Reset), Input::PeerFinished(ConnId(1))] {
        let mut app = sending();
        let lines = app.input(end);
        assert_eq!(lines.last(), Some(&failed("alice", 1)));
        assert_eq!(app.pass_ms(5), [dial(2)]);
        assert_eq!(app.input(Input::Connected(ConnId(2))), sent(2, "alice", 1, 2));
    }
}

#[test]
fn an_app_that_does_not_retry_gives_up_at_the_first_failure_and_goes_on() {
    let answers = [Input::Received(ConnId(1), b"Failure\r\nid: 1\r\nmsg: no\r\n\r\n"), Input::PeerFinished(ConnId(1))];
    for (answer, ends) in answers.into_iter().zip([false, true]) {
        let mut app = Stage::new(App::new(AppConfig { retries: false, ..config(&["alice"], 1) }));
        app.command(load(2, 0));
        app.input(Input::Connected(ConnId(1)));
        let lines = app.input(answer);
        let given_up = [failed("alice", 1), "GivenUp { user: \"alice\", event: 1 }".into()];
        let next = if ends { vec![dial(2)] } else { sent(1, "alice", 2, 1).to_vec() };
        assert_eq!(lines[usize::from(ends)..], [given_up.to_vec(), next].concat());
        assert_eq!(app.pass_ms(4_000), Vec::<String>::new(), "it is not tried again");
    }
}

#[test]
fn no_answer_in_ten_seconds_is_a_failure_of_the_connection() {
    let mut app = sending();
    assert_eq!(app.pass_ms(9_999), Vec::<String>::new());
    assert_eq!(app.pass_ms(1), ["abort 1".into(), failed("alice", 1)]);
    assert_eq!(app.pass_ms(5), [dial(2)]);
    // Nor does a dial take longer.
    assert_eq!(app.pass_ms(10_000), ["abort 2"]);
}

#[test]
fn an_answer_that_nobody_waits_for_is_reported() {
    let mut app = sending();
    assert_eq!(app.received(ConnId(1), success(2)), ["Mismatched { id: \"2\" }"]);
    assert_eq!(app.received(ConnId(1), success("01")), ["Mismatched { id: \"01\" }"]);
    assert_eq!(app.received(ConnId(1), "HTTP"), ["Mismatched { id: \"\" }", "abort 1", &failed("alice", 1)]);
}

#[test]
fn an_event_goes_through_the_port_of_its_users_route() {
    let users = ["alice", "bob", "carol", "dave"];
    for user in users {
        let mut app = Stage::new(App::new(config(&[user], 24)));
        let port = 9000 + halod_core::user::route_of(user, 24).number();
        assert_eq!(app.command(load(1, 0)), [format!("dial 1 10.0.0.1:{port}")]);
    }
}

#[test]
fn a_body_has_the_length_that_was_asked_for() {
    let mut app = app_for(&["alice"]);
    app.command(AppCommand::Load { utterances: 1, interval: Duration::ZERO, body_bytes: 500, room: 1 });
    let lines = app.input(Input::Connected(ConnId(1)));
    assert!(lines[0].contains("\r\nlength: 500\r\n"), "{lines:?}");
}

/// A route moved: alice's browser is still at the former node, bob's is on its way to the new one.
#[test]
fn the_way_to_a_user_is_kept_while_another_user_looks_for_the_new_node() {
    let mut app = app_for(&["alice", "bob"]);
    app.command(load(2, 0));
    let lines = app.input(Input::Connected(ConnId(1)));
    // Which of them has event 1 is up to the seed; that one stays where it is.
    let (stays, moves) = if lines[1].contains("alice") { ("alice", "bob") } else { ("bob", "alice") };
    assert_eq!(app.received(ConnId(1), success(1)), [settled(stays, 1)]);
    app.pass_ms(1_000);
    for conn in 2..6 {
        assert_eq!(app.received(ConnId(conn - 1), failure(2)), [failed(moves, 2)]);
        let lines = app.pass_ms(200);
        assert_eq!(lines.first(), Some(&dial(conn)));
        assert_eq!(lines.get(1), (conn > 2).then(|| format!("finish {}", conn - 1)).as_ref());
        assert_eq!(app.input(Input::Connected(ConnId(conn))), sent(conn, moves, 2, u32::try_from(conn).unwrap()));
    }
    assert_eq!(app.received(ConnId(5), success(2)), [settled(moves, 2)]);
}
