//! The router's host: HaloD on a stack of its own, and a model of what its kernel does with packets.
//!
//! The model is the packet rules and the routing, no more: every packet passes the plane before it is routed and after, as
//! `halod`'s rules for `rewrite` have it (of those for `steer` [`netfilter`](super::netfilter) shows the plane what they
//! queue); what is for this host goes to its stack, all else to the segment of its destination. There is no hop count, no
//! filter and no queue in it.

use std::net::IpAddr;
use std::time::Duration;

use halod::config::{Config, ConfigError};
use halod_core::cluster::Note;
use halod_core::plane::{Stage, Verdict};
use halod_core::time::Instant;
use halod_core::wire::{Packet, TcpFlags, reset_for};

use super::halod::Halod;
use crate::addresses;
use crate::cast::{self, MTU};
use crate::monitor::{Broken, Head, Monitor};
use crate::network::{Segment, destination};
use crate::scenario;
use crate::stacks::{Buffers, DYNAMIC_PORTS, StackConfig, StackId, Stacks};

/// The router.
pub(super) struct Router {
    stacks: Stacks<Halod>,
    id: StackId,
    monitor: Monitor,
}

/// Where the packets go that leave the router.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Segment, Vec<u8>);

impl Router {
    pub(super) fn new(now: Instant, router: &scenario::Router, seed: u64) -> Result<Self, ConfigError> {
        let config = Config::parse("the scenario's router", &cast::daemon_config(router))?;
        let own: Vec<IpAddr> = [Segment::Wan, Segment::Lan].map(|segment| addresses::router(segment).both()).concat();
        let control = addresses::control();
        let stack = StackConfig {
            addresses: addresses::router(Segment::Lan).both().to_vec(),
            listen: vec![control.port()],
            local_ports: DYNAMIC_PORTS,
            udp: Some(control.port()),
            buffers: Buffers::LARGE,
            seed,
            mtu: MTU,
        };
        let mut stacks = Stacks::default();
        let kind = router.plane.unwrap_or_default();
        let id = stacks.add(now, &stack, Halod::new(now, &config, &own, kind, router.survey, seed));
        let monitor = Monitor::new(&config.cluster(own), kind, &config.plane_config(seed));
        Ok(Self { stacks, id, monitor })
    }

    /// What was wrong with HaloD first.
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.monitor.broken()
    }

    /// Takes what HaloD would have logged since the last call, in order.
    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        self.halod_mut().take_notes()
    }

    /// The process of a node on this host is dead.
    pub(super) fn see_death(&mut self, now: Instant, host: [IpAddr; 2]) {
        let halod = self.stacks.actor(self.id).expect("HaloD runs");
        self.monitor.see_death(now, halod.routing(), host);
    }

    /// HaloD's clock jumps ahead.
    pub(super) fn jump(&mut self, now: Instant, time: Duration) {
        self.halod_mut().jump(time);
        self.stacks.wake(self.id, now);
        self.monitor.excuse(time);
    }

    fn halod(&self) -> &Halod {
        self.stacks.actor(self.id).expect("HaloD runs")
    }

    fn halod_mut(&mut self) -> &mut Halod {
        self.stacks.actor_mut(self.id).expect("HaloD runs")
    }

    /// A packet arrived on one of its interfaces.
    pub(super) fn receive(&mut self, now: Instant, mut packet: Vec<u8>, send: Sink<'_>) {
        if !self.pass(now, Stage::Ingress, &mut packet, send) {
            return;
        }
        let Some(to) = destination(&packet) else { return };
        let local = is_own(to);
        if !self.pass(now, Stage::Egress { local }, &mut packet, send) {
            return;
        }
        if to == addresses::control().ip() {
            self.stacks.deliver(now, self.id, packet);
        } else if local {
            refuse(packet, send);
        } else {
            route(packet, send);
        }
        self.look(now, send);
    }

    /// Does all that is due by `now`.
    pub(super) fn poll(&mut self, now: Instant, send: Sink<'_>) {
        self.stacks.poll(now, &mut |_, packet| route(packet, send));
        if self.halod().plane_deadline() <= now {
            self.halod_mut().plane_timeout(now);
        }
        self.look(now, send);
    }

    /// When [`Router::poll`] has something to do.
    pub(super) fn next_wakeup(&self) -> Instant {
        let plane = self.halod().plane_deadline();
        self.stacks.next_wakeup().map_or(plane, |stack| stack.min(plane))
    }

    /// Shows a packet to the plane, and says whether it goes on.
    fn pass(&mut self, now: Instant, stage: Stage, packet: &mut [u8], send: Sink<'_>) -> bool {
        let before = Head::of(packet);
        let verdict = self.halod_mut().pass(now, stage, packet);
        let goes_on = matches!(verdict, Verdict::Accept | Verdict::Rewritten);
        if let Verdict::Answer(reset) = verdict {
            let mut reset = reset.to_vec();
            self.monitor.see_answer(&mut reset);
            route(reset, send);
        }
        if let Some(before) = before {
            self.monitor.see_packet(stage, before, goes_on.then_some(&*packet));
        }
        goes_on
    }

    /// Sends what the plane has to send, and shows the monitor what has changed.
    fn look(&mut self, now: Instant, send: Sink<'_>) {
        let halod = self.stacks.actor_mut(self.id).expect("HaloD runs");
        while let Some(mut packet) = halod.poll_transmit(now) {
            self.monitor.see_sent(now, &mut packet);
            route(packet, send);
        }
        for routing in halod.take_published() {
            self.monitor.see_routing(now, &routing);
        }
        self.monitor.see_time(now, halod.flow_count());
    }
}

fn is_own(address: IpAddr) -> bool {
    let pairs = [addresses::router(Segment::Wan), addresses::router(Segment::Lan), addresses::service()];
    pairs.iter().any(|pair| pair.both().contains(&address))
}

/// Sends a packet to the segment of its destination. There is no other way out.
fn route(packet: Vec<u8>, send: Sink<'_>) {
    if let Some(segment) = destination(&packet).and_then(addresses::segment_of) {
        send(segment, packet);
    }
}

/// What the kernel answers on a port that nobody listens on.
fn refuse(mut packet: Vec<u8>, send: Sink<'_>) {
    if let Ok(Packet::Tcp(tcp)) = Packet::parse(&mut packet)
        && !tcp.flags().contains(TcpFlags::RST)
        && let Some(reset) = reset_for(&tcp)
    {
        route(reset.to_vec(), send);
    }
}
