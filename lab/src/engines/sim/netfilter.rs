//! The `steer` plane with the kernel that it steers: the rules that HaloD installs for it, and connection tracking.
//!
//! The model follows `halod`'s rules: what is tracked passes untouched unless its route is watched, what is not is shown to
//! the plane, and behind the plane only a SYN goes on.

use std::net::{IpAddr, SocketAddr};

use halod_core::flow::{FlowKey, Progress};
use halod_core::plane::steer::{Entry, IpVersion, Known, Mark, Tracking};
use halod_core::plane::{PlaneConfig, Stage, Steer, Verdict};
use halod_core::service::ServicePorts;
use halod_core::time::Instant;
use halod_core::wire::{Checksum, Packet, TcpFlags, TcpPacket};

use super::conntrack::{Conntrack, Direction};
use crate::addresses;
use crate::network::Segment;

/// The plane and its kernel.
pub(super) struct Netfilter {
    pub(super) steer: Steer,
    ports: ServicePorts,
    addresses: Vec<IpAddr>,
    masquerade: bool,
    rules: Known,
    conntrack: Conntrack,
    /// The first half of the answer to a question that is under way.
    answer: Vec<Entry>,
    /// What the packet that has passed the first stage belongs to, until it passes the second.
    attached: Option<(FlowKey, Direction)>,
}

impl Netfilter {
    pub(super) fn new(config: PlaneConfig, masquerade: bool) -> Self {
        Self {
            ports: config.ports,
            addresses: config.addresses.clone(),
            steer: Steer::new(config),
            masquerade,
            rules: Known::default(),
            conntrack: Conntrack::default(),
            answer: Vec::new(),
            attached: None,
        }
    }

    /// What becomes of a packet at one of the stages; `Rewritten` if the kernel has translated it.
    pub(super) fn handle(&mut self, now: Instant, stage: Stage, packet: &mut [u8]) -> Verdict {
        match stage {
            Stage::Ingress => {
                let verdict = self.ingress(now, packet);
                self.carry_out();
                verdict
            }
            Stage::Egress { .. } => self.egress(packet),
        }
    }

    fn ingress(&mut self, now: Instant, packet: &mut [u8]) -> Verdict {
        self.attached = None;
        let Ok(Packet::Tcp(tcp)) = Packet::parse(packet) else { return Verdict::Accept };
        let (source, destination, flags) = (tcp.source(), tcp.destination(), tcp.flags());
        let is_syn = flags.is_initial_syn();
        let is_service = self.addresses.contains(&destination.ip()) && self.ports.locate(destination.port()).is_some();
        let tracked = self.conntrack.find(source, destination).filter(|&(flow, _)| {
            // The kernel lets a SYN take the place of a connection that is over.
            !is_syn || !self.conntrack.is_over(flow)
        });
        let is_answered = |flow, direction| {
            direction == Direction::Reply || self.conntrack.connection(flow).progress != Progress::SynSent
        };
        let tracking = match tracked {
            Some((flow, direction)) if is_answered(flow, direction) => Tracking::Known,
            None if !is_syn && begins_nothing(flags) => Tracking::Invalid,
            _ => Tracking::New,
        };
        let is_seen = match (tracking, tracked) {
            (Tracking::Known, Some((flow, _))) => self.rules.watched.contains(&flow.service.port()),
            _ => is_service || self.rules.nodes.contains(&source),
        };
        let verdict = if is_seen { self.steer.handle(now, tracking, Checksum::Ready, packet) } else { Verdict::Accept };
        let mark = match verdict {
            Verdict::Accept => None,
            Verdict::Marked(mark) => Some(mark),
            // What is invalid here is of no connection.
            Verdict::Doubt(doubt) => return Verdict::Answer(doubt.answer),
            refused => return refused,
        };
        match tracked {
            Some(_) => self.attached = tracked,
            None if !is_service => return Verdict::Accept,
            // The kernel would pick it up in the middle of its stream. The rules behind the queue drop it.
            None if !is_syn => return Verdict::Drop,
            None => {
                let flow = FlowKey { client: source, service: destination };
                let Some(node) = self.node(destination, mark) else { return Verdict::Accept };
                self.conntrack.begin(now, flow, node, self.own_address(node));
                self.attached = Some((flow, Direction::Original));
            }
        }
        self.translate_destination(now, packet)
    }

    /// At the first stage the destination is translated; the source with it on the way to a node, which cannot be told
    /// from later.
    fn translate_destination(&mut self, now: Instant, packet: &mut [u8]) -> Verdict {
        let (Some((flow, direction)), Ok(Packet::Tcp(mut tcp))) = (self.attached, Packet::parse(packet)) else {
            return Verdict::Accept;
        };
        let connection = self.conntrack.connection(flow).clone();
        self.conntrack.note(now, flow, direction, tcp.flags());
        match direction {
            Direction::Original => translate(&mut tcp, connection.peer, connection.node),
            Direction::Reply => tcp.rewrite_destination(flow.client),
        }
        Verdict::Rewritten
    }

    fn egress(&mut self, packet: &mut [u8]) -> Verdict {
        match (self.attached, Packet::parse(packet)) {
            (Some((flow, Direction::Reply)), Ok(Packet::Tcp(mut tcp))) => {
                tcp.rewrite_source(flow.service);
                Verdict::Rewritten
            }
            _ => Verdict::Accept,
        }
    }

    /// The next packet of the plane's own, as it leaves.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        loop {
            self.carry_out();
            let mut transmit = self.steer.poll_transmit()?;
            let Some(mark) = transmit.mark else { return Some(transmit.packet) };
            let Ok(Packet::Tcp(mut tcp)) = Packet::parse(&mut transmit.packet) else { continue };
            let flow = FlowKey { client: tcp.source(), service: tcp.destination() };
            let Some(node) = self.node(flow.service, Some(mark)) else { continue };
            self.conntrack.begin(now, flow, node, self.own_address(node));
            let peer = self.conntrack.connection(flow).peer;
            translate(&mut tcp, peer, node);
            return Some(transmit.packet);
        }
    }

    /// The kernel is asked for its connections. It goes through its table: what is in the first half it has seen now, what is
    /// in the second it will see when the answer is complete.
    pub(super) fn ask(&mut self, now: Instant) {
        self.steer.ask();
        self.answer = self.conntrack.entries(now, is_in_first_half).collect();
    }

    /// The answer is complete.
    pub(super) fn survey(&mut self, now: Instant) {
        let mut entries = std::mem::take(&mut self.answer);
        entries.extend(self.conntrack.entries(now, |flow| !is_in_first_half(flow)));
        let again = |flow| self.conntrack.entries(now, |other| *other == flow).next();
        let relevant = self.steer.relevant(entries, again);
        self.steer.survey(now, &relevant);
        self.carry_out();
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.conntrack.expire(now);
        self.steer.expire(now);
        self.carry_out();
    }

    /// Does what the plane wants of the kernel.
    pub(super) fn carry_out(&mut self) {
        self.rules.apply(self.steer.take_changes());
        while let Some(flow) = self.steer.poll_deletion() {
            self.conntrack.forget(flow);
        }
    }

    /// Where a connection goes: as its mark says, and without one as the last table does.
    fn node(&self, service: SocketAddr, mark: Option<Mark>) -> Option<SocketAddr> {
        let version = IpVersion::of(&service);
        let by_mark = mark.and_then(|mark| self.rules.marks.get(&(version, mark)));
        let by_owner = || self.rules.holders.get(&(version, *self.rules.owners.get(&service.port())?));
        by_mark.or_else(by_owner).copied()
    }

    fn own_address(&self, node: SocketAddr) -> Option<IpAddr> {
        let own = addresses::router(Segment::Lan);
        self.masquerade.then_some(if node.is_ipv4() { own.v4 } else { own.v6 })
    }
}

/// As good as the hash by which the kernel distributes them.
fn is_in_first_half(flow: &FlowKey) -> bool {
    flow.client.port().is_multiple_of(2)
}

/// Whether the kernel takes a segment that belongs to no connection for invalid, not for the middle of one.
fn begins_nothing(flags: TcpFlags) -> bool {
    [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST].into_iter().any(|flag| flags.contains(flag))
}

fn translate(packet: &mut TcpPacket<'_>, peer: SocketAddr, node: SocketAddr) {
    packet.rewrite_destination(node);
    if packet.source() != peer {
        packet.rewrite_source(peer);
    }
}
