//! One host: what runs on it, and how that stops and goes on.

use halod_core::time::Instant;

use super::StackConfig;
use super::host::Host;
use super::process::{Observe, Process};
use crate::actors::Actor;

pub(super) struct Stack<A: Actor> {
    state: State<A>,
    host: Host,
}

/// What there is of a host.
enum State<A: Actor> {
    /// Neither process nor kernel.
    Off,
    /// The kernel only: it goes on with the sockets that a process has left.
    Idle,
    Running(Process<A>),
    /// The kernel goes on; the process sleeps on its sockets, and what it was told waits.
    Frozen(Process<A>, Vec<A::Command>),
}

impl<A: Actor> Stack<A> {
    pub(super) fn new(now: Instant, config: &StackConfig) -> Self {
        Self { state: State::Idle, host: Host::new(now, config) }
    }

    /// A new process, in place of any other.
    pub(super) fn start(&mut self, now: Instant, actor: A) {
        self.kill(now);
        self.host.open();
        self.state = State::Running(Process::new(actor));
    }

    pub(super) fn kill(&mut self, now: Instant) {
        if let State::Running(_) | State::Frozen(..) = self.state {
            self.host.close(now);
            self.state = State::Idle;
        }
    }

    pub(super) fn power_off(&mut self) {
        self.host.power_off();
        self.state = State::Off;
    }

    pub(super) fn freeze(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Off) {
            State::Running(process) => State::Frozen(process, Vec::new()),
            other => other,
        };
    }

    pub(super) fn thaw(&mut self, now: Instant) {
        self.state = match std::mem::replace(&mut self.state, State::Off) {
            State::Frozen(mut process, commands) => {
                commands.into_iter().for_each(|command| process.actor.command(now, command));
                State::Running(process)
            }
            other => other,
        };
    }

    pub(super) fn command(&mut self, now: Instant, command: A::Command) {
        match &mut self.state {
            State::Running(process) => process.actor.command(now, command),
            State::Frozen(_, commands) => commands.push(command),
            // Nobody reads it.
            State::Off | State::Idle => {}
        }
    }

    pub(super) fn deliver(&mut self, packet: Vec<u8>) {
        if !matches!(self.state, State::Off) {
            self.host.deliver(packet);
        }
    }

    /// Does all that is due, and says when there is more to do.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        send: &mut dyn FnMut(Vec<u8>),
        observe: Observe<'_>,
    ) -> Option<Instant> {
        let mut process = match &mut self.state {
            State::Running(process) => Some(process),
            State::Off | State::Idle | State::Frozen(..) => None,
        };
        if let Some(process) = &mut process {
            process.wake(now, &mut self.host, observe);
        }
        while self.host.receive(now) {
            // After each, so that no packet hides what another one did.
            if let Some(process) = &mut process {
                process.settle(now, &mut self.host, observe);
            }
        }
        self.host.send(now, send);
        let deadline = process.and_then(|process| process.actor.deadline());
        [self.host.tcp.next_wakeup(), deadline].into_iter().flatten().min()
    }

    /// What runs and is not frozen.
    pub(super) fn actor(&self) -> Option<&A> {
        if let State::Running(process) = &self.state { Some(&process.actor) } else { None }
    }

    /// The same.
    pub(super) fn actor_mut(&mut self) -> Option<&mut A> {
        if let State::Running(process) = &mut self.state { Some(&mut process.actor) } else { None }
    }

    #[cfg(test)]
    pub(super) fn socket_count(&self) -> usize {
        self.host.tcp.count()
    }
}
