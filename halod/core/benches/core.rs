//! What a change of the cluster and what a packet cost.
//!
//! `cargo bench -p halod-core`; `docs/performance.md` keeps the figures.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use halod_core::cluster::{Cluster, ClusterConfig, ConnId, Output};
use halod_core::flow::SourcePorts;
use halod_core::ids::{RouteId, Side};
use halod_core::plane::steer::Tracking;
use halod_core::plane::{PlaneConfig, Rewrite, Seen, Stage, Steer, Verdict};
use halod_core::protocol::{Endpoints, FromNode, Hello, Incarnation, PROTOCOL_VERSION, Token};
use halod_core::record::write_packet;
use halod_core::route_table::{Move, RouteTable};
use halod_core::routing::{Routing, SessionId};
use halod_core::service::ServicePorts;
use halod_core::time::Instant;
use halod_core::wire::checksum::Sum;
use halod_core::wire::{Checksum, Packet, TcpFlags, TcpSegment};

const ROUTES: u16 = 24_000;
const NODES: u16 = 2_047;
const BROWSER_PORT_FIRST: u16 = 10_000;
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 40_000);

criterion_group!(benches, route_table, cluster, lookup, rewrite, plane, steer, record, checksum);
criterion_main!(benches);

fn route_table(c: &mut Criterion) {
    let mut group = c.benchmark_group("route_table");
    let (table, joined) = (table_of(NODES), table_of(NODES + 1));
    // Cloned with one node too many, so that the join finds room in the lists of nodes, as it does but for now and then.
    let before_join = || {
        let mut table = joined.clone();
        table.remove_node();
        table
    };
    let join = |table: &mut RouteTable| table.add_node().map(<[Move]>::len);
    group.bench_function("join", |b| b.iter_batched_ref(before_join, join, BatchSize::LargeInput));
    group.bench_function("removal", |b| {
        b.iter_batched_ref(|| table.clone(), RouteTable::remove_node, BatchSize::LargeInput);
    });

    // The highest id takes over a lost one: its own routes go back, and it is told the routes of the lost one.
    let lost = table.owner(RouteId::from_index(0)).expect("a full table");
    let replace = |table: &mut RouteTable| (table.remove_node(), table.routes_of(lost).to_vec());
    group.bench_function("replacement", |b| b.iter_batched_ref(|| table.clone(), replace, BatchSize::LargeInput));
}

/// The whole of it: the table, the routing that is published, and the messages to the nodes concerned.
fn cluster(c: &mut Criterion) {
    let mut group = c.benchmark_group("cluster");
    for (name, reserve) in [("replacement_by_a_reserve", 1), ("replacement_by_the_highest_id", 0)] {
        let nodes = RefCell::new(Nodes::joined(usize::from(NODES) + reserve, reserve));
        let refill = || nodes.borrow_mut().refill();
        let lose = |()| nodes.borrow_mut().lose_the_oldest();
        group.bench_function(name, |b| b.iter_batched(refill, lose, BatchSize::PerIteration));
    }
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    let table = table_of(NODES);
    let routes: Vec<RouteId> = (0..ROUTES.into()).map(RouteId::from_index).collect();
    let mut next = routes.iter().cycle().step_by(7_919);
    group.bench_function("owner_id_by_route", |b| {
        b.iter(|| next.next().map(|&route| table.owner(black_box(route))));
    });

    let (ports, routing) = (service_ports(), Nodes::joined(NODES.into(), 0).routing);
    let mut next = (BROWSER_PORT_FIRST..BROWSER_PORT_FIRST + ROUTES).cycle().step_by(7_919);
    let node_of = |port: u16| {
        let (side, route) = ports.locate(port)?;
        routing.owner(route)?.address(side, SERVICE)
    };
    group.bench_function("node_address_by_port", |b| b.iter(|| next.next().map(|port| node_of(black_box(port)))));
}

fn rewrite(c: &mut Criterion) {
    let mut group = c.benchmark_group("rewrite");
    for length in [64, 1_500] {
        let mut bytes = packet_of(length);
        let source = SocketAddr::from(([10, 0, 0, 1], 20_001));
        let destination = SocketAddr::from(([10, 0, 1, 7], 8_000));
        group.bench_function(format!("{length}_bytes"), |b| {
            b.iter(|| {
                let Ok(Packet::Tcp(mut packet)) = Packet::parse(black_box(&mut bytes)) else { panic!("a TCP packet") };
                packet.rewrite_source(black_box(source));
                packet.rewrite_destination(black_box(destination));
            });
        });
    }
}

/// A client's packet of an established flow: parsed, found in the flow table, rewritten and noted.
fn plane(c: &mut Criterion) {
    let mut group = c.benchmark_group("plane");
    let mut plane = Rewrite::new(PlaneConfig {
        ports: service_ports(),
        addresses: vec![SERVICE],
        source_ports: SourcePorts::new(&(1_024..=32_767)).expect("a range with ports in it"),
        seed: 1,
    });
    plane.publish(Instant::ORIGIN, Nodes::joined(NODES.into(), 0).routing, BTreeMap::new());
    let mut handle = |stage, packet: &mut [u8]| plane.handle(Instant::ORIGIN, stage, Checksum::Ready, packet);

    let mut syn = packet_with(TcpFlags::SYN, 40);
    assert!(matches!(handle(Stage::Ingress, &mut syn), Verdict::Rewritten));
    let Ok(Packet::Tcp(packet)) = Packet::parse(&mut syn) else { panic!("a TCP packet") };
    let answer = TcpSegment {
        source: packet.destination(),
        destination: packet.source(),
        sequence: 1,
        acknowledgement: 2,
        flags: TcpFlags::SYN | TcpFlags::ACK,
        window: 65_535,
        payload: &[],
    };
    assert!(matches!(handle(Stage::Egress { local: false }, &mut answer.to_bytes()), Verdict::Rewritten));

    for length in [64, 1_500] {
        let packet = packet_of(length);
        let mut bytes = packet.clone();
        group.bench_function(format!("established_{length}_bytes"), |b| {
            b.iter(|| {
                bytes.copy_from_slice(&packet);
                handle(Stage::Ingress, black_box(&mut bytes))
            });
        });
    }
}

/// The first packet of a connection, which is all that the `steer` plane sees of most.
fn steer(c: &mut Criterion) {
    let config = PlaneConfig {
        ports: service_ports(),
        addresses: vec![SERVICE],
        source_ports: SourcePorts::new(&(1_024..=32_767)).expect("a range with ports in it"),
        seed: 1,
    };
    let mut plane = Steer::new(config);
    plane.publish(Instant::ORIGIN, Nodes::joined(NODES.into(), 0).routing);
    // More than are kept, so that each takes the place of another.
    let syns = (1_024..=u16::MAX).map(|port| {
        let mut syn = packet_with(TcpFlags::SYN, 40);
        let Ok(Packet::Tcp(mut packet)) = Packet::parse(&mut syn) else { panic!("a TCP packet") };
        packet.rewrite_source(SocketAddr::new(CLIENT.ip(), port));
        syn
    });
    let mut syns = syns.collect::<Vec<_>>().into_iter().cycle();
    c.bench_function("steer/syn", |b| {
        b.iter(|| {
            let mut syn = syns.next().expect("a cycle does not end");
            let verdict = plane.handle(Instant::ORIGIN, Tracking::New, Checksum::Ready, black_box(&mut syn));
            assert!(matches!(verdict, Verdict::Marked(_)));
        });
    });
}

/// What the packet thread does more for each packet while the daemon records.
fn record(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    let mut lines = Vec::with_capacity(1 << 20);
    for length in [64, 1_500] {
        let mut packet = packet_of(length);
        group.bench_function(format!("packet_of_{length}_bytes"), |b| {
            b.iter(|| {
                lines.clear();
                write_packet(
                    Instant::from_nanos(1 << 40),
                    Seen::Stage(Stage::Ingress),
                    Checksum::Ready,
                    black_box(&mut packet),
                    &mut lines,
                );
                lines.len()
            });
        });
    }
}

fn checksum(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for length in [64, 1_500, 65_531] {
        let bytes = packet_of(length);
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(format!("{length}_bytes"), |b| b.iter(|| Sum::of(black_box(&bytes)).checksum()));
    }
}

fn table_of(nodes: u16) -> RouteTable {
    let mut table = RouteTable::new(ROUTES);
    for _ in 0..nodes {
        table.add_node();
    }
    table
}

fn service_ports() -> ServicePorts {
    let ports = |first: u16| first..=first + (ROUTES - 1);
    ServicePorts::new(ROUTES, ports(BROWSER_PORT_FIRST), ports(BROWSER_PORT_FIRST + ROUTES))
        .expect("room for all ports")
}

fn packet_of(length: usize) -> Vec<u8> {
    packet_with(TcpFlags::PSH | TcpFlags::ACK, length)
}

fn packet_with(flags: TcpFlags, length: usize) -> Vec<u8> {
    TcpSegment {
        source: CLIENT,
        destination: SocketAddr::new(SERVICE, service_ports().port(Side::Browser, RouteId::from_index(0))),
        sequence: 1,
        acknowledgement: 1,
        flags,
        window: 65_535,
        payload: &vec![0x5a; length - 40],
    }
    .to_bytes()
}

/// The registration that came by `conn`: both are counted from 1.
fn session_of(conn: ConnId) -> SessionId {
    SessionId(conn.0)
}

/// A cluster and its registered nodes, oldest first.
struct Nodes {
    cluster: Cluster,
    conns: VecDeque<ConnId>,
    size: usize,
    opened: u32,
    routing: Arc<Routing>,
}

impl Nodes {
    fn joined(nodes: usize, reserve: usize) -> Self {
        let config = ClusterConfig {
            routes: ROUTES,
            reserve,
            heartbeat: Duration::from_millis(100),
            misses: 3,
            drain: Duration::from_secs(30),
            pace: 1000,
            redial_timeout: Duration::from_millis(250),
            own_addresses: vec![SERVICE],
        };
        let cluster = Cluster::new(Instant::ORIGIN, config);
        let mut this = Self { cluster, conns: VecDeque::new(), size: nodes, opened: 0, routing: Arc::default() };
        (0..nodes).for_each(|_| this.join());
        assert_eq!(this.routing.holders.len(), nodes - reserve);
        this
    }

    fn join(&mut self) {
        self.opened += 1;
        let (conn, host) = (ConnId(self.opened.into()), IpAddr::V4((0x0a00_0000 + self.opened).into()));
        let endpoint = |port| Endpoints::try_from(vec![SocketAddr::new(host, port)]).expect("one usable address");
        let hello = Hello {
            version: PROTOCOL_VERSION,
            name: format!("n{}", self.opened),
            incarnation: Incarnation(self.opened.into()),
            browser: endpoint(8_000),
            app: endpoint(9_000),
            admin: SocketAddr::new(host, 9_001),
        };
        self.cluster.open(Instant::ORIGIN, conn, host, Token(self.opened.into()));
        self.cluster.receive(Instant::ORIGIN, conn, Ok(FromNode::Hello(hello)));
        self.conns.push_back(conn);
        self.take_outputs();
    }

    /// Another node joins for the one that was lost last.
    fn refill(&mut self) {
        while self.conns.len() < self.size {
            self.join();
        }
    }

    fn lose_the_oldest(&mut self) {
        let conn = self.conns.pop_front().expect("there are nodes");
        self.cluster.disconnect(Instant::ORIGIN, conn);
        let suspect = session_of(conn);
        self.cluster.redial_failed(Instant::ORIGIN, suspect);
        self.take_outputs();
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.cluster.poll() {
            if let Output::Publish(routing) = black_box(output) {
                self.routing = routing;
            }
        }
    }
}
