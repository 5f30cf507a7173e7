//! One actor with its interface and sockets.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use halod_core::time::Instant;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint};

use super::StackConfig;
use super::connection::{Connection, News};
use super::device::Queues;
use super::ports::Ports;
use crate::actors::{Actor, ConnId, End, Input, Output};
use crate::observation::Observation;

/// The resolution of smoltcp's time.
pub(super) const TICK: Duration = Duration::from_micros(1);

const RECEIVE_BUFFER_LENGTH: usize = 8 << 10;
const SEND_BUFFER_LENGTH: usize = 2 << 10;
/// Connections of one stack at a time; while there are more, SYNs are refused.
const CONNECTIONS_MAX: usize = 4096;
/// Sockets in TIME-WAIT that are kept to acknowledge a FIN that comes again. Beyond it the oldest goes.
const LINGERING_MAX: usize = 4;

/// What is told of an actor's wishes and sights.
type Observe<'a> = &'a mut dyn FnMut(Observation);

pub(super) struct Stack<A> {
    actor: A,
    address: IpAddr,
    interface: Interface,
    queues: Queues,
    sockets: SocketSet<'static>,
    connections: BTreeMap<ConnId, Connection>,
    listeners: Vec<Listener>,
    /// Sockets that left LISTEN and are not established yet.
    half_open: Vec<SocketHandle>,
    /// Sockets that the actor is done with, which have an RST to send or wait in TIME-WAIT.
    lingering: VecDeque<Connection>,
    /// Dials that could not even be tried.
    refused: VecDeque<ConnId>,
    ports: Ports,
}

#[derive(Debug)]
struct Listener {
    port: u16,
    handle: Option<SocketHandle>,
}

impl<A: Actor> Stack<A> {
    pub(super) fn new(now: Instant, config: &StackConfig, actor: A) -> Self {
        let mut queues = Queues::new(config.mtu);
        let mut interface_config = Config::new(HardwareAddress::Ip);
        interface_config.random_seed = config.seed;
        let mut interface = Interface::new(interface_config, &mut queues, smoltcp_time(now));
        let prefix_length = if config.address.is_ipv4() { 32 } else { 128 };
        interface.update_ip_addrs(|addresses| {
            let cidr = IpCidr::new(config.address.into(), prefix_length);
            addresses.push(cidr).expect("an interface has room for one address");
        });
        // A wire without neighbours needs no gateway, but smoltcp wants the name of one.
        match config.address {
            IpAddr::V4(address) => interface.routes_mut().add_default_ipv4_route(address),
            IpAddr::V6(address) => interface.routes_mut().add_default_ipv6_route(address),
        }
        .expect("a table has room for one route");
        let mut stack = Self {
            actor,
            address: config.address,
            interface,
            queues,
            sockets: SocketSet::new(Vec::new()),
            connections: BTreeMap::new(),
            listeners: config.listen.iter().map(|port| Listener { port: *port, handle: None }).collect(),
            half_open: Vec::new(),
            lingering: VecDeque::new(),
            refused: VecDeque::new(),
            ports: Ports::new(config.seed),
        };
        stack.listen();
        stack
    }

    pub(super) fn command(&mut self, now: Instant, command: A::Command) {
        self.actor.command(now, command);
    }

    pub(super) fn deliver(&mut self, packet: Vec<u8>) {
        self.queues.deliver(packet);
    }

    /// Does all that is due, and says when there is more to do.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        send: &mut dyn FnMut(Vec<u8>),
        observe: Observe<'_>,
    ) -> Option<Instant> {
        if self.actor.deadline().is_some_and(|deadline| deadline <= now) {
            self.actor.handle(now, Input::Timeout);
        }
        self.obey(now, observe);
        let time = smoltcp_time(now);
        self.interface.poll_maintenance(time);
        loop {
            match self.interface.poll_ingress_single(time, &mut self.queues, &mut self.sockets) {
                PollIngressSingleResult::None => break,
                PollIngressSingleResult::PacketProcessed => {}
                // After each, so that the next SYN finds a listener and no packet hides what another one did.
                PollIngressSingleResult::SocketStateChanged => self.settle(now, observe),
            }
        }
        self.interface.poll(time, &mut self.queues, &mut self.sockets);
        self.settle(now, observe);
        // What settling gave to send.
        self.interface.poll(time, &mut self.queues, &mut self.sockets);
        self.forget();
        self.queues.sent().for_each(send);
        self.next_wakeup(now)
    }

    #[cfg(test)]
    pub(super) fn socket_count(&self) -> usize {
        self.sockets.iter().count()
    }

    fn next_wakeup(&mut self, now: Instant) -> Option<Instant> {
        let time = smoltcp_time(now);
        let stack = self.interface.poll_at(time, &self.sockets).map(|at| {
            let micros = u64::try_from(at.total_micros()).unwrap_or(0);
            Instant::from_nanos(micros.saturating_mul(1_000))
        });
        [stack, self.actor.deadline()].into_iter().flatten().min()
    }

    /// Tells the actor what happened to its sockets, until there is nothing more.
    fn settle(&mut self, now: Instant, observe: Observe<'_>) {
        self.listen();
        self.accept(now);
        let ids: Vec<ConnId> = self.connections.keys().copied().collect();
        for id in ids {
            while let Some(news) = self.news(id) {
                self.tell(now, id, news);
                self.obey(now, observe);
            }
        }
        self.obey(now, observe);
    }

    fn news(&mut self, id: ConnId) -> Option<News> {
        // It may have been aborted on the news of another one.
        let connection = self.connections.get_mut(&id)?;
        connection.news(self.sockets.get_mut(connection.handle))
    }

    fn tell(&mut self, now: Instant, id: ConnId, news: News) {
        match news {
            News::Connected => self.actor.handle(now, Input::Connected(id)),
            News::Received(bytes) => self.actor.handle(now, Input::Received(id, &bytes)),
            News::Acked(offset) => self.actor.handle(now, Input::Acked(id, offset)),
            News::PeerFinished => self.actor.handle(now, Input::PeerFinished(id)),
            News::Ended(end) => {
                let connection = self.connections.remove(&id).expect("only a connection has news");
                self.lingering.push_back(connection);
                self.actor.handle(now, Input::Ended(id, end));
            }
        }
    }

    /// Does what the actor wants, then moves its bytes towards the sockets.
    fn obey(&mut self, now: Instant, observe: Observe<'_>) {
        loop {
            while let Some(output) = self.actor.poll() {
                match output {
                    Output::Dial(id, to) => self.dial(id, to),
                    Output::Send(id, bytes) => self.with_connection(id, |connection| connection.queue(&bytes)),
                    Output::Finish(id) => self.with_connection(id, Connection::finish),
                    Output::Abort(id) => self.abort(id),
                    // A stack has no UDP: only nodes and HaloD exchange datagrams.
                    Output::SendDatagram(..) => {}
                    Output::Observe(observation) => observe(observation),
                }
            }
            let Some(id) = self.refused.pop_front() else { break };
            self.actor.handle(now, Input::Ended(id, End::Refused));
        }
        for connection in self.connections.values_mut() {
            connection.write(self.sockets.get_mut(connection.handle));
        }
    }

    fn with_connection(&mut self, id: ConnId, act: impl FnOnce(&mut Connection)) {
        // The connection may have ended while the actor was making up its mind.
        if let Some(connection) = self.connections.get_mut(&id) {
            act(connection);
        }
    }

    fn dial(&mut self, id: ConnId, to: SocketAddr) {
        let port = if self.connections.len() < CONNECTIONS_MAX { self.ports.take() } else { None };
        let Some(port) = port else { return self.refused.push_back(id) };
        let mut socket = new_socket();
        let local = IpEndpoint::new(self.address.into(), port);
        if socket.connect(self.interface.context(), IpEndpoint::from(to), local).is_err() {
            self.ports.release(port);
            return self.refused.push_back(id);
        }
        let handle = self.sockets.add(socket);
        self.connections.insert(id, Connection::dialled(handle, port));
    }

    fn abort(&mut self, id: ConnId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
        if socket.state() == State::SynSent {
            // Nobody to reset: a late SYN-ACK finds no socket and is answered with RST.
            self.sockets.remove(connection.handle);
            self.ports.release(connection.local_port);
        } else {
            socket.abort();
            self.lingering.push_back(connection);
        }
    }

    /// Sees to it that each port has one socket in LISTEN: smoltcp turns that very socket into the connection.
    fn listen(&mut self) {
        for listener in &mut self.listeners {
            if let Some(handle) = listener.handle {
                if self.sockets.get::<Socket<'_>>(handle).state() == State::Listen {
                    continue;
                }
                self.half_open.push(handle);
                listener.handle = None;
            }
            if self.connections.len() + self.half_open.len() < CONNECTIONS_MAX {
                let mut socket = new_socket();
                socket.listen(listener.port).expect("a listener's port is not zero");
                listener.handle = Some(self.sockets.add(socket));
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        let mut waiting = Vec::new();
        for handle in std::mem::take(&mut self.half_open) {
            let socket = self.sockets.get::<Socket<'_>>(handle);
            match (socket.state(), socket.local_endpoint(), socket.remote_endpoint()) {
                (State::SynReceived, ..) => waiting.push(handle),
                // Reset before it was established: back in LISTEN, where another socket is by now.
                (State::Listen | State::Closed, ..) | (_, None, _) | (_, _, None) => {
                    self.sockets.remove(handle);
                }
                (_, Some(local), Some(peer)) => {
                    let id = self.actor.accept(now, socket_addr(local), socket_addr(peer));
                    self.connections.insert(id, Connection::accepted(handle, local.port));
                }
            }
        }
        self.half_open = waiting;
    }

    /// Removes sockets that have nothing more to say.
    fn forget(&mut self) {
        let mut kept = VecDeque::new();
        while let Some(connection) = self.lingering.pop_front() {
            let socket = self.sockets.get::<Socket<'_>>(connection.handle);
            let silent = socket.remote_endpoint().is_none();
            if silent || self.lingering.len() + kept.len() >= LINGERING_MAX {
                self.sockets.remove(connection.handle);
                self.ports.release(connection.local_port);
            } else {
                kept.push_back(connection);
            }
        }
        self.lingering = kept;
    }
}

fn new_socket() -> Socket<'static> {
    let mut socket =
        Socket::new(SocketBuffer::new(vec![0; RECEIVE_BUFFER_LENGTH]), SocketBuffer::new(vec![0; SEND_BUFFER_LENGTH]));
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket
}

fn socket_addr(endpoint: IpEndpoint) -> SocketAddr {
    SocketAddr::new(endpoint.addr.into(), endpoint.port)
}

fn smoltcp_time(now: Instant) -> smoltcp::time::Instant {
    let micros = i64::try_from(now.as_nanos() / 1_000).expect("nanoseconds in 64 bits are fewer microseconds");
    smoltcp::time::Instant::from_micros(micros)
}
