//! Ending flows from the middle.
//!
//! An RST counts only with the receiver's exact next sequence number (RFC 5961, section 3). The plane knows what it
//! forwarded; if some of that was lost, the receiver answers the RST with a challenge ACK that carries the number, and
//! so it answers a probe, a segment far outside its window. Either comes in as a packet on a flow that is over and is
//! answered with an RST that fits. A receiver that knows no such connection answers with an RST itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::flow::{Flow, FlowKey};
use crate::time::Instant;
use crate::wire::{TcpFlags, TcpSegment};

/// When a client is first asked whether it has heard.
const FIRST_PROBE: Duration = Duration::from_millis(200);
/// When it is asked again. Linux answers at most one such question in 500 ms, smoltcp one a second.
const NEXT_PROBE: Duration = Duration::from_millis(1100);
/// How often it is asked.
const PROBES_MAX: u32 = 8;
/// Far outside any window: the largest is 2^30 bytes (RFC 7323, section 2.3).
const OUTSIDE_WINDOW: u32 = 1 << 30;

/// Flows whose clients may not have heard yet.
#[derive(Debug, Default)]
pub(super) struct Endings {
    due: BTreeSet<(Instant, FlowKey)>,
    probes: BTreeMap<FlowKey, (Instant, u32)>,
}

impl Endings {
    /// A client was sent an RST.
    pub(super) fn watch(&mut self, now: Instant, key: FlowKey) {
        self.schedule(key, now + FIRST_PROBE, 0);
    }

    /// A client has shown that it knows.
    pub(super) fn forget(&mut self, key: FlowKey) {
        if let Some((at, _)) = self.probes.remove(&key) {
            self.due.remove(&(at, key));
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }

    /// The flows whose clients are to be asked now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<FlowKey> {
        let mut flows = Vec::new();
        while let Some(&(at, key)) = self.due.first().filter(|&&(at, _)| at <= now) {
            self.due.remove(&(at, key));
            let (_, probes) = self.probes.remove(&key).expect("what is due is watched");
            if probes + 1 < PROBES_MAX {
                self.schedule(key, now + NEXT_PROBE, probes + 1);
            }
            flows.push(key);
        }
        flows
    }

    fn schedule(&mut self, key: FlowKey, at: Instant, probes: u32) {
        self.forget(key);
        self.due.insert((at, key));
        self.probes.insert(key, (at, probes));
    }
}

/// An RST in the node's name. With ACK it also refuses a client that has not seen the node's SYN.
pub(super) fn reset_to_client(flow: &Flow) -> Vec<u8> {
    to_client(flow, flow.next_to_client(), TcpFlags::RST | TcpFlags::ACK)
}

/// A segment that a client answers if it still has the connection: with its next sequence number.
pub(super) fn probe_of_client(flow: &Flow) -> Vec<u8> {
    to_client(flow, flow.next_to_client().wrapping_add(OUTSIDE_WINDOW), TcpFlags::ACK)
}

/// An RST in the client's name.
pub(super) fn reset_to_node(flow: &Flow) -> Vec<u8> {
    let segment = TcpSegment {
        source: flow.peer(),
        destination: flow.node,
        sequence: flow.next_to_node(),
        acknowledgement: flow.next_to_client(),
        flags: TcpFlags::RST | TcpFlags::ACK,
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
