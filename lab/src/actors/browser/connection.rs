//! One connection of a browser.

use std::time::Duration;

use halod_core::time::Instant;

use crate::orbited::Transport;
use crate::orbited::decode::{Decoded, Decoder};

/// A connection from its dial until it has ended.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    decoder: Decoder,
    /// A byte has arrived.
    heard: bool,
    /// An event has arrived.
    delivered: bool,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Dialling,
    Open {
        since: Instant,
    },
    /// The browser has sent FIN and reads what is still in flight.
    Finishing,
    /// The browser has sent FIN and nobody reads any more.
    Abandoned,
}

impl Connection {
    pub(super) fn new(transport: Transport) -> Self {
        Self { phase: Phase::Dialling, decoder: Decoder::new(transport), heard: false, delivered: false }
    }

    /// Whether a byte has arrived.
    pub(super) fn is_heard(&self) -> bool {
        self.heard
    }

    /// Takes in bytes and returns what they say.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<Decoded> {
        self.heard = true;
        let items = self.decoder.push(bytes);
        self.delivered |= items.iter().any(is_event);
        items
    }

    /// Takes in that no more bytes will come and returns what that says.
    pub(super) fn receive_end(&mut self) -> Option<Decoded> {
        let item = self.decoder.finish();
        self.delivered |= item.as_ref().is_some_and(is_event);
        item
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether the browser has sent FIN.
    pub(super) fn is_left(&self) -> bool {
        matches!(self.phase, Phase::Finishing | Phase::Abandoned)
    }

    /// Whether it was worth having, at its loss: it brought an event or lasted for `lifetime_min`.
    pub(super) fn held(&self, now: Instant, lifetime_min: Duration) -> bool {
        match self.phase {
            Phase::Open { since } => self.delivered || now.since(since) >= lifetime_min,
            Phase::Dialling | Phase::Finishing | Phase::Abandoned => false,
        }
    }
}

fn is_event(item: &Decoded) -> bool {
    matches!(item, Decoded::Event { .. })
}
