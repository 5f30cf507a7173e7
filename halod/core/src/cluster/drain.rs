//! Draining: the flows of a moved route stay on the former node, which is alive and is told which to end.
//!
//! Browser flows are named first. App flows follow once no browser is left and they were silent both ways for one
//! heartbeat, so that no answer is cut off. Pacing and the reset at the deadline are not done here yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::flow::{FlowPhase, FlowView, Flows};
use crate::ids::{Epoch, RouteId, Side};
use crate::protocol::{Reconnect, ToNode};
use crate::routing::SessionId;
use crate::time::Instant;

/// The most peers that one `reconnect` names: 1,000 addresses fit a line with room to spare.
const PEERS_PER_MESSAGE_MAX: usize = 1000;

/// All drains that are under way.
#[derive(Debug, Default)]
pub(super) struct Drains {
    by_route: BTreeMap<(SessionId, RouteId), Drain>,
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
}

/// Whether a `drained` fits a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// It does.
    Known,
    /// No such drain is under way.
    Unknown,
}

impl Drains {
    /// Begins a drain of `route` at `node`, or goes on with an earlier one: a second move never extends a deadline.
    /// Returns the deadline.
    pub(super) fn begin(&mut self, node: SessionId, route: RouteId, epoch: Epoch, deadline: Instant) -> Instant {
        let drain = self.by_route.entry((node, route)).or_insert(Drain {
            epoch,
            deadline,
            confirmed: false,
            left_told: None,
            named: BTreeSet::new(),
        });
        drain.deadline
    }

    /// Ends the drain of a route that `node` owns again. Returns whether there was one.
    pub(super) fn cancel(&mut self, node: SessionId, route: RouteId) -> bool {
        self.by_route.remove(&(node, route)).is_some()
    }

    /// Forgets all drains of a node that is gone.
    pub(super) fn forget(&mut self, node: SessionId) {
        self.by_route.retain(|&(drained, _), _| drained != node);
    }

    /// Takes in that `node` has ended all connections that were named to it.
    pub(super) fn confirm(&mut self, node: SessionId, route: RouteId, epoch: Epoch) -> Confirmation {
        match self.by_route.get_mut(&(node, route)) {
            Some(drain) if drain.epoch == epoch && drain.left_told.is_some() => {
                drain.confirmed = true;
                Confirmation::Known
            }
            _ => Confirmation::Unknown,
        }
    }

    /// Whether any route of `node` is still draining.
    pub(super) fn is_draining(&self, node: SessionId) -> bool {
        self.by_route.range((node, RouteId::from_index(0))..).next().is_some_and(|((drained, _), _)| *drained == node)
    }

    /// Whether there is anything to do at the next tick.
    pub(super) fn is_empty(&self) -> bool {
        self.by_route.is_empty()
    }

    /// Names the flows whose turn has come, through `tell`, and drops the drains that are over.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        silence: Duration,
        flows: &dyn Flows,
        mut tell: impl FnMut(SessionId, ToNode),
    ) {
        self.by_route.retain(|&(node, route), drain| {
            let mut census = Census::default();
            flows.visit(route, node, &mut |flow| census.count(flow));
            drain.name_browsers(route, &census, |message| tell(node, message));
            if census.browsers_are_gone() {
                drain.name_silent_apps(route, now, silence, &census, |message| tell(node, message));
            }
            let over = drain.confirmed && census.is_empty();
            !over && now < drain.deadline
        });
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

    fn browsers_are_gone(&self) -> bool {
        self.browsers.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.browsers.is_empty() && self.apps.is_empty()
    }
}

impl Drain {
    /// Names established browser flows once. One that is half-open is named when the node has it for certain.
    fn name_browsers(&mut self, route: RouteId, census: &Census, tell: impl FnMut(ToNode)) {
        let half_open = census.browsers.iter().filter(|flow| flow.phase == FlowPhase::HalfOpen).count();
        let mut recent: Vec<&FlowView> =
            census.browsers.iter().filter(|flow| flow.phase == FlowPhase::Established).collect();
        recent.sort_by_key(|flow| (std::cmp::Reverse(flow.last_active), flow.peer));
        let fresh: Vec<SocketAddr> =
            recent.iter().map(|flow| flow.peer).filter(|&peer| self.named.insert((Side::Browser, peer))).collect();
        if !fresh.is_empty() || self.left_told != Some(half_open) {
            self.left_told = Some(half_open);
            self.name(route, Side::Browser, &fresh, half_open, tell);
        }
    }

    fn name_silent_apps(
        &mut self,
        route: RouteId,
        now: Instant,
        silence: Duration,
        census: &Census,
        tell: impl FnMut(ToNode),
    ) {
        let silent = census.apps.iter().filter(|flow| now.since(flow.last_active) >= silence);
        let fresh: Vec<SocketAddr> =
            silent.map(|flow| flow.peer).filter(|&peer| self.named.insert((Side::App, peer))).collect();
        if !fresh.is_empty() {
            self.name(route, Side::App, &fresh, census.apps.len() - fresh.len(), tell);
        }
    }

    fn name(&self, route: RouteId, side: Side, peers: &[SocketAddr], left_after: usize, mut tell: impl FnMut(ToNode)) {
        let mut unnamed = peers.len();
        let mut batches = peers.chunks(PEERS_PER_MESSAGE_MAX).peekable();
        let none: &[SocketAddr] = &[];
        let first = batches.next().unwrap_or(none);
        for batch in std::iter::once(first).chain(batches) {
            unnamed -= batch.len();
            tell(ToNode::Reconnect(Reconnect {
                route,
                epoch: self.epoch,
                side,
                peers: batch.to_vec(),
                left: (unnamed + left_after) as u64,
            }));
        }
    }
}
