//! Actors on smoltcp TCP stacks, many in one thread: each has its own IP address, interface and sockets.
//!
//! No I/O and no clock: packets come in and go out as bytes, time as an argument. Finding the stack that a packet is for
//! is the network's business. Only stacks with something to do are polled, in the order of their times.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use halod_core::time::Instant;

use crate::actors::Actor;
use crate::observation::Observation;

mod connection;
mod device;
mod ports;
mod stack;

use stack::Stack;

/// One actor with its stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(pub usize);

/// How a stack is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackConfig {
    /// Its address; of no other host.
    pub address: IpAddr,
    /// The TCP ports that it listens on.
    pub listen: Vec<u16>,
    /// Decides its initial sequence numbers and the first of its local ports.
    pub seed: u64,
    /// The largest IP packet that it sends or asks for, in bytes.
    pub mtu: u16,
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
pub struct Stacks<A> {
    stacks: Vec<Scheduled<A>>,
    wakeups: BTreeSet<(Instant, StackId)>,
    observed: VecDeque<Observed>,
}

struct Scheduled<A> {
    stack: Stack<A>,
    wakeup: Option<Instant>,
}

impl<A> Default for Stacks<A> {
    fn default() -> Self {
        Self { stacks: Vec::new(), wakeups: BTreeSet::new(), observed: VecDeque::new() }
    }
}

impl<A: Actor> Stacks<A> {
    /// Adds a host; its actor is polled at `now` for the first time.
    pub fn add(&mut self, now: Instant, config: &StackConfig, actor: A) -> StackId {
        let id = StackId(self.stacks.len());
        self.stacks.push(Scheduled { stack: Stack::new(now, config, actor), wakeup: None });
        self.wake(id, now);
        id
    }

    /// Carries out a command of the scenario at the next poll.
    ///
    /// # Panics
    ///
    /// If there is no such stack.
    pub fn command(&mut self, now: Instant, to: StackId, command: A::Command) {
        self.stacks[to.0].stack.command(now, command);
        self.wake(to, now);
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
                self.wake(id, next.max(now + stack::TICK));
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
    fn wake(&mut self, id: StackId, at: Instant) {
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
