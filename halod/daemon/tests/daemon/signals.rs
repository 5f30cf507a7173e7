//! What ends the daemon and what does not, and what it leaves in the kernel.

use nix::sys::signal::Signal;

use crate::Test;
use crate::halod::{Halod, config, remove};
use crate::namespace::tables;
use crate::node::Node;

pub(crate) const TESTS: &[Test] = &[
    ("sigint_ends_it_and_its_rules", || check("steer", Signal::SIGINT, &[])),
    ("sigterm_ends_it_and_its_rules_stay", || check("steer", Signal::SIGTERM, &["halod-7"])),
    ("on_rewrite_sigterm_ends_its_rules_too", || check("rewrite", Signal::SIGTERM, &[])),
    ("what_it_left_can_be_removed", what_it_left_can_be_removed),
    ("the_end_of_its_log_does_not_end_it", the_end_of_its_log_does_not_end_it),
];

fn check(plane: &str, signal: Signal, left: &[&str]) {
    let config = config(4).replace("queue = 7", &format!("queue = 7\nplane = \"{plane}\""));
    // Twice: what is left behind would be in the way of the second.
    for _ in 0..2 {
        let halod = Halod::start(&config);
        let (mut node, _) = Node::join("n1", 1);
        assert_eq!((tables(), queues()), (vec!["halod-7".to_owned()], vec![7]));
        let (status, log) = halod.end(signal);
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.trim_end().ends_with("stopped"), "{log}");
        assert_eq!(log.contains("forwarding goes on by the last table"), !left.is_empty(), "{log}");
        assert_eq!((tables(), queues()), (left.iter().map(|&table| table.to_owned()).collect(), Vec::new()));
        node.hears_end();
    }
}

fn what_it_left_can_be_removed() {
    let halod = Halod::start(&config(4));
    let (code, said) = remove(&config(4));
    assert_eq!((code, said.contains("a daemon serves queue 7")), (Some(1), true), "{said}");
    halod.end(Signal::SIGTERM);
    assert_eq!(remove(&config(4)), (Some(0), "removed the rules of halod\n".into()));
    assert_eq!(tables(), [""; 0]);
    assert_eq!(remove(&config(4)), (Some(0), "no rules of halod are in force\n".into()));
}

/// Nodes that come and go are logged, or not.
fn the_end_of_its_log_does_not_end_it() {
    let halod = Halod::start_unread(&config(4));
    let (mut node, _) = Node::join("n1", 1);
    node.is_served();
    halod.end_well();
}

/// The numbers of the queues that somebody listens to in this namespace.
fn queues() -> Vec<u16> {
    let listing = std::fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").unwrap();
    listing.lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
}
