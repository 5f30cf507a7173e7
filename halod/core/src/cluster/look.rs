//! Looks at the flows of the data plane: how far drains are, and which flows a lost node had.
//!
//! The data plane may have to ask the kernel for its flows, and meanwhile the world goes on. So a look has a beginning and
//! an end; what happens in between is for the next one.

use std::time::Duration;

use super::Cluster;
use crate::flow::{Flows, Toward};
use crate::ids::Epoch;
use crate::routing::SessionId;
use crate::time::Instant;

/// From the beginning of a look to that of the next, if changes follow each other closely.
const APART: Duration = Duration::from_millis(20);
/// As many times as long as a look took there is none after it, but for those that are urgent: to find out what flows there
/// are may keep a processor busy, which then hears of no heartbeat.
const REST: u32 = 9;
/// But not longer than this: drains have deadlines, and a look took long, it may be, because the daemon was stopped meanwhile.
const REST_MAX: Duration = Duration::from_secs(1);

/// When there is a look at the flows, and what it is for.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// When it became urgent.
    urgent: Option<Instant>,
    /// Since when there is reason for one that can wait for others.
    soon: Option<Instant>,
    /// It is time.
    is_due: bool,
    /// A heartbeat has passed: it is time as soon as the last one is long enough ago.
    is_tick_due: bool,
    last: Last,
    /// Nodes that were lost since the last one began, and who is told of the end of their flows.
    bereaved: Vec<(SessionId, Toward)>,
}

/// The last look.
#[derive(Debug, Default)]
struct Last {
    began_at: Option<Instant>,
    /// `None` while it is under way.
    ended_at: Option<Instant>,
    /// The last epoch that the data plane had heard of when it began.
    epoch: Epoch,
    /// Lost nodes whose flows the data plane knows at its end.
    bereaved: Vec<(SessionId, Toward)>,
}

impl Looks {
    /// When to call [`Looks::timeout`], if before the next tick.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let soon = self.soon.and_then(|since| {
            let apart = self.last.began_at.map_or(Instant::ORIGIN, |began_at| began_at + APART);
            Some(since.max(apart).max(self.last.rested_at()?))
        });
        self.urgent.into_iter().chain(soon).min()
    }

    /// Sees whether it is time for one.
    pub(super) fn timeout(&mut self, now: Instant, is_tick: bool) {
        self.is_tick_due |= is_tick;
        if self.deadline().is_some_and(|due| due <= now) {
            self.is_due = true;
            (self.urgent, self.soon) = (None, None);
        }
    }

    /// What is known of the flows at the end of the last look is that of this epoch, or of a later one.
    pub(super) fn epoch(&self) -> Epoch {
        self.last.epoch
    }

    /// A node is lost, and `toward` is told of the end of its flows.
    pub(super) fn bereave(&mut self, node: SessionId, toward: Toward) {
        self.bereaved.push((node, toward));
    }

    /// Lost nodes whose flows are known now.
    pub(super) fn take_bereaved(&mut self) -> Vec<(SessionId, Toward)> {
        std::mem::take(&mut self.last.bereaved)
    }
}

impl Last {
    /// When there may be another; `None` while it is under way.
    fn rested_at(&self) -> Option<Instant> {
        let Some(began_at) = self.began_at else { return Some(Instant::ORIGIN) };
        self.ended_at.map(|ended_at| ended_at + (ended_at.since(began_at) * REST).min(REST_MAX))
    }
}

impl Cluster {
    /// Whether it is time to look at the flows: to call [`Cluster::begin_look`], and when the data plane knows of the flows
    /// that it has now, [`Cluster::look`].
    pub fn wants_look(&self, now: Instant) -> bool {
        let Looks { is_due, is_tick_due, last, .. } = &self.looks;
        *is_due || *is_tick_due && last.rested_at().is_none_or(|rested_at| rested_at <= now)
    }

    /// From now on the data plane finds out which flows it has, if it does not know that anyway. All outputs are carried
    /// out. A look that does not come to its end is begun again when [`Cluster::wants_look`] says so the next time.
    pub fn begin_look(&mut self, now: Instant) {
        let Looks { is_due, is_tick_due, last, bereaved, .. } = &mut self.looks;
        (*is_due, *is_tick_due) = (false, false);
        (last.began_at, last.ended_at, last.epoch) = (Some(now), None, self.epoch);
        last.bereaved.append(bereaved);
    }

    /// `flows` are those of the data plane that the published routings go to, as they were after [`Cluster::begin_look`].
    pub fn look(&mut self, now: Instant, flows: &dyn Flows) {
        self.looks.last.ended_at = Some(now);
        self.end_flows_of_the_lost(flows);
        self.survey_drains(now, flows);
        self.move_browsers_on(now);
    }

    /// Has the flows looked at as soon as may be.
    pub(super) fn look_now(&mut self, now: Instant) {
        self.looks.urgent.get_or_insert(now);
    }

    /// Likewise, but changes that follow each other closely share one look.
    pub(super) fn look_soon(&mut self, now: Instant) {
        self.looks.soon.get_or_insert(now);
    }
}
