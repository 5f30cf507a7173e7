//! The rules of the `steer` plane, for packets of no connection: they are queued, and whatever is decided or not, they never
//! go on. So none leaves without translation, and no flow is picked up in the middle.

use crate::Test;
use crate::changes::{INVALID, NEW, mark, mark_means, node, port_leads_to};
use crate::listener::Decision;
use crate::router::{HOSTS, Hosts, Router};
use crate::segment::{Segment, ack, rst, syn, syn_ack};

pub(crate) const TESTS: &[Test] = &[
    ("strays_to_a_service_port_are_queued_and_go_nowhere", strays_to_a_service_port_are_queued_and_go_nowhere),
    ("strays_of_a_node_are_queued_and_go_nowhere", strays_of_a_node_are_queued_and_go_nowhere),
    ("strays_go_nowhere_without_a_listener", strays_go_nowhere_without_a_listener),
    ("strays_of_others_pass", strays_of_others_pass),
];

/// What may become of a queued packet.
const DECISIONS: [Decision; 3] = [Decision::Drop, Decision::Pass, Decision::Mark(0)];

/// To a port with an owner, each with what connection tracking says of it. One that tracking picks up is new.
fn to_service(hosts: &Hosts) -> [(Segment, u32); 3] {
    let (client, service) = (hosts.client, hosts.service(8001));
    [(ack(client, service), NEW), (rst(client, service), INVALID), (syn_ack(client, service), INVALID)]
}

/// From a node's address. A node that connects to somebody does it from another.
fn of_node(hosts: &Hosts) -> [(Segment, u32); 4] {
    let (client, node) = (hosts.client, hosts.node(5001));
    [(ack(node, client), NEW), (syn(node, client), NEW), (rst(node, client), INVALID), (syn_ack(node, client), INVALID)]
}

/// Nodes are known, and own routes.
fn router() -> Router {
    let mut router = Router::new();
    for hosts in HOSTS {
        router.apply(port_leads_to(8001, hosts.node(5001)));
        router.apply(mark_means(0, hosts.node(5001)));
        router.apply(node(hosts.node(5001), true));
    }
    router
}

fn strays_to_a_service_port_are_queued_and_go_nowhere() {
    let mut router = router();
    for decision in [&DECISIONS[..], &[Decision::Mark(mark(0).number())]].concat() {
        router.decision = decision;
        for (stray, tracking) in HOSTS.iter().flat_map(to_service) {
            assert_eq!(router.receives(stray), (vec![tracking], vec![]), "{stray:?}, {decision:?}");
        }
    }
}

fn strays_of_a_node_are_queued_and_go_nowhere() {
    let mut router = router();
    for decision in DECISIONS {
        router.decision = decision;
        for (stray, tracking) in HOSTS.iter().flat_map(of_node) {
            assert_eq!(router.receives(stray), (vec![tracking], vec![]), "{stray:?}, {decision:?}");
        }
    }
}

fn strays_go_nowhere_without_a_listener() {
    let mut router = router();
    router.listener = None;
    for hosts in &HOSTS {
        for (stray, _) in [&to_service(hosts)[..], &of_node(hosts)].concat() {
            assert_eq!(router.receives(stray), (vec![], vec![]), "{stray:?}");
        }
    }
}

fn strays_of_others_pass() {
    let mut router = router();
    for hosts in HOSTS {
        let (other, of_other_port) = (hosts.client(4001), hosts.node(5002));
        for packet in [ack(other, hosts.client), rst(other, hosts.client), ack(of_other_port, hosts.client)] {
            assert_eq!(router.receives(packet), (vec![], vec![packet]));
        }
        router.apply(node(hosts.node(5001), false));
        for (packet, _) in of_node(&hosts) {
            assert_eq!(router.receives(packet), (vec![], vec![packet]));
        }
    }
}
