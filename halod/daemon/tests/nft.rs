//! The rules in a real kernel: each test in a network namespace of its own, with real packets over its loopback.
//!
//! Without the right to make a namespace the tests are ignored, and say why.

#![allow(clippy::unwrap_used, reason = "these are tests, though without libtest clippy cannot see it")]

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};

use halod::nft::{OWN_MARK, Rules, RulesSpec};
use libtest_mimic::Arguments;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt, socket, sockopt,
};

#[path = "support/namespace.rs"]
mod namespace;

use namespace::tables;

const QUEUE: u16 = 7;
const BROWSER_PORTS: RangeInclusive<u16> = 8001..=8024;
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn main() {
    let arguments = Arguments::from_args();
    let tests: [(&str, fn()); 8] = [
        (
            "replies_to_this_host_are_queued_at_once_when_masquerading",
            replies_to_this_host_are_queued_at_once_when_masquerading,
        ),
        ("icmp_errors_are_queued_and_pass_without_a_listener", icmp_errors_are_queued_and_pass_without_a_listener),
        ("service_ports_are_queued_and_no_others", service_ports_are_queued_and_no_others),
        ("own_packets_pass", own_packets_pass),
        ("node_sets_follow_what_is_set", node_sets_follow_what_is_set),
        ("packets_to_nodes_are_queued_when_masquerading", packets_to_nodes_are_queued_when_masquerading),
        ("thousands_of_nodes_are_one_transaction", thousands_of_nodes_are_one_transaction),
        ("the_table_outlives_an_unclean_end_and_is_replaced", the_table_outlives_an_unclean_end_and_is_replaced),
    ];
    libtest_mimic::run(&arguments, namespace::trials(&tests)).exit();
}

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
        net.verdict = nfq::Verdict::Accept;
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
        assert_eq!(net.take_queued(|_| true), [Hook::Output]);

        net.queue.unbind(QUEUE).unwrap();
        client.send(b"?").unwrap();
        assert_eq!(client.send(b"?").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
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
    assert!(!is_refused((V4, 8001)) && is_refused((V4, 8000)));
    assert_eq!(sending_fails((V4, 9)), Some(io::ErrorKind::ConnectionRefused));

    let mut net = Net::new(&RulesSpec { browser_ports: 8001..=8001, ..spec() });
    assert_eq!(tables(), ["halod-7"]);
    assert_eq!(net.queued_on_connect(None, (V4, 8001)), [Hook::Output]);
    assert_eq!(net.queued_on_connect(None, (V4, 8002)), []);
    assert_eq!(net.queued_on_connect(Some(node), (V4, 80)), []);

    let others = Rules::install(&RulesSpec { queue: QUEUE + 1, ..spec() }).unwrap();
    assert_eq!(tables(), ["halod-7", "halod-8"]);
    others.remove().unwrap();
    net.rules.remove().unwrap();
    assert_eq!(tables(), [""; 0]);
    assert!(is_refused((V4, 8001)));
}

/// Whether a connection without a listener is answered with RST, which it is at once over the loopback.
fn is_refused(to: (IpAddr, u16)) -> bool {
    let client = begin_connection(0, None, to);
    getsockopt(&client, sockopt::SocketError).unwrap() == Errno::ECONNREFUSED as i32
}

/// What became of a datagram, as its sender learns with the next one.
fn sending_fails(to: (IpAddr, u16)) -> Option<io::ErrorKind> {
    let client = UdpSocket::bind((to.0, 0)).unwrap();
    client.connect(to).unwrap();
    client.send(b"?").unwrap();
    client.send(b"?").err().map(|error| error.kind())
}

fn spec() -> RulesSpec {
    RulesSpec {
        queue: QUEUE,
        addresses: vec![V4, V6],
        browser_ports: BROWSER_PORTS,
        app_ports: 9001..=9024,
        masquerade: false,
        every_packet: false,
    }
}

/// Where a packet was queued, by its number in `linux/netfilter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hook {
    Prerouting,
    Input,
    Output,
    Postrouting,
}

/// Rules and the queue that they fill.
struct Net {
    queue: nfq::Queue,
    rules: Rules,
    /// The mark of connections made from now on.
    mark: u32,
    /// What becomes of queued packets from now on.
    verdict: nfq::Verdict,
}

impl Net {
    fn new(spec: &RulesSpec) -> Self {
        let mut queue = nfq::Queue::open().unwrap();
        queue.bind(spec.queue).unwrap();
        queue.set_nonblocking(true);
        Self { queue, rules: Rules::install(spec).unwrap(), mark: 0, verdict: nfq::Verdict::Drop }
    }

    fn set_nodes(&mut self, nodes: &[SocketAddr]) {
        self.rules.set_nodes(&nodes.iter().copied().collect::<BTreeSet<_>>()).unwrap();
    }

    /// Sends a SYN and says where it was queued, which the kernel has decided when `connect` returns. An answer
    /// to the SYN may be queued too and does not count.
    fn queued_on_connect(&mut self, from: Option<SocketAddr>, to: (IpAddr, u16)) -> Vec<Hook> {
        let _client = begin_connection(self.mark, from, to);
        self.take_queued(|packet| destination_port(packet) == to.1)
    }

    /// Decides what is queued and says where the packets were that `count` holds for.
    fn take_queued(&mut self, count: impl Fn(&[u8]) -> bool) -> Vec<Hook> {
        let mut hooks = Vec::new();
        loop {
            match self.queue.recv() {
                Ok(mut packet) => {
                    if count(packet.get_payload()) {
                        hooks.push(hook(packet.get_hook()));
                    }
                    packet.set_verdict(self.verdict);
                    self.queue.verdict(packet).unwrap();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return hooks,
                Err(error) => panic!("the queue: {error}"),
            }
        }
    }
}

/// Sends a SYN.
fn begin_connection(mark: u32, from: Option<SocketAddr>, to: (IpAddr, u16)) -> OwnedFd {
    let family = if to.0.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client = socket(family, SockType::Stream, flags, None).unwrap();
    setsockopt(&client, sockopt::ReuseAddr, &true).unwrap();
    setsockopt(&client, sockopt::Mark, &mark).unwrap();
    if let Some(from) = from {
        bind(client.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
    }
    match connect(client.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from(to))) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => panic!("connect to {to:?}: {error}"),
    }
    client
}

/// Of a TCP packet without IP options.
fn destination_port(packet: &[u8]) -> u16 {
    let tcp = if packet[0] >> 4 == 4 { &packet[20..] } else { &packet[40..] };
    u16::from_be_bytes([tcp[2], tcp[3]])
}

fn hook(number: u8) -> Hook {
    match i32::from(number) {
        libc::NF_INET_PRE_ROUTING => Hook::Prerouting,
        libc::NF_INET_LOCAL_IN => Hook::Input,
        libc::NF_INET_LOCAL_OUT => Hook::Output,
        libc::NF_INET_POST_ROUTING => Hook::Postrouting,
        other => panic!("no rule is at hook {other}"),
    }
}
