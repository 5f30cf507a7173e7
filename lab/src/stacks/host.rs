//! The kernel of a host: its interface and its sockets, which live as long as its power is on, with or without a process.

use std::net::{IpAddr, SocketAddr};

use halod_core::time::Instant;
use smoltcp::iface::SocketSet;

use super::StackConfig;
use super::link::Link;
use super::ports::{DYNAMIC_PORTS, Ports};
use super::segment::{About, Tuple};
use super::tcp::Tcp;
use super::udp::Udp;
use crate::actors::ConnId;

pub(super) struct Host {
    addresses: Vec<IpAddr>,
    listen: Vec<u16>,
    udp_port: Option<u16>,
    udp_ports: Ports,
    link: Link,
    pub(super) tcp: Tcp,
    udp: Option<Udp>,
    /// Whether the listeners are open.
    listening: bool,
}

impl Host {
    pub(super) fn new(now: Instant, config: &StackConfig) -> Self {
        Self {
            addresses: config.addresses.clone(),
            listen: config.listen.clone(),
            udp_port: config.udp,
            udp_ports: Ports::new(DYNAMIC_PORTS, config.seed),
            link: Link::new(now, config),
            tcp: Tcp::new(config.buffers, Ports::new(config.local_ports.clone(), config.seed)),
            udp: None,
            listening: false,
        }
    }

    /// Opens the listeners and the UDP socket of a new process.
    pub(super) fn open(&mut self) {
        self.listening = true;
        self.udp = match self.udp_port {
            None => None,
            Some(0) => self.udp_ports.take(|_| true).map(Udp::bind),
            Some(port) => Some(Udp::bind(port)),
        };
    }

    /// Closes all that the process had open.
    pub(super) fn close(&mut self, now: Instant) {
        self.close_silently();
        self.tcp.orphan_all(now);
    }

    /// The power is gone, and with it all packets and sockets.
    pub(super) fn power_off(&mut self) {
        self.close_silently();
        self.tcp.clear();
        self.link.queues.clear();
    }

    fn close_silently(&mut self) {
        self.listening = false;
        self.udp = None;
    }

    pub(super) fn deliver(&mut self, packet: Vec<u8>) {
        self.link.queues.deliver(packet);
    }

    /// Takes in the next packet; `false` if there is none.
    pub(super) fn receive(&mut self, now: Instant) -> bool {
        let Some(packet) = self.link.queues.next() else { return false };
        match About::read(packet) {
            About::Tcp(tuple, syn) => {
                let opens = syn && self.listening && self.listens_at(tuple.local);
                self.tcp.receive(now, &mut self.link, tuple, opens);
            }
            About::Udp(port) => match &mut self.udp {
                Some(udp) if udp.port == port => {
                    udp.receive(now, &mut self.link);
                    udp.ready = true;
                }
                _ => self.link.queues.drop_next(),
            },
            About::Other => self.link.receive(now, &mut SocketSet::new(Vec::new())),
        }
        true
    }

    fn listens_at(&self, local: SocketAddr) -> bool {
        self.listen.contains(&local.port()) && self.addresses.contains(&local.ip())
    }

    /// Opens a connection; `None` if it cannot even be tried.
    pub(super) fn dial(&mut self, id: ConnId, to: SocketAddr) -> Option<Tuple> {
        let from = self.source(to)?;
        self.tcp.dial(&mut self.link, id, from, to)
    }

    pub(super) fn send_datagram(&mut self, now: Instant, to: SocketAddr, bytes: &[u8]) {
        let reachable = self.source(to).is_some() && to.port() != 0;
        if let Some(udp) = self.udp.as_mut().filter(|_| reachable) {
            udp.send(now, &mut self.link, to, bytes);
        }
    }

    /// The next datagram that the process has not read.
    pub(super) fn read_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let udp = self.udp.as_mut().filter(|udp| udp.ready)?;
        let datagram = udp.read();
        udp.ready = datagram.is_some();
        datagram
    }

    fn source(&self, to: SocketAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == to.is_ipv4())
    }

    /// Sends all that is due.
    pub(super) fn send(&mut self, now: Instant, send: &mut dyn FnMut(Vec<u8>)) {
        self.tcp.send(now, &mut self.link);
        self.link.queues.sent().for_each(send);
    }
}
