//! The process among others: how it ends and what it leaves, and what it takes of the system.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::Test;
use crate::halod::{Halod, config, run_to_end};
use crate::namespace::tables;
use crate::node::Node;

pub(crate) const TESTS: &[Test] = &[
    ("rules_outlive_sigkill_until_the_next_daemon_replaces_them", rules_outlive_sigkill),
    ("a_second_daemon_for_the_queue_is_refused", a_second_daemon_for_the_queue_is_refused),
    ("a_daemon_that_cannot_start_leaves_no_rules", a_daemon_that_cannot_start_leaves_no_rules),
    ("the_limit_of_descriptors_is_raised", the_limit_of_descriptors_is_raised),
];

fn rules_outlive_sigkill() {
    for _ in 0..2 {
        let halod = Halod::start(&config(4));
        let (mut node, _) = Node::join("n1", 1);
        node.is_served();
        halod.end(Signal::SIGKILL);
        assert_eq!(tables(), ["halod-7"]);
    }
    Halod::start(&config(4)).end(Signal::SIGINT);
    assert_eq!(tables(), [""; 0]);
}

fn a_second_daemon_for_the_queue_is_refused() {
    let halod = Halod::start(&config(4));
    let (mut node, _) = Node::join("n1", 1);
    let second = run_to_end(&config(4).replace("127.0.0.1:7000", "127.0.0.1:7001"));
    let log = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{log}");
    assert!(log.contains("error: NFQUEUE 7 cannot be used"), "{log}");
    assert_eq!(tables(), ["halod-7"]);
    node.is_served();
    halod.end_well();
}

fn a_daemon_that_cannot_start_leaves_no_rules() {
    let in_the_way = std::net::TcpListener::bind(crate::halod::CONTROL).unwrap();
    let output = run_to_end(&config(4));
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), log.contains("control address 127.0.0.1:7000")), (Some(1), true), "{log}");
    assert_eq!(tables(), [""; 0]);
    drop(in_the_way);
}

fn the_limit_of_descriptors_is_raised() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // The daemon inherits it.
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard).unwrap();
    let halod = Halod::start(&config(4));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", halod.id())).unwrap();
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let numbers: Vec<&str> = open_files.split_whitespace().take(2).collect();
    assert_eq!(numbers, [hard.to_string(), hard.to_string()]);
    halod.end_well();
}
