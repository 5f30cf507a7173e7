//! The `rewrite` plane: every packet of both directions is decided here and rewritten in place.
//!
//! A packet passes two stages, as in the kernel's own NAT. At [`Stage::Ingress`], before it is routed, its
//! destination is translated; at [`Stage::Egress`], after that, its source. (A reply that carried the router's own
//! address before it is routed would be a martian.) What a node may not tell apart, two flows of one client, gets
//! different source ports at ingress.
//!
//! Not here: queues, sockets and the nodes' membership; a [`Routing`] is handed in.

mod icmp;

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::flow::{Flow, FlowPhase, FlowTable, FlowView, Flows, NewFlow, Sender, SourcePorts};
use crate::ids::{RouteId, Side};
use crate::routing::{Routing, SessionId};
use crate::service::ServicePorts;
use crate::time::Instant;
use crate::wire::{Packet, Reset, TcpPacket, reset_for};

/// Flows at most: 1,000,000, about 500 bytes each.
const FLOWS_MAX: usize = 1_000_000;

/// Where on its way a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before it is routed: it has just arrived, or was made on this host.
    Ingress,
    /// After it was routed: it is about to leave, or to be delivered on this host.
    Egress {
        /// It is to be delivered on this host.
        local: bool,
    },
}

/// What is to become of a packet.
#[derive(Debug)]
pub enum Verdict {
    /// Let it pass as it is.
    Accept,
    /// Let it pass; it was rewritten in place.
    Rewritten,
    /// Drop it.
    Drop,
    /// Drop it and send this to its sender.
    Answer(Reset),
}

/// How often the plane refused or could not handle a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Cut short, or with a header that contradicts itself: dropped.
    pub malformed: u64,
    /// A fragment: dropped, for only the first one has the ports.
    pub fragments: u64,
    /// Belonged to no flow and could not begin one: answered with RST.
    pub strays: u64,
    /// A SYN or a stray whose checksum was wrong: dropped.
    pub bad_checksums: u64,
    /// A SYN for a route that no node owns, or not over this IP version: answered with RST.
    pub unowned: u64,
    /// A SYN for which there was no room in the flow table, or no source port: dropped.
    pub no_room: u64,
}

/// What the plane does not learn from the cluster.
#[derive(Debug, Clone)]
pub struct RewriteConfig {
    /// The service ports.
    pub ports: ServicePorts,
    /// The addresses that they are exposed on.
    pub addresses: Vec<IpAddr>,
    /// Ports for flows that cannot keep their own.
    pub source_ports: SourcePorts,
    /// Keeps others from predicting the hashes of the flow table.
    pub seed: u64,
}

/// The plane.
#[derive(Debug)]
pub struct Rewrite {
    ports: ServicePorts,
    addresses: Vec<IpAddr>,
    routing: Arc<Routing>,
    /// Every address that a registered node serves.
    node_addresses: HashSet<SocketAddr>,
    /// Node host to the router's own address that it shall see; empty unless masquerading.
    masquerades: BTreeMap<IpAddr, IpAddr>,
    flows: FlowTable,
    counters: Counters,
}

impl Rewrite {
    /// A plane without nodes or flows.
    pub fn new(config: RewriteConfig) -> Self {
        Self {
            ports: config.ports,
            addresses: config.addresses,
            routing: Arc::default(),
            node_addresses: HashSet::new(),
            masquerades: BTreeMap::new(),
            flows: FlowTable::new(FLOWS_MAX, config.source_ports, config.seed),
            counters: Counters::default(),
        }
    }

    /// Takes a new routing into force. `masquerades` gives, for each node host, the router's own address that it
    /// shall see instead of the clients'; empty keeps the clients' addresses.
    pub fn publish(&mut self, routing: Arc<Routing>, masquerades: BTreeMap<IpAddr, IpAddr>) {
        self.node_addresses = routing.members.values().flat_map(|member| member.service_addresses()).collect();
        self.masquerades = masquerades;
        self.routing = routing;
    }

    /// Decides about one IP packet, and rewrites it.
    pub fn handle(&mut self, now: Instant, stage: Stage, packet: &mut [u8]) -> Verdict {
        match Packet::parse(packet) {
            Ok(Packet::Tcp(packet)) => match stage {
                Stage::Ingress => self.ingress(now, packet),
                Stage::Egress { local } => self.egress(now, packet, local),
            },
            Ok(Packet::IcmpError(packet)) => self.translate_error(stage, packet),
            Ok(Packet::Fragment) => {
                self.counters.fragments += 1;
                Verdict::Drop
            }
            Ok(Packet::Other) => Verdict::Accept,
            Err(_) => {
                self.counters.malformed += 1;
                Verdict::Drop
            }
        }
    }

    /// Drops flows that have been silent for too long. Call it about once a second.
    pub fn expire(&mut self, now: Instant) {
        self.flows.expire(now);
    }

    /// How often a packet was refused.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Number of flows, ended ones included until they are dropped.
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    fn ingress(&mut self, now: Instant, mut packet: TcpPacket<'_>) -> Verdict {
        let (source, destination) = (packet.source(), packet.destination());
        if let Some(flow) = self.flows.seen_by_node(destination, source)
            && flow.peer() != flow.transit()
        {
            // A reply to the router's own address, on its way to a masqueraded client.
            packet.rewrite_destination(flow.transit());
            return Verdict::Rewritten;
        }
        let Some((side, route)) = self.service(destination) else { return Verdict::Accept };
        if packet.flags().is_initial_syn() && !self.is_pinned(source, destination) {
            return self.begin(now, packet, side, route);
        }
        let Some(flow) = self.flows.sent_by_client(source, destination) else { return self.stray(&packet) };
        forward(&mut packet, flow);
        self.flows.note(now, source, destination, Sender::Client, packet.flags());
        Verdict::Rewritten
    }

    fn egress(&mut self, now: Instant, mut packet: TcpPacket<'_>, local: bool) -> Verdict {
        let (source, destination) = (packet.source(), packet.destination());
        if let Some(flow) = self.flows.seen_by_node(destination, source) {
            let (client, service) = (flow.client, flow.service);
            packet.rewrite_source(service);
            if destination != client {
                packet.rewrite_destination(client);
            }
            self.flows.note(now, client, service, Sender::Node, packet.flags());
            return Verdict::Rewritten;
        }
        if let Some(flow) = self.flows.seen_by_node(source, destination)
            && source != flow.peer()
        {
            packet.rewrite_source(flow.peer());
            return Verdict::Rewritten;
        }
        // What is delivered here answers a connection that the router itself opened, or its own stack will reset it.
        if local || !self.node_addresses.contains(&source) { Verdict::Accept } else { self.stray(&packet) }
    }

    /// The side and route of a service address and port.
    fn service(&self, destination: SocketAddr) -> Option<(Side, RouteId)> {
        self.ports.locate(destination.port()).filter(|_| self.addresses.contains(&destination.ip()))
    }

    /// Whether a SYN between these ends belongs to a flow that goes on: a retransmission, or one that the node has to
    /// challenge. After an end, or if the node is gone before it answered, it begins a new flow.
    fn is_pinned(&self, client: SocketAddr, service: SocketAddr) -> bool {
        self.flows.sent_by_client(client, service).is_some_and(|flow| match flow.phase() {
            FlowPhase::HalfOpen => self.routing.members.contains_key(&flow.session),
            FlowPhase::Established => true,
            FlowPhase::Ended => false,
        })
    }

    fn begin(&mut self, now: Instant, mut packet: TcpPacket<'_>, side: Side, route: RouteId) -> Verdict {
        if !packet.checksum_ok() {
            self.counters.bad_checksums += 1;
            return Verdict::Drop;
        }
        let (client, service) = (packet.source(), packet.destination());
        let owner = self.routing.owner(route);
        let Some((owner, node)) = owner.and_then(|owner| Some((owner, owner.address(side, client.ip())?))) else {
            self.counters.unowned += 1;
            return answer(&packet);
        };
        let masquerade = self.masquerades.get(&node.ip()).copied();
        let new = NewFlow { client, service, node, session: owner.session, route, side, masquerade };
        match self.flows.begin(now, new) {
            Ok(flow) => {
                forward(&mut packet, flow);
                Verdict::Rewritten
            }
            Err(_) => {
                self.counters.no_room += 1;
                Verdict::Drop
            }
        }
    }

    /// A packet of no flow: its sender is told so. A damaged one is not believed.
    fn stray(&mut self, packet: &TcpPacket<'_>) -> Verdict {
        if !packet.checksum_ok() {
            self.counters.bad_checksums += 1;
            return Verdict::Drop;
        }
        self.counters.strays += 1;
        answer(packet)
    }
}

impl Flows for Rewrite {
    fn visit(&self, route: RouteId, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        self.flows.visit(route, node, each);
    }
}

fn forward(packet: &mut TcpPacket<'_>, flow: &Flow) {
    packet.rewrite_destination(flow.node);
    if flow.transit() != flow.client {
        packet.rewrite_source(flow.transit());
    }
}

fn answer(packet: &TcpPacket<'_>) -> Verdict {
    reset_for(packet).map_or(Verdict::Drop, Verdict::Answer)
}
