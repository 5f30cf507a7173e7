//! One connection to a browser: what was asked on it, what was written and what was acknowledged.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Settled;
use crate::actors::node::apps::DeliveryId;
use crate::actors::wire::Wire;
use crate::actors::{ConnId, End};
use crate::observation::EventId;
use crate::orbited::Transport;
use crate::orbited::orbit::Recipient;

#[derive(Debug)]
pub(super) struct Browser {
    pub(super) peer: SocketAddr,
    /// The request as far as it has come.
    pub(super) head: Vec<u8>,
    /// Known once the request has come.
    pub(super) attachment: Option<Attachment>,
    /// FIN was sent.
    pub(super) finishing: bool,
    sent: u64,
    acked: u64,
    unsettled: VecDeque<Unsettled>,
}

/// Who is at the other end, and how.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) key: Recipient,
    pub(super) transport: Transport,
    pub(super) last_event_id: Option<u64>,
}

/// An event that was written up to offset `end` of the stream.
#[derive(Debug)]
struct Unsettled {
    end: u64,
    delivery: DeliveryId,
}

impl Attachment {
    /// The event `id`, if the browser said by `Last-Event-ID` that it has had it.
    pub(super) fn had(&self, id: &str) -> Option<EventId> {
        let event = self.last_event_id.filter(|_| self.transport == Transport::Sse)?;
        (id.parse() == Ok(event)).then_some(event)
    }
}

impl Browser {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            head: Vec::new(),
            attachment: None,
            finishing: false,
            sent: 0,
            acked: 0,
            unsettled: VecDeque::new(),
        }
    }

    pub(super) fn awaits_request(&self) -> bool {
        self.attachment.is_none() && !self.finishing
    }

    pub(super) fn unacked(&self) -> u64 {
        self.sent - self.acked
    }

    pub(super) fn send(&mut self, conn: ConnId, bytes: Vec<u8>, wire: &mut Wire) {
        self.sent += bytes.len() as u64;
        wire.send(conn, bytes);
    }

    /// What was sent last is an event of `delivery`.
    pub(super) fn await_ack(&mut self, delivery: DeliveryId) {
        self.unsettled.push_back(Unsettled { end: self.sent, delivery });
    }

    /// Settles the events that lie before `offset`.
    pub(super) fn acked(&mut self, offset: u64) -> Vec<Settled> {
        self.acked = offset.clamp(self.acked, self.sent);
        let count = self.unsettled.partition_point(|event| event.end <= self.acked);
        self.settle(count, true)
    }

    /// Settles the events that no acknowledgement will come for. A connection that both ends closed was
    /// acknowledged to its last byte.
    pub(super) fn settle_rest(&mut self, end: End) -> Vec<Settled> {
        self.settle(self.unsettled.len(), end == End::Closed)
    }

    fn settle(&mut self, count: usize, reached: bool) -> Vec<Settled> {
        let Some(attachment) = &self.attachment else { return Vec::new() };
        let settled =
            |event: Unsettled| Settled { delivery: event.delivery, recipient: attachment.key.clone(), reached };
        self.unsettled.drain(..count).map(settled).collect()
    }
}
