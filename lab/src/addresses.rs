//! The addresses and ports of the lab's hosts, the same in every scenario.
//!
//! The router serves 192.0.2.1 and 2001:db8::1. Browsers, apps and clients are in 10.1.0.0/16 and fd00:1::/64, nodes in
//! 10.2.0.0/16 and fd00:2::/64; the router is host 0.1 of both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use halod_core::ids::{RouteId, Side};

use crate::network::{IcmpSource, Segment};
use crate::scenario::{Family, Network};

/// The length of every IPv4 subnet's prefix.
pub const PREFIX_V4: u8 = 16;
/// The length of every IPv6 subnet's prefix.
pub const PREFIX_V6: u8 = 64;
/// The first nodes and browsers, clients and apps on their segments.
const NODE_FIRST: u16 = 0x0101;
const BROWSER_FIRST: u16 = 0x0101;
const CLIENT_FIRST: u16 = 0x0081;
const APP_FIRST: u16 = 0x0011;
/// On the nodes' segment, where "packet too big" comes from; nobody is there on the other.
const ICMP_SOURCE: u16 = 0xfffe;

/// How many nodes there is room for.
pub const NODES_MAX: u16 = ICMP_SOURCE - NODE_FIRST;
/// How many browsers there is room for, in all groups.
pub const BROWSERS_MAX: u16 = ICMP_SOURCE - BROWSER_FIRST;
/// How many clients there is room for, on both segments.
pub const CLIENTS_MAX: u16 = BROWSER_FIRST - CLIENT_FIRST;
/// How many apps there is room for.
pub const APPS_MAX: u16 = CLIENT_FIRST - APP_FIRST;

/// The first local port of an app whose ports are counted, and how many there are from there on.
pub const LOCAL_PORT_FIRST: u16 = 1 << 15;
/// See [`LOCAL_PORT_FIRST`].
pub const LOCAL_PORTS_MAX: u16 = u16::MAX - LOCAL_PORT_FIRST + 1;

/// Where nodes serve browsers.
pub const NODE_BROWSER_PORT: u16 = 8000;
/// Where nodes serve apps.
pub const NODE_APP_PORT: u16 = 9000;
/// Where nodes listen for HaloD.
pub const NODE_ADMIN_PORT: u16 = 9001;

/// The first browser port; the app ports follow the browser ports.
const BROWSER_PORT_FIRST: u16 = 10_000;
const CONTROL_PORT: u16 = 7000;

/// Both addresses of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// IPv4.
    pub v4: IpAddr,
    /// IPv6.
    pub v6: IpAddr,
}

impl Pair {
    /// Host `number` of a segment.
    fn of(segment: Segment, number: u16) -> Self {
        let net = match segment {
            Segment::Wan => 1,
            Segment::Lan => 2,
        };
        let [high, low] = number.to_be_bytes();
        Self {
            v4: Ipv4Addr::new(10, net, high, low).into(),
            v6: Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, number).into(),
        }
    }

    /// The address of one IP version.
    pub fn family(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Both.
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4, self.v6]
    }

    /// Both with a port.
    pub fn at(self, port: u16) -> Vec<SocketAddr> {
        self.both().map(|address| SocketAddr::new(address, port)).to_vec()
    }
}

/// Where the router serves browsers and apps.
pub fn service() -> Pair {
    Pair { v4: Ipv4Addr::new(192, 0, 2, 1).into(), v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into() }
}

/// The router on a segment.
pub fn router(segment: Segment) -> Pair {
    Pair::of(segment, 1)
}

/// Node number `index`, counted from 0.
pub fn node(index: usize) -> Pair {
    Pair::of(Segment::Lan, number(NODE_FIRST, index))
}

/// App number `index`, counted from 0.
pub fn app(index: usize) -> Pair {
    Pair::of(Segment::Wan, number(APP_FIRST, index))
}

/// Client number `index`, counted from 0.
pub fn client(on: Network, index: usize) -> Pair {
    Pair::of(segment(on), number(CLIENT_FIRST, index))
}

/// Browser number `index` of all groups together, counted from 0.
pub fn browser(index: usize) -> Pair {
    Pair::of(Segment::Wan, number(BROWSER_FIRST, index))
}

/// The segment that a client is on.
pub fn segment(on: Network) -> Segment {
    match on {
        Network::Wan => Segment::Wan,
        Network::Lan => Segment::Lan,
    }
}

/// The segment whose subnet an address is of.
pub fn segment_of(address: IpAddr) -> Option<Segment> {
    let subnet = |pair: Pair| match (address, pair.v4, pair.v6) {
        (IpAddr::V4(address), IpAddr::V4(router), _) => address.octets()[..2] == router.octets()[..2],
        (IpAddr::V6(address), _, IpAddr::V6(router)) => address.segments()[..4] == router.segments()[..4],
        _ => false,
    };
    [Segment::Wan, Segment::Lan].into_iter().find(|&segment| subnet(router(segment)))
}

/// Where nodes dial in.
pub fn control() -> SocketAddr {
    SocketAddr::new(router(Segment::Lan).v4, CONTROL_PORT)
}

/// Where "packet too big" of a link comes from: hosts of the nodes' subnet that do not exist otherwise.
pub fn icmp_source() -> IcmpSource {
    let [high, low] = ICMP_SOURCE.to_be_bytes();
    let v4 = Ipv4Addr::new(10, 2, high, low);
    IcmpSource { v4: Some(v4), v6: Some(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, ICMP_SOURCE)) }
}

/// The first port of one side, for `routes` routes.
pub fn port_first(side: Side, routes: u16) -> u16 {
    match side {
        Side::Browser => BROWSER_PORT_FIRST,
        Side::App => BROWSER_PORT_FIRST + routes,
    }
}

/// The port of a route.
pub fn port(side: Side, routes: u16, route: RouteId) -> u16 {
    port_first(side, routes) + route.number() - 1
}

fn number(first: u16, index: usize) -> u16 {
    u16::try_from(index)
        .ok()
        .and_then(|index| first.checked_add(index))
        .expect("a scenario has no more hosts than there is room for")
}
