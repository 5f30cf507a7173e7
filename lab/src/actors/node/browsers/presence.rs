//! Which keys are attached, and by which connections.
//!
//! A streaming browser is attached while it has a connection that is open both ways. One that polls is attached
//! between its polls as well, unless it stays away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use halod_core::time::Instant;

use crate::actors::ConnId;
use crate::actors::timers::Timers;
use crate::actors::wire::Wire;
use crate::observation::Observation;
use crate::orbited::Transport;
use crate::orbited::orbit::Recipient;

/// How long a browser that polls may take to come back.
const POLL_RETURN: Duration = Duration::from_secs(2);

/// Polls of one key that are parked; one more displaces the oldest.
const PARKED_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Presences {
    by_key: BTreeMap<Recipient, Presence>,
    /// Keys that poll and have no poll here, until they count as detached.
    absences: Timers<Recipient>,
}

#[derive(Debug)]
struct Presence {
    transport: Transport,
    /// Connections that take events, in the order of their requests: one, or several parked polls.
    open: VecDeque<ConnId>,
    /// Polls that were answered and have not ended yet.
    answering: BTreeSet<ConnId>,
}

/// What a new connection changes.
#[derive(Debug)]
pub(super) struct Arrival {
    /// Connections of the key that it takes the place of.
    pub(super) displaced: Vec<ConnId>,
    /// Whether to report it. A poll beside others that are parked is nothing new; one after an absence is, for the browser
    /// may have been at another node meanwhile.
    pub(super) is_new: bool,
}

impl Presences {
    /// The connection that takes the next event for `key`.
    pub(super) fn first_open(&self, key: &Recipient) -> Option<ConnId> {
        self.by_key.get(key)?.open.front().copied()
    }

    /// A request for `key` came on `conn`. Polls park behind polls; everything else takes the place of what was.
    pub(super) fn arrive(&mut self, key: &Recipient, transport: Transport, conn: ConnId) -> Arrival {
        self.absences.cancel(key);
        let polls_on = |presence: &Presence| transport == Transport::Xhr && presence.transport == Transport::Xhr;
        if let Some(presence) = self.by_key.get_mut(key).filter(|presence| polls_on(presence)) {
            let displaced = if presence.open.len() >= PARKED_MAX { presence.open.pop_front() } else { None };
            presence.answering.extend(displaced);
            let is_new = presence.open.is_empty();
            presence.open.push_back(conn);
            return Arrival { displaced: displaced.into_iter().collect(), is_new };
        }
        let presence = Presence { transport, open: VecDeque::from([conn]), answering: BTreeSet::new() };
        let former = self.by_key.insert(key.clone(), presence);
        Arrival { displaced: former.map(|former| former.open.into()).unwrap_or_default(), is_new: true }
    }

    /// `conn` takes no more events.
    pub(super) fn close(&mut self, now: Instant, key: &Recipient, conn: ConnId, wire: &mut Wire) {
        let Some(presence) = self.by_key.get_mut(key) else { return };
        let Some(position) = presence.open.iter().position(|open| *open == conn) else { return };
        presence.open.remove(position);
        if presence.transport == Transport::Xhr {
            presence.answering.insert(conn);
            self.watch_absence(now, key);
        } else {
            self.detach(key, wire);
        }
    }

    /// `conn` has ended, after it was closed.
    pub(super) fn ended(&mut self, now: Instant, key: &Recipient, conn: ConnId) {
        if self.by_key.get_mut(key).is_some_and(|presence| presence.answering.remove(&conn)) {
            self.watch_absence(now, key);
        }
    }

    pub(super) fn timeout(&mut self, now: Instant, wire: &mut Wire) {
        while let Some(key) = self.absences.take_due(now) {
            self.detach(&key, wire);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.absences.next()
    }

    /// A browser cannot poll again before it has its answer: only then its absence begins.
    fn watch_absence(&mut self, now: Instant, key: &Recipient) {
        if self.by_key[key].open.is_empty() && self.by_key[key].answering.is_empty() {
            self.absences.set(key.clone(), now + POLL_RETURN);
        }
    }

    fn detach(&mut self, key: &Recipient, wire: &mut Wire) {
        self.by_key.remove(key);
        wire.observe(Observation::Detached { user: key.user.clone() });
    }
}
