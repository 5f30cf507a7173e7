//! Ending flows from the middle.
//!
//! An RST counts only with the receiver's exact next sequence number (RFC 5961, section 3). The plane knows what it
//! forwarded; if some of that was lost, the receiver answers the RST with a challenge ACK that carries the number, and
//! so it answers a probe, a segment far outside its window. Either comes in as a packet on a flow that is over and is
//! answered with an RST that fits. A receiver that knows no such connection answers with an RST itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::flow::{Flow, FlowKey, Sender};
use crate::time::Instant;
use crate::wire::{TcpFlags, TcpSegment};

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
    pub(super) fn due(&mut self, now: Instant) -> Vec<FlowEnd> {
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

    fn schedule(&mut self, end: FlowEnd, at: Instant, probes: u32) {
        self.forget(end);
        self.due.insert((at, end));
        self.probes.insert(end, (at, probes));
    }
}

/// An RST in the node's name. With ACK it also refuses a client that has not seen the node's SYN.
pub(super) fn reset_to_client(flow: &Flow) -> Vec<u8> {
    to_client(flow, flow.next_to_client(), TcpFlags::RST | TcpFlags::ACK)
}

/// An RST in the client's name.
pub(super) fn reset_to_node(flow: &Flow) -> Vec<u8> {
    to_node(flow, flow.next_to_node(), TcpFlags::RST | TcpFlags::ACK)
}

/// A segment that an end answers if it still has the connection: with its next sequence number.
pub(super) fn probe(flow: &Flow, end: Sender) -> Vec<u8> {
    match end {
        Sender::Client => to_client(flow, flow.next_to_client().wrapping_add(OUTSIDE_WINDOW), TcpFlags::ACK),
        Sender::Node => to_node(flow, flow.next_to_node().wrapping_add(OUTSIDE_WINDOW), TcpFlags::ACK),
    }
}

fn to_node(flow: &Flow, sequence: u32, flags: TcpFlags) -> Vec<u8> {
    let segment = TcpSegment {
        source: flow.peer(),
        destination: flow.node,
        sequence,
        acknowledgement: flow.next_to_client(),
        flags,
        window: 0,
        payload: &[],
    };
    segment.to_bytes()
}

fn to_client(flow: &Flow, sequence: u32, flags: TcpFlags) -> Vec<u8> {
    let segment = TcpSegment {
        source: flow.service,
        destination: flow.client,
        sequence,
        acknowledgement: flow.next_to_node(),
        flags,
        window: 0,
        payload: &[],
    };
    segment.to_bytes()
}
