//! The thread that moves all packets of a scenario: between TUN interfaces in namespaces and the browsers' stacks.
//!
//! What it decides, the sans-IO [`Switch`](crate::network::Switch) and [`Stacks`](crate::stacks::Stacks) decide; here are
//! its descriptors and its clock.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use halod_core::time::Instant;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::tun::Tun;
use crate::actors::Actor;
use crate::network::{Attachment, Counters, Direction, IcmpSource, LinkConfig, PortId, Role, Segment};
use crate::stacks::{Observed, StackConfig, StackId};

mod worker;

use worker::Worker;

/// Packets that a catch holds until they are taken; later ones are dropped.
const CAUGHT_MAX: usize = 64;

/// What holds for all hosts of a fabric.
#[derive(Debug, Clone, Default)]
pub struct FabricConfig {
    /// Where "packet too big" comes from.
    pub icmp_source: IcmpSource,
    /// The directory for captures, which exists; `None` for no captures.
    pub captures: Option<PathBuf>,
}

/// What became of all packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// On the links.
    pub links: Counters,
    /// Packets that a namespace's kernel did not take, malformed ones.
    pub refused: u64,
    /// For how long the fabric's thread used a core while it gave packets to the router's interfaces. The kernel routes,
    /// translates and forwards them before it returns, unless they are queued to a process.
    pub forwarding: Duration,
    /// The most by which the fabric was late for something that was due.
    pub late_max: Duration,
}

/// An actor to attach.
#[derive(Debug)]
pub struct ActorHost<A> {
    /// On which side of the router.
    pub segment: Segment,
    /// Its link.
    pub link: LinkConfig,
    /// Its address and seed; the link uses the seed too.
    pub stack: StackConfig,
    /// The actor itself.
    pub actor: A,
}

/// A host of a fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By the port that an interface is attached to.
    Port(PortId),
    /// An actor.
    Stack(StackId),
}

/// A running fabric; it ends, and its interfaces with it, when dropped.
#[derive(Debug)]
pub struct Fabric<A: Actor> {
    /// `None` once it is to end.
    orders: Option<Sender<Order<A>>>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<io::Result<Totals>>>,
}

/// Something to do on the fabric's thread.
type Order<A> = Box<dyn FnOnce(&mut Worker<A>) + Send>;

impl<A: Actor + Send + 'static> Fabric<A>
where
    A::Command: Send,
{
    /// Starts one without hosts. What its actors observe goes to `observed`.
    ///
    /// # Errors
    ///
    /// If there can be no thread.
    pub fn start(config: FabricConfig, observed: Sender<Observed>) -> io::Result<Self> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (orders, receiver) = mpsc::channel();
        let wake_of_worker = Arc::clone(&wake);
        let thread = thread::Builder::new()
            .name("fabric".into())
            .spawn(move || Worker::new(config, observed).run(&receiver, &wake_of_worker))?;
        Ok(Self { orders: Some(orders), wake, thread: Some(thread) })
    }

    /// Attaches a host by its interface; its packets are captured to `<name>.pcap`.
    ///
    /// # Errors
    ///
    /// If its address is taken or its capture cannot be written.
    pub fn attach_tun(&self, name: &str, host: Attachment, tun: Tun) -> io::Result<PortId> {
        let name = name.to_owned();
        self.call(move |worker| worker.attach_tun(&name, &host, tun))?
    }

    /// Attaches an actor; its packets are captured to `<group>.pcap`, with those of the other actors of its group.
    ///
    /// # Errors
    ///
    /// As [`Fabric::attach_tun`].
    pub fn attach_actor(&self, group: &str, host: ActorHost<A>) -> io::Result<StackId> {
        let group = group.to_owned();
        let attachment = Attachment {
            segment: host.segment,
            role: Role::Host,
            addresses: host.stack.addresses.clone(),
            link: host.link,
            seed: host.stack.seed,
        };
        let attached =
            self.call(move |worker| worker.attach_stack(&group, &attachment, &host.stack, Some(host.actor)))??;
        Ok(attached.0)
    }

    /// Attaches a host on which nothing runs yet; its packets are captured to `<name>.pcap`.
    ///
    /// # Errors
    ///
    /// As [`Fabric::attach_tun`].
    pub fn attach_idle(&self, name: &str, host: Attachment, stack: StackConfig) -> io::Result<(StackId, PortId)> {
        let name = name.to_owned();
        self.call(move |worker| worker.attach_stack(&name, &host, &stack, None))?
    }

    /// Lets an actor run on a stack, in place of one that does.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn start_actor(&self, on: StackId, actor: A) -> io::Result<()> {
        self.call(move |worker| worker.start_actor(on, actor))
    }

    /// Kills what runs on a stack, whose kernel says so to its peers. Says when.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn kill(&self, stack: StackId) -> io::Result<Instant> {
        self.call(move |worker| worker.kill(stack))
    }

    /// Takes away the power of a stack, and with it all that it had open.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn power_off(&self, stack: StackId) -> io::Result<()> {
        self.call(move |worker| worker.power_off(stack))
    }

    /// Tells an actor to do something.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn command(&self, to: StackId, command: A::Command) -> io::Result<()> {
        self.call(move |worker| worker.command(to, command))
    }

    /// Sends a packet as if this host had sent it.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn inject(&self, from: PortId, packet: Vec<u8>) -> io::Result<()> {
        self.call(move |worker| worker.inject(from, packet))?
    }

    /// Catches the TCP segments from `peer` to `local` instead of delivering them, until the receiver is dropped.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn catch(&self, local: SocketAddr, peer: SocketAddr) -> io::Result<Receiver<Vec<u8>>> {
        let (sender, caught) = mpsc::sync_channel(CAUGHT_MAX);
        self.call(move |worker| worker.catch(local, peer, sender))?;
        Ok(caught)
    }

    /// Cuts a host's link in these directions, all at once. What is under way is lost. Returns when it was done.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn cut(&self, port: PortId, directions: &'static [Direction]) -> io::Result<Instant> {
        self.call(move |worker| worker.cut(port, directions))
    }

    /// Ends the cuts of a host's link.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn heal(&self, port: PortId) -> io::Result<()> {
        self.call(move |worker| worker.heal(port))
    }

    /// Makes the link of a host another one, in both directions.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn configure(&self, end: End, config: LinkConfig) -> io::Result<()> {
        self.call(move |worker| worker.configure(end, config))
    }

    /// Stops an actor, while its TCP goes on, or lets it go on.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn pause(&self, stack: StackId, pause: bool) -> io::Result<()> {
        self.call(move |worker| worker.pause(stack, pause))
    }

    /// Watches for the next FIN or RST that arrives from one of these addresses: when it did so can be received once.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn watch_closing(&self, from: [IpAddr; 2]) -> io::Result<Receiver<Instant>> {
        let (sender, seen) = mpsc::channel();
        self.call(move |worker| worker.watch_closing(from, sender))?;
        Ok(seen)
    }

    /// When the interface of a host last had a datagram for the network; `None` if it had none since this was last asked, and of
    /// stacks.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn take_last_datagram(&self, port: PortId) -> io::Result<Option<Instant>> {
        self.call(move |worker| worker.take_last_datagram(port))
    }

    /// What became of all packets so far.
    ///
    /// # Errors
    ///
    /// If the fabric has failed.
    pub fn totals(&self) -> io::Result<Totals> {
        self.call(|worker| worker.totals())
    }

    /// Ends it and completes the captures.
    ///
    /// # Errors
    ///
    /// What ended it before, or a capture that could not be written.
    pub fn stop(mut self) -> io::Result<Totals> {
        self.end()
    }

    /// Does something on the fabric's thread and waits for the result.
    fn call<T: Send + 'static>(&self, work: impl FnOnce(&mut Worker<A>) -> T + Send + 'static) -> io::Result<T> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the fabric has failed");
        let (reply, result) = mpsc::channel();
        let order: Order<A> = Box::new(move |worker| {
            // Who asked waits for it.
            let _ = reply.send(work(worker));
        });
        self.orders.as_ref().ok_or_else(gone)?.send(order).map_err(|_| gone())?;
        self.wake.write(1)?;
        result.recv().map_err(|_| gone())
    }
}

impl<A: Actor> Fabric<A> {
    fn end(&mut self) -> io::Result<Totals> {
        self.orders = None;
        self.wake.write(1)?;
        let Some(thread) = self.thread.take() else { return Ok(Totals::default()) };
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl<A: Actor> Drop for Fabric<A> {
    fn drop(&mut self) {
        if self.thread.is_some() && !thread::panicking() {
            // Who wants to know calls `stop`.
            let _ = self.end();
        }
    }
}
