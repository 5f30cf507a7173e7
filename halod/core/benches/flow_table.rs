//! What a full flow table costs: bytes a flow, and the time to begin, find and evict one.
//!
//! `cargo bench -p halod-core --bench flow_table`; `docs/performance.md` keeps the figures.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench has a clock, and asks for its memory")]

use std::fs;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use halod_core::flow::{FlowTable, NewFlow, Sender, SourcePorts};
use halod_core::ids::{RouteId, Side};
use halod_core::routing::SessionId;
use halod_core::time::Instant;
use halod_core::wire::{Packet, TcpFlags, TcpSegment};

const FLOWS: u32 = 1_000_000;
const ROUTES: u32 = 4_096;
const NODES: u32 = 64;

criterion_group!(benches, established, half_open);
criterion_main!(benches);

/// A table full of connections that are established: the common case of a busy router.
fn established(c: &mut Criterion) {
    let before = resident_bytes();
    let mut table = empty(FLOWS + 1);
    let began = std::time::Instant::now();
    for number in 0..FLOWS {
        begin(&mut table, number);
        complete(&mut table, number);
    }
    let each = began.elapsed() / FLOWS;
    assert_eq!(table.len(), FLOWS as usize);
    println!(
        "{FLOWS} established flows: {} bytes each, {each:?} to begin one",
        (resident_bytes() - before) / u64::from(FLOWS)
    );

    let mut group = c.benchmark_group("flow_table");
    let mut numbers = (0..FLOWS).cycle().step_by(7_919);
    let mut next = move || numbers.next().map(new_flow).expect("an endless iterator");
    group.bench_function("lookup_of_a_client", |b| {
        b.iter(|| {
            let NewFlow { client, service, .. } = next();
            table.sent_by_client(black_box(client), service).is_some()
        });
    });
    group.bench_function("lookup_of_a_node", |b| {
        b.iter(|| {
            let NewFlow { client, node, .. } = next();
            table.seen_by_node(black_box(client), node).is_some()
        });
    });
    group.bench_function("begin_and_remove", |b| {
        b.iter(|| {
            begin(&mut table, FLOWS);
            let NewFlow { client, service, .. } = new_flow(FLOWS);
            table.remove(client, service);
        });
    });
}

/// A table full of connections that nobody answered, as under a flood of SYNs: each new one evicts the oldest.
fn half_open(c: &mut Criterion) {
    let mut table = empty(FLOWS);
    (0..FLOWS).for_each(|number| begin(&mut table, number));
    let mut numbers = FLOWS..;
    c.benchmark_group("flow_table").bench_function("begin_and_evict", |b| {
        b.iter(|| numbers.next().map(|number| begin(&mut table, number)));
    });
    assert_eq!(table.len(), FLOWS as usize);
}

fn empty(flows_max: u32) -> FlowTable {
    let source_ports = SourcePorts::new(&(1_024..=32_767)).expect("a range with ports in it");
    FlowTable::new(flows_max as usize, source_ports, 1)
}

/// Clients of many hosts, each with a port of its own.
fn new_flow(number: u32) -> NewFlow {
    let route = number % ROUTES;
    let node = route % NODES;
    NewFlow {
        client: SocketAddr::new((0x0b00_0000 + number / 60_000).to_be_bytes().into(), 1_024 + (number % 60_000) as u16),
        service: SocketAddr::from(([198, 51, 100, 1], 10_000 + route as u16)),
        node: SocketAddr::new((0x0a00_0001 + node).to_be_bytes().into(), 8_000),
        session: SessionId(node.into()),
        route: RouteId::from_index(route as usize),
        side: Side::Browser,
        masquerade: None,
    }
}

fn begin(table: &mut FlowTable, number: u32) {
    let new = new_flow(number);
    let now = Instant::ORIGIN + Duration::from_micros(number.into());
    with_packet(&new, TcpFlags::SYN, |syn| table.begin(now, new, syn).map(|_| ()).expect("there is room"));
}

/// The node answers.
fn complete(table: &mut FlowTable, number: u32) {
    let new = new_flow(number);
    let key = halod_core::flow::FlowKey { client: new.client, service: new.service };
    with_packet(&new, TcpFlags::SYN | TcpFlags::ACK, |packet| table.note(Instant::ORIGIN, key, Sender::Node, packet));
    with_packet(&new, TcpFlags::ACK, |packet| table.note(Instant::ORIGIN, key, Sender::Client, packet));
}

fn with_packet<T>(new: &NewFlow, flags: TcpFlags, use_it: impl FnOnce(&halod_core::wire::TcpPacket<'_>) -> T) -> T {
    let (source, destination) = (new.client, new.service);
    let segment =
        TcpSegment { source, destination, sequence: 1, acknowledgement: 1, flags, window: 65_535, payload: &[] };
    let mut bytes = segment.to_bytes();
    let Ok(Packet::Tcp(packet)) = Packet::parse(&mut bytes) else { panic!("a TCP packet") };
    use_it(&packet)
}

/// Memory of this process that is in use (`VmRSS`).
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process with memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
