//! Exact inputs to an app, exact outputs, and an app and a node back to back.

mod back_to_back;
mod dispatch;
mod held;

use super::*;
use crate::actors::transcript::Stage;
use crate::actors::{ConnId, End};

/// An app of one route at 10.0.0.1:9001.
fn app_for(users: &[&str]) -> Stage<App> {
    Stage::new(App::new(config(users, 1)))
}

pub(super) fn config(users: &[&str], routes: u16) -> AppConfig {
    AppConfig {
        name: "a".into(),
        server: "10.0.0.1".parse().unwrap(),
        app_port_first: 9001,
        routes,
        users: users.iter().map(|user| (*user).to_owned()).collect(),
        first_event: 1,
        location: "/demo".into(),
        retries: true,
        seed: 1,
    }
}

fn load(events: u64, interval_ms: u64) -> AppCommand {
    AppCommand::Load { utterances: events, interval: Duration::from_millis(interval_ms), body_bytes: 0, room: 1 }
}

fn dial(conn: u64) -> String {
    format!("dial {conn} 10.0.0.1:9001")
}

/// The request for an event of `user`, and its report.
fn sent(conn: u64, user: &str, event: u64, attempt: u32) -> [String; 2] {
    let body = format!("{{\"event\":{event},\"user\":{user:?}}}");
    [
        format!(
            "send {conn} Orbit 1.0\r\nEvent\r\nid: {event}\r\nrecipient: {user}, 0, /demo\r\nlength: {}\r\n\r\n{body}",
            body.len()
        ),
        format!("Sent {{ user: {user:?}, event: {event}, attempt: {attempt}, waited: 0ns }}"),
    ]
}

fn settled(user: &str, event: u64) -> String {
    format!("Settled {{ user: {user:?}, event: {event} }}")
}

fn failed(user: &str, event: u64) -> String {
    format!("Failed {{ user: {user:?}, event: {event} }}")
}

fn success(id: impl std::fmt::Display) -> String {
    format!("Success\r\nid: {id}\r\n\r\n")
}

fn failure(id: impl std::fmt::Display) -> String {
    format!("Failure\r\nid: {id}\r\nmsg: no\r\n\r\n")
}

#[test]
fn nothing_a_peer_sends_makes_an_app_panic() {
    let texts = [success(1), failure(1), failure(2), failure("flow-3-1"), success("x")];
    let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    for seed in 0..20 {
        let mut app = Stage::new(App::new(config(&["alice", "bob", "carol"], 4)));
        app.command(load(30, 100));
        app.command(AppCommand::Hold { flows: 5, routes: 9 });
        app.endure(seed, &["10.0.9.1:1"], &texts);
        app.command(AppCommand::Probe);
        app.command(AppCommand::ReleaseAll);
    }
}

#[test]
fn a_connection_to_an_app_is_reset() {
    let mut app = app_for(&[]);
    let conn = app.accept("10.0.9.1:1", "10.0.9.2:2");
    assert_eq!(app.drain(), [format!("abort {}", conn.0)]);
}
