//! What ends the daemon and what does not. SIGTERM and SIGINT: a clean end, and nothing left in the kernel.

use nix::sys::signal::Signal;

use crate::Test;
use crate::halod::{Halod, config};
use crate::namespace::tables;
use crate::node::Node;

pub(crate) const TESTS: &[Test] = &[
    ("sigterm_ends_it_cleanly", || check(Signal::SIGTERM)),
    ("sigint_ends_it_cleanly", || check(Signal::SIGINT)),
    ("the_end_of_its_log_does_not_end_it", the_end_of_its_log_does_not_end_it),
];

fn check(signal: Signal) {
    // Twice: what is left behind would be in the way of the second.
    for _ in 0..2 {
        let halod = Halod::start(&config(4));
        let (mut node, _) = Node::join("n1", 1);
        assert_eq!((tables(), queues()), (vec!["halod-7".to_owned()], vec![7]));
        let (status, log) = halod.end(signal);
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.trim_end().ends_with("stopped"), "{log}");
        assert_eq!((tables(), queues()), (Vec::new(), Vec::new()));
        node.hears_end();
    }
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
