//! The rules of the `steer` plane, for packets that begin at this host: its own connections, and what the daemon sends.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use halod::nft::{LastRules, OWN_MARK, RulesSpec, SteerRules};

use crate::changes::{NEW, holder_is_at, mark, mark_means, owner, port_is_of, port_leads_to};
use crate::listener::{Decision, Hook, Listener};
use crate::loopback::{PATIENCE, V4, V6, begin_connection, is_refused, listen, listen_at};
use crate::router::{HOSTS, Router};
use crate::segment::{ack, rst, syn};
use crate::{Test, spec};

pub(crate) const TESTS: &[Test] = &[
    ("a_syn_of_this_host_is_queued", a_syn_of_this_host_is_queued),
    (
        "a_connection_of_this_host_comes_to_the_node_of_its_mark",
        a_connection_of_this_host_comes_to_the_node_of_its_mark,
    ),
    ("a_connection_of_this_host_without_a_daemon", a_connection_of_this_host_without_a_daemon),
    ("the_ports_of_an_owner_lead_to_whoever_holds_its_id", the_ports_of_an_owner_lead_to_whoever_holds_its_id),
    ("what_has_the_daemons_mark_passes", what_has_the_daemons_mark_passes),
    ("what_no_node_serves_is_not_masqueraded", what_no_node_serves_is_not_masqueraded),
];

pub(crate) const TESTS_OVER_TUN: &[Test] = &[
    ("a_held_syn_goes_where_its_mark_says", a_held_syn_goes_where_its_mark_says),
    ("the_daemons_own_packets_belong_to_no_connection", the_daemons_own_packets_belong_to_no_connection),
    ("strays_of_this_host_go_nowhere", strays_of_this_host_go_nowhere),
];

fn a_syn_of_this_host_is_queued() {
    let mut net = Net::new();
    for address in [V4, V6] {
        for port in [8001, 8024, 9001, 9024] {
            assert_eq!(net.queued_on_connect(0, (address, port)), [(Hook::Output, NEW)]);
        }
        for port in [8000, 8025, 9000, 9025] {
            assert_eq!(net.queued_on_connect(0, (address, port)), []);
        }
        UdpSocket::bind((address, 0)).unwrap().send_to(b"?", (address, 8001)).unwrap();
        assert_eq!(net.take(), []);
    }
    assert_eq!(net.queued_on_connect(0, (Ipv4Addr::new(127, 0, 0, 2).into(), 8001)), []);
}

fn a_connection_of_this_host_comes_to_the_node_of_its_mark() {
    for address in [V4, V6] {
        let mut net = Net::new();
        let nodes = [1, 2].map(|number| node(address, number));
        for (number, node) in (0..).zip(&nodes) {
            net.rules.apply(mark_means(number, node.local_addr().unwrap())).unwrap();
            net.decision = Decision::Mark(mark(number).number());
            let client = begin_connection(0, None, (address, 8001));
            assert_eq!(net.take(), [(Hook::Output, NEW)]);
            meet(client.into(), node, (address, 8001));
            assert_eq!(net.take(), []);
        }
    }
}

fn a_connection_of_this_host_without_a_daemon() {
    for address in [V4, V6] {
        let Net { listener, mut rules, .. } = Net::new();
        drop(listener);
        assert!(is_refused(0, (address, 9001)));
        let node = node(address, 1);
        rules.apply(port_leads_to(9001, node.local_addr().unwrap())).unwrap();
        meet(begin_connection(0, None, (address, 9001)).into(), &node, (address, 9001));
    }
}

fn the_ports_of_an_owner_lead_to_whoever_holds_its_id() {
    for address in [V4, V6] {
        let Net { listener, mut rules, .. } = Net::new();
        drop(listener);
        let nodes = [1, 2].map(|number| node(address, number));
        let [first, second] = [1, 2].map(owner);
        for (owner, node) in [(first, &nodes[0]), (second, &nodes[1])] {
            rules.apply(holder_is_at(owner, node.local_addr().unwrap())).unwrap();
        }
        let lead_to = |expected: [usize; 3]| {
            for (port, number) in (8001..).zip(expected) {
                let to = (address, port);
                meet(begin_connection(0, None, to).into(), &nodes[number - 1], to);
            }
        };
        for (port, owner) in [(8001, first), (8002, first), (8003, second)] {
            rules.apply(port_is_of(port, owner)).unwrap();
        }
        lead_to([1, 1, 2]);
        // One of its routes returns, and then another node takes over that id.
        rules.apply(port_is_of(8002, second)).unwrap();
        lead_to([1, 2, 2]);
        rules.apply(holder_is_at(second, nodes[0].local_addr().unwrap())).unwrap();
        lead_to([1, 1, 1]);
        rules.apply(port_is_of(8002, owner(3))).unwrap();
        assert!(is_refused(0, (address, 8002)), "nobody holds this id");
    }
}

/// So it is refused: nobody listens to the service port itself.
fn what_has_the_daemons_mark_passes() {
    let mut net = Net::new();
    for address in [V4, V6] {
        net.rules.apply(port_leads_to(8001, node(address, 1).local_addr().unwrap())).unwrap();
        assert!(is_refused(OWN_MARK, (address, 8001)));
        assert_eq!(net.take(), []);
        assert_eq!(net.queued_on_connect(OWN_MARK + 1, (address, 8001)), [(Hook::Output, NEW)]);
    }
}

/// The loopback has no address that could take the client's place: the connection would be lost.
fn what_no_node_serves_is_not_masqueraded() {
    let _rules = SteerRules::install(&RulesSpec { masquerade: true, ..spec(&[V4]) }, LastRules::default()).unwrap();
    let this_host = listen_at((V4, 8001).into());
    let client = begin_connection(0, None, (V4, 8001));
    meet(client.into(), &this_host, (V4, 8001));
}

fn a_held_syn_goes_where_its_mark_says() {
    let mut router = Router::new();
    for hosts in HOSTS {
        let (client, service) = (hosts.client, hosts.service(8001));
        router.apply(port_leads_to(8001, hosts.node(5000)));
        router.apply(mark_means(0xffff, hosts.node(5001)));
        let held = router.sends(mark(0xffff).number(), syn(client, service));
        assert_eq!(held, (vec![], vec![syn(client, hosts.node(5001))]));
        // The mark of nobody, and of somebody else.
        let late = router.sends(mark(1).number(), syn(hosts.client(4001), service));
        assert_eq!(late, (vec![], vec![syn(hosts.client(4001), hosts.node(5000))]));
        assert_eq!(router.sends(0x4843_0001, syn(hosts.client(4002), service)), (vec![NEW], vec![]));
    }
}

/// In the name of either end of a flow, to which they would be counted otherwise, or get another port.
fn the_daemons_own_packets_belong_to_no_connection() {
    let mut router = Router::new();
    for hosts in HOSTS {
        let (client, service, node) = (hosts.client, hosts.service(8001), hosts.node(5001));
        router.connect(client, service, node);
        for packet in [syn(service, client), rst(service, client), syn(client, node), rst(client, node)] {
            assert_eq!(router.sends(OWN_MARK, packet), (vec![], vec![packet]));
        }
        assert_eq!(router.receives(ack(client, service)), (vec![], vec![ack(client, node)]));
        assert_eq!(router.receives(ack(node, client)), (vec![], vec![ack(service, client)]));
    }
}

fn strays_of_this_host_go_nowhere() {
    let mut router = Router::new();
    for hosts in HOSTS {
        let (client, service) = (hosts.client, hosts.service(8001));
        router.apply(port_leads_to(8001, hosts.node(5001)));
        for decision in [Decision::Drop, Decision::Pass, Decision::Mark(0)] {
            router.decision = decision;
            assert_eq!(router.sends(0, ack(client, service)), (vec![NEW], vec![]));
            assert_eq!(router.sends(0, rst(client, service)), (vec![], vec![]));
        }
    }
}

/// Rules over the loopback, and the queue that they fill.
struct Net {
    listener: Listener,
    rules: SteerRules,
    /// What becomes of queued packets from now on.
    decision: Decision,
}

impl Net {
    fn new() -> Self {
        let listener = Listener::bind();
        let rules = SteerRules::install(&spec(&[V4, V6]), LastRules::default()).unwrap();
        Self { listener, rules, decision: Decision::Drop }
    }

    /// Sends a SYN with a mark and says where it was queued, and by which mark.
    fn queued_on_connect(&mut self, mark: u32, to: (IpAddr, u16)) -> Vec<(Hook, u32)> {
        let _client = begin_connection(mark, None, to);
        self.take()
    }

    fn take(&mut self) -> Vec<(Hook, u32)> {
        self.listener.take(self.decision).iter().map(|queued| (queued.hook, queued.mark)).collect()
    }
}

/// A node on an address of this host; IPv6 has only one.
fn node(version: IpAddr, number: u8) -> TcpListener {
    listen(if version.is_ipv4() { Ipv4Addr::new(127, 1, 0, number).into() } else { V6 })
}

/// Both ends of a connection find each other, and each sees the other as it should.
fn meet(mut client: TcpStream, node: &TcpListener, service: (IpAddr, u16)) {
    let (mut accepted, from) = node.accept().unwrap();
    assert_eq!(from, client.local_addr().unwrap());
    assert_eq!(client.peer_addr().unwrap(), SocketAddr::from(service));
    client.set_nonblocking(false).unwrap();
    for end in [&client, &accepted] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut heard = [0; 5];
    client.write_all(b"hello").unwrap();
    accepted.read_exact(&mut heard).unwrap();
    accepted.write_all(&heard).unwrap();
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}
