//! The flow table: by what a client sends, by what a node sends, and by route.
//!
//! Bounded: a new flow takes the place of the oldest half-open one when the table is full.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use slab::Slab;

use super::entry::{Flow, Neighbours, Sent};
use super::index::Index;
use super::phase::{Phase, Progress, Sender};
use super::source_port::{Disguise, SourcePorts};
use super::{FlowKey, FlowPhase, FlowView, Flows};
use crate::ids::{RouteId, Side};
use crate::routing::SessionId;
use crate::time::Instant;
use crate::wire::{TcpFlags, TcpPacket};

/// A flow that is to begin.
#[derive(Debug, Clone, Copy)]
pub struct NewFlow {
    /// The browser or app.
    pub client: SocketAddr,
    /// The service address and port.
    pub service: SocketAddr,
    /// The node's address.
    pub node: SocketAddr,
    /// The node's registration.
    pub session: SessionId,
    /// The route.
    pub route: RouteId,
    /// The side.
    pub side: Side,
    /// The router's own address that the node shall see instead of the client's.
    pub masquerade: Option<IpAddr>,
}

/// A flow that is under way, as the kernel's connection tracking knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownFlow {
    /// Which flow.
    pub key: FlowKey,
    /// The node's address that it is pinned to.
    pub node: SocketAddr,
    /// The node's registration.
    pub session: SessionId,
    /// The route of the service port.
    pub route: RouteId,
    /// The side of the service port.
    pub side: Side,
    /// The client as the node sees it.
    pub peer: SocketAddr,
    /// How far it has come.
    pub progress: Progress,
    /// For how long no packet has passed.
    pub idle: Duration,
}

/// Why a flow cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// The table is full of connections that are established or ending.
    TableFull,
    /// No source port is free for this client at this node.
    PortsTaken,
}

/// All flows of a data plane.
#[derive(Debug)]
pub struct FlowTable {
    flows: Slab<Flow>,
    index: Index,
    /// One flow of each route at each node that has any: where to start on the ring.
    rings: BTreeMap<(SessionId, RouteId), usize>,
    /// When to look at each flow again, half-open ones apart: the first of them is the oldest.
    half_open_due: BTreeSet<(Instant, usize)>,
    due: BTreeSet<(Instant, usize)>,
    flows_max: usize,
    source_ports: SourcePorts,
}

impl FlowTable {
    /// An empty table of at most `flows_max` flows. `seed` keeps others from predicting its hashes; `source_ports`
    /// are given to flows that cannot keep their own.
    pub fn new(flows_max: usize, source_ports: SourcePorts, seed: u64) -> Self {
        Self {
            flows: Slab::new(),
            index: Index::new(seed),
            rings: BTreeMap::new(),
            half_open_due: BTreeSet::new(),
            due: BTreeSet::new(),
            flows_max,
            source_ports,
        }
    }

    /// Number of flows, ended ones included until they are dropped.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The flow that a client's packet belongs to.
    pub fn sent_by_client(&self, client: SocketAddr, service: SocketAddr) -> Option<&Flow> {
        self.place(client, service).map(|place| &self.flows[place])
    }

    /// The flow of a packet between `peer`, a client as the node sees it or as it is in transit, and `node`.
    pub fn seen_by_node(&self, peer: SocketAddr, node: SocketAddr) -> Option<&Flow> {
        self.index.seen_by_node(&self.flows, peer, node).map(|place| &self.flows[place])
    }

    fn place(&self, client: SocketAddr, service: SocketAddr) -> Option<usize> {
        self.index.sent_by_client(&self.flows, client, service)
    }

    /// Notes a packet of a flow, as it was sent.
    pub fn note(&mut self, now: Instant, key: FlowKey, sender: Sender, packet: &TcpPacket<'_>) {
        let Some(place) = self.place(key.client, key.service) else { return };
        let flow = &mut self.flows[place];
        flow.last_active = now;
        if packet.flags().contains(TcpFlags::RST) && !flow.may_believe(sender, packet) {
            return;
        }
        let is_first = sender == Sender::Node && flow.phase == Phase::SynSent;
        flow.sent.advance(sender, packet.sequence().wrapping_add(packet.segment_len()), is_first);
        let phase = flow.phase.after(sender, packet.flags());
        self.enter(now, place, phase);
    }

    /// Keeps the packet that began a flow, so that it can be decided anew.
    pub fn keep_syn(&mut self, key: FlowKey, syn: &[u8]) {
        if let Some(place) = self.place(key.client, key.service) {
            self.flows[place].syn = Some(syn.into());
        }
    }

    /// Drops the flows of `node` that it has not answered, and returns the packets that began them.
    pub fn take_unanswered(&mut self, node: SessionId) -> Vec<Box<[u8]>> {
        let mut keys = Vec::new();
        self.visit_node(node, &mut |flow| keys.extend((flow.phase == FlowPhase::HalfOpen).then_some(flow.key)));
        let mut syns = Vec::new();
        for key in keys {
            if let Some(place) = self.place(key.client, key.service)
                && let Some(syn) = self.flows[place].syn.take()
            {
                self.remove_at(place);
                syns.push(syn);
            }
        }
        syns
    }

    /// HaloD ends a flow. Returns it, if it was there and had not ended.
    pub fn refuse(&mut self, now: Instant, key: FlowKey) -> Option<&Flow> {
        let place = self.place(key.client, key.service)?;
        if self.flows[place].phase() == FlowPhase::Ended {
            return None;
        }
        self.enter(now, place, Phase::Refused);
        Some(&self.flows[place])
    }

    /// Begins a flow with its first SYN.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]: the SYN cannot be forwarded; the client will try again.
    pub fn begin(&mut self, now: Instant, new: NewFlow, syn: &TcpPacket<'_>) -> Result<&Flow, NoRoom> {
        self.remove(new.client, new.service);
        if self.flows.len() >= self.flows_max {
            let &(_, oldest) = self.half_open_due.first().ok_or(NoRoom::TableFull)?;
            self.remove_at(oldest);
        }
        let disguise = self.disguise(&new).ok_or(NoRoom::PortsTaken)?;
        let mut sent = Sent::default();
        sent.advance(Sender::Client, syn.sequence().wrapping_add(syn.segment_len()), true);
        let NewFlow { client, service, node, session, route, side, masquerade: _ } = new;
        let place = self.insert(Flow {
            client,
            service,
            node,
            session,
            route,
            side,
            disguise,
            phase: Phase::SynSent,
            syn_sequence: Some(syn.sequence()),
            was_established: false,
            syn: None,
            sent,
            last_active: now,
            due: now + Phase::SynSent.keep(),
            neighbours: Neighbours::default(),
        });
        Ok(&self.flows[place])
    }

    /// Takes in a flow that others have forwarded so far, in place of what was known of it. If there is no room, it is as
    /// unknown as before.
    pub fn adopt(&mut self, now: Instant, known: &KnownFlow) {
        let KnownFlow { key: FlowKey { client, service }, node, session, route, side, peer, progress, idle } = *known;
        self.remove(client, service);
        let (disguise, phase) = (Disguise { peer, transit: peer }, Phase::from(progress));
        if let Some(place) = self.index.seen_by_node(&self.flows, peer, node) {
            if self.flows[place].phase() != FlowPhase::Ended {
                return;
            }
            // Its ends have gone on to this one.
            self.remove_at(place);
        }
        if self.flows.len() >= self.flows_max {
            return;
        }
        self.insert(Flow {
            client,
            service,
            node,
            session,
            route,
            side,
            disguise,
            phase,
            syn_sequence: None,
            was_established: true,
            syn: None,
            sent: Sent::default(),
            last_active: now - idle,
            due: now + phase.keep(),
            neighbours: Neighbours::default(),
        });
    }

    fn insert(&mut self, mut flow: Flow) -> usize {
        let place = self.flows.vacant_key();
        flow.neighbours = self.link((flow.session, flow.route), place);
        self.queue(flow.phase).insert((flow.due, place));
        self.flows.insert(flow);
        self.index.insert(&self.flows, place);
        place
    }

    /// Whether any flow is pinned to `node`.
    pub fn has_flows_of(&self, node: SessionId) -> bool {
        let next = self.rings.range((node, RouteId::from_index(0))..).next();
        next.is_some_and(|((session, _), _)| *session == node)
    }

    /// Drops the flow between `client` and `service`, if there is one.
    pub fn remove(&mut self, client: SocketAddr, service: SocketAddr) {
        if let Some(place) = self.place(client, service) {
            self.remove_at(place);
        }
    }

    /// Drops the flows that were silent for as long as their phase allows.
    pub fn expire(&mut self, now: Instant) {
        for half_open in [true, false] {
            loop {
                let queue = if half_open { &mut self.half_open_due } else { &mut self.due };
                let Some(&(due, place)) = queue.first().filter(|&&(due, _)| due <= now) else { break };
                let flow = &mut self.flows[place];
                let end = flow.last_active + flow.phase.keep();
                if end <= now {
                    self.remove_at(place);
                } else {
                    flow.due = end;
                    queue.remove(&(due, place));
                    queue.insert((end, place));
                }
            }
        }
    }

    /// Puts the flow at `place` into `phase`.
    fn enter(&mut self, now: Instant, place: usize, phase: Phase) {
        let flow = &mut self.flows[place];
        let before = std::mem::replace(&mut flow.phase, phase);
        flow.was_established |= flow.phase() == FlowPhase::Established;
        if phase != before {
            flow.syn = None;
            let old = (flow.due, place);
            flow.due = now + phase.keep();
            let new = (flow.due, place);
            self.queue(before).remove(&old);
            self.queue(phase).insert(new);
        }
    }

    fn queue(&mut self, phase: Phase) -> &mut BTreeSet<(Instant, usize)> {
        match phase.seen_from_outside() {
            FlowPhase::HalfOpen => &mut self.half_open_due,
            FlowPhase::Established | FlowPhase::Ended => &mut self.due,
        }
    }

    /// How the client appears at the node, so that no two flows look the same there.
    fn disguise(&self, new: &NewFlow) -> Option<Disguise> {
        let with_port = |port| Disguise {
            peer: SocketAddr::new(new.masquerade.unwrap_or(new.client.ip()), port),
            transit: SocketAddr::new(new.client.ip(), port),
        };
        let is_free = |port| {
            let Disguise { peer, transit } = with_port(port);
            let is_taken = |client| self.seen_by_node(client, new.node).is_some() && !mutant!(SourcePortsCollide);
            !is_taken(peer) && !is_taken(transit)
        };
        let own = new.client.port();
        let may_keep = new.masquerade.is_none() || self.source_ports.contains(own);
        if may_keep && is_free(own) {
            return Some(with_port(own));
        }
        let hash = self.index.hash((new.client, new.service));
        self.source_ports.find(hash, is_free).map(with_port)
    }

    /// Makes `place` the last of its ring.
    fn link(&mut self, ring: (SessionId, RouteId), place: usize) -> Neighbours {
        let Some(&head) = self.rings.get(&ring) else {
            self.rings.insert(ring, place);
            return Neighbours { before: place, after: place };
        };
        let last = self.flows[head].neighbours.before;
        self.flows[last].neighbours.after = place;
        self.flows[head].neighbours.before = place;
        Neighbours { before: last, after: head }
    }

    fn remove_at(&mut self, place: usize) {
        let flow = self.flows.remove(place);
        self.queue(flow.phase).remove(&(flow.due, place));
        self.index.remove(&flow, place);
        let Neighbours { before, after } = flow.neighbours;
        let ring = (flow.session, flow.route);
        if after == place {
            self.rings.remove(&ring);
            return;
        }
        self.flows[before].neighbours.after = after;
        self.flows[after].neighbours.before = before;
        if self.rings.get(&ring) == Some(&place) {
            self.rings.insert(ring, after);
        }
    }

    /// Shows the flows of the ring that `head` is on, from there.
    fn visit_ring(&self, head: usize, each: &mut dyn FnMut(FlowView)) {
        let mut place = head;
        loop {
            let flow = &self.flows[place];
            each(FlowView {
                key: flow.key(),
                side: flow.side,
                peer: flow.peer(),
                phase: flow.phase(),
                last_active: flow.last_active,
            });
            place = flow.neighbours.after;
            if place == head {
                return;
            }
        }
    }
}

impl Flows for FlowTable {
    fn visit(&self, route: RouteId, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        if let Some(&head) = self.rings.get(&(node, route)) {
            self.visit_ring(head, each);
        }
    }

    fn visit_node(&self, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        let rings = self.rings.range((node, RouteId::from_index(0))..).take_while(|((session, _), _)| *session == node);
        for (_, &head) in rings {
            self.visit_ring(head, each);
        }
    }
}
