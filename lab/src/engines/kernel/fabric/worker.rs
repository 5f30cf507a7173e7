//! The fabric's thread: waits for packets, orders and due times, and carries packets between descriptors and stacks.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, TrySendError};
use std::time::{Duration, SystemTime};

use halod_core::time::Instant;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use rustix::process::setpriority_process;

use super::super::clock;
use super::super::pcap::Capture;
use super::super::tun::Tun;
use super::{FabricConfig, Order, Totals};
use crate::actors::Actor;
use crate::network::{
    Attachment, Direction, LinkConfig, PortId, Role, Switch, closing_source, is_datagram, tcp_endpoints,
};
use crate::stacks::{Observed, StackConfig, StackId, Stacks};

/// Packets taken from one interface before the others have their turn.
const BATCH: usize = 64;
/// The thread's own priority, from -20, the highest, to 19. What hosts compute slows no network down.
const NICE: i32 = -15;
/// The largest IP packet.
const PACKET_LENGTH_MAX: usize = 65_535;

pub(super) struct Worker<A: Actor> {
    switch: Switch,
    stacks: Stacks<A>,
    hosts: BTreeMap<PortId, Host>,
    /// The ports of interfaces, few among many stacks.
    tuns: Vec<PortId>,
    /// By the number of the stack.
    ports_of_stacks: Vec<PortId>,
    captures: BTreeMap<String, Capture>,
    capture_directory: Option<PathBuf>,
    catches: Vec<Catch>,
    watches: Vec<Watch>,
    observed: Sender<Observed>,
    refused: u64,
    forwarding: Duration,
    late_max: Duration,
}

struct Host {
    role: Role,
    end: End,
    capture: Option<String>,
    /// When its interface last had one for the network; of a stack it is not noted.
    last_datagram: Option<Instant>,
}

enum End {
    Tun(Tun),
    Stack(StackId),
}

struct Catch {
    local: SocketAddr,
    peer: SocketAddr,
    caught: SyncSender<Vec<u8>>,
}

/// Waits for a FIN or RST from a host.
struct Watch {
    from: [IpAddr; 2],
    seen: Sender<Instant>,
}

impl<A: Actor> Worker<A> {
    pub(super) fn new(config: FabricConfig, observed: Sender<Observed>) -> Self {
        Self {
            switch: Switch::new(config.icmp_source),
            stacks: Stacks::default(),
            hosts: BTreeMap::new(),
            tuns: Vec::new(),
            ports_of_stacks: Vec::new(),
            captures: BTreeMap::new(),
            capture_directory: config.captures,
            catches: Vec::new(),
            watches: Vec::new(),
            observed,
            refused: 0,
            forwarding: Duration::ZERO,
            late_max: Duration::ZERO,
        }
    }

    /// Works until there is nobody left to give orders.
    pub(super) fn run(mut self, orders: &Receiver<Order<A>>, wake: &EventFd) -> io::Result<Totals> {
        // Linux lets a thread sleep 50 us too long unless told otherwise.
        set_timerslack(1)?;
        // Where this is not permitted, hosts that compute slow the network down.
        let _ = setpriority_process(None, NICE);
        let mut buffer = vec![0; PACKET_LENGTH_MAX];
        loop {
            let due = self.next_wakeup();
            let ready = self.wait(wake, due)?;
            self.late_max = self.late_max.max(due.map_or(Duration::ZERO, |due| clock::now().since(due)));
            // EAGAIN: something else woke us.
            let _ = wake.read();
            loop {
                match orders.try_recv() {
                    Ok(order) => order(&mut self),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return self.finish(),
                }
            }
            for port in ready {
                self.receive(port, &mut buffer)?;
            }
            self.advance(clock::now())?;
        }
    }

    pub(super) fn attach_tun(&mut self, name: &str, host: &Attachment, tun: Tun) -> io::Result<PortId> {
        let port = self.attach(name, host, End::Tun(tun))?;
        self.tuns.push(port);
        Ok(port)
    }

    /// Nothing runs on the stack yet if there is no actor.
    pub(super) fn attach_stack(
        &mut self,
        name: &str,
        host: &Attachment,
        stack: &StackConfig,
        actor: Option<A>,
    ) -> io::Result<(StackId, PortId)> {
        let id = StackId(self.ports_of_stacks.len());
        let port = self.attach(name, host, End::Stack(id))?;
        self.ports_of_stacks.push(port);
        let added = match actor {
            Some(actor) => self.stacks.add(clock::now(), stack, actor),
            None => self.stacks.add_idle(clock::now(), stack),
        };
        debug_assert_eq!(added, id, "stacks are numbered in the order of their arrival");
        Ok((id, port))
    }

    pub(super) fn start_actor(&mut self, on: StackId, actor: A) {
        self.stacks.start(clock::now(), on, actor);
    }

    pub(super) fn kill(&mut self, stack: StackId) -> Instant {
        let now = clock::now();
        self.stacks.kill(now, stack);
        now
    }

    pub(super) fn power_off(&mut self, stack: StackId) {
        self.stacks.power_off(stack);
    }

    pub(super) fn command(&mut self, to: StackId, command: A::Command) {
        self.stacks.command(clock::now(), to, command);
    }

    pub(super) fn inject(&mut self, from: PortId, packet: Vec<u8>) -> io::Result<()> {
        self.send(clock::now(), from, packet)
    }

    pub(super) fn catch(&mut self, local: SocketAddr, peer: SocketAddr, caught: SyncSender<Vec<u8>>) {
        self.catches.push(Catch { local, peer, caught });
    }

    pub(super) fn cut(&mut self, port: PortId, directions: &[Direction]) -> Instant {
        for &direction in directions {
            self.switch.cut(port, direction);
        }
        clock::now()
    }

    pub(super) fn heal(&mut self, port: PortId) {
        self.switch.heal(port);
    }

    pub(super) fn configure(&mut self, end: super::End, config: LinkConfig) {
        let port = match end {
            super::End::Port(port) => port,
            super::End::Stack(stack) => self.ports_of_stacks[stack.0],
        };
        self.switch.configure(port, config);
    }

    pub(super) fn pause(&mut self, stack: StackId, pause: bool) {
        if pause {
            self.stacks.freeze(stack);
        } else {
            self.stacks.thaw(clock::now(), stack);
        }
    }

    pub(super) fn take_last_datagram(&mut self, port: PortId) -> Option<Instant> {
        self.hosts.get_mut(&port)?.last_datagram.take()
    }

    pub(super) fn watch_closing(&mut self, from: [IpAddr; 2], seen: Sender<Instant>) {
        self.watches.push(Watch { from, seen });
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            links: self.switch.counters(),
            refused: self.refused,
            forwarding: self.forwarding,
            late_max: self.late_max,
        }
    }

    fn attach(&mut self, name: &str, host: &Attachment, end: End) -> io::Result<PortId> {
        let capture = match &self.capture_directory {
            None => None,
            Some(directory) => {
                if let Entry::Vacant(entry) = self.captures.entry(name.to_owned()) {
                    entry.insert(Capture::create(&directory.join(format!("{name}.pcap")))?);
                }
                Some(name.to_owned())
            }
        };
        let port = self.switch.attach(host).map_err(|error| io::Error::new(io::ErrorKind::AddrInUse, error))?;
        self.hosts.insert(port, Host { role: host.role, end, capture, last_datagram: None });
        Ok(port)
    }

    /// Sleeps until there is something to do, and says which interfaces have packets.
    fn wait(&self, wake: &EventFd, due: Option<Instant>) -> io::Result<Vec<PortId>> {
        let tuns = self.tuns.iter().filter_map(|port| match &self.hosts[port].end {
            End::Tun(tun) => Some((*port, tun)),
            End::Stack(_) => None,
        });
        let (ports, mut fds): (Vec<_>, Vec<_>) =
            tuns.map(|(port, tun)| (port, PollFd::new(tun.as_fd(), PollFlags::POLLIN))).unzip();
        fds.push(PollFd::new(wake.as_fd(), PollFlags::POLLIN));
        let timeout = due.map(|due| TimeSpec::from_duration(due.since(clock::now())));
        match ppoll(&mut fds, timeout, None) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        Ok(ports.into_iter().zip(&fds).filter_map(|(port, fd)| ready(fd).then_some(port)).collect())
    }

    fn next_wakeup(&self) -> Option<Instant> {
        [self.switch.next_wakeup(), self.stacks.next_wakeup()].into_iter().flatten().min()
    }

    fn receive(&mut self, port: PortId, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..BATCH {
            let host = self.hosts.get_mut(&port).expect("a port stays with its host");
            let End::Tun(tun) = &host.end else { break };
            let Some(length) = tun.receive(buffer)? else { break };
            let (now, packet) = (clock::now(), &buffer[..length]);
            if is_datagram(packet) {
                host.last_datagram = Some(now);
            }
            self.send(now, port, packet.to_vec())?;
        }
        Ok(())
    }

    /// Does all that is due by `now`, and what follows from it at once.
    fn advance(&mut self, now: Instant) -> io::Result<()> {
        loop {
            while let Some((port, packet)) = self.switch.poll(now) {
                self.deliver(now, port, packet)?;
            }
            let mut sent = Vec::new();
            self.stacks.poll(now, &mut |from, packet| sent.push((from, packet)));
            for observed in self.stacks.observed() {
                // Nobody listens any more when the scenario is over.
                let _ = self.observed.send(observed);
            }
            for (from, packet) in sent {
                self.send(now, self.ports_of_stacks[from.0], packet)?;
            }
            if self.switch.next_wakeup().is_none_or(|next| next > now) {
                return Ok(());
            }
        }
    }

    fn send(&mut self, now: Instant, from: PortId, packet: Vec<u8>) -> io::Result<()> {
        self.record(from, &packet)?;
        self.switch.send(now, from, packet);
        Ok(())
    }

    fn deliver(&mut self, now: Instant, to: PortId, packet: Vec<u8>) -> io::Result<()> {
        self.record(to, &packet)?;
        self.show_to_watches(now, &packet);
        let Some(packet) = self.offer_to_catches(packet) else { return Ok(()) };
        let Host { role, end, .. } = &self.hosts[&to];
        match end {
            End::Tun(tun) => {
                let before = matches!(role, Role::Router).then(clock::thread_cpu_time);
                self.refused += u64::from(tun.send(&packet).is_err());
                if let Some(before) = before {
                    self.forwarding += clock::thread_cpu_time().saturating_sub(before);
                }
            }
            End::Stack(id) => self.stacks.deliver(now, *id, packet),
        }
        Ok(())
    }

    fn show_to_watches(&mut self, now: Instant, packet: &[u8]) {
        if self.watches.is_empty() {
            return;
        }
        let Some(source) = closing_source(packet) else { return };
        self.watches.retain(|watch| {
            let is_watched = watch.from.contains(&source);
            if is_watched {
                // Who does not wait any more does not want to know.
                let _ = watch.seen.send(now);
            }
            !is_watched
        });
    }

    /// Gives the packet back if nobody wants to catch it.
    fn offer_to_catches(&mut self, packet: Vec<u8>) -> Option<Vec<u8>> {
        if self.catches.is_empty() {
            return Some(packet);
        }
        let endpoints = tcp_endpoints(&packet);
        let wanted = |catch: &Catch| endpoints == Some((catch.peer, catch.local));
        let mut packet = packet;
        while let Some(at) = self.catches.iter().position(wanted) {
            match self.catches[at].caught.try_send(packet) {
                Ok(()) | Err(TrySendError::Full(_)) => return None,
                Err(TrySendError::Disconnected(unwanted)) => {
                    self.catches.remove(at);
                    packet = unwanted;
                }
            }
        }
        Some(packet)
    }

    fn record(&mut self, port: PortId, packet: &[u8]) -> io::Result<()> {
        match &self.hosts[&port].capture {
            None => Ok(()),
            Some(name) => {
                let capture = self.captures.get_mut(name).expect("a host's capture is open until the end");
                capture.record(SystemTime::now(), packet)
            }
        }
    }

    fn finish(mut self) -> io::Result<Totals> {
        for capture in std::mem::take(&mut self.captures).into_values() {
            capture.finish()?;
        }
        Ok(self.totals())
    }
}
