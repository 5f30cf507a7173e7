//! The queue in a real kernel: each test in a network namespace of its own, with real packets over its loopback.
//!
//! Without the right to make a namespace the tests are ignored, and say why.

#![allow(clippy::unwrap_used, reason = "these are tests, though without libtest clippy cannot see it")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use halod::nft::{Rules, RulesSpec};
use halod::queue::{Batch, Queue, QueueConfig, QueueStatus, QueuedPacket, Queues};
use halod_core::wire::{Checksum, Packet, TcpPacket};
use libtest_mimic::Arguments;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

#[path = "support/namespace.rs"]
#[allow(dead_code, reason = "shared with the tests of the rules")]
mod namespace;

const QUEUE: u16 = 7;
const CONFIG: QueueConfig =
    QueueConfig { copy_range: QueueConfig::COPY_RANGE_MAX, length: 1024, fail_open: false, gso: true };
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SERVICE: SocketAddr = SocketAddr::new(V4, 8001);

const OUTPUT: u8 = libc::NF_INET_LOCAL_OUT as u8;
const POSTROUTING: u8 = libc::NF_INET_POST_ROUTING as u8;

fn main() {
    let arguments = Arguments::from_args();
    let tests: [(&str, fn()); 6] = [
        ("packets_come_in_batches_and_in_order", packets_come_in_batches_and_in_order),
        ("what_is_not_decided_is_dropped", what_is_not_decided_is_dropped),
        ("marks_are_given_and_read", marks_are_given_and_read),
        ("large_packets_are_rewritten", large_packets_are_rewritten),
        ("a_packet_that_is_gone_does_not_lose_the_others", a_packet_that_is_gone_does_not_lose_the_others),
        ("a_queue_has_one_listener_at_a_time", a_queue_has_one_listener_at_a_time),
    ];
    libtest_mimic::run(&arguments, namespace::trials(&tests)).exit();
}

fn packets_come_in_batches_and_in_order() {
    let net = Net::new(&[]);
    let sent: Vec<u16> = (0..100).map(|number| 8001 + number % 24).collect();
    let _clients: Vec<OwnedFd> = sent.iter().map(|&port| begin_connection(None, port)).collect();
    let mut batch = net.queue.batch();
    let mut received = Vec::new();
    for expected in [Batch::PACKETS_MAX, 100 - Batch::PACKETS_MAX] {
        net.queue.recv(&mut batch).unwrap();
        assert_eq!(batch.packets().count(), expected);
        received.extend(batch.packets().map(|mut packet| {
            assert_eq!((packet.hook(), packet.mark(), packet.checksum()), (OUTPUT, 0, Checksum::Partial));
            tcp(&mut packet).destination().port()
        }));
        net.queue.send(&mut batch).unwrap();
    }
    assert_eq!(received, sent);
}

fn what_is_not_decided_is_dropped() {
    let net = Net::new(&[]);
    let waiting = || QueueStatus::of(QUEUE).unwrap().waiting;
    let mut batch = net.queue.batch();
    let _clients = [8001, 8002].map(|port| begin_connection(None, port));
    assert_eq!(waiting(), 2);
    net.queue.recv(&mut batch).unwrap();
    assert_eq!(waiting(), 2);
    net.queue.send(&mut batch).unwrap();
    assert_eq!(waiting(), 0);
}

/// What passes with a mark has it at the next hook.
fn marks_are_given_and_read() {
    let node = SocketAddr::new(V4, 5001);
    let net = Net::new(&[node]);
    let _client = begin_connection(Some(node), SERVICE.port());
    let mut batch = net.queue.batch();
    let mut seen = Vec::new();
    for next_mark in [7, 0xFFFF_FFFE] {
        net.queue.recv(&mut batch).unwrap();
        for packet in batch.packets() {
            seen.push((packet.hook(), packet.mark()));
            packet.accept_marked(next_mark);
        }
        net.queue.send(&mut batch).unwrap();
    }
    assert_eq!(seen, [(OUTPUT, 0), (POSTROUTING, 7)]);
}

/// A connection to a service port, taken to a listener and back by hand. The kernel checks every checksum but those that are
/// partial, and joins the segments of a stream on its loopback.
fn large_packets_are_rewritten() {
    const LAST: u16 = 8002;
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let node = listener.local_addr().unwrap();
    setsockopt(&listener, sockopt::TcpMaxSeg, &1460).unwrap();
    let net = Net::new(&[node]);
    let stream: Vec<u8> = (0..4 << 20).map(|at: u32| (at ^ at >> 8) as u8).collect();
    let sent = stream.clone();
    let ends = thread::spawn(move || {
        let mut client = TcpStream::connect(SERVICE).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            accepted.read_to_end(&mut received).unwrap();
            received
        });
        client.write_all(&sent).unwrap();
        drop(client);
        let received = reader.join().unwrap();
        begin_connection(None, LAST);
        received
    });

    let mut batch = net.queue.batch();
    let mut longest = 0;
    let mut is_over = false;
    while !is_over {
        net.queue.recv(&mut batch).unwrap();
        for mut packet in batch.packets() {
            is_over = is_over || tcp(&mut packet).destination().port() == LAST;
            longest = longest.max(packet.payload().len());
            let (checksum, hook) = (packet.checksum(), packet.hook());
            let mut tcp = tcp(&mut packet).with(checksum);
            match hook {
                OUTPUT => tcp.rewrite_destination(node),
                _ => tcp.rewrite_source(SERVICE),
            }
            tcp.finish();
            packet.accept_rewritten();
        }
        net.queue.send(&mut batch).unwrap();
    }
    assert!(ends.join().unwrap() == stream);
    assert!(longest > 32 * 1024, "{longest}");
}

/// The kernel drops what waits for an interface that goes down.
fn a_packet_that_is_gone_does_not_lose_the_others() {
    let node = SocketAddr::new(V4, 5001);
    let net = Net::new(&[node]);
    let _gone = begin_connection(Some(node), 8001);
    namespace::set_loopback(false).unwrap();
    namespace::set_loopback(true).unwrap();
    let _there = begin_connection(Some(node), 8002);

    let mut batch = net.queue.batch();
    let mut ports = Vec::new();
    while ports.last() != Some(&(POSTROUTING, 8002)) {
        net.queue.recv(&mut batch).unwrap();
        for mut packet in batch.packets() {
            ports.push((packet.hook(), tcp(&mut packet).destination().port()));
            packet.accept();
        }
        net.queue.send(&mut batch).unwrap();
    }
    assert_eq!(ports, [(OUTPUT, 8001), (OUTPUT, 8002), (POSTROUTING, 8002)]);
}

fn a_queue_has_one_listener_at_a_time() {
    let net = Net::new(&[]);
    let taken = Queue::open(QUEUE, CONFIG).err().unwrap();
    assert_eq!(taken.raw_os_error(), Some(Errno::EPERM as i32));
    let Net { queue, rules: _rules } = net;
    drop(queue);
    assert_eq!(QueueStatus::of(QUEUE), None);
    Queue::open(QUEUE, CONFIG).unwrap();
}

/// Rules and the queue that they fill.
struct Net {
    queue: Queue,
    rules: Rules,
}

impl Net {
    fn new(nodes: &[SocketAddr]) -> Self {
        let queue = Queue::open(QUEUE, CONFIG).unwrap();
        let mut rules = Rules::install(&RulesSpec {
            queues: Queues::one(QUEUE),
            addresses: vec![V4],
            browser_ports: 8001..=8024,
            app_ports: 9001..=9024,
            masquerade: false,
            every_packet: false,
        })
        .unwrap();
        rules.set_nodes(&nodes.iter().copied().collect::<BTreeSet<_>>()).unwrap();
        Self { queue, rules }
    }
}

fn tcp<'a>(packet: &'a mut QueuedPacket<'_>) -> TcpPacket<'a> {
    match Packet::parse(packet.payload()) {
        Ok(Packet::Tcp(tcp)) => tcp,
        other => panic!("no TCP packet: {other:?}"),
    }
}

/// Sends a SYN, which is in the queue when this returns.
fn begin_connection(from: Option<SocketAddr>, port: u16) -> OwnedFd {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    setsockopt(&client, sockopt::ReuseAddr, &true).unwrap();
    if let Some(from) = from {
        bind(client.as_raw_fd(), &SockaddrStorage::from(from)).unwrap();
    }
    match connect(client.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(V4, port))) {
        Ok(()) | Err(Errno::EINPROGRESS) => client,
        Err(error) => panic!("connect to port {port}: {error}"),
    }
}
