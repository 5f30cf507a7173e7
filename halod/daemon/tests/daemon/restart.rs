//! A daemon that takes the place of another: the table goes on.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::Test;
use crate::flow::Flow;
use crate::halod::{Halod, config};
use crate::node::Node;

pub(crate) const TESTS: &[Test] = &[
    ("nodes_come_back_to_the_routes_that_they_had", nodes_come_back_to_the_routes_that_they_had),
    ("another_number_of_routes_is_another_table", another_number_of_routes_is_another_table),
    ("rewrite_begins_anew", rewrite_begins_anew),
    ("a_flow_that_outlived_the_rules_ends_with_its_node", a_flow_that_outlived_the_rules_ends_with_its_node),
];

fn nodes_come_back_to_the_routes_that_they_had() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let halod = Halod::start(&config(4));
        let _nodes = [Node::join("n1", 1), Node::join("n2", 2)];
        halod.end(signal);

        let halod = Halod::start(&config(4));
        let (_n2, welcome) = Node::join("n2", 2);
        assert_eq!(place(&welcome), ("active", Some(2), 1, "[3,4]".into()));
        let (mut n3, welcome) = Node::join("n3", 3);
        assert_eq!(place(&welcome), ("held", None, 1, "[]".into()));
        let (_n1, welcome) = Node::join("n1", 1);
        assert_eq!(place(&welcome), ("active", Some(1), 1, "[1,2]".into()));
        let assigned = n3.hear();
        assert_eq!((assigned["type"].as_str(), assigned["id"].as_u64()), (Some("assigned"), Some(3)), "{assigned}");
        halod.end(Signal::SIGINT);
    }
}

fn another_number_of_routes_is_another_table() {
    let halod = Halod::start(&config(4));
    let _nodes = [Node::join("n1", 1), Node::join("n2", 2)];
    halod.end(Signal::SIGKILL);
    let halod = Halod::start(&config(5));
    let (_n2, welcome) = Node::join("n2", 2);
    assert_eq!(place(&welcome), ("active", Some(1), 1, "[[1,5]]".into()));
    let (_, log) = halod.end(Signal::SIGINT);
    assert!(log.contains("other service ports"), "{log}");
}

fn rewrite_begins_anew() {
    let config = config(4).replace("queue = 7", "queue = 7\nplane = \"rewrite\"");
    let halod = Halod::start(&config);
    let _nodes = [Node::join("n1", 1), Node::join("n2", 2)];
    halod.end(Signal::SIGKILL);
    let halod = Halod::start(&config);
    let (_n2, welcome) = Node::join("n2", 2);
    assert_eq!(place(&welcome), ("active", Some(1), 1, "[[1,4]]".into()));
    halod.end_well();
}

fn a_flow_that_outlived_the_rules_ends_with_its_node() {
    let halod = Halod::start(&config(4));
    let mut flow = Flow::begin();
    halod.end(Signal::SIGINT);
    let halod = Halod::start(&config(4));
    let (n1, _) = Node::join("n1", 1);
    flow.exchange();
    drop(n1);
    flow.hear_reset();
    halod.end(Signal::SIGINT);
}

/// State, id, epoch and routes.
fn place(welcome: &Value) -> (&str, Option<u64>, u64, String) {
    let state = welcome["state"].as_str().unwrap();
    (state, welcome["id"].as_u64(), welcome["epoch"].as_u64().unwrap(), welcome["routes"].to_string())
}
