//! Connection tracking as the kernel tells it, and forgetting.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use halod::conntrack::Conntrack;
use halod::nft::{LastRules, SteerRules};
use halod_core::flow::{FlowKey, Progress};
use halod_core::plane::steer::Entry;

use crate::changes::port_leads_to;
use crate::loopback::{V4, V6, listen};
use crate::{Test, spec};

pub(crate) const TESTS: &[Test] = &[
    ("translated_connections_are_told", translated_connections_are_told),
    ("a_connection_is_found_from_either_end", a_connection_is_found_from_either_end),
    ("what_was_forgotten_is_told_no_more", what_was_forgotten_is_told_no_more),
    ("refusals_of_many_deletions_are_no_answers_to_what_comes_next", refusals_of_many_deletions),
];

const SERVICE_PORT: u16 = 8001;

/// A connection of this host to a service port, which the last table leads to a node.
struct Net {
    conntrack: Conntrack,
    service: SocketAddr,
    node: SocketAddr,
    /// No connection to a service port.
    other: TcpStream,
    client: TcpStream,
    _ends: (SteerRules, TcpListener, TcpStream),
}

impl Net {
    fn new(version: std::net::IpAddr) -> Self {
        let mut rules = SteerRules::install(&spec(&[version]), LastRules::default()).unwrap();
        let listener = listen(version);
        let node = listener.local_addr().unwrap();
        rules.apply(port_leads_to(SERVICE_PORT, node)).unwrap();
        let service = SocketAddr::new(version, SERVICE_PORT);
        let client = TcpStream::connect(service).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let other = TcpStream::connect(node).unwrap();
        Self { conntrack: Conntrack::open().unwrap(), service, node, other, client, _ends: (rules, listener, accepted) }
    }

    fn flow(&self) -> FlowKey {
        FlowKey { client: self.client.local_addr().unwrap(), service: self.service }
    }

    fn entries(&mut self) -> Vec<Entry> {
        let service = self.service;
        self.conntrack.entries(|flow| flow.service == service).unwrap()
    }

    /// How many have a translated destination, whatever it is.
    fn count(&mut self) -> usize {
        let service = self.service;
        self.conntrack.entries(|flow| flow.service.is_ipv4() == service.is_ipv4()).unwrap().len()
    }
}

fn translated_connections_are_told() {
    for version in [V4, V6] {
        let mut net = Net::new(version);
        let expected = Entry {
            flow: net.flow(),
            node: net.node,
            peer: net.client.local_addr().unwrap(),
            progress: Progress::Established,
            idle: Duration::ZERO,
        };
        assert_eq!(net.entries(), [expected]);
        assert_eq!(net.conntrack.entries(|_| false).unwrap(), []);
        assert_eq!(net.count(), 1, "the other one is not translated");
        net.client.shutdown(std::net::Shutdown::Write).unwrap();
        let [entry] = net.entries()[..] else { panic!("one connection") };
        assert_eq!((entry.progress, entry.idle), (Progress::Established, Duration::ZERO), "half closed");
    }
}

fn a_connection_is_found_from_either_end() {
    let mut net = Net::new(V4);
    let (client, service, node) = (net.client.local_addr().unwrap(), net.service, net.node);
    let stranger = SocketAddr::new(V4, 1);
    let asked = [(client, service), (node, client), (client, node), (stranger, service)];
    let tracked = asked.map(|(source, destination)| net.conntrack.is_tracked(source, destination).unwrap());
    assert_eq!(tracked, [true, true, false, false]);
    assert!(net.conntrack.is_tracked(net.other.local_addr().unwrap(), node).unwrap());
}

fn what_was_forgotten_is_told_no_more() {
    for version in [V4, V6] {
        let mut net = Net::new(version);
        let flow = net.flow();
        net.conntrack.delete(&[flow]).unwrap();
        assert_eq!(net.entries(), []);
        net.conntrack.delete(&[flow]).unwrap();
    }
}

fn refusals_of_many_deletions() {
    let mut net = Net::new(V4);
    let unknown = (1..=5_000).map(|port| FlowKey { client: SocketAddr::new(V4, port), service: net.service });
    let mut flows: Vec<FlowKey> = unknown.collect();
    net.conntrack.delete(&flows).unwrap();
    assert_eq!(net.entries().len(), 1);
    assert!(net.conntrack.is_tracked(net.node, net.client.local_addr().unwrap()).unwrap());
    flows.push(net.flow());
    net.conntrack.delete(&flows).unwrap();
    assert_eq!(net.entries(), []);
}
