//! A small model of the kernel's connection tracking: it pins a connection to where its first packet went, translates
//! both directions, picks a source port that nobody has, and forgets when it is told to.
//!
//! It judges no sequence numbers, so nothing is ever invalid, and it tracks connections to service ports alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use halod_core::flow::{FlowKey, Progress};
use halod_core::plane::steer::Entry;
use halod_core::time::Instant;
use halod_core::wire::TcpFlags;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// As the first packet of its connection.
    Original,
    /// Back.
    Reply,
}

/// A connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) node: SocketAddr,
    /// The client as the node sees it.
    pub(super) peer: SocketAddr,
    pub(super) progress: Progress,
    finished: [bool; 2],
    last_active: Instant,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Conntrack {
    by_flow: BTreeMap<FlowKey, Connection>,
    by_reply: BTreeMap<(SocketAddr, SocketAddr), FlowKey>,
}

impl Conntrack {
    /// The connection of a packet between these.
    pub(super) fn find(&self, source: SocketAddr, destination: SocketAddr) -> Option<(FlowKey, Direction)> {
        let original = FlowKey { client: source, service: destination };
        let original = self.by_flow.contains_key(&original).then_some((original, Direction::Original));
        original.or_else(|| Some((*self.by_reply.get(&(source, destination))?, Direction::Reply)))
    }

    pub(super) fn connection(&self, flow: FlowKey) -> &Connection {
        &self.by_flow[&flow]
    }

    /// Whether a SYN may take the place of a connection: it is over.
    pub(super) fn is_over(&self, flow: FlowKey) -> bool {
        matches!(self.by_flow[&flow].progress, Progress::Closed | Progress::Reset)
    }

    /// A connection begins. Its client appears as itself, or as `masquerade`; with another port if that one is taken.
    pub(super) fn begin(&mut self, now: Instant, flow: FlowKey, node: SocketAddr, masquerade: Option<IpAddr>) {
        self.forget(flow);
        let ip = masquerade.unwrap_or(flow.client.ip());
        let own = flow.client.port();
        let ports = std::iter::once(own).chain((1024..=u16::MAX).filter(|&port| port != own));
        let mut peers = ports.map(|port| SocketAddr::new(ip, port));
        let peer = peers.find(|&peer| !self.by_reply.contains_key(&(node, peer))).expect("some port is free");
        self.by_reply.insert((node, peer), flow);
        let connection = Connection { node, peer, progress: Progress::SynSent, finished: [false; 2], last_active: now };
        self.by_flow.insert(flow, connection);
    }

    /// A packet of a connection passes.
    pub(super) fn note(&mut self, now: Instant, flow: FlowKey, direction: Direction, flags: TcpFlags) {
        let Some(connection) = self.by_flow.get_mut(&flow) else { return };
        connection.last_active = now;
        connection.progress = match (connection.progress, direction) {
            _ if flags.contains(TcpFlags::RST) => Progress::Reset,
            (Progress::SynSent, Direction::Reply) if flags.contains(TcpFlags::SYN) => Progress::SynReceived,
            (Progress::SynReceived, Direction::Original) if !flags.contains(TcpFlags::SYN) => Progress::Established,
            (progress, _) => progress,
        };
        if flags.contains(TcpFlags::FIN) {
            connection.finished[usize::from(direction == Direction::Reply)] = true;
        }
        if connection.finished == [true; 2] && connection.progress != Progress::Reset {
            connection.progress = Progress::Closed;
        }
    }

    pub(super) fn forget(&mut self, flow: FlowKey) {
        if let Some(connection) = self.by_flow.remove(&flow) {
            self.by_reply.remove(&(connection.node, connection.peer));
        }
    }

    /// Forgets what has been silent for as long as the kernel would wait (`nf_conntrack_tcp_timeout_*`).
    pub(super) fn expire(&mut self, now: Instant) {
        let keep = |progress| {
            Duration::from_secs(match progress {
                Progress::SynSent | Progress::Closed => 120,
                Progress::Reset => 10,
                Progress::SynReceived => 60,
                Progress::Established => 432_000,
            })
        };
        let is_over = |connection: &Connection| connection.last_active + keep(connection.progress) <= now;
        for (_, connection) in self.by_flow.extract_if(.., |_, connection| is_over(connection)) {
            self.by_reply.remove(&(connection.node, connection.peer));
        }
    }

    /// Those that are `wanted`, as HaloD asks for them.
    pub(super) fn entries(&self, now: Instant, wanted: impl Fn(&FlowKey) -> bool) -> impl Iterator<Item = Entry> {
        let entry = move |(&flow, connection): (&FlowKey, &Connection)| Entry {
            flow,
            node: connection.node,
            peer: connection.peer,
            progress: connection.progress,
            idle: now.since(connection.last_active),
        };
        self.by_flow.iter().filter(move |(flow, _)| wanted(flow)).map(entry)
    }
}
