//! The `steer` plane: the kernel's connection tracking translates and pins, here is decided.
//!
//! What is seen here is what needs a decision: packets of no connection, and those of routes that drain. The verdict on a
//! SYN is a [`Mark`], by which the kernel finds the node's address; from then on the kernel forwards the flow by itself,
//! and nothing is kept of it here. Which flows there are the kernel is asked when it matters, when routes have moved or a
//! node is gone: those [`Entry`]s become flows here, are watched, named and ended, as the `rewrite` plane does with all.
//!
//! Not here: how the kernel is told and asked. [`Steer::take_changes`] says what its rules have to know,
//! [`Steer::wants_entries`] when it has to be asked, [`Steer::poll_deletion`] what it has to forget.

mod changes;
mod marks;
mod questions;
mod recent;
mod survey;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::changes::{Changes, IpVersion, Known, Owner};
pub use self::marks::Mark;
use self::marks::Marks;
use self::questions::Questions;
use self::recent::RecentSyns;
pub use self::survey::Entry;
use super::ending::Endings;
use super::held::HeldSyns;
use super::{Counters, Doubt, FLOWS_MAX, PlaneConfig, Transmit, Verdict, answer, is_over};
use crate::flow::{FlowKey, FlowPhase, FlowTable, FlowView, Flows, Sender, Toward};
use crate::ids::{RouteId, Side};
use crate::last_table::LastTable;
use crate::routing::{Member, Routing, SessionId};
use crate::service::Services;
use crate::time::Instant;
use crate::wire::{Checksum, Packet, TcpFlags, TcpPacket, reset_for};

/// How long the kernel is asked for flows of a node that is gone: one may have begun while it was asked.
const DEPARTURE: Duration = Duration::from_secs(3);

/// How long a node of a former daemon's is remembered that is none of now: packets that it sends late must not leave without
/// translation.
const FORMER_NODES: Duration = Duration::from_secs(60);

/// What the kernel's connection tracking knows of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tracking {
    /// It belongs to no connection that was answered.
    New,
    /// It belongs to a connection.
    Known,
    /// It contradicts what is known of its connection, or is damaged.
    Invalid,
}

/// The plane.
#[derive(Debug)]
pub struct Steer {
    services: Services,
    routing: Arc<Routing>,
    /// How many routings there have been.
    publication: u64,
    marks: Marks,
    /// Nodes that are gone, as long as they may have flows.
    departed: BTreeMap<SessionId, Departed>,
    /// Addresses of a former daemon's nodes, and until when they count.
    former_nodes: Option<(Instant, BTreeSet<SocketAddr>)>,
    /// Every address that a registered, departed or former node serves.
    node_addresses: BTreeSet<SocketAddr>,
    /// Routes with flows that stay on a former owner.
    watched: BTreeSet<RouteId>,
    /// Flows of watched routes on former owners, and of nodes that are gone. No others.
    flows: FlowTable,
    questions: Questions,
    /// A flow was begun here, or by a former daemon. Until then there is nothing to ask the kernel for, as when a fleet of nodes
    /// joins that has no clients yet.
    has_begun: bool,
    held: HeldSyns,
    recent: RecentSyns,
    endings: Endings,
    changes: Changes,
    deletions: VecDeque<FlowKey>,
    transmits: VecDeque<Transmit>,
    counters: Counters,
}

/// A node that is gone.
#[derive(Debug)]
struct Departed {
    member: Arc<Member>,
    at: Instant,
    /// The first routing without it.
    publication: u64,
    /// The question for its flows.
    question: u64,
}

impl Steer {
    /// A plane without nodes or flows.
    pub fn new(config: PlaneConfig) -> Self {
        Self {
            services: Services { ports: config.ports, addresses: config.addresses },
            routing: Arc::default(),
            publication: 0,
            marks: Marks::default(),
            departed: BTreeMap::new(),
            former_nodes: None,
            node_addresses: BTreeSet::new(),
            watched: BTreeSet::new(),
            flows: FlowTable::new(FLOWS_MAX, config.source_ports, config.seed),
            questions: Questions::default(),
            has_begun: false,
            held: HeldSyns::default(),
            recent: RecentSyns::new(config.seed),
            endings: Endings::default(),
            changes: Changes::default(),
            deletions: VecDeque::new(),
            transmits: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Goes on where a former daemon has ended: packets from its nodes are still to be seen. Where new connections go is the
    /// cluster's to say, which has [resumed](crate::cluster::Cluster::resume) the same table.
    pub fn resume(&mut self, now: Instant, last: &LastTable) {
        self.expect_flows();
        self.former_nodes = Some((now + FORMER_NODES, last.nodes.clone()));
        self.review();
    }

    /// The kernel tracks connections to service ports already: it may have to be asked for them before one is begun here.
    pub fn expect_flows(&mut self) {
        self.has_begun = true;
    }

    /// Takes a new routing into force. [`Steer::take_changes`] has to be carried out next.
    pub fn publish(&mut self, now: Instant, routing: Arc<Routing>) {
        self.prepare(&routing);
        self.publication += 1;
        let former = std::mem::replace(&mut self.routing, routing);
        let routing = Arc::clone(&self.routing);
        for (&session, member) in former.members.iter().filter(|(session, _)| !routing.members.contains_key(session)) {
            let (publication, question) = (self.publication, self.questions.raise());
            self.departed.insert(session, Departed { member: Arc::clone(member), at: now, publication, question });
            self.changes.unmark(self.marks.release(session));
        }
        for (_, member) in routing.members.iter().filter(|(session, _)| !former.members.contains_key(session)) {
            if !mutant!(LeftoversNotCleared) {
                self.clear_leftovers(now, member);
            }
        }
        self.changes.table(&self.services.ports, &former, &routing);
        for index in 0..routing.owners.len() {
            self.move_route(RouteId::from_index(index), &former);
        }
        for syn in self.held.take().collect::<Vec<_>>() {
            self.decide_held(now, syn);
        }
    }

    /// Makes ready for a routing that will be published next: after [`Steer::take_changes`] was carried out the kernel knows
    /// the marks of all its nodes. Without this the kernel must hear of the routing before any packet is decided about.
    pub fn prepare(&mut self, routing: &Routing) {
        for (&session, member) in &routing.members {
            let Some(mark) = self.marks.assign(session) else { continue };
            self.changes.mark(mark, member);
            for address in member.service_addresses().filter(|address| self.node_addresses.insert(*address)) {
                self.changes.nodes.insert(address, true);
            }
        }
    }

    /// Decides about one IP packet, as it was before any translation.
    pub fn handle(&mut self, now: Instant, tracking: Tracking, checksum: Checksum, packet: &mut [u8]) -> Verdict {
        match Packet::parse(packet) {
            Ok(Packet::Tcp(tcp)) => match self.decide(now, tracking, &tcp.with(checksum)) {
                Decision::Now(verdict) => verdict,
                Decision::Begun(key, sequence, mark) => {
                    self.has_begun = true;
                    complete(checksum, packet);
                    self.recent.keep(self.publication, key, sequence, packet);
                    Verdict::Marked(mark)
                }
                Decision::Later(key) => {
                    if !mutant!(HeldSynsDropped) {
                        complete(checksum, packet);
                        self.held.hold(key, packet);
                    }
                    Verdict::Drop
                }
            },
            Ok(Packet::Fragment) => {
                self.counters.fragments += 1;
                Verdict::Drop
            }
            Ok(Packet::IcmpError(_) | Packet::Other) => Verdict::Accept,
            Err(_) => {
                self.counters.malformed += 1;
                Verdict::Drop
            }
        }
    }

    /// Ends a flow towards one or both ends. An end that does not seem to have heard it is asked again.
    pub fn end(&mut self, now: Instant, key: FlowKey, toward: Toward) {
        let Some(notices) = self.endings.end(now, &mut self.flows, key, toward) else { return };
        self.counters.ended += 1;
        // Its SYN may come again, and is none that the kernel has pinned then.
        let is_recent = self.recent.take(key).is_some();
        if is_recent || self.is_at_member(key) {
            self.deletions.push_back(key);
        }
        self.transmits.extend(notices.into_iter().map(Transmit::from));
    }

    /// What the kernel's rules have to know that they did not know when this was last called.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// The next connection that the kernel has to forget; before any packet that is to be sent.
    pub fn poll_deletion(&mut self) -> Option<FlowKey> {
        self.deletions.pop_front()
    }

    /// The next packet of the plane's own to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When to call [`Steer::timeout`]; `None` while no flow is being ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.endings.deadline()
    }

    /// Asks again who does not seem to know of the end of a flow.
    pub fn timeout(&mut self, now: Instant) {
        self.transmits.extend(self.endings.questions(now, &self.flows, &self.routing).into_iter().map(Transmit::from));
    }

    /// Drops flows that have been over for long enough. Call it about once a second.
    pub fn expire(&mut self, now: Instant) {
        self.flows.expire(now);
        if !self.has_begun {
            self.questions.ask();
            self.questions.answer();
        }
        self.unwatch();
        let is_recent = |departed: &Departed| now < departed.at + DEPARTURE;
        let gone =
            self.departed.extract_if(.., |&node, departed| !is_recent(departed) && !self.flows.has_flows_of(node));
        let is_any_gone = gone.count() > 0 || self.former_nodes.take_if(|(until, _)| now >= *until).is_some();
        if is_any_gone {
            self.review();
        }
        if !self.watched.is_empty() || self.departed.values().any(is_recent) {
            self.questions.raise();
        }
    }

    /// Every address whose stray packets have to be seen here.
    pub fn node_addresses(&self) -> &BTreeSet<SocketAddr> {
        &self.node_addresses
    }

    /// How often a packet was refused.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Number of flows that are kept here: of moved routes, and of nodes that are gone.
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    fn decide(&mut self, now: Instant, tracking: Tracking, packet: &TcpPacket<'_>) -> Decision {
        let (source, destination) = (packet.source(), packet.destination());
        if let Some((side, route)) = self.services.locate(destination) {
            self.counters.from_clients.count(packet);
            let key = FlowKey { client: source, service: destination };
            return self.decide_from_client(now, tracking, key, packet, (side, route));
        }
        self.counters.from_nodes.count(packet);
        Decision::Now(match self.flows.seen_by_node(destination, source) {
            // The kernel has forgotten the flow that is over, so this is of another between the same ends.
            Some(flow) if is_over(flow, &self.routing) && tracking == Tracking::Known => Verdict::Accept,
            Some(flow) if is_over(flow, &self.routing) => {
                let key = flow.key();
                self.endings.refuse_late_of_node(now, &mut self.flows, &mut self.counters, key, packet)
            }
            Some(flow) => {
                let key = flow.key();
                self.pass(now, tracking, key, Sender::Node, packet)
            }
            None if !self.node_addresses.contains(&source) || tracking == Tracking::Known => Verdict::Accept,
            None => self.stray(tracking, packet),
        })
    }

    fn decide_from_client(
        &mut self,
        now: Instant,
        tracking: Tracking,
        key: FlowKey,
        packet: &TcpPacket<'_>,
        (side, route): (Side, RouteId),
    ) -> Decision {
        let is_syn = packet.flags().is_initial_syn();
        Decision::Now(match self.flows.sent_by_client(key.client, key.service) {
            // The kernel has forgotten this connection, so the SYN begins one.
            Some(flow) if is_syn && tracking == Tracking::New && is_over(flow, &self.routing) => {
                self.flows.remove(key.client, key.service);
                return self.begin(key, packet, side, route);
            }
            Some(flow) if is_over(flow, &self.routing) => self.refuse_late(now, key, packet),
            // One that its node has not answered stays where it is, and so does its SYN.
            Some(flow) if is_syn && flow.phase() == FlowPhase::HalfOpen => Verdict::Accept,
            _ if is_syn && tracking == Tracking::New => {
                self.flows.remove(key.client, key.service);
                return self.begin(key, packet, side, route);
            }
            Some(_) => self.pass(now, tracking, key, Sender::Client, packet),
            None if tracking == Tracking::Known => Verdict::Accept,
            None => self.stray(tracking, packet),
        })
    }

    /// A packet of a flow that is watched.
    fn pass(
        &mut self,
        now: Instant,
        tracking: Tracking,
        key: FlowKey,
        sender: Sender,
        packet: &TcpPacket<'_>,
    ) -> Verdict {
        if tracking != Tracking::Known {
            return Verdict::Drop;
        }
        let is_reset = packet.flags().contains(TcpFlags::RST);
        match sender {
            Sender::Client if is_reset => self.endings.forget((key, Sender::Client)),
            // Nobody sends an RST again that is lost, and an idle client would never know.
            Sender::Node if is_reset => self.endings.watch(now, (key, Sender::Client)),
            _ => {}
        }
        self.flows.note(now, key, sender, packet);
        Verdict::Accept
    }

    fn begin(&mut self, key: FlowKey, packet: &TcpPacket<'_>, side: Side, route: RouteId) -> Decision {
        if !packet.checksum_ok() {
            self.counters.bad_checksums += 1;
            return Decision::Now(Verdict::Drop);
        }
        let owner = self.routing.owner(route).filter(|owner| owner.address(side, key.client.ip()).is_some());
        let Some(owner) = owner else {
            self.counters.unowned += 1;
            return Decision::Now(answer(packet));
        };
        if self.routing.suspects.contains(&owner.session) {
            // One that its node had before stays there, as the rest of its flow does.
            let is_pinned = self.recent.is_repeated(key, packet.sequence());
            return if is_pinned { Decision::Now(Verdict::Accept) } else { Decision::Later(key) };
        }
        Decision::Begun(key, packet.sequence(), self.marks.of(owner.session, side))
    }

    /// A SYN that was held leaves as a packet of the plane's own.
    fn decide_held(&mut self, now: Instant, mut syn: Vec<u8>) {
        match self.handle(now, Tracking::New, Checksum::Ready, &mut syn) {
            Verdict::Marked(mark) => self.transmits.push_back(Transmit { packet: syn, mark: Some(mark) }),
            Verdict::Answer(reset) => self.transmits.push_back(reset.to_vec().into()),
            Verdict::Accept | Verdict::Rewritten | Verdict::Drop | Verdict::Doubt(_) => {}
        }
    }

    /// A client's packet on a flow that is over: it is told so at once. Its acknowledgement number makes that exact.
    fn refuse_late(&mut self, now: Instant, key: FlowKey, packet: &TcpPacket<'_>) -> Verdict {
        self.counters.late += 1;
        if packet.flags().contains(TcpFlags::RST) {
            self.endings.forget((key, Sender::Client));
        } else if self.flows.refuse(now, key).is_some() {
            self.counters.ended += 1;
            self.endings.watch(now, (key, Sender::Client));
        }
        answer(packet)
    }

    /// A packet of no connection: its sender is told so. One that the kernel calls invalid may be of a connection that goes
    /// on; a FIN of none is invalid too.
    fn stray(&mut self, tracking: Tracking, packet: &TcpPacket<'_>) -> Verdict {
        if !packet.checksum_ok() {
            self.counters.bad_checksums += 1;
            return Verdict::Drop;
        }
        self.counters.strays += 1;
        match reset_for(packet) {
            None => Verdict::Drop,
            Some(answer) if tracking == Tracking::Invalid => {
                Verdict::Doubt(Doubt { source: packet.source(), destination: packet.destination(), answer })
            }
            Some(answer) => Verdict::Answer(answer),
        }
    }

    /// Whether a flow's node is registered. Of others the kernel forgets all connections as soon as it tells them.
    fn is_at_member(&self, key: FlowKey) -> bool {
        let flow = self.flows.sent_by_client(key.client, key.service);
        flow.is_some_and(|flow| self.routing.members.contains_key(&flow.session))
    }

    /// A node that was cut off or hung comes back with connections that it takes for alive.
    fn clear_leftovers(&mut self, now: Instant, member: &Member) {
        let departed = self.departed.values().filter(|departed| departed.member.shares_an_address_with(member));
        for former in departed.map(|departed| departed.member.session) {
            self.transmits.extend(self.endings.clear(now, &self.flows, former).into_iter().map(Transmit::from));
        }
    }

    /// Knows whose packets have to be seen.
    fn review(&mut self) {
        let departed = self.departed.values().map(|departed| &departed.member);
        let members = self.routing.members.values().chain(departed);
        let mut addresses: BTreeSet<SocketAddr> = members.flat_map(|member| member.service_addresses()).collect();
        addresses.extend(self.former_nodes.iter().flat_map(|(_, nodes)| nodes));
        self.changes.nodes(&self.node_addresses, &addresses);
        self.node_addresses = addresses;
    }
}

/// What is decided about a packet.
enum Decision {
    Now(Verdict),
    /// A SYN with this number that is forwarded, but decided anew if its node is lost before it answers.
    Begun(FlowKey, u32, Mark),
    /// A SYN whose owner may be gone: decided when that is known.
    Later(FlowKey),
}

impl Flows for Steer {
    fn visit(&self, route: RouteId, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        self.flows.visit(route, node, each);
    }

    fn visit_node(&self, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        self.flows.visit_node(node, each);
    }
}

/// A packet that is kept leaves as one whose checksum nobody will complete.
fn complete(checksum: Checksum, packet: &mut [u8]) {
    if checksum == Checksum::Partial
        && let Ok(Packet::Tcp(mut tcp)) = Packet::parse(packet)
    {
        tcp.complete_checksum();
    }
}
