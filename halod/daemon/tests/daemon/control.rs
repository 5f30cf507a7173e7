//! The control port and its worst peers.

use std::net::TcpListener;

use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::json;

use crate::Test;
use crate::halod::{Halod, config};
use crate::node::{Node, hello};

pub(crate) const TESTS: &[Test] = &[
    ("garbage_is_answered_and_ends_the_connection", garbage_is_answered_and_ends_the_connection),
    ("a_huge_line_is_answered_and_ends_the_connection", a_huge_line_is_answered_and_ends_the_connection),
    ("another_version_is_refused", another_version_is_refused),
    ("a_name_is_taken_once", a_name_is_taken_once),
    (
        "a_node_whose_connection_breaks_is_asked_before_it_is_lost",
        a_node_whose_connection_breaks_is_asked_before_it_is_lost,
    ),
    ("an_unknown_type_is_answered_and_the_connection_stays", an_unknown_type_is_answered_and_the_connection_stays),
    ("silent_peers_keep_no_node_out", silent_peers_keep_no_node_out),
    ("a_node_that_does_not_read_stalls_nobody", a_node_that_does_not_read_stalls_nobody),
];

/// A peer that sends `bytes` hears an error with this code and then the end; a node that was there before is not
/// disturbed.
#[track_caller]
fn check_fatal(bytes: &[u8], code: &str) {
    let halod = Halod::start(&config(4));
    let (mut bystander, _) = Node::join("bystander", 1);
    let mut peer = Node::silent();
    peer.send(bytes);
    peer.hears_error(code);
    peer.hears_end();
    bystander.is_served();
    halod.end_well();
}

fn garbage_is_answered_and_ends_the_connection() {
    check_fatal(b"GET / HTTP/1.1\r\nHost: halod\r\n\r\n", "malformed");
    check_fatal(b"\0\xff\xfe\n", "malformed");
}

fn a_huge_line_is_answered_and_ends_the_connection() {
    check_fatal(&[b'x'; 64 * 1024 + 1], "line_too_long");
    // The rest of what was sent does not turn the end into a reset, which would take the answer with it.
    check_fatal(&vec![b'x'; 1024 * 1024], "line_too_long");
}

fn another_version_is_refused() {
    let mut from_the_future = hello("n1", 2);
    from_the_future["version"] = 2.into();
    check_fatal(format!("{from_the_future}\n").as_bytes(), "wrong_version");
    check_fatal(b"{\"type\":\"hello\",\"version\":2}\n", "wrong_version");
}

fn a_name_is_taken_once() {
    let halod = Halod::start(&config(4));
    let (mut holder, _) = Node::join("n1", 1);
    let admin = TcpListener::bind(hello("n1", 1)["admin"].as_str().unwrap()).unwrap();
    let mut newcomer = Node::silent();
    newcomer.say(&hello("n1", 2));
    // The holder proves that it is alive, on the connection that it is dialled on.
    let mut proven = Node::over(admin.accept().unwrap().0);
    proven.say(&hello("n1", 1));
    assert_eq!(proven.hear()["type"], "welcome");
    newcomer.hears_error("name_taken");
    newcomer.hears_end();
    holder.hears_end();
    proven.is_served();
    halod.end_well();
}

/// By RST and by FIN: the first time it answers the redial, the second time it is gone.
fn a_node_whose_connection_breaks_is_asked_before_it_is_lost() {
    let halod = Halod::start(&config(4));
    let (node, _) = Node::join("n1", 1);
    let (mut other, _) = Node::join("n2", 2);
    let admin = TcpListener::bind(hello("n1", 1)["admin"].as_str().unwrap()).unwrap();
    setsockopt(node.stream(), sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(node);
    let mut proven = Node::over(admin.accept().unwrap().0);
    proven.say(&hello("n1", 1));
    let welcome = proven.hear();
    assert_eq!((&welcome["type"], &welcome["id"]), (&json!("welcome"), &json!(1)));

    drop(admin);
    drop(proven);
    let assigned = other.hear();
    assert_eq!((&assigned["id"], &assigned["routes"]), (&json!(1), &json!([[1, 4]])), "{assigned}");
    halod.end_well();
}

fn an_unknown_type_is_answered_and_the_connection_stays() {
    let halod = Halod::start(&config(4));
    let mut node = Node::silent();
    node.say(&json!({"type": "dance"}));
    node.hears_error("unknown_type");
    node.say(&hello("n1", 1));
    assert_eq!(node.hear()["routes"], json!([[1, 4]]));
    node.is_served();
    halod.end_well();
}

fn silent_peers_keep_no_node_out() {
    let halod = Halod::start(&config(4));
    let mut silent: Vec<Node> = std::iter::repeat_with(Node::silent).take(300).collect();
    let (mut node, _) = Node::join("n1", 1);
    // The longest silent make room for others.
    silent[0].hears_error("full");
    silent[0].hears_end();
    node.is_served();
    halod.end_well();
}

/// Each node that comes and goes tells the one that does not read of thousands of routes, until that one is given up.
fn a_node_that_does_not_read_stalls_nobody() {
    // As many as fit below the ports that the kernel gives to connections of its own.
    // What is tested is the control port: `steer` would tell the kernel of each of 600,000 moves.
    let halod = Halod::start(&config(12_000).replacen("[router]\n", "[router]\nplane = \"rewrite\"\n", 1));
    let (deaf, _) = Node::join("deaf", 1);
    setsockopt(deaf.stream(), sockopt::RcvBuf, &4096).unwrap();
    for number in 2..100 {
        let (mut node, _) = Node::join(&format!("n{number}"), number);
        node.say(&json!({"type": "leave"}));
    }
    // What was under way would arrive only in minutes, a few bytes of window at a time.
    let (status, log) = halod.end(Signal::SIGTERM);
    assert!(status.success() && log.contains("does not read what it is sent"), "{status}: {log}");
    drop(deaf);
}
