//! Ending flows from the middle.
//!
//! An RST counts only with the receiver's exact next sequence number (RFC 5961, section 3). The plane knows what it
//! forwarded; if some of that was lost, the receiver answers the RST with a challenge ACK that carries the number, and
//! so it answers a probe, a segment far outside its window. Either comes in as a packet on a flow that is over and is
//! answered with an RST that fits. A receiver that knows no such connection answers with an RST itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Counters, Verdict, answer, is_over};
use crate::flow::{Flow, FlowKey, FlowPhase, FlowTable, Flows, Sender, Toward};
use crate::routing::{Routing, SessionId};
use crate::time::Instant;
use crate::wire::{Reset, TcpFlags, TcpPacket, TcpSegment};

/// When an end is first asked whether it has heard.
const FIRST_PROBE: Duration = Duration::from_millis(200);
/// When it is asked again. Linux answers at most one such question in 500 ms, smoltcp one a second.
const NEXT_PROBE: Duration = Duration::from_millis(1100);
/// How often it is asked.
const PROBES_MAX: u32 = 8;
/// Far outside any window: the largest is 2^30 bytes (RFC 7323, section 2.3).
const OUTSIDE_WINDOW: u32 = 1 << 30;

/// One end of a flow.
pub(super) type FlowEnd = (FlowKey, Sender);

/// Ends of flows that may not have heard yet.
#[derive(Debug, Default)]
pub(super) struct Endings {
    due: BTreeSet<(Instant, FlowEnd)>,
    probes: BTreeMap<FlowEnd, (Instant, u32)>,
}

impl Endings {
    /// An end was sent an RST.
    pub(super) fn watch(&mut self, now: Instant, end: FlowEnd) {
        self.schedule(end, now + FIRST_PROBE, 0);
    }

    /// An end has shown that it knows.
    pub(super) fn forget(&mut self, end: FlowEnd) {
        if let Some((at, _)) = self.probes.remove(&end) {
            self.due.remove(&(at, end));
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// Those that are to be asked now.
    fn due(&mut self, now: Instant) -> Vec<FlowEnd> {
        let mut ends = Vec::new();
        while let Some(&(at, end)) = self.due.first().filter(|&&(at, _)| at <= now) {
            self.due.remove(&(at, end));
            let (_, probes) = self.probes.remove(&end).expect("what is due is watched");
            if probes + 1 < PROBES_MAX {
                self.schedule(end, now + NEXT_PROBE, probes + 1);
            }
            if !mutant!(ProbesForgotten) {
                ends.push(end);
            }
        }
        ends
    }

    /// Ends a flow towards one or both ends. Returns the packets that say so; `None` if there is no flow that goes on.
    pub(super) fn end(
        &mut self,
        now: Instant,
        flows: &mut FlowTable,
        key: FlowKey,
        toward: Toward,
    ) -> Option<Vec<Vec<u8>>> {
        let flow = flows.refuse(now, key)?;
        let ends = match toward {
            Toward::Client => &[Sender::Client][..],
            Toward::Both => &[Sender::Client, Sender::Node],
        };
        ends.iter().for_each(|&end| self.watch(now, (key, end)));
        Some(ends.iter().flat_map(|&end| notices(flow, end)).collect())
    }

    /// A node's packet on a flow that is over, with the address that the node knows: it is told so, or its client is.
    pub(super) fn refuse_late_of_node(
        &mut self,
        now: Instant,
        flows: &mut FlowTable,
        counters: &mut Counters,
        key: FlowKey,
        packet: &TcpPacket<'_>,
    ) -> Verdict {
        counters.late += 1;
        if packet.flags().contains(TcpFlags::RST) {
            self.forget((key, Sender::Node));
        }
        match self.pass_on(now, flows, key, packet) {
            Some(to_client) => {
                counters.ended += 1;
                Verdict::Answer(to_client)
            }
            None => answer(packet),
        }
    }

    /// A lost node's kernel ends a connection late, by a packet that belongs to none any more: its client is told so in its
    /// stead, with its number, and need not wait for its turn. Returns what tells it; `None` if the packet ends nothing.
    ///
    /// An RST without ACK ends nothing: it says that there was no connection (RFC 9293, section 3.10.7.1), as the kernel of a host that
    /// has started anew does when it is asked by a probe. Its clients still wait for their turns.
    fn pass_on(&mut self, now: Instant, flows: &mut FlowTable, key: FlowKey, packet: &TcpPacket<'_>) -> Option<Reset> {
        let is_end =
            [TcpFlags::FIN, TcpFlags::RST].into_iter().any(|flag| packet.flags().contains(flag | TcpFlags::ACK));
        let flow = if is_end && packet.checksum_ok() { flows.refuse(now, key)? } else { return None };
        self.watch(now, (key, Sender::Client));
        let (sequence, acknowledgement) = (packet.sequence(), packet.acknowledgement());
        let reset = segment(flow, Sender::Client, sequence, acknowledgement, TcpFlags::RST | TcpFlags::ACK);
        Some(Reset::new(&reset))
    }

    /// Tells a node that all flows of its former session are over.
    pub(super) fn clear(&mut self, now: Instant, flows: &FlowTable, former: SessionId) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        flows.visit_node(former, &mut |flow| keys.push(flow.key));
        keys.iter().for_each(|&key| self.watch(now, (key, Sender::Node)));
        let flows = keys.iter().filter_map(|key| flows.sent_by_client(key.client, key.service));
        flows.flat_map(|flow| notices(flow, Sender::Node)).collect()
    }

    /// What asks those ends that are to be asked now, of flows that are over. A flow may be gone: it had time to expire, or
    /// its client has begun another.
    pub(super) fn questions(&mut self, now: Instant, flows: &FlowTable, routing: &Routing) -> Vec<Vec<u8>> {
        let flow = |(key, end): FlowEnd| Some((flows.sent_by_client(key.client, key.service)?, end));
        let due = self.due(now).into_iter().filter_map(flow);
        let over = due.filter(|&(flow, _)| is_over(flow, routing) || flow.phase() == FlowPhase::Ended);
        over.flat_map(|(flow, end)| probes(flow, end)).collect()
    }

    fn schedule(&mut self, end: FlowEnd, at: Instant, probes: u32) {
        self.forget(end);
        self.due.insert((at, end));
        self.probes.insert(end, (at, probes));
    }
}

/// Tells one end, in the other's name, that the flow is over: with the RST that fits, as far as the plane knows it, and
/// otherwise with probes, whose answer says which one fits. With ACK the RST also refuses a client that has not seen the
/// node's SYN.
fn notices(flow: &Flow, end: Sender) -> Vec<Vec<u8>> {
    let expected = match end {
        // The node has said nothing, and the client takes any number with its SYN acknowledged.
        Sender::Client if flow.phase() == FlowPhase::HalfOpen && flow.next_to_node().is_some() => {
            Some(flow.next_to_client().unwrap_or(0))
        }
        Sender::Client => flow.next_to_client(),
        Sender::Node => flow.next_to_node(),
    };
    match expected {
        Some(sequence) => {
            let acknowledgement = acknowledged_by(flow, end).unwrap_or(0);
            vec![segment(flow, end, sequence, acknowledgement, TcpFlags::RST | TcpFlags::ACK).to_bytes()]
        }
        None => probes(flow, end),
    }
}

/// Segments of which an end answers one if it still has the connection: with its next sequence number.
///
/// Linux looks at the sequence number first, and answers if that is outside the window; smoltcp looks at the
/// acknowledgement first, drops an old one and answers one that is ahead. If the plane has seen neither number there are
/// two segments, half of all numbers apart: one of them is as it should be.
fn probes(flow: &Flow, end: Sender) -> Vec<Vec<u8>> {
    let expected = match end {
        Sender::Client => flow.next_to_client(),
        Sender::Node => flow.next_to_node(),
    };
    let acknowledged = acknowledged_by(flow, end);
    let halves = if expected.is_some() && acknowledged.is_some() { &[0][..] } else { &[0, 1 << 31] };
    let probe = |&half: &u32| {
        let sequence = expected.map_or(half, |next| next.wrapping_add(OUTSIDE_WINDOW));
        segment(flow, end, sequence, acknowledged.unwrap_or(half), TcpFlags::ACK).to_bytes()
    };
    halves.iter().map(probe).collect()
}

/// The acknowledgement number that an end expects of the other.
fn acknowledged_by(flow: &Flow, end: Sender) -> Option<u32> {
    match end {
        Sender::Client => flow.next_to_node(),
        Sender::Node => flow.next_to_client(),
    }
}

/// A segment for one end, in the other's name and with the addresses that it knows.
fn segment(flow: &Flow, end: Sender, sequence: u32, acknowledgement: u32, flags: TcpFlags) -> TcpSegment<'static> {
    let (source, destination) = match end {
        Sender::Client => (flow.service, flow.client),
        Sender::Node => (flow.peer(), flow.node),
    };
    TcpSegment { source, destination, sequence, acknowledgement, flags, window: 0, payload: &[] }
}
