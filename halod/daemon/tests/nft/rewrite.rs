//! The rules of the `rewrite` plane: which packets are queued, and where.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use halod::nft::{OWN_MARK, Rules, RulesSpec};
use halod::queue::Queues;

use crate::listener::{Decision, Hook, Listener, Queued};
use crate::loopback::{V4, V6, begin_connection, is_refused};
use crate::namespace::tables;
use crate::segment::Segment;
use crate::{QUEUE, Test};

pub(crate) const TESTS: &[Test] = &[
    (
        "replies_to_this_host_are_queued_at_once_when_masquerading",
        replies_to_this_host_are_queued_at_once_when_masquerading,
    ),
    ("icmp_errors_are_queued_and_pass_without_a_listener", icmp_errors_are_queued_and_pass_without_a_listener),
    ("service_ports_are_queued_and_no_others", service_ports_are_queued_and_no_others),
    ("own_packets_pass", own_packets_pass),
    ("node_sets_follow_what_is_set", node_sets_follow_what_is_set),
    ("packets_to_nodes_are_queued_when_masquerading", packets_to_nodes_are_queued_when_masquerading),
    ("the_port_of_a_client_says_the_queue", the_port_of_a_client_says_the_queue),
    ("thousands_of_nodes_are_one_transaction", thousands_of_nodes_are_one_transaction),
    ("the_table_outlives_an_unclean_end_and_is_replaced", the_table_outlives_an_unclean_end_and_is_replaced),
];

fn service_ports_are_queued_and_no_others() {
    let mut net = Net::new(&spec());
    for address in [V4, V6] {
        assert_eq!(net.queued_on_connect(None, (address, 8000)), []);
        assert_eq!(net.queued_on_connect(None, (address, 8001)), [Hook::Output]);
        assert_eq!(net.queued_on_connect(None, (address, 8024)), [Hook::Output]);
        assert_eq!(net.queued_on_connect(None, (address, 8025)), []);
        assert_eq!(net.queued_on_connect(None, (address, 9024)), [Hook::Output]);
    }
    let other_address = Ipv4Addr::new(127, 0, 0, 2).into();
    assert_eq!(net.queued_on_connect(None, (other_address, 8001)), []);
}

fn own_packets_pass() {
    let mut net = Net::new(&spec());
    net.mark = OWN_MARK;
    assert_eq!(net.queued_on_connect(None, (V4, 8001)), []);
    net.mark = OWN_MARK + 1;
    assert_eq!(net.queued_on_connect(None, (V4, 8001)), [Hook::Output]);
}

fn node_sets_follow_what_is_set() {
    let mut net = Net::new(&spec());
    for node in [V4, V6] {
        let from_node = |net: &mut Net, port| net.queued_on_connect(Some(SocketAddr::new(node, port)), (node, 80));
        assert_eq!(from_node(&mut net, 5001), []);

        net.set_nodes(&[SocketAddr::new(node, 5001)]);
        assert_eq!(from_node(&mut net, 5001), [Hook::Postrouting]);
        assert_eq!(from_node(&mut net, 5002), []);

        net.set_nodes(&[SocketAddr::new(node, 5002)]);
        assert_eq!(from_node(&mut net, 5001), []);
        assert_eq!(from_node(&mut net, 5002), [Hook::Postrouting]);

        net.set_nodes(&[]);
        assert_eq!(from_node(&mut net, 5002), []);
    }
}

fn packets_to_nodes_are_queued_when_masquerading() {
    for masquerade in [false, true] {
        let mut net = Net::new(&RulesSpec { masquerade, ..spec() });
        let node = SocketAddr::new(V4, 5001);
        net.set_nodes(&[node]);
        let expected: &[Hook] = if masquerade { &[Hook::Postrouting] } else { &[] };
        assert_eq!(net.queued_on_connect(None, (V4, 5001)), expected);
    }
}

/// Replies of nodes to an address of this host; the local socket that they are for would see them otherwise.
fn replies_to_this_host_are_queued_at_once_when_masquerading() {
    for masquerade in [false, true] {
        let mut net = Net::new(&RulesSpec { masquerade, ..spec() });
        let node = SocketAddr::new(V4, 5001);
        net.set_nodes(&[node]);
        net.decision = Decision::Pass;
        let local = [Hook::Postrouting, if masquerade { Hook::Prerouting } else { Hook::Input }];
        assert_eq!(net.queued_on_connect(Some(node), (V4, 80))[..2], local);
    }
}

/// A datagram to a closed port: the kernel answers with ICMP "port unreachable".
fn icmp_errors_are_queued_and_pass_without_a_listener() {
    for address in [V4, V6] {
        let mut net = Net::new(&spec());
        let client = UdpSocket::bind((address, 0)).unwrap();
        client.connect((address, 9)).unwrap();
        client.send(b"?").unwrap();
        assert_eq!(net.take(|_| true), [Hook::Output]);

        drop(net);
        client.send(b"?").unwrap();
        assert_eq!(client.send(b"?").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

/// Whether the client sends or is sent to, at each hook that a packet passes. Ports that differ in the lowest bit only have the
/// same queue.
fn the_port_of_a_client_says_the_queue() {
    let mut listeners: Vec<Listener> = (QUEUE..).take(4).map(Listener::bind_to).collect();
    let spec = RulesSpec { queues: Queues::new(QUEUE, 4).unwrap(), masquerade: true, ..spec() };
    let mut rules = Rules::install(&spec).unwrap();
    for address in [V4, V6] {
        let at = |port| SocketAddr::new(address, port);
        rules.set_nodes(&[at(5001)].into()).unwrap();
        let mut queues_of = |from: SocketAddr, to: SocketAddr| -> Vec<usize> {
            let _client = begin_connection(0, Some(from), (to.ip(), to.port()));
            let taken = listeners.iter_mut().map(|listener| listener.take(Decision::Pass).len());
            taken.enumerate().filter_map(|(queue, packets)| (packets > 0).then_some(queue)).collect()
        };
        for (client, queue) in (40_000..).zip([0, 0, 1, 1, 2, 2, 3, 3, 0, 0]) {
            for (from, to) in [(client, 8001), (client, 9024), (5001, client), (client, 5001)] {
                assert_eq!(queues_of(at(from), at(to)), [queue], "{from} -> {to}");
            }
        }
    }
}

fn thousands_of_nodes_are_one_transaction() {
    let mut net = Net::new(&spec());
    let nodes: Vec<SocketAddr> = (1..=3000).flat_map(|port| [V4, V6].map(|ip| SocketAddr::new(ip, port))).collect();
    net.set_nodes(&nodes);
    let first_and_last = [&nodes[..1], &nodes[nodes.len() - 1..]].concat();
    net.set_nodes(&first_and_last);
    assert_eq!(net.queued_on_connect(Some(nodes[0]), (V4, 80)), [Hook::Postrouting]);
    assert_eq!(net.queued_on_connect(Some(nodes[2]), (V4, 80)), []);
}

fn the_table_outlives_an_unclean_end_and_is_replaced() {
    let mut net = Net::new(&spec());
    let node = SocketAddr::new(V4, 5001);
    net.set_nodes(&[node]);
    drop(net);
    assert_eq!(tables(), ["halod-7"]);
    // This host's own TCP sees none of it, and other errors reach their senders.
    assert!(!is_refused(0, (V4, 8001)) && is_refused(0, (V4, 8000)));
    assert_eq!(sending_fails((V4, 9)), Some(io::ErrorKind::ConnectionRefused));

    let mut net = Net::new(&RulesSpec { browser_ports: 8001..=8001, ..spec() });
    assert_eq!(tables(), ["halod-7"]);
    assert_eq!(net.queued_on_connect(None, (V4, 8001)), [Hook::Output]);
    assert_eq!(net.queued_on_connect(None, (V4, 8002)), []);
    assert_eq!(net.queued_on_connect(Some(node), (V4, 80)), []);

    let others = Rules::install(&RulesSpec { queues: Queues::one(QUEUE + 1), ..spec() }).unwrap();
    assert_eq!(tables(), ["halod-7", "halod-8"]);
    others.remove().unwrap();
    net.rules.remove().unwrap();
    assert_eq!(tables(), [""; 0]);
    assert!(is_refused(0, (V4, 8001)));
}

/// What became of a datagram, as its sender learns with the next one.
fn sending_fails(to: (IpAddr, u16)) -> Option<io::ErrorKind> {
    let client = UdpSocket::bind((to.0, 0)).unwrap();
    client.connect(to).unwrap();
    client.send(b"?").unwrap();
    client.send(b"?").err().map(|error| error.kind())
}

fn spec() -> RulesSpec {
    crate::spec(&[V4, V6])
}

/// Rules and the queue that they fill.
struct Net {
    listener: Listener,
    rules: Rules,
    /// The mark of connections made from now on.
    mark: u32,
    /// What becomes of queued packets from now on.
    decision: Decision,
}

impl Net {
    fn new(spec: &RulesSpec) -> Self {
        let listener = Listener::bind();
        Self { listener, rules: Rules::install(spec).unwrap(), mark: 0, decision: Decision::Drop }
    }

    fn set_nodes(&mut self, nodes: &[SocketAddr]) {
        self.rules.set_nodes(&nodes.iter().copied().collect::<BTreeSet<_>>()).unwrap();
    }

    /// Sends a SYN and says where it was queued, which the kernel has decided when `connect` returns. An answer
    /// to the SYN may be queued too and does not count.
    fn queued_on_connect(&mut self, from: Option<SocketAddr>, to: (IpAddr, u16)) -> Vec<Hook> {
        let _client = begin_connection(self.mark, from, to);
        self.take(|packet| Segment::read(packet).unwrap().destination().port() == to.1)
    }

    /// Decides what is queued and says where the packets were that `count` holds for.
    fn take(&mut self, count: impl Fn(&mut [u8]) -> bool) -> Vec<Hook> {
        let taken = self.listener.take(self.decision).into_iter();
        taken.filter_map(|Queued { hook, mut packet, .. }| count(&mut packet).then_some(hook)).collect()
    }
}
