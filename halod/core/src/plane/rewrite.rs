//! The `rewrite` plane: every packet of both directions is decided here and rewritten in place.
//!
//! A packet passes two stages, as in the kernel's own NAT. At [`Stage::Ingress`], before it is routed, its
//! destination is translated; at [`Stage::Egress`], after that, its source. (A reply that carried the router's own
//! address before it is routed would be a martian.) What a node may not tell apart, two flows of one client, gets
//! different source ports at ingress.
//!
//! Besides verdicts the plane has packets of its own to send: [`Rewrite::poll_transmit`]. Not here: queues, sockets and
//! the nodes' membership; a [`Routing`] is handed in.

mod icmp;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::ending::Endings;
use super::held::HeldSyns;
use super::{Counters, FLOWS_MAX, PlaneConfig, Stage, Verdict, answer, is_over};
use crate::flow::{Flow, FlowKey, FlowPhase, FlowTable, FlowView, Flows, NewFlow, Sender, Toward};
use crate::ids::{RouteId, Side};
use crate::routing::{Member, Routing, SessionId};
use crate::service::Services;
use crate::time::Instant;
use crate::wire::{Checksum, Packet, TcpFlags, TcpPacket};

/// The plane.
#[derive(Debug)]
pub struct Rewrite {
    services: Services,
    routing: Arc<Routing>,
    /// Nodes that are gone but have flows here: their late packets are still theirs.
    departed: BTreeMap<SessionId, Arc<Member>>,
    /// Every address that a registered or departed node serves.
    node_addresses: BTreeSet<SocketAddr>,
    /// Node host to the router's own address that it shall see; empty unless masquerading.
    masquerades: BTreeMap<IpAddr, IpAddr>,
    flows: FlowTable,
    held: HeldSyns,
    endings: Endings,
    transmits: VecDeque<Vec<u8>>,
    counters: Counters,
}

/// What is decided about a client's packet.
enum Decision {
    Now(Verdict),
    /// A SYN that is forwarded, but decided anew if its node is lost before it answers.
    Begun(FlowKey),
    /// A SYN whose owner may be gone: decided when that is known.
    Later(FlowKey),
}

impl Rewrite {
    /// A plane without nodes or flows.
    pub fn new(config: PlaneConfig) -> Self {
        Self {
            services: Services { ports: config.ports, addresses: config.addresses },
            routing: Arc::default(),
            departed: BTreeMap::new(),
            node_addresses: BTreeSet::new(),
            masquerades: BTreeMap::new(),
            flows: FlowTable::new(FLOWS_MAX, config.source_ports, config.seed),
            held: HeldSyns::default(),
            endings: Endings::default(),
            transmits: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a new routing into force, and decides about the connections that waited for it. `masquerades` gives, for
    /// each node host, the router's own address that it shall see instead of the clients'; empty keeps the clients'
    /// addresses.
    pub fn publish(&mut self, now: Instant, routing: Arc<Routing>, masquerades: BTreeMap<IpAddr, IpAddr>) {
        let former = std::mem::replace(&mut self.routing, routing);
        let is_gone = |node: &SessionId| !self.routing.members.contains_key(node);
        let gone: Vec<SessionId> = former.members.keys().copied().filter(is_gone).collect();
        self.departed.extend(gone.iter().map(|node| (*node, Arc::clone(&former.members[node]))));
        let came: Vec<Arc<Member>> = self.routing.members.values().cloned().collect();
        for member in came.iter().filter(|member| !former.members.contains_key(&member.session)) {
            self.node_addresses.extend(member.service_addresses());
            if !mutant!(LeftoversNotCleared) {
                self.clear_leftovers(now, member);
            }
        }
        self.masquerades = masquerades;
        let answered_for = if mutant!(UnansweredSynsForgotten) { &[][..] } else { &gone };
        let unanswered: Vec<_> = answered_for.iter().flat_map(|&node| self.flows.take_unanswered(node)).collect();
        for syn in self.held.take().map(Vec::into_boxed_slice).chain(unanswered) {
            self.decide_held(now, &mut syn.into_vec());
        }
    }

    /// Decides about one IP packet, and rewrites it. If it is TCP, `checksum` says what its checksum is; that of a packet
    /// that was rewritten is ready.
    pub fn handle(&mut self, now: Instant, stage: Stage, checksum: Checksum, packet: &mut [u8]) -> Verdict {
        match Packet::parse(packet) {
            Ok(Packet::Tcp(tcp)) => {
                let mut tcp = tcp.with(checksum);
                let decision = match stage {
                    Stage::Ingress => self.ingress(now, &mut tcp),
                    Stage::Egress { local } => Decision::Now(self.egress(now, &mut tcp, local)),
                };
                if matches!(decision, Decision::Now(Verdict::Rewritten) | Decision::Begun(_) | Decision::Later(_)) {
                    tcp.finish();
                }
                match decision {
                    Decision::Now(verdict) => verdict,
                    Decision::Begun(key) => self.forward_first(key, packet),
                    Decision::Later(key) => {
                        if !mutant!(HeldSynsDropped) {
                            self.held.hold(key, packet);
                        }
                        Verdict::Drop
                    }
                }
            }
            Ok(Packet::IcmpError(error)) => self.translate_error(stage, error),
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

    /// Ends a flow with RST towards one or both ends. An end that does not seem to have heard it is asked again.
    pub fn end(&mut self, now: Instant, key: FlowKey, toward: Toward) {
        let Some(notices) = self.endings.end(now, &mut self.flows, key, toward) else { return };
        self.counters.ended += 1;
        self.transmits.extend(notices);
    }

    /// The next packet of the plane's own to send: whole, with the addresses that its receiver knows.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    /// When to call [`Rewrite::timeout`]; `None` while no flow is being ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.endings.deadline()
    }

    /// Asks again who does not seem to know of the end of a flow.
    pub fn timeout(&mut self, now: Instant) {
        self.transmits.extend(self.endings.questions(now, &self.flows, &self.routing));
    }

    /// Drops flows that have been silent for too long. Call it about once a second.
    pub fn expire(&mut self, now: Instant) {
        self.flows.expire(now);
        if self.departed.extract_if(.., |&node, _| !self.flows.has_flows_of(node)).count() > 0 {
            self.review_addresses();
        }
    }

    /// Every address whose packets have to pass here: those that registered nodes serve, and departed ones as long as
    /// they have flows. Changes by [`Rewrite::publish`] and [`Rewrite::expire`].
    pub fn node_addresses(&self) -> &BTreeSet<SocketAddr> {
        &self.node_addresses
    }

    /// How often a packet was refused.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Number of flows, ended ones included until they are dropped.
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    /// A node that was cut off or hung comes back with connections that it takes for alive: it is told of their end
    /// before new ones can come.
    fn clear_leftovers(&mut self, now: Instant, member: &Member) {
        let departed = self.departed.values().filter(|departed| departed.shares_an_address_with(member));
        for former in departed.map(|departed| departed.session) {
            self.transmits.extend(self.endings.clear(now, &self.flows, former));
        }
    }

    fn review_addresses(&mut self) {
        let members = self.routing.members.values().chain(self.departed.values());
        self.node_addresses = members.flat_map(|member| member.service_addresses()).collect();
    }

    fn ingress(&mut self, now: Instant, packet: &mut TcpPacket<'_>) -> Decision {
        let (source, destination) = (packet.source(), packet.destination());
        if let Some(flow) = self.flows.seen_by_node(destination, source)
            && flow.peer() != flow.transit()
        {
            // A reply to the router's own address, on its way to a masqueraded client.
            packet.rewrite_destination(flow.transit());
            return Decision::Now(Verdict::Rewritten);
        }
        let Some((side, route)) = self.services.locate(destination) else { return Decision::Now(Verdict::Accept) };
        self.counters.from_clients.count(packet);
        let key = FlowKey { client: source, service: destination };
        if packet.flags().is_initial_syn() && !self.is_pinned(key, packet) {
            return self.begin(now, packet, side, route);
        }
        let Some(flow) = self.flows.sent_by_client(source, destination) else {
            return Decision::Now(self.stray(packet));
        };
        if is_over(flow, &self.routing) {
            return Decision::Now(self.refuse_late(now, key, packet));
        }
        forward(packet, flow);
        if mutant!(FlowFollowsTheTable)
            && let Some(node) = self.routing.owner(route).and_then(|owner| owner.address(side, source.ip()))
        {
            packet.rewrite_destination(node);
        }
        self.flows.note(now, key, Sender::Client, packet);
        if packet.flags().contains(TcpFlags::RST) {
            self.endings.forget((key, Sender::Client));
        }
        Decision::Now(Verdict::Rewritten)
    }

    fn egress(&mut self, now: Instant, packet: &mut TcpPacket<'_>, local: bool) -> Verdict {
        let (source, destination) = (packet.source(), packet.destination());
        if let Some(flow) = self.flows.seen_by_node(destination, source) {
            let key = FlowKey { client: flow.client, service: flow.service };
            if is_over(flow, &self.routing) {
                // The node is answered from the address that it knows.
                packet.rewrite_destination(flow.peer());
                return self.endings.refuse_late_of_node(now, &mut self.flows, &mut self.counters, key, packet);
            }
            packet.rewrite_source(key.service);
            if destination != key.client {
                packet.rewrite_destination(key.client);
            }
            if packet.flags().contains(TcpFlags::RST) {
                // Nobody sends an RST again that is lost, and an idle client would never know.
                self.endings.watch(now, (key, Sender::Client));
            }
            self.counters.from_nodes.count(packet);
            self.flows.note(now, key, Sender::Node, packet);
            return Verdict::Rewritten;
        }
        if let Some(flow) = self.flows.seen_by_node(source, destination)
            && source != flow.peer()
        {
            packet.rewrite_source(flow.peer());
            return Verdict::Rewritten;
        }
        // What is delivered here answers a connection that the router itself opened, or its own stack will reset it.
        if local || !self.node_addresses.contains(&source) { Verdict::Accept } else { self.stray(packet) }
    }

    /// Whether a SYN between these ends belongs to a flow that is there: a retransmission, one that the node has to
    /// challenge, or a copy that comes late. Any other begins a new flow after an end, or if the node is gone.
    fn is_pinned(&self, key: FlowKey, syn: &TcpPacket<'_>) -> bool {
        self.flows.sent_by_client(key.client, key.service).is_some_and(|flow| {
            let goes_on = flow.phase() != FlowPhase::Ended && self.routing.members.contains_key(&flow.session);
            goes_on || flow.is_late_copy(syn)
        })
    }

    fn begin(&mut self, now: Instant, packet: &TcpPacket<'_>, side: Side, route: RouteId) -> Decision {
        if !packet.checksum_ok() {
            self.counters.bad_checksums += 1;
            return Decision::Now(Verdict::Drop);
        }
        let (client, service) = (packet.source(), packet.destination());
        let owner = self.routing.owner(route);
        let Some((owner, node)) = owner.and_then(|owner| Some((owner, owner.address(side, client.ip())?))) else {
            self.counters.unowned += 1;
            return Decision::Now(answer(packet));
        };
        if self.routing.suspects.contains(&owner.session) {
            return Decision::Later(FlowKey { client, service });
        }
        let masquerade = self.masquerades.get(&node.ip()).copied();
        let new = NewFlow { client, service, node, session: owner.session, route, side, masquerade };
        match self.flows.begin(now, new, packet) {
            Ok(_) => Decision::Begun(FlowKey { client, service }),
            Err(_) => {
                self.counters.no_room += 1;
                Decision::Now(Verdict::Drop)
            }
        }
    }

    /// Keeps a copy of the packet that began a flow, and sends it on its way.
    fn forward_first(&mut self, key: FlowKey, packet: &mut [u8]) -> Verdict {
        self.flows.keep_syn(key, packet);
        if let (Ok(Packet::Tcp(mut tcp)), Some(flow)) =
            (Packet::parse(packet), self.flows.sent_by_client(key.client, key.service))
        {
            forward(&mut tcp, flow);
        }
        Verdict::Rewritten
    }

    /// A SYN that was held passes both stages here, and leaves as a packet of the plane's own.
    fn decide_held(&mut self, now: Instant, syn: &mut [u8]) {
        let verdict = match self.handle(now, Stage::Ingress, Checksum::Ready, syn) {
            Verdict::Rewritten => match self.handle(now, Stage::Egress { local: false }, Checksum::Ready, syn) {
                Verdict::Accept => Verdict::Rewritten,
                verdict => verdict,
            },
            verdict => verdict,
        };
        match verdict {
            Verdict::Rewritten => self.transmits.push_back(syn.to_vec()),
            Verdict::Answer(reset) => self.transmits.push_back(reset.to_vec()),
            Verdict::Accept | Verdict::Marked(_) | Verdict::Drop | Verdict::Doubt(_) => {}
        }
    }

    /// A client's packet on a flow that is over: it is told so at once. Its acknowledgement number makes that exact.
    fn refuse_late(&mut self, now: Instant, key: FlowKey, packet: &TcpPacket<'_>) -> Verdict {
        self.counters.late += 1;
        if packet.flags().contains(TcpFlags::RST) {
            // The flow itself is kept for a while: its node may come back and not know.
            self.endings.forget((key, Sender::Client));
        } else if self.flows.refuse(now, key).is_some() {
            self.counters.ended += 1;
            self.endings.watch(now, (key, Sender::Client));
        }
        answer(packet)
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

    fn visit_node(&self, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        self.flows.visit_node(node, each);
    }
}

fn forward(packet: &mut TcpPacket<'_>, flow: &Flow) {
    packet.rewrite_destination(flow.node);
    if flow.transit() != flow.client {
        packet.rewrite_source(flow.transit());
    }
}
