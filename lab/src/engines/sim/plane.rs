//! Either data plane, as the simulated HaloD drives it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use halod_core::flow::{FlowKey, Flows, Toward};
use halod_core::plane::{PlaneConfig, PlaneKind, Rewrite, Stage, Verdict};
use halod_core::routing::Routing;
use halod_core::time::Instant;
use halod_core::wire::Checksum;

use super::netfilter::Netfilter;

/// A plane, and what it needs of a kernel.
pub(super) enum Plane {
    Rewrite(Box<Rewrite>),
    Steer(Box<Netfilter>),
}

impl Plane {
    pub(super) fn new(kind: PlaneKind, config: PlaneConfig, masquerade: bool) -> Self {
        match kind {
            PlaneKind::Rewrite => Self::Rewrite(Box::new(Rewrite::new(config))),
            PlaneKind::Steer => Self::Steer(Box::new(Netfilter::new(config, masquerade))),
        }
    }

    pub(super) fn handle(&mut self, now: Instant, stage: Stage, packet: &mut [u8]) -> Verdict {
        match self {
            Self::Rewrite(plane) => plane.handle(now, stage, Checksum::Ready, packet),
            Self::Steer(plane) => plane.handle(now, stage, packet),
        }
    }

    pub(super) fn publish(&mut self, now: Instant, routing: Arc<Routing>, masquerades: BTreeMap<IpAddr, IpAddr>) {
        match self {
            Self::Rewrite(plane) => plane.publish(now, routing, masquerades),
            Self::Steer(plane) => {
                plane.steer.publish(now, routing);
                plane.carry_out();
            }
        }
    }

    pub(super) fn end(&mut self, now: Instant, flow: FlowKey, toward: Toward) {
        match self {
            Self::Rewrite(plane) => plane.end(now, flow, toward),
            Self::Steer(plane) => {
                plane.steer.end(now, flow, toward);
                plane.carry_out();
            }
        }
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        match self {
            Self::Rewrite(plane) => plane.timeout(now),
            Self::Steer(plane) => plane.steer.timeout(now),
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        match self {
            Self::Rewrite(plane) => plane.expire(now),
            Self::Steer(plane) => plane.expire(now),
        }
    }

    /// The next packet of the plane's own, as it leaves.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        match self {
            Self::Rewrite(plane) => plane.poll_transmit(),
            Self::Steer(plane) => plane.poll_transmit(now),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Rewrite(plane) => plane.deadline(),
            Self::Steer(plane) => plane.steer.deadline(),
        }
    }

    pub(super) fn flow_count(&self) -> usize {
        match self {
            Self::Rewrite(plane) => plane.flow_count(),
            Self::Steer(plane) => plane.steer.flow_count(),
        }
    }

    /// Whether the kernel has to be asked for its connections.
    pub(super) fn wants_entries(&self) -> bool {
        match self {
            Self::Rewrite(_) => false,
            Self::Steer(plane) => plane.steer.wants_entries(),
        }
    }

    /// It is asked.
    pub(super) fn ask(&mut self, now: Instant) {
        if let Self::Steer(plane) = self {
            plane.ask(now);
        }
    }

    /// It has answered.
    pub(super) fn survey(&mut self, now: Instant) {
        if let Self::Steer(plane) = self {
            plane.survey(now);
        }
    }

    /// The flows, for whoever decides about them.
    pub(super) fn flows(&self) -> &dyn Flows {
        match self {
            Self::Rewrite(plane) => &**plane,
            Self::Steer(plane) => &plane.steer,
        }
    }
}
