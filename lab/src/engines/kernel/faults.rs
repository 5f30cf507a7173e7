//! What befalls nodes: signals to their processes, cuts of their links.

use std::time::Duration;

use anyhow::Context;
use halod_core::time::Instant;
use nix::sys::signal::Signal;

use super::clock;
use super::daemon::Balancer;
use super::world::World;
use crate::actors::node::NodeCommand;
use crate::network::Direction;
use crate::scenario::{Fault, Node, Ref, Way};

const BOTH: &[Direction] = &[Direction::Up, Direction::Down];

impl World<'_> {
    /// Starts a node's process. Its link is whole, whatever happened to it before.
    pub(super) fn join(&mut self, node: Ref<Node>) -> anyhow::Result<()> {
        self.fabric.heal(self.node_port(node).0)?;
        self.start_node(node)?;
        match self.balancer {
            Balancer::Halod => self.tell_node(node, NodeCommand::Join),
            // It is enough that it listens.
            Balancer::Haproxy => Ok(()),
        }
    }

    /// Lets something befall nodes, as nearly at once as it goes; says when it began.
    pub(super) fn befall(&mut self, fault: Fault, nodes: &[Ref<Node>]) -> anyhow::Result<Instant> {
        let overdue = self.overdue(nodes)?;
        if matches!(fault, Fault::PowerOff | Fault::Hang | Fault::Cut(Way::Both | Way::Up)) {
            self.overdue_max = self.overdue_max.max(overdue);
        }
        let began = match fault {
            Fault::Crash | Fault::Restart => {
                self.watch_closing(nodes)?;
                self.signal(nodes, Signal::SIGKILL)?
            }
            Fault::PowerOff => {
                // The kernel of the host outlives the process and would say FIN: its link goes first.
                let began = self.cut(nodes, BOTH)?;
                self.signal(nodes, Signal::SIGKILL)?;
                self.power_off(nodes)?;
                began
            }
            Fault::Hang => self.signal(nodes, Signal::SIGSTOP)?,
            Fault::Resume => self.signal(nodes, Signal::SIGCONT)?,
            Fault::Cut(way) => self.cut(nodes, directions(way))?,
            Fault::Heal => {
                nodes.iter().try_for_each(|&node| self.fabric.heal(self.node_port(node).0))?;
                clock::now()
            }
        };
        if matches!(fault, Fault::Crash | Fault::PowerOff | Fault::Restart) {
            self.reap(nodes);
        }
        if fault == Fault::Restart {
            nodes.iter().try_for_each(|&node| self.join(node))?;
        }
        Ok(began)
    }

    /// By how much the next heartbeat of these nodes is late. Silence is counted from the last one: if that was to have been
    /// followed by another already, the machine was too busy for the node's process, and its loss is found out too early.
    fn overdue(&self, nodes: &[Ref<Node>]) -> anyhow::Result<Duration> {
        let router = &self.scenario.router;
        let mut most = Duration::ZERO;
        for &node in nodes {
            // Whatever befalls it now, its next heartbeat comes after it.
            let Some(last) = self.fabric.take_last_datagram(self.node_port(node).0)? else { continue };
            let silence = clock::now().since(last);
            // One that says nothing at all has left, or does not run.
            if silence < router.silence_max() {
                most = most.max(silence.saturating_sub(router.heartbeat));
            }
        }
        Ok(most)
    }

    fn watch_closing(&mut self, nodes: &[Ref<Node>]) -> anyhow::Result<()> {
        for &node in nodes {
            let closing = self.fabric.watch_closing(self.node_port(node).1.both())?;
            self.closings.insert(node, closing);
        }
        Ok(())
    }

    /// Sends a signal to the processes of nodes; says when the first was sent.
    fn signal(&mut self, nodes: &[Ref<Node>], signal: Signal) -> anyhow::Result<Instant> {
        let now = clock::now();
        nodes.iter().try_for_each(|&node| self.signal_node(node, signal))?;
        Ok(now)
    }

    /// Cuts the links of nodes; says when the first was cut.
    fn cut(&self, nodes: &[Ref<Node>], directions: &'static [Direction]) -> anyhow::Result<Instant> {
        let mut began = None;
        for &node in nodes {
            let at = self.fabric.cut(self.node_port(node).0, directions)?;
            began.get_or_insert(at);
        }
        began.context("nobody to cut off")
    }
}

fn directions(way: Way) -> &'static [Direction] {
    match way {
        Way::Both => BOTH,
        Way::Up => &[Direction::Up],
        Way::Down => &[Direction::Down],
    }
}
