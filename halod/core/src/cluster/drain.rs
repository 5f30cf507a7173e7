//! Draining: the flows of a moved route stay on the former node, which is alive and is told which to end.
//!
//! Browser flows are named at the pace, the most recently active first. App flows follow once no browser is left and
//! they were silent both ways for one heartbeat, so that no answer is cut off. What is left at the deadline is ended by
//! HaloD itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use foldhash::quality::FixedState;

use crate::flow::{FlowKey, FlowPhase, FlowView, Flows};
use crate::ids::{Epoch, RouteId, Side};
use crate::protocol::{Reconnect, RouteMoved, ToNode};
use crate::routing::SessionId;
use crate::time::Instant;

/// The most peers that one `reconnect` names: 1,000 addresses fit a line with room to spare.
const PEERS_PER_MESSAGE_MAX: usize = 1000;

/// A browser connection that is still there after so many heartbeats is named again.
const RENAME_AFTER: u32 = 20;

/// A route and the node that it drains at.
pub(super) type Place = (SessionId, RouteId);

/// All drains that are under way.
#[derive(Debug, Default)]
pub(super) struct Drains {
    by_place: BTreeMap<Place, Drain>,
    /// The epoch of the last drain of each place that is over. What a node says of it crossed its end.
    past: BTreeMap<Place, Epoch>,
    /// Browser flows that are to be named, the most recently active last.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Drain {
    epoch: Epoch,
    deadline: Instant,
    /// The node has said `drained`.
    confirmed: bool,
    /// How many browser connections the node was told are still to be named; `None` before the first message.
    left_told: Option<usize>,
    /// The node was told at some time that none is left, and may say `drained`. That can cross the naming of a connection
    /// which was established late.
    told_all: bool,
    /// Peers that were named to the node, or are to be.
    named: HashMap<(Side, SocketAddr), Named, FixedState>,
    /// Browser flows of this drain in [`Drains::waiting`].
    waiting: usize,
    /// Browser flows whose handshake is not complete. One is named when the node has it for certain.
    half_open: usize,
}

/// Whether the node was told of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The pace has not allowed it yet.
    NotYet,
    /// At this time.
    At(Instant),
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    place: Place,
    last_active: Instant,
    peer: SocketAddr,
}

/// Whether a `drained` fits a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// It does.
    Known,
    /// It fits one that is over.
    Past,
    /// No such drain is under way.
    Unknown,
}

/// A flow that outlived its drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overdue {
    pub(super) key: FlowKey,
    pub(super) side: Side,
}

impl Drains {
    /// Begins a drain of `route` at `node`, in `epoch` and until `deadline`.
    pub(super) fn begin(&mut self, now: Instant, place: Place, epoch: Epoch, deadline: Instant) -> ToNode {
        let drain = Drain {
            epoch,
            deadline,
            confirmed: false,
            left_told: None,
            told_all: false,
            named: HashMap::default(),
            waiting: 0,
            half_open: 0,
        };
        let announcement = drain.announcement(now, place.1);
        // A node that gains a route has no drain of it any more, so this is no second one.
        self.by_place.insert(place, drain);
        announcement
    }

    /// Ends the drain of a route that `node` owns again. Returns whether there was one.
    pub(super) fn cancel(&mut self, node: SessionId, route: RouteId) -> bool {
        let drain = self.by_place.remove(&(node, route));
        // Nobody is to be named who may stay; a later drain of this place counts its own.
        if drain.as_ref().is_some_and(|drain| drain.waiting > 0) {
            self.waiting.retain(|waiting| waiting.place != (node, route));
        }
        self.past.extend(drain.iter().map(|drain| ((node, route), drain.epoch)));
        drain.is_some()
    }

    /// Forgets all drains of a node that is gone.
    pub(super) fn forget(&mut self, node: SessionId) {
        self.by_place.retain(|&(drained, _), _| drained != node);
        self.past.retain(|&(drained, _), _| drained != node);
        self.waiting.retain(|waiting| waiting.place.0 != node);
    }

    /// What a node has to be told that may have missed it: every drain from its beginning.
    pub(super) fn tell_again(&mut self, now: Instant, node: SessionId) -> Vec<ToNode> {
        self.waiting.retain(|waiting| waiting.place.0 != node);
        let of_node = self.by_place.iter_mut().filter(|((drained, _), _)| *drained == node);
        let begun = of_node.map(|(&(_, route), drain)| {
            drain.left_told = None;
            drain.named.clear();
            drain.waiting = 0;
            drain.announcement(now, route)
        });
        begun.collect()
    }

    /// Takes in that `node` has ended all connections that were named to it.
    pub(super) fn confirm(&mut self, node: SessionId, route: RouteId, epoch: Epoch) -> Confirmation {
        match self.by_place.get_mut(&(node, route)) {
            Some(drain) if drain.epoch == epoch && drain.told_all => {
                drain.confirmed = true;
                Confirmation::Known
            }
            // Only the last one is known: what a node says of those before it may have been under way for long.
            _ if self.past.get(&(node, route)).is_some_and(|&last| epoch <= last) => Confirmation::Past,
            _ => Confirmation::Unknown,
        }
    }

    /// Time has passed that nobody could use.
    pub(super) fn forgive(&mut self, late: Duration) {
        for drain in self.by_place.values_mut() {
            drain.deadline = drain.deadline + late;
        }
    }

    /// Whether any route of `node` is still draining.
    pub(super) fn is_draining(&self, node: SessionId) -> bool {
        self.by_place.range((node, RouteId::from_index(0))..).next().is_some_and(|((drained, _), _)| *drained == node)
    }

    /// Browser flows that are to be named.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sees how far each drain is that began in the epoch `known`, or before: finds flows that are to be named, names app
    /// flows whose turn has come, and drops drains that are over. Returns the flows that are over their deadline.
    pub(super) fn survey(
        &mut self,
        now: Instant,
        known: Epoch,
        silence: Duration,
        flows: &dyn Flows,
        mut tell: impl FnMut(SessionId, ToNode),
    ) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        let (mut found, mut given_up) = (0, false);
        let (waiting, past) = (&mut self.waiting, &mut self.past);
        self.by_place.retain(|&place, drain| {
            // Not all of its flows may be there yet.
            if drain.epoch > known && !mutant!(LookedAtTooEarly) {
                return true;
            }
            let (node, route) = place;
            let census = Census::take(flows, place);
            let is_overdue = now >= drain.deadline && !mutant!(DrainDeadlineIgnored);
            let is_over = is_overdue || (drain.confirmed && census.is_empty());
            if is_over {
                overdue.extend(census.overdue());
                given_up |= drain.waiting > 0;
                if drain.left_told != Some(0) {
                    // There was no time to name all: the node must not wait for more.
                    tell(node, drain.name(route, Side::Browser, &[], 0));
                }
                past.insert(place, drain.epoch);
                return false;
            }
            let unnamed = drain.find_unnamed(now, place, &census, silence * RENAME_AFTER);
            found += unnamed.len();
            waiting.extend(unnamed);
            if drain.waiting == 0 && drain.left_told != Some(drain.half_open) {
                tell(node, drain.name(route, Side::Browser, &[], drain.half_open));
            }
            if census.browsers.is_empty() {
                drain.name_silent_apps(route, now, silence, &census, |message| tell(node, message));
            }
            true
        });
        if given_up {
            waiting.retain(|waiting| self.by_place.contains_key(&waiting.place));
        }
        if found > 0 {
            waiting.sort_by_key(|waiting| (waiting.last_active, Reverse(waiting.peer)));
        }
        overdue
    }

    /// Names `count` browser flows, the most recently active first.
    pub(super) fn name(&mut self, now: Instant, count: usize, mut tell: impl FnMut(SessionId, ToNode)) {
        let rest = self.waiting.len().saturating_sub(count);
        let mut batches: BTreeMap<Place, Vec<SocketAddr>> = BTreeMap::new();
        for waiting in self.waiting.drain(rest..).rev() {
            batches.entry(waiting.place).or_default().push(waiting.peer);
        }
        for ((node, route), peers) in batches {
            let drain = self.by_place.get_mut(&(node, route)).expect("whoever waits is of a drain that goes on");
            drain.named.extend(peers.iter().map(|&peer| ((Side::Browser, peer), Named::At(now))));
            for batch in peers.chunks(PEERS_PER_MESSAGE_MAX) {
                drain.waiting -= batch.len();
                let left = drain.waiting + drain.half_open;
                tell(node, drain.name(route, Side::Browser, batch, left));
            }
        }
    }
}

/// The flows of one route at its former node that have not ended.
#[derive(Debug, Default)]
struct Census {
    browsers: Vec<FlowView>,
    apps: Vec<FlowView>,
}

impl Census {
    fn take(flows: &dyn Flows, (node, route): Place) -> Self {
        let mut census = Self::default();
        flows.visit(route, node, &mut |flow| census.count(flow));
        census
    }

    fn count(&mut self, flow: FlowView) {
        if flow.phase != FlowPhase::Ended {
            match flow.side {
                Side::Browser => self.browsers.push(flow),
                Side::App => self.apps.push(flow),
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.browsers.is_empty() && self.apps.is_empty()
    }

    fn overdue(&self) -> impl Iterator<Item = Overdue> {
        self.browsers.iter().chain(&self.apps).map(|flow| Overdue { key: flow.key, side: flow.side })
    }
}

impl Drain {
    fn announcement(&self, now: Instant, route: RouteId) -> ToNode {
        let deadline_ms = u64::try_from(self.deadline.since(now).as_millis()).unwrap_or(u64::MAX);
        ToNode::RouteMoved(RouteMoved { route, epoch: self.epoch, deadline_ms })
    }

    /// Established browser flows that were not named yet, or so long ago that the node cannot have known them then:
    /// the last step of their handshake may have been lost behind the router.
    fn find_unnamed(&mut self, now: Instant, place: Place, census: &Census, patience: Duration) -> Vec<Waiting> {
        self.half_open = census.browsers.iter().filter(|flow| flow.phase == FlowPhase::HalfOpen).count();
        let mut found = Vec::new();
        for flow in census.browsers.iter().filter(|flow| flow.phase == FlowPhase::Established) {
            let named = self.named.get(&(Side::Browser, flow.peer));
            let is_due = match named {
                None => true,
                Some(Named::NotYet) => false,
                Some(Named::At(at)) => now.since(*at) >= patience,
            };
            if is_due {
                self.named.insert((Side::Browser, flow.peer), Named::NotYet);
                found.push(Waiting { place, last_active: flow.last_active, peer: flow.peer });
            }
        }
        self.waiting += found.len();
        found
    }

    fn name_silent_apps(
        &mut self,
        route: RouteId,
        now: Instant,
        silence: Duration,
        census: &Census,
        mut tell: impl FnMut(ToNode),
    ) {
        let silent = census.apps.iter().filter(|flow| now.since(flow.last_active) >= silence);
        let fresh: Vec<SocketAddr> = silent
            .map(|flow| flow.peer)
            .filter(|&peer| self.named.insert((Side::App, peer), Named::At(now)).is_none())
            .collect();
        let mut left = census.apps.len();
        for batch in fresh.chunks(PEERS_PER_MESSAGE_MAX) {
            left -= batch.len();
            tell(self.name(route, Side::App, batch, left));
        }
    }

    fn name(&mut self, route: RouteId, side: Side, peers: &[SocketAddr], left: usize) -> ToNode {
        if side == Side::Browser {
            self.left_told = Some(left);
            self.told_all |= left == 0;
        }
        ToNode::Reconnect(Reconnect { route, epoch: self.epoch, side, peers: peers.to_vec(), left: left as u64 })
    }
}
