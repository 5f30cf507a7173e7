//! The fabric between kernels and stacks.

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use lab::engines::kernel::Route;
use lab::engines::kernel::clock;
use lab::engines::kernel::netns::Netns;
use lab::engines::kernel::tun::Tun;
use lab::network::LinkConfig;
use pcap_file::pcap::PcapReader;

use crate::Test;
use crate::puppet::Order;
use crate::world::{PORT, World, v4, v6};

pub(crate) const TESTS: &[Test] = &[
    ("a_tun_carries_what_was_sent_and_nothing_else", a_tun_carries_what_was_sent_and_nothing_else),
    ("a_name_that_the_kernel_would_cut_is_refused", a_name_that_the_kernel_would_cut_is_refused),
    ("a_stack_talks_to_a_kernel_over_ipv4", || a_stack_talks_to_a_kernel(v4(1), v4(2))),
    ("a_stack_talks_to_a_kernel_over_ipv6", || a_stack_talks_to_a_kernel(v6(1), v6(2))),
    ("a_kernel_dials_a_stack", a_kernel_dials_a_stack),
    ("a_kernel_waits_for_the_last_acknowledgement", a_kernel_waits_for_the_last_acknowledgement),
    ("a_small_mtu_on_the_way_is_discovered_over_ipv4", || a_small_mtu_on_the_way_is_discovered(v4(2))),
    ("a_small_mtu_on_the_way_is_discovered_over_ipv6", || a_small_mtu_on_the_way_is_discovered(v6(2))),
    ("everything_arrives_over_a_lossy_link", everything_arrives_over_a_lossy_link),
    ("a_stray_packet_is_answered_and_the_answer_caught", a_stray_packet_is_answered_and_the_answer_caught),
    ("the_last_datagram_of_a_host_is_noted", the_last_datagram_of_a_host_is_noted),
    ("a_capture_holds_both_directions_with_good_checksums", a_capture_holds_both_directions_with_good_checksums),
];

const LENGTH: usize = 200_000;

fn a_tun_carries_what_was_sent_and_nothing_else() {
    let netns = Netns::new().unwrap();
    let addresses = [("10.1.0.1".parse().unwrap(), 16), ("fd00::1".parse().unwrap(), 64)];
    let tun = Tun::new(&netns, "fifteen-letters", &addresses, 1_400).unwrap();
    let destination = ("::".parse().unwrap(), 0);
    let gateway = Some("fd00::ff".parse().unwrap());
    netns.add_route(&Route { destination, gateway, interface: "fifteen-letters" }).unwrap();
    let send = || UdpSocket::bind("[fd00::1]:1000").unwrap().send_to(b"ping", "[2001:db8::1]:2000").unwrap();
    netns.run(send).unwrap();
    let mut buffer = [0; 2_000];
    let length = tun.receive(&mut buffer).unwrap().expect("a packet waits");
    let sliced = SlicedPacket::from_ip(&buffer[..length]).unwrap();
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("{sliced:?}") };
    assert_eq!((udp.source_port(), udp.destination_port(), udp.payload()), (1_000, 2_000, b"ping".as_slice()));
    assert_eq!(tun.receive(&mut [0; 2_000]).unwrap(), None);
}

fn a_name_that_the_kernel_would_cut_is_refused() {
    let error = Tun::new(&Netns::new().unwrap(), "sixteen-letters-", &[], 1_500).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

fn a_stack_talks_to_a_kernel(browser: IpAddr, node: IpAddr) {
    let world = World::new(None);
    let mut process = world.process(2, LinkConfig::default());
    let stack = world.stack(browser, LinkConfig::default());
    let address = SocketAddr::new(node, PORT);
    world.fabric.command(stack, Order::Dial(7, address)).unwrap();
    world.stacks_say(&["7 connected"]);
    process.says(&[&format!("accept 0 at {address} from {browser}")]);
    process.order(&Order::Send(0, "event".into()));
    process.says(&["0 acked 5"]);
    world.stacks_say(&["7 received event"]);
    process.order(&Order::Finish(0));
    world.stacks_say(&["7 peer finished", "7 ended Closed"]);
    process.says(&["0 peer finished", "0 ended Closed"]);
}

fn a_kernel_dials_a_stack() {
    let world = World::new(None);
    let mut process = world.process(2, LinkConfig::default());
    let stack = world.stack(v4(1), LinkConfig::default());
    process.order(&Order::Dial(7, SocketAddr::new(v4(1), PORT)));
    process.says(&["7 connected"]);
    world.stacks_say(&["accept 0 at 10.7.0.1:80 from 10.7.0.2"]);
    world.fabric.command(stack, Order::Abort(0)).unwrap();
    process.says(&["7 ended Reset"]);
}

fn a_kernel_waits_for_the_last_acknowledgement() {
    let world = World::new(None);
    let delay = Duration::from_millis(5);
    let mut process = world.process(2, LinkConfig { delay_min: delay, delay_max: delay, ..LinkConfig::default() });
    process.order(&Order::Goodbye("bye".into()));
    let stack = world.stack(v4(1), LinkConfig::default());
    world.fabric.command(stack, Order::Dial(7, SocketAddr::new(v4(2), PORT))).unwrap();
    world.fabric.command(stack, Order::Finish(7)).unwrap();
    process.says(&["accept 0 at 10.7.0.2:80 from 10.7.0.1", "0 peer finished", "0 acked 3", "0 ended Closed"]);
    world.stacks_say(&["7 connected", "7 received bye", "7 peer finished", "7 ended Closed"]);
}

fn a_small_mtu_on_the_way_is_discovered(receiver: IpAddr) {
    let world = World::new(None);
    let mut sender = world.process(1, LinkConfig::default());
    let mut receiving = world.process(2, LinkConfig { mtu: Some(1_400), ..LinkConfig::default() });
    sender.order(&Order::Dial(7, SocketAddr::new(receiver, PORT)));
    sender.order(&Order::Send(7, "x".repeat(LENGTH)));
    sender.order(&Order::Finish(7));
    receiving.next();
    assert_eq!(receiving.receives(), LENGTH);
    assert!(world.fabric.stop().unwrap().links.too_big > 0);
}

fn everything_arrives_over_a_lossy_link() {
    let world = World::new(None);
    let mut sender = world.process(1, LinkConfig::default());
    let lossy = LinkConfig {
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(2),
        loss: 0.02,
        ..LinkConfig::default()
    };
    let mut receiving = world.process(2, lossy);
    sender.order(&Order::Dial(7, SocketAddr::new(v4(2), PORT)));
    sender.order(&Order::Send(7, "x".repeat(LENGTH)));
    sender.order(&Order::Finish(7));
    receiving.next();
    assert_eq!(receiving.receives(), LENGTH);
    assert!(world.fabric.totals().unwrap().links.lost > 0);
}

fn a_stray_packet_is_answered_and_the_answer_caught() {
    let world = World::new(None);
    let stranger = world.process(1, LinkConfig::default());
    let _process = world.process(2, LinkConfig::default());
    let (local, peer) = (SocketAddr::new(v4(1), 5_000), SocketAddr::new(v4(2), PORT));
    let caught = world.fabric.catch(local, peer).unwrap();
    let mut stray = Vec::new();
    PacketBuilder::ipv4([10, 7, 0, 1], [10, 7, 0, 2], 64)
        .tcp(5_000, PORT, 1_000, 8_192)
        .ack(4_242)
        .write(&mut stray, &[])
        .unwrap();
    world.fabric.inject(stranger.port, stray).unwrap();
    let answer = caught.recv().unwrap();
    let sliced = SlicedPacket::from_ip(&answer).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("{sliced:?}") };
    assert!(tcp.rst() && tcp.sequence_number() == 4_242, "{tcp:?}");
}

fn the_last_datagram_of_a_host_is_noted() {
    let world = World::new(None);
    let process = world.process(2, LinkConfig::default());
    let silent = world.process(3, LinkConfig::default());
    assert_eq!(world.fabric.take_last_datagram(process.port).unwrap(), None, "TCP alone, so far");
    let before = clock::now();
    process.netns.run(|| UdpSocket::bind((v4(2), 0)).unwrap().send_to(b"beat", (v4(9), 1)).unwrap()).unwrap();
    let sent = clock::now();
    let noted = loop {
        if let Some(noted) = world.fabric.take_last_datagram(process.port).unwrap() {
            break noted;
        }
        assert!(clock::now().since(sent) < Duration::from_secs(5), "it was not noted");
    };
    assert!(noted >= before);
    assert_eq!(world.fabric.take_last_datagram(process.port).unwrap(), None, "none since");
    assert_eq!(world.fabric.take_last_datagram(silent.port).unwrap(), None);
}

fn a_capture_holds_both_directions_with_good_checksums() {
    let directory = std::env::temp_dir().join(format!("lab-captures-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let world = World::new(Some(&directory));
    let mut process = world.process(2, LinkConfig::default());
    let stack = world.stack(v4(1), LinkConfig::default());
    world.fabric.command(stack, Order::Dial(7, SocketAddr::new(v4(2), PORT))).unwrap();
    process.next();
    process.order(&Order::Send(0, "event".into()));
    process.says(&["0 acked 5"]);
    world.fabric.stop().unwrap();
    for (file, address) in [("browsers.pcap", v4(1)), ("p2.pcap", v4(2))] {
        let (sent, received) = checked_packets(&directory.join(file), address);
        assert!(sent >= 2 && received >= 2, "{file}: {sent} sent, {received} received");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Counts the packets that `host` sent and received, and checks each one's checksum.
fn checked_packets(path: &std::path::Path, host: IpAddr) -> (usize, usize) {
    let IpAddr::V4(host) = host else { panic!("the captures are of IPv4") };
    let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
    let (mut sent, mut received) = (0, 0);
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        let sliced = SlicedPacket::from_ip(&packet.data).unwrap();
        let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net else { continue };
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { continue };
        let header = ip.header().to_header();
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
        assert_eq!(tcp.calc_checksum_ipv4(header.source, header.destination).unwrap(), tcp.checksum());
        sent += usize::from(header.source == host.octets());
        received += usize::from(header.destination == host.octets());
    }
    (sent, received)
}
