//! The flow table: by what a client sends, by what a node sends, and by route.
//!
//! Bounded: a new flow takes the place of the oldest half-open one when the table is full.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

use foldhash::quality::SeedableRandomState;
use slab::Slab;

use super::phase::{Phase, Sender};
use super::source_port::{Disguise, SourcePorts};
use super::{FlowPhase, FlowView, Flows};
use crate::ids::{RouteId, Side};
use crate::routing::SessionId;
use crate::time::Instant;
use crate::wire::TcpFlags;

/// A connection and where its packets go.
#[derive(Debug)]
pub struct Flow {
    /// The browser or app.
    pub client: SocketAddr,
    /// The service address and port that it connected to.
    pub service: SocketAddr,
    /// The node's address that it is pinned to.
    pub node: SocketAddr,
    /// The node's registration.
    pub session: SessionId,
    /// The route of the service port.
    pub route: RouteId,
    /// The side of the service port.
    pub side: Side,
    disguise: Disguise,
    phase: Phase,
    last_active: Instant,
    /// When the table looks at the flow again; it is dropped then if it was silent for long enough.
    due: Instant,
    neighbours: Neighbours,
}

impl Flow {
    /// The client as the node sees it.
    pub fn peer(&self) -> SocketAddr {
        self.disguise.peer
    }

    /// What a packet to or from the node carries as the client between the hooks: the client's own address with the
    /// port that the node sees.
    pub fn transit(&self) -> SocketAddr {
        self.disguise.transit
    }

    /// How far the connection has come.
    pub fn phase(&self) -> FlowPhase {
        self.phase.seen_from_outside()
    }
}

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

/// Why a flow cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// The table is full of connections that are established or ending.
    TableFull,
    /// No source port is free for this client at this node.
    PortsTaken,
}

/// The flows of one (side, route) form a ring of places; a place points at its neighbours.
#[derive(Debug, Clone, Copy)]
struct Neighbours {
    before: usize,
    after: usize,
}

type Ends = (SocketAddr, SocketAddr);

/// All flows of a data plane.
#[derive(Debug)]
pub struct FlowTable {
    flows: Slab<Flow>,
    /// (client, service) to the place of the flow.
    by_client: HashMap<Ends, usize, SeedableRandomState>,
    /// (peer, node), and (transit, node) where that differs, to the place of the flow.
    by_node: HashMap<Ends, usize, SeedableRandomState>,
    /// One flow of each route that has any: where to start on its ring.
    by_route: HashMap<RouteId, usize, SeedableRandomState>,
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
        let hasher = SeedableRandomState::with_seed(seed, foldhash::SharedSeed::global_fixed());
        Self {
            flows: Slab::new(),
            by_client: HashMap::with_hasher(hasher.clone()),
            by_node: HashMap::with_hasher(hasher.clone()),
            by_route: HashMap::with_hasher(hasher),
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
        self.by_client.get(&(client, service)).map(|&place| &self.flows[place])
    }

    /// The flow of a packet between `peer`, a client as the node sees it or as it is in transit, and `node`.
    pub fn seen_by_node(&self, peer: SocketAddr, node: SocketAddr) -> Option<&Flow> {
        self.by_node.get(&(peer, node)).map(|&place| &self.flows[place])
    }

    /// Notes a packet of the flow between `client` and `service`.
    pub fn note(&mut self, now: Instant, client: SocketAddr, service: SocketAddr, sender: Sender, flags: TcpFlags) {
        let Some(&place) = self.by_client.get(&(client, service)) else { return };
        let flow = &mut self.flows[place];
        flow.last_active = now;
        let before = flow.phase;
        flow.phase = before.after(sender, flags);
        if flow.phase != before {
            let old = (flow.due, place);
            flow.due = now + flow.phase.keep();
            let new = (flow.due, place);
            let phase = flow.phase;
            self.queue(before).remove(&old);
            self.queue(phase).insert(new);
        }
    }

    /// Begins a flow with its first SYN.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]: the SYN cannot be forwarded; the client will try again.
    pub fn begin(&mut self, now: Instant, new: NewFlow) -> Result<&Flow, NoRoom> {
        self.remove(new.client, new.service);
        if self.flows.len() >= self.flows_max {
            let &(_, oldest) = self.half_open_due.first().ok_or(NoRoom::TableFull)?;
            self.remove_at(oldest);
        }
        let disguise = self.disguise(&new).ok_or(NoRoom::PortsTaken)?;
        let phase = Phase::SynSent;
        let due = now + phase.keep();
        let place = self.flows.vacant_key();
        let neighbours = self.link(new.route, place);
        self.flows.insert(Flow {
            client: new.client,
            service: new.service,
            node: new.node,
            session: new.session,
            route: new.route,
            side: new.side,
            disguise,
            phase,
            last_active: now,
            due,
            neighbours,
        });
        self.half_open_due.insert((due, place));
        self.by_client.insert((new.client, new.service), place);
        self.by_node.insert((disguise.peer, new.node), place);
        self.by_node.insert((disguise.transit, new.node), place);
        Ok(&self.flows[place])
    }

    /// Drops the flow between `client` and `service`, if there is one.
    pub fn remove(&mut self, client: SocketAddr, service: SocketAddr) {
        if let Some(&place) = self.by_client.get(&(client, service)) {
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
            !self.by_node.contains_key(&(peer, new.node)) && !self.by_node.contains_key(&(transit, new.node))
        };
        let own = new.client.port();
        let may_keep = new.masquerade.is_none() || self.source_ports.contains(own);
        if may_keep && is_free(own) {
            return Some(with_port(own));
        }
        let hash = self.by_client.hasher().hash_one((new.client, new.service));
        self.source_ports.find(hash, is_free).map(with_port)
    }

    /// Makes `place` the last of its route's ring.
    fn link(&mut self, route: RouteId, place: usize) -> Neighbours {
        let Some(&head) = self.by_route.get(&route) else {
            self.by_route.insert(route, place);
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
        self.by_client.remove(&(flow.client, flow.service));
        self.by_node.remove(&(flow.disguise.peer, flow.node));
        self.by_node.remove(&(flow.disguise.transit, flow.node));
        let Neighbours { before, after } = flow.neighbours;
        if after == place {
            self.by_route.remove(&flow.route);
            return;
        }
        self.flows[before].neighbours.after = after;
        self.flows[after].neighbours.before = before;
        if self.by_route.get(&flow.route) == Some(&place) {
            self.by_route.insert(flow.route, after);
        }
    }
}

impl Flows for FlowTable {
    fn visit(&self, route: RouteId, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        let Some(&head) = self.by_route.get(&route) else { return };
        let mut place = head;
        loop {
            let flow = &self.flows[place];
            if flow.session == node {
                each(FlowView {
                    side: flow.side,
                    peer: flow.peer(),
                    phase: flow.phase(),
                    last_active: flow.last_active,
                });
            }
            place = flow.neighbours.after;
            if place == head {
                return;
            }
        }
    }
}
