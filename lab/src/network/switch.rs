//! Moves packets between hosts by destination address, through the links that they hang on.
//!
//! A packet passes its sender's link upwards and its receiver's link downwards. What is for no host of the segment
//! goes to the segment's router. The switch has no neighbours, no ARP and no hop count: it is a wire with many ends.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use halod_core::time::Instant;

use super::link::{Admit, Kind, Link, LinkConfig};
use super::packet::{Packet, is_datagram};
use super::too_big::too_big;

/// One side of the router. Packets cross from one to the other only through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Browsers, apps and other clients.
    Wan,
    /// Nodes, and clients on their subnet.
    Lan,
}

/// Where a host is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(usize);

/// What a port is to its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Receives what is addressed to it.
    Host,
    /// Receives what is addressed to nobody else, too. One a segment.
    Router,
}

/// A host to attach.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// On which side of the router.
    pub segment: Segment,
    /// Host or router.
    pub role: Role,
    /// Its addresses, not used by another host of the segment.
    pub addresses: Vec<IpAddr>,
    /// Its link, in both directions.
    pub link: LinkConfig,
    /// Decides the fate of its packets.
    pub seed: u64,
}

/// Why a host could not be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachError {
    /// Another host of the segment has this address.
    AddressTaken(IpAddr),
    /// The segment has a router already.
    SecondRouter(Segment),
}

impl std::fmt::Display for AttachError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AttachError::AddressTaken(address) => write!(f, "another host of the segment has {address}"),
            AttachError::SecondRouter(segment) => write!(f, "segment {segment:?} has a router already"),
        }
    }
}

impl std::error::Error for AttachError {}

/// The addresses that the network itself sends ICMP errors from; belonging to no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IcmpSource {
    /// For errors about IPv4 packets; `None`: they are not sent.
    pub v4: Option<Ipv4Addr>,
    /// For errors about IPv6 packets; `None`: they are not sent.
    pub v6: Option<Ipv6Addr>,
}

/// What became of all packets so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Handed to a host.
    pub delivered: u64,
    /// Lost by a link's probability of loss, or by a cut.
    pub lost: u64,
    /// Dropped at a full queue.
    pub overflowed: u64,
    /// Dropped because larger than a link's MTU.
    pub too_big: u64,
    /// Not for anyone: not IP, multicast, or from the router to an unknown address.
    pub unroutable: u64,
}

/// All hosts, their links and the packets under way.
#[derive(Debug)]
pub struct Switch {
    ports: Vec<Port>,
    ports_by_address: BTreeMap<(Segment, IpAddr), PortId>,
    routers: BTreeMap<Segment, PortId>,
    icmp_source: IcmpSource,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    sequence: u64,
    counters: Counters,
}

#[derive(Debug)]
struct Port {
    segment: Segment,
    up: Link,
    down: Link,
}

/// A packet on a link. Ordered by when it leaves it, then by when it entered it; the sequence number is unique.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    at: Instant,
    sequence: u64,
    direction: Direction,
    port: PortId,
    packet: Vec<u8>,
}

/// One direction of a host's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From the host.
    Up,
    /// To the host.
    Down,
}

impl Switch {
    /// A network without hosts.
    pub fn new(icmp_source: IcmpSource) -> Self {
        Self {
            ports: Vec::new(),
            ports_by_address: BTreeMap::new(),
            routers: BTreeMap::new(),
            icmp_source,
            under_way: BinaryHeap::new(),
            sequence: 0,
            counters: Counters::default(),
        }
    }

    /// Attaches a host.
    ///
    /// # Errors
    ///
    /// If its place is taken; nothing has changed then.
    pub fn attach(&mut self, host: &Attachment) -> Result<PortId, AttachError> {
        let id = PortId(self.ports.len());
        let key = |address: &IpAddr| (host.segment, *address);
        if let Some(address) = host.addresses.iter().find(|address| self.ports_by_address.contains_key(&key(address))) {
            return Err(AttachError::AddressTaken(*address));
        }
        if host.role == Role::Router {
            if self.routers.contains_key(&host.segment) {
                return Err(AttachError::SecondRouter(host.segment));
            }
            self.routers.insert(host.segment, id);
        }
        self.ports_by_address.extend(host.addresses.iter().map(|address| (key(address), id)));
        self.ports.push(Port {
            segment: host.segment,
            up: Link::new(host.link, host.seed),
            down: Link::new(host.link, !host.seed),
        });
        Ok(id)
    }

    /// A host sent a packet.
    pub fn send(&mut self, now: Instant, from: PortId, packet: Vec<u8>) {
        self.enter(now, Direction::Up, from, packet);
    }

    /// The next packet that has arrived by `now`, and the host that it is for.
    pub fn poll(&mut self, now: Instant) -> Option<(PortId, Vec<u8>)> {
        while self.next_wakeup().is_some_and(|at| at <= now) {
            let Reverse(UnderWay { at, direction, port, packet, .. }) =
                self.under_way.pop().expect("what wakes the switch is under way");
            self.link(direction, port).release();
            match direction {
                Direction::Up => self.route(at, self.ports[port.0].segment, Some(port), packet),
                Direction::Down => {
                    self.counters.delivered += 1;
                    return Some((port, packet));
                }
            }
        }
        None
    }

    /// When [`Switch::poll`] has something to do; `None` while nothing is under way.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse(first)| first.at)
    }

    /// Cuts one direction of a host's link. What is under way on it is lost.
    pub fn cut(&mut self, port: PortId, direction: Direction) {
        let before = self.under_way.len();
        self.under_way.retain(|Reverse(packet)| (packet.port, packet.direction) != (port, direction));
        let lost = before - self.under_way.len();
        self.counters.lost += lost as u64;
        let link = self.link(direction, port);
        link.cut();
        (0..lost).for_each(|_| link.release());
    }

    /// Ends the cuts of a host's link, if there are any.
    pub fn heal(&mut self, port: PortId) {
        for direction in [Direction::Up, Direction::Down] {
            self.link(direction, port).heal();
        }
    }

    /// A host's link treats packets like this from now on, in both directions.
    pub fn configure(&mut self, port: PortId, config: LinkConfig) {
        for direction in [Direction::Up, Direction::Down] {
            self.link(direction, port).configure(config);
        }
    }

    /// What became of all packets so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Puts a packet that left its sender's link onto its receiver's. `from` is `None` for the network's own packets.
    fn route(&mut self, now: Instant, segment: Segment, from: Option<PortId>, packet: Vec<u8>) {
        let destination = Packet::new_checked(&packet).map(Packet::destination).filter(|address| is_unicast(*address));
        let to = destination.and_then(|address| {
            let router = || self.routers.get(&segment).filter(|router| from != Some(**router));
            self.ports_by_address.get(&(segment, address)).or_else(router).copied()
        });
        match to {
            Some(to) => self.enter(now, Direction::Down, to, packet),
            None => self.counters.unroutable += 1,
        }
    }

    fn enter(&mut self, now: Instant, direction: Direction, port: PortId, packet: Vec<u8>) {
        if self.link(direction, port).duplicates() {
            self.admit(now, direction, port, packet.clone());
        }
        self.admit(now, direction, port, packet);
    }

    fn admit(&mut self, now: Instant, direction: Direction, port: PortId, packet: Vec<u8>) {
        let kind = if is_datagram(&packet) { Kind::Datagram } else { Kind::Other };
        match self.link(direction, port).admit(now, kind, packet.len()) {
            Admit::DeliverAt(at) => {
                self.sequence += 1;
                self.under_way.push(Reverse(UnderWay { at, sequence: self.sequence, direction, port, packet }));
            }
            Admit::Lost => self.counters.lost += 1,
            Admit::Full => self.counters.overflowed += 1,
            Admit::TooBig { mtu } => {
                self.counters.too_big += 1;
                if let Some(answer) = too_big(&packet, mtu, self.icmp_source) {
                    self.route(now, self.ports[port.0].segment, None, answer);
                }
            }
        }
    }

    fn link(&mut self, direction: Direction, port: PortId) -> &mut Link {
        let port = &mut self.ports[port.0];
        match direction {
            Direction::Up => &mut port.up,
            Direction::Down => &mut port.down,
        }
    }
}

/// Whether an address is one host's, reachable through a router: kernels also chatter to their neighbours.
fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_multicast() && !v4.is_broadcast() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_multicast() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::PacketBuilder;

    use super::*;

    const ICMP_SOURCE: IcmpSource = IcmpSource { v4: Some(Ipv4Addr::new(10, 0, 255, 254)), v6: None };

    fn millis(millis: u64) -> LinkConfig {
        let delay = Duration::from_millis(millis);
        LinkConfig { delay_min: delay, delay_max: delay, ..LinkConfig::default() }
    }

    fn attach(switch: &mut Switch, segment: Segment, role: Role, last_octet: u8, link: LinkConfig) -> PortId {
        let addresses = vec![IpAddr::from([10, 0, 0, last_octet])];
        switch.attach(&Attachment { segment, role, addresses, link, seed: last_octet.into() }).unwrap()
    }

    fn packet(from: u8, to: u8, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, from], [10, 0, 0, to], 64)
            .tcp(1, 2, 3, 4)
            .write(&mut bytes, &vec![0; length - 40])
            .unwrap();
        bytes
    }

    /// Everything that is delivered, with the millisecond of its delivery.
    fn drain(switch: &mut Switch) -> Vec<(u64, PortId, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some(now) = switch.next_wakeup() {
            while let Some((port, packet)) = switch.poll(now) {
                all.push((now.as_nanos() / 1_000_000, port, packet));
            }
        }
        all
    }

    #[test]
    fn a_packet_passes_both_links() {
        let mut switch = Switch::new(ICMP_SOURCE);
        let a = attach(&mut switch, Segment::Wan, Role::Host, 1, millis(2));
        let b = attach(&mut switch, Segment::Wan, Role::Host, 2, millis(3));
        switch.send(Instant::ORIGIN, a, packet(1, 2, 100));
        assert_eq!(drain(&mut switch), [(5, b, packet(1, 2, 100))]);
    }

    #[test]
    fn what_is_for_nobody_goes_to_the_segments_router_and_no_further() {
        let mut switch = Switch::new(ICMP_SOURCE);
        let router = attach(&mut switch, Segment::Wan, Role::Router, 254, millis(0));
        let a = attach(&mut switch, Segment::Wan, Role::Host, 1, millis(1));
        attach(&mut switch, Segment::Lan, Role::Host, 9, millis(1));
        switch.send(Instant::ORIGIN, a, packet(1, 9, 100));
        switch.send(Instant::ORIGIN, router, packet(1, 9, 100));
        assert_eq!(drain(&mut switch), [(1, router, packet(1, 9, 100))]);
        assert_eq!(switch.counters(), Counters { delivered: 1, unroutable: 1, ..Counters::default() });
    }

    #[test]
    fn a_packet_over_the_mtu_is_answered_by_the_network() {
        let mut switch = Switch::new(ICMP_SOURCE);
        let a = attach(&mut switch, Segment::Lan, Role::Host, 1, millis(1));
        attach(&mut switch, Segment::Lan, Role::Host, 2, LinkConfig { mtu: Some(1_400), ..millis(1) });
        switch.send(Instant::ORIGIN, a, packet(1, 2, 1_401));
        let delivered = drain(&mut switch);
        let [(2, port, answer)] = delivered.as_slice() else { panic!("{delivered:?}") };
        assert_eq!((*port, Packet::new_checked(answer).unwrap().source()), (a, [10, 0, 255, 254].into()));
        assert_eq!(switch.counters(), Counters { delivered: 1, too_big: 1, ..Counters::default() });
    }

    #[test]
    fn a_cut_loses_what_is_under_way_in_its_direction_only() {
        let mut switch = Switch::new(ICMP_SOURCE);
        let a = attach(&mut switch, Segment::Wan, Role::Host, 1, millis(2));
        let b = attach(&mut switch, Segment::Wan, Role::Host, 2, millis(2));
        switch.send(Instant::ORIGIN, a, packet(1, 2, 100));
        switch.send(Instant::ORIGIN, b, packet(2, 1, 100));
        switch.cut(a, Direction::Up);
        switch.send(Instant::ORIGIN, a, packet(1, 2, 101));
        switch.send(Instant::ORIGIN, b, packet(2, 1, 102));
        assert_eq!(drain(&mut switch), [(4, a, packet(2, 1, 100)), (4, a, packet(2, 1, 102))]);
        assert_eq!(switch.counters(), Counters { delivered: 2, lost: 2, ..Counters::default() });
        switch.heal(a);
        switch.send(Instant::ORIGIN, a, packet(1, 2, 103));
        assert_eq!(drain(&mut switch), [(4, b, packet(1, 2, 103))]);
    }

    #[test]
    fn an_address_is_given_once_a_segment() {
        let mut switch = Switch::new(ICMP_SOURCE);
        attach(&mut switch, Segment::Wan, Role::Host, 1, millis(0));
        attach(&mut switch, Segment::Lan, Role::Host, 1, millis(0));
        let again = Attachment {
            segment: Segment::Lan,
            role: Role::Host,
            addresses: vec![[10, 0, 0, 1].into()],
            link: millis(0),
            seed: 0,
        };
        assert_eq!(switch.attach(&again), Err(AttachError::AddressTaken([10, 0, 0, 1].into())));
    }
}
