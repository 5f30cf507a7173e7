//! A host's interface: feeds one packet to one set of sockets, and takes from a set what it has to send.
//!
//! Each socket is a set of its own, because smoltcp looks at a whole set for each packet.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use halod_core::time::Instant;
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint};

use super::StackConfig;
use super::device::Queues;

/// The resolution of smoltcp's time.
pub(super) const TICK: Duration = Duration::from_micros(1);

pub(super) struct Link {
    pub(super) interface: Interface,
    pub(super) queues: Queues,
}

impl Link {
    pub(super) fn new(now: Instant, config: &StackConfig) -> Self {
        let mut queues = Queues::new(config.mtu);
        let mut interface_config = Config::new(HardwareAddress::Ip);
        interface_config.random_seed = config.seed;
        let mut interface = Interface::new(interface_config, &mut queues, smoltcp_time(now));
        for address in &config.addresses {
            let prefix_length = if address.is_ipv4() { 32 } else { 128 };
            interface.update_ip_addrs(|addresses| {
                let cidr = IpCidr::new((*address).into(), prefix_length);
                addresses.push(cidr).expect("an interface has room for an address of each version");
            });
            // A wire without neighbours needs no gateway, but smoltcp wants the name of one.
            match *address {
                IpAddr::V4(address) => interface.routes_mut().add_default_ipv4_route(address),
                IpAddr::V6(address) => interface.routes_mut().add_default_ipv6_route(address),
            }
            .expect("a table has room for a route of each version");
        }
        Self { interface, queues }
    }

    /// Feeds the next packet to `set`; smoltcp answers a segment that none of its sockets takes with RST.
    pub(super) fn receive(&mut self, now: Instant, set: &mut SocketSet<'_>) {
        self.interface.poll_ingress_single(smoltcp_time(now), &mut self.queues, set);
    }

    /// Queues all that the sockets of `set` have to send now.
    pub(super) fn send(&mut self, now: Instant, set: &mut SocketSet<'_>) {
        while self.interface.poll_egress(smoltcp_time(now), &mut self.queues, set) == PollResult::SocketStateChanged {}
    }

    /// When the sockets of `set` have something to send by themselves.
    pub(super) fn due(&mut self, now: Instant, set: &SocketSet<'_>) -> Option<Instant> {
        let at = self.interface.poll_at(smoltcp_time(now), set)?;
        let micros = u64::try_from(at.total_micros()).unwrap_or(0);
        Some(Instant::from_nanos(micros.saturating_mul(1_000)))
    }
}

pub(super) fn socket_addr(endpoint: IpEndpoint) -> SocketAddr {
    SocketAddr::new(endpoint.addr.into(), endpoint.port)
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    let micros = i64::try_from(now.as_nanos() / 1_000).expect("nanoseconds in 64 bits are fewer microseconds");
    smoltcp::time::Instant::from_micros(micros)
}
