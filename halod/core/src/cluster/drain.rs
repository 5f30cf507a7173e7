//! Draining: the flows of a moved route stay on the former node, which is alive and is told which to end.
//!
//! Browser flows are named at the pace, the most recently active first. App flows follow once no browser is left and
//! they were silent both ways for one heartbeat, so that no answer is cut off. What is left at the deadline is ended by
//! HaloD itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::flow::{FlowKey, FlowPhase, FlowView, Flows};
use crate::ids::{Epoch, RouteId, Side};
use crate::protocol::{Reconnect, RouteMoved, ToNode};
use crate::routing::SessionId;
use crate::time::Instant;

/// The most peers that one `reconnect` names: 1,000 addresses fit a line with room to spare.
const PEERS_PER_MESSAGE_MAX: usize = 1000;

type Place = (SessionId, RouteId);

/// All drains that are under way.
#[derive(Debug, Default)]
pub(super) struct Drains {
    by_place: BTreeMap<Place, Drain>,
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
    /// Peers that were named to the node, by side.
    named: BTreeSet<(Side, SocketAddr)>,
    /// Browser flows of this drain in [`Drains::waiting`].
    waiting: usize,
    /// Browser flows whose handshake is not complete. One is named when the node has it for certain.
    half_open: usize,
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
    /// Begins a drain of `route` at `node`, or goes on with an earlier one: a second move never extends a deadline.
    pub(super) fn begin(&mut self, now: Instant, node: SessionId, route: RouteId, new: (Epoch, Instant)) -> ToNode {
        let (epoch, deadline) = new;
        let drain = self.by_place.entry((node, route)).or_insert(Drain {
            epoch,
            deadline,
            confirmed: false,
            left_told: None,
            named: BTreeSet::new(),
            waiting: 0,
            half_open: 0,
        });
        drain.announcement(now, route)
    }

    /// Ends the drain of a route that `node` owns again. Returns whether there was one.
    pub(super) fn cancel(&mut self, node: SessionId, route: RouteId) -> bool {
        self.by_place.remove(&(node, route)).is_some()
    }

    /// Forgets all drains of a node that is gone.
    pub(super) fn forget(&mut self, node: SessionId) {
        self.by_place.retain(|&(drained, _), _| drained != node);
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
            Some(drain) if drain.epoch == epoch && drain.left_told == Some(0) => {
                drain.confirmed = true;
                Confirmation::Known
            }
            _ => Confirmation::Unknown,
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

    /// Sees how far each drain is: finds flows that are to be named, names app flows whose turn has come, and drops
    /// drains that are over. Returns the flows that are over their deadline.
    pub(super) fn survey(
        &mut self,
        now: Instant,
        silence: Duration,
        flows: &dyn Flows,
        mut tell: impl FnMut(SessionId, ToNode),
    ) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        let waiting = &mut self.waiting;
        self.by_place.retain(|&place, drain| {
            let (node, route) = place;
            let mut census = Census::default();
            flows.visit(route, node, &mut |flow| census.count(flow));
            if now >= drain.deadline {
                overdue.extend(census.overdue());
                return false;
            }
            waiting.extend(drain.find_unnamed(place, &census));
            if drain.waiting == 0 && drain.left_told != Some(drain.half_open) {
                tell(node, drain.name(route, Side::Browser, &[], drain.half_open));
            }
            if census.browsers.is_empty() {
                drain.name_silent_apps(route, now, silence, &census, |message| tell(node, message));
            }
            !(drain.confirmed && census.is_empty())
        });
        waiting.retain(|waiting| self.by_place.contains_key(&waiting.place));
        waiting.sort_by_key(|waiting| (waiting.last_active, Reverse(waiting.peer)));
        overdue
    }

    /// Names `count` browser flows, the most recently active first.
    pub(super) fn name(&mut self, count: usize, mut tell: impl FnMut(SessionId, ToNode)) {
        let rest = self.waiting.len() - count.min(self.waiting.len());
        let mut batches: BTreeMap<Place, Vec<SocketAddr>> = BTreeMap::new();
        for waiting in self.waiting.drain(rest..).rev() {
            batches.entry(waiting.place).or_default().push(waiting.peer);
        }
        for ((node, route), peers) in batches {
            let Some(drain) = self.by_place.get_mut(&(node, route)) else { continue };
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

    /// Established browser flows that were not found before.
    fn find_unnamed(&mut self, place: Place, census: &Census) -> Vec<Waiting> {
        self.half_open = census.browsers.iter().filter(|flow| flow.phase == FlowPhase::HalfOpen).count();
        let established = census.browsers.iter().filter(|flow| flow.phase == FlowPhase::Established);
        let fresh = established.filter(|flow| self.named.insert((Side::Browser, flow.peer)));
        let found: Vec<Waiting> =
            fresh.map(|flow| Waiting { place, last_active: flow.last_active, peer: flow.peer }).collect();
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
        let fresh: Vec<SocketAddr> =
            silent.map(|flow| flow.peer).filter(|&peer| self.named.insert((Side::App, peer))).collect();
        let mut left = census.apps.len();
        for batch in fresh.chunks(PEERS_PER_MESSAGE_MAX) {
            left -= batch.len();
            tell(self.name(route, Side::App, batch, left));
        }
    }

    fn name(&mut self, route: RouteId, side: Side, peers: &[SocketAddr], left: usize) -> ToNode {
        if side == Side::Browser {
            self.left_told = Some(left);
        }
        ToNode::Reconnect(Reconnect { route, epoch: self.epoch, side, peers: peers.to_vec(), left: left as u64 })
    }
}
