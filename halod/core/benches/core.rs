//! What a change of the route table and what a packet cost.
//!
//! `cargo bench -p halod-core`; `docs/performance.md` keeps the figures.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use halod_core::ids::RouteId;
use halod_core::route_table::{Move, RouteTable};
use halod_core::wire::checksum::Sum;
use halod_core::wire::{Packet, TcpFlags, TcpSegment};

const ROUTES: u16 = 24_000;
const NODES: u16 = 2_047;

criterion_group!(benches, route_table, lookup, rewrite, checksum);
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

fn lookup(c: &mut Criterion) {
    let table = table_of(NODES);
    let routes: Vec<RouteId> = (0..ROUTES.into()).map(RouteId::from_index).collect();
    let mut next = routes.iter().cycle().step_by(7_919);
    c.benchmark_group("lookup").bench_function("owner", |b| {
        b.iter(|| next.next().map(|&route| table.owner(black_box(route))));
    });
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

fn checksum(c: &mut Criterion) {
    let bytes = packet_of(1_500);
    let mut group = c.benchmark_group("checksum");
    group.throughput(Throughput::Bytes(1_500));
    group.bench_function("1500_bytes", |b| b.iter(|| Sum::of(black_box(&bytes)).checksum()));
}

fn table_of(nodes: u16) -> RouteTable {
    let mut table = RouteTable::new(ROUTES);
    for _ in 0..nodes {
        table.add_node();
    }
    table
}

fn packet_of(length: usize) -> Vec<u8> {
    TcpSegment {
        source: SocketAddr::from(([192, 0, 2, 1], 40_000)),
        destination: SocketAddr::from(([198, 51, 100, 1], 9_001)),
        sequence: 1,
        acknowledgement: 1,
        flags: TcpFlags::PSH | TcpFlags::ACK,
        window: 65_535,
        payload: &vec![0x5a; length - 40],
    }
    .to_bytes()
}
