//! What a scenario needs of whatever runs it: hosts that do as they are told, and a clock.

use std::time::Duration;

use halod_core::time::Instant;

use crate::observation::Observation;
use crate::scenario::{
    Answer, App, BrowserGroup, Fault, HalodOrder, Hold, Link, LinkOf, Load, Node, Parting, RateChange, Ref, Run, Stray,
};
use crate::timing::RouterCpu;

/// Something that an actor is told to do. It is done when observations say so.
#[derive(Debug, Clone, Copy)]
pub enum Order<'a> {
    /// A node joins. One that was powered off has its link back.
    Join(Ref<Node>),
    /// A node leaves.
    Leave(Ref<Node>),
    /// Browsers of a group connect: those from `from`, counted from 0, up to but not `to`.
    Connect {
        /// Their group.
        group: Ref<BrowserGroup>,
        /// The first.
        from: u16,
        /// The first that does not.
        to: u16,
    },
    /// All browsers of a group close.
    Disconnect(Ref<BrowserGroup>, Parting),
    /// An app dispatches events.
    Load(&'a Load),
    /// The loads of an app that run go on at another rate.
    Rate(RateChange),
    /// An app opens connections and keeps them.
    Hold(&'a Hold),
    /// An app uses each connection that it holds.
    Probe(Ref<App>),
    /// Every core of the machine is busy for so long, if the engine has a machine.
    Busy(Duration),
    /// Something befalls nodes, all at once.
    Fault(Fault, &'a [Ref<Node>]),
    /// Links treat packets differently.
    Relink(LinkOf, &'a Link),
    /// The browsers of a group stop, while their TCP goes on.
    Freeze(Ref<BrowserGroup>),
    /// They go on.
    Thaw(Ref<BrowserGroup>),
    /// HaloD's clock jumps ahead.
    Jump(Duration),
    /// Something befalls HaloD itself, or is over.
    Halod(HalodOrder),
}

/// Who made an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// A node.
    Node(Ref<Node>),
    /// An app.
    App(Ref<App>),
    /// A browser; its user is in the observation.
    Browser,
}

/// An observation, who made it and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// On the engine's clock.
    pub at: Instant,
    /// By whom.
    pub by: Witness,
    /// What.
    pub observation: Observation,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutcome {
    /// Its exit status; `None` if it was ended by a signal.
    pub status: Option<i32>,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// Runs the hosts of one scenario.
pub trait Engine {
    /// The time of now.
    fn now(&self) -> Instant;

    /// Gives an order, and says when it took effect. Does not wait for actors to carry it out. Nothing is observed any
    /// more of a process that was killed.
    ///
    /// # Errors
    ///
    /// A host is gone.
    fn give(&mut self, order: Order<'_>) -> anyhow::Result<Instant>;

    /// Lets time pass until something is observed, at most until `until`.
    ///
    /// # Errors
    ///
    /// A host or the daemon ended that should not have.
    fn next(&mut self, until: Instant) -> anyhow::Result<Option<Seen>>;

    /// When the first FIN or RST of a node whose process was killed reached the router; told once. `None` if that has
    /// not happened.
    fn first_closing(&mut self, node: Ref<Node>) -> Option<Instant>;

    /// The most by which the engine's own timers were late so far, those of its actors included as far as it knows.
    ///
    /// # Errors
    ///
    /// What carries the packets has failed.
    fn late_max(&self) -> anyhow::Result<Duration>;

    /// How long the router has used a core so far; `None` where HaloD is no process.
    ///
    /// # Errors
    ///
    /// The process is gone.
    fn router_cpu(&self) -> anyhow::Result<Option<RouterCpu>> {
        Ok(None)
    }

    /// Sends a packet that belongs to no connection, and says what its sender got for it.
    ///
    /// # Errors
    ///
    /// It could not be sent, or this engine cannot send it.
    fn stray(&mut self, stray: &Stray) -> anyhow::Result<Answer>;

    /// Runs a command on a host to its end.
    ///
    /// # Errors
    ///
    /// It could not be started, took too long, or this engine runs no commands.
    fn run(&mut self, run: &Run) -> anyhow::Result<CommandOutcome>;
}
