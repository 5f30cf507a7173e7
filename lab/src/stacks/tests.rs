//! Two groups of stacks back to back, under virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::puppet::{Order, Puppet, said};

/// The only stack of either group.
const ONLY: StackId = StackId(0);
const PORT: u16 = 80;

/// What a packet that is on the wire is for.
#[derive(Clone, Copy)]
enum To {
    Client,
    Server,
}

struct Pair {
    now: Instant,
    client: Stacks<Puppet>,
    server: Stacks<Puppet>,
    /// One way.
    latency: Duration,
    wire: VecDeque<(Instant, To, Vec<u8>)>,
    /// Numbers of packets that are lost, counted over both directions.
    lost: Vec<u64>,
    packets: u64,
}

/// A host that listens on nothing.
fn host(addresses: Vec<IpAddr>, seed: u64) -> StackConfig {
    StackConfig {
        addresses,
        listen: vec![],
        local_ports: DYNAMIC_PORTS,
        udp: None,
        buffers: Buffers::SMALL,
        seed,
        mtu: 1_500,
    }
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn v6(last: u8) -> IpAddr {
    IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last.into()])
}

impl Pair {
    fn new(version: u8, lost: &[u64]) -> Self {
        let config = |last| host(vec![if version == 4 { v4(last) } else { v6(last) }], last.into());
        let mut pair = Self::of(&config(1), &StackConfig { listen: vec![PORT], ..config(2) });
        pair.lost = lost.to_vec();
        pair
    }

    fn of(client_config: &StackConfig, server_config: &StackConfig) -> Self {
        let now = Instant::from_nanos(5);
        let (mut client, mut server) = (Stacks::default(), Stacks::default());
        client.add(now, client_config, Puppet::default());
        server.add(now, server_config, Puppet::default());
        let (latency, wire) = (Duration::ZERO, VecDeque::new());
        Self { now, client, server, latency, wire, lost: vec![], packets: 0 }
    }

    fn server_address(&self, port: u16) -> SocketAddr {
        SocketAddr::new([10, 0, 0, 2].into(), port)
    }

    /// Gives orders to the client, lets an hour pass, and returns what both saw.
    fn client(&mut self, commands: impl IntoIterator<Item = Order>) -> (Vec<String>, Vec<String>) {
        for command in commands {
            self.client.command(self.now, ONLY, command);
        }
        self.settle()
    }

    fn server(&mut self, commands: impl IntoIterator<Item = Order>) -> (Vec<String>, Vec<String>) {
        for command in commands {
            self.server.command(self.now, ONLY, command);
        }
        self.settle()
    }

    fn settle(&mut self) -> (Vec<String>, Vec<String>) {
        self.settle_for(Duration::from_secs(3_600))
    }

    fn settle_for(&mut self, time: Duration) -> (Vec<String>, Vec<String>) {
        let end = self.now + time;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            while let Some((_, to, packet)) = self.wire.pop_front_if(|(at, ..)| *at <= self.now) {
                match to {
                    To::Client => self.client.deliver(self.now, ONLY, packet),
                    To::Server => self.server.deliver(self.now, ONLY, packet),
                }
            }
            let (lost, packets, wire, at) = (&self.lost, &mut self.packets, &mut self.wire, self.now + self.latency);
            let mut pass = |to, packet| {
                *packets += 1;
                if !lost.contains(packets) {
                    wire.push_back((at, to, packet));
                }
            };
            self.client.poll(self.now, &mut |_, packet| pass(To::Server, packet));
            self.server.poll(self.now, &mut |_, packet| pass(To::Client, packet));
        }
        self.now = end;
        let lines = |stacks: &mut Stacks<Puppet>| stacks.observed().map(|seen| said(seen.observation)).collect();
        (lines(&mut self.client), lines(&mut self.server))
    }

    fn next(&self) -> Option<Instant> {
        let arrival = self.wire.front().map(|(at, ..)| *at);
        [self.client.next_wakeup(), self.server.next_wakeup(), arrival].into_iter().flatten().min()
    }
}

mod buffers;
mod datagrams;
mod processes;

const C: u64 = 7;
const S: u64 = 0;

#[test]
fn data_goes_both_ways_and_both_fins_close() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    let (client, server) = pair.client([Order::Dial(C, address), Order::Send(C, "hello".into())]);
    assert_eq!(client, ["7 connected", "7 acked 5"]);
    assert_eq!(server, ["accept 0 at 10.0.0.2:80 from 10.0.0.1", "0 received hello"]);
    let (client, server) = pair.server([Order::Send(S, "world".into()), Order::Finish(S)]);
    assert_eq!(client, ["7 received world", "7 peer finished", "7 ended Closed"]);
    assert_eq!(server, ["0 acked 5", "0 peer finished", "0 ended Closed"]);
}

#[test]
fn the_dialling_side_may_finish_first() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    let orders = [Order::Dial(C, address), Order::Send(C, "bye".into()), Order::Finish(C)];
    let (client, server) = pair.client(orders);
    assert_eq!(client, ["7 connected", "7 acked 3", "7 peer finished", "7 ended Closed"]);
    assert_eq!(server[1..], ["0 received bye", "0 peer finished", "0 ended Closed"]);
}

#[test]
fn a_port_without_a_listener_refuses() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT + 1);
    assert_eq!(pair.client([Order::Dial(C, address)]), (vec!["7 ended Refused".to_owned()], vec![]));
}

#[test]
fn the_wrong_ip_version_refuses() {
    let mut pair = Pair::new(4, &[]);
    let dial = Order::Dial(C, "[fd00::2]:80".parse().unwrap());
    assert_eq!(pair.client([dial]), (vec!["7 ended Refused".to_owned()], vec![]));
}

#[test]
fn what_was_sent_before_an_rst_is_read_before_its_end() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    pair.client([Order::Dial(C, address)]);
    let (client, server) = pair.server([Order::Send(S, "last".into())]);
    assert_eq!((client, server), (vec!["7 received last".to_owned()], vec!["0 acked 4".to_owned()]));
    let (client, server) = pair.server([Order::Abort(S)]);
    assert_eq!(client, ["7 ended Reset"]);
    assert!(server.is_empty(), "nothing more is reported after an abort: {server:?}");
}

#[test]
fn the_last_acknowledgement_closes_and_does_not_reset() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    pair.server([Order::Goodbye("bye".into())]);
    pair.client([Order::Dial(C, address)]);
    let (client, server) = pair.client([Order::Finish(C)]);
    assert_eq!(client, ["7 received bye", "7 peer finished", "7 ended Closed"]);
    assert_eq!(server, ["0 peer finished", "0 acked 3", "0 ended Closed"]);
}

#[test]
fn lost_packets_are_sent_again_and_the_close_stays_clean() {
    // One of them is the last acknowledgement: without TIME-WAIT its loss would end the other side in RST.
    for lost in 4..=12 {
        let mut pair = Pair::new(4, &[lost]);
        let address = pair.server_address(PORT);
        pair.client([Order::Dial(C, address)]);
        for order in [Order::Send(S, "world".into()), Order::Finish(S)] {
            pair.server.command(pair.now, ONLY, order);
        }
        let (client, server) = pair.client([Order::Send(C, "hello".into()), Order::Finish(C)]);
        assert_eq!(client.last().unwrap(), "7 ended Closed", "packet {lost} lost");
        assert_eq!(server.last().unwrap(), "0 ended Closed", "packet {lost} lost");
    }
}

#[test]
fn more_than_a_buffer_goes_through_and_is_acknowledged_to_the_last_byte() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    let (client, server) = pair.client([Order::Dial(C, address), Order::Send(C, "x".repeat(100_000))]);
    assert_eq!(client.last().unwrap(), "7 acked 100000");
    let received: usize = server.iter().filter_map(|line| line.strip_prefix("0 received ")).map(str::len).sum();
    assert_eq!(received, 100_000);
}

#[test]
fn ipv6_works_alike() {
    let mut pair = Pair::new(6, &[]);
    let (client, server) = pair.client([Order::Dial(C, "[fd00::2]:80".parse().unwrap())]);
    assert_eq!(client, ["7 connected"]);
    assert_eq!(server, ["accept 0 at [fd00::2]:80 from fd00::1"]);
}

#[test]
fn a_host_of_both_versions_dials_from_the_right_address() {
    let config = |last| StackConfig { listen: vec![PORT], ..host(vec![v4(last), v6(last)], last.into()) };
    let mut pair = Pair::of(&config(1), &config(2));
    let dial = |n, address| Order::Dial(n, SocketAddr::new(address, PORT));
    let (client, server) = pair.client([dial(7, v4(2)), dial(8, v6(2))]);
    assert_eq!(client, ["7 connected", "8 connected"]);
    assert_eq!(server, ["accept 0 at 10.0.0.2:80 from 10.0.0.1", "accept 1 at [fd00::2]:80 from fd00::1"]);
}

#[test]
fn many_dials_at_once_all_find_a_listener() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    let (client, server) = pair.client((0..50).map(|n| Order::Dial(n, address)));
    assert_eq!(client.iter().filter(|line| line.ends_with("connected")).count(), 50);
    assert_eq!(server.len(), 50);
}

#[test]
fn after_its_end_a_connection_leaves_no_socket_behind() {
    let mut pair = Pair::new(4, &[]);
    let address = pair.server_address(PORT);
    for _ in 0..3 {
        pair.client([Order::Dial(C, address), Order::Finish(C)]);
        pair.client([Order::Dial(C, address), Order::Abort(C)]);
    }
    assert_eq!(pair.client.stacks[0].stack.socket_count(), 0);
    assert_eq!(pair.server.stacks[0].stack.socket_count(), 0);
}
