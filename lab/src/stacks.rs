//! Actors on smoltcp stacks, many in one thread: each is the process of a host with its own IP addresses, interface and
//! TCP and UDP sockets. A process can be killed, frozen and started again, with the consequences that Linux gives that.
//!
//! No I/O and no clock: packets come in and go out as bytes, time as an argument. Finding the stack that a packet is for
//! is the network's business. Only stacks with something to do are polled, in the order of their times.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use halod_core::time::Instant;

use crate::actors::Actor;
use crate::observation::Observation;

mod connection;
mod device;
mod host;
mod link;
mod ports;
mod process;
mod segment;
mod stack;
mod tcp;
mod udp;

pub use ports::DYNAMIC_PORTS;
use stack::Stack;

/// One actor with its stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(pub usize);

/// How a stack is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackConfig {
    /// Its addresses, at most one of each IP version; of no other host.
    pub addresses: Vec<IpAddr>,
    /// The TCP ports that it listens on, on all addresses.
    pub listen: Vec<u16>,
    /// The ports that connections are dialled from.
    pub local_ports: RangeInclusive<u16>,
    /// The port of its UDP socket; 0 stands for any that is free, `None` for no socket.
    pub udp: Option<u16>,
    /// The buffers of each of its TCP sockets.
    pub buffers: Buffers,
    /// Decides its initial sequence numbers and the first of its local ports.
    pub seed: u64,
    /// The largest IP packet that it sends or asks for, in bytes.
    pub mtu: u16,
}

/// The buffers of a TCP socket, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// What is received and not read yet: the largest window that it offers.
    pub receive: usize,
    /// What is sent and not acknowledged yet.
    pub send: usize,
}

impl Buffers {
    /// For hosts that say little, and are many.
    pub const SMALL: Self = Self { receive: 8 << 10, send: 2 << 10 };
    /// For hosts that have much to say.
    pub const LARGE: Self = Self { receive: 64 << 10, send: 64 << 10 };
}

/// An observation, who made it and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// When.
    pub at: Instant,
    /// Who.
    pub by: StackId,
    /// What.
    pub observation: Observation,
}

/// A group of stacks that are driven together.
pub struct Stacks<A: Actor> {
    stacks: Vec<Scheduled<A>>,
    wakeups: BTreeSet<(Instant, StackId)>,
    observed: VecDeque<Observed>,
}

struct Scheduled<A: Actor> {
    stack: Stack<A>,
    wakeup: Option<Instant>,
}

impl<A: Actor> Default for Stacks<A> {
    fn default() -> Self {
        Self { stacks: Vec::new(), wakeups: BTreeSet::new(), observed: VecDeque::new() }
    }
}

impl<A: Actor> Stacks<A> {
    /// Adds a host; its actor is polled at `now` for the first time.
    pub fn add(&mut self, now: Instant, config: &StackConfig, actor: A) -> StackId {
        let id = self.add_idle(now, config);
        self.start(now, id, actor);
        id
    }

    /// Adds a host on which nothing runs yet: its kernel refuses connections.
    pub fn add_idle(&mut self, now: Instant, config: &StackConfig) -> StackId {
        let id = StackId(self.stacks.len());
        self.stacks.push(Scheduled { stack: Stack::new(now, config), wakeup: None });
        id
    }

    /// Starts a process, on a host that is on or off, in place of one that runs. Its listeners open at once; its actor
    /// is polled at `now` for the first time. What a former process left to be sent still is.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn start(&mut self, now: Instant, id: StackId, actor: A) {
        self.stacks[id.0].stack.start(now, actor);
        self.wake(id, now);
    }

    /// SIGKILL: the actor is gone, and the kernel closes its sockets. A connection with unread bytes, or one that was
    /// never accepted, ends in RST, any other in FIN after what its send buffer holds; what comes in after that is
    /// answered with RST. Dials vanish.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn kill(&mut self, now: Instant, id: StackId) {
        self.stacks[id.0].stack.kill(now);
        self.wake(id, now);
    }

    /// Process and kernel vanish: no packet leaves or is taken in, until [`Stacks::start`].
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn power_off(&mut self, id: StackId) {
        self.stacks[id.0].stack.power_off();
    }

    /// SIGSTOP: the kernel goes on, with what is in its buffers; the actor is told nothing. Commands wait.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn freeze(&mut self, id: StackId) {
        self.stacks[id.0].stack.freeze();
    }

    /// SIGCONT: the actor learns all that it slept through, in order, before its deadline counts again.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn thaw(&mut self, now: Instant, id: StackId) {
        self.stacks[id.0].stack.thaw(now);
        self.wake(id, now);
    }

    /// Carries out a command of the scenario at the next poll. One for a host without a process is lost.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn command(&mut self, now: Instant, to: StackId, command: A::Command) {
        self.stacks[to.0].stack.command(now, command);
        self.wake(to, now);
    }

    /// What runs on a host, if it does and is not frozen.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn actor(&self, id: StackId) -> Option<&A> {
        self.stacks[id.0].stack.actor()
    }

    /// The same, to be told something that it learns by no packet; [`Stacks::wake`] it if there is something to do then.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn actor_mut(&mut self, id: StackId) -> Option<&mut A> {
        self.stacks[id.0].stack.actor_mut()
    }

    /// A packet arrived for a stack; it is looked at in the next poll. More than a full queue are dropped.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn deliver(&mut self, now: Instant, to: StackId, packet: Vec<u8>) {
        self.stacks[to.0].stack.deliver(packet);
        self.wake(to, now);
    }

    /// Does all that is due by `now`; packets that stacks send go to `sink`.
    pub fn poll(&mut self, now: Instant, sink: &mut dyn FnMut(StackId, Vec<u8>)) {
        while let Some(&(at, id)) = self.wakeups.first() {
            if at > now {
                break;
            }
            self.wakeups.pop_first();
            let scheduled = &mut self.stacks[id.0];
            scheduled.wakeup = None;
            let observed = &mut self.observed;
            let mut observe = |observation| observed.push_back(Observed { at: now, by: id, observation });
            let next = scheduled.stack.poll(now, &mut |packet| sink(id, packet), &mut observe);
            if let Some(next) = next {
                // smoltcp counts microseconds: what it wants done within this one is done at the next.
                self.wake(id, next.max(now + link::TICK));
            }
        }
    }

    /// When [`Stacks::poll`] has something to do; `None` while all wait for packets.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.wakeups.first().map(|(at, _)| *at)
    }

    /// Takes what was observed, in order. To be emptied after each poll.
    pub fn observed(&mut self) -> impl Iterator<Item = Observed> {
        self.observed.drain(..)
    }

    /// Sees to it that a stack is polled at `at` or before.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn wake(&mut self, id: StackId, at: Instant) {
        let wakeup = &mut self.stacks[id.0].wakeup;
        if wakeup.is_some_and(|earlier| earlier <= at) {
            return;
        }
        if let Some(later) = wakeup.replace(at) {
            self.wakeups.remove(&(later, id));
        }
        self.wakeups.insert((at, id));
    }
}

#[cfg(test)]
mod tests;
