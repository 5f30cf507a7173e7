//! What a scenario does, step by step, and what has to come of it.

use std::collections::BTreeSet;
use std::time::Duration;

use halod_core::ids::{RouteId, Side};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::quantity::Rate;
use super::table::Ref;
use super::{App, BrowserGroup, Client, Link, Node, WITHIN_DEFAULT};

/// One thing that is done, and what has to come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The verb and its arguments as they are written, in one line, without expectations.
    pub text: String,
    /// The line of the file, from 1.
    pub line: usize,
    /// What is done.
    pub action: Action,
    /// What has to become true, in this order. [`Condition::Settled`] is among it unless the next step begins at once.
    pub expect: Vec<Expectation>,
}

impl Step {
    /// Whether it waits until all has come to rest. Otherwise the next step begins at once, and the two are one in the
    /// snapshot.
    pub fn comes_to_rest(&self) -> bool {
        self.expect.iter().any(|expectation| expectation.condition == Condition::Settled)
    }
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Starts nodes that are not running, each after the welcome of the one before.
    Join(Vec<Ref<Node>>),
    /// A node that has joined leaves.
    Leave(Ref<Node>),
    /// All browsers of a group, none of which is connected, connect: at this rate, or all at once.
    Connect(Ref<BrowserGroup>, Option<Rate>),
    /// All browsers of a connected group close.
    Disconnect(Ref<BrowserGroup>, Parting),
    /// An app dispatches events.
    Load(Load),
    /// The loads of an app that run go on at another rate.
    Rate(RateChange),
    /// An app that holds nothing yet opens connections and keeps them.
    Hold(Hold),
    /// Each connection that an app holds is used once more.
    Probe(Ref<App>),
    /// One packet that belongs to no connection.
    Stray(Stray),
    /// Something befalls nodes, all at once.
    Fault(Fault, Vec<Ref<Node>>),
    /// A node's link goes down and up.
    Flap(Flap),
    /// Links treat packets differently from now on.
    Relink(LinkOf, Link),
    /// The browsers of a group neither read nor do anything else for a while. Their TCP goes on.
    Pause(Ref<BrowserGroup>, Duration),
    /// HaloD's clock jumps ahead, as that of a machine that was suspended.
    Jump(Duration),
    /// Nothing, for a while.
    Wait(Duration),
    /// The same, while every core of the machine is busy.
    Busy(Duration),
    /// Something befalls HaloD itself, or is over.
    Halod(HalodOrder),
    /// A command on a host.
    Run(Run),
}

/// What befalls HaloD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HalodOrder {
    /// Its process is killed (SIGKILL).
    Kill,
    /// Another process takes the place of one that was killed.
    Start,
    /// Its process stops (SIGSTOP).
    Stop,
    /// Its process goes on (SIGCONT).
    Continue,
}

/// How browsers part from their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Parting {
    /// With FIN; what is in flight is still read.
    #[default]
    Close,
    /// With FIN, and nobody is there any more: what comes after it is answered with RST.
    Fin,
    /// With RST.
    Rst,
}

/// Something that befalls a node or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its process is killed. The kernel of its host ends all its connections.
    Crash,
    /// Process and link vanish at once.
    PowerOff,
    /// Its process stops. The kernel of its host still acknowledges and accepts.
    Hang,
    /// Its process goes on.
    Resume,
    /// Its link loses everything.
    Cut(Way),
    /// Its link is whole again.
    Heal,
    /// Its process is killed, and another one joins under the same name.
    Restart,
}

impl Fault {
    /// Whether the node is out of touch from then on, or is another process.
    pub fn is_loss(self) -> bool {
        !matches!(self, Fault::Resume | Fault::Heal)
    }
}

/// A direction of a link, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// To and from the host.
    #[default]
    Both,
    /// From the host to the router.
    Up,
    /// From the router to the host.
    Down,
}

/// A link that goes down and up, several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flap {
    /// Whose.
    pub node: Ref<Node>,
    /// How often, at least once.
    pub times: u32,
    /// How long it is cut, both ways.
    pub down: Duration,
    /// How long it is whole after that.
    pub up: Duration,
    /// Whether the node is certain to be lost each time; otherwise it is certain not to be.
    pub loses: bool,
}

/// Whose link it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkOf {
    /// A node's.
    Node(Ref<Node>),
    /// That of each browser of a group.
    Browsers(Ref<BrowserGroup>),
    /// An app's.
    App(Ref<App>),
}

/// Events that an app dispatches to all users in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Which app.
    pub app: Ref<App>,
    /// How many events, at least 1; with rooms, how many times a user speaks.
    pub events: u32,
    /// How many a second.
    pub rate: Rate,
    /// How many users are in a room, each of whom gets all that is said in it; 1 where there are no rooms. All rooms are of
    /// the same size.
    pub room: u16,
    /// The smallest body, in bytes; 0 for as small as it gets.
    pub size_min: u32,
    /// Whether the step ends with the last event, rather than at once.
    pub wait: bool,
}

impl Load {
    /// How many events browsers show in the end.
    pub fn deliveries(&self) -> u64 {
        u64::from(self.events) * u64::from(self.room)
    }
}

/// Another rate for the loads of an app that run. Those that are over stay so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateChange {
    /// Which app; it has had a load.
    pub app: Ref<App>,
    /// How many events a second, of each load.
    pub to: Rate,
}

/// Connections that an app holds open: flow i (from 0) is on route `1 + i mod routes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Which app.
    pub app: Ref<App>,
    /// How many connections, at least 1; no more to each route than the app has local ports.
    pub flows: u32,
    /// Over how many routes, 1..=N.
    pub routes: u16,
}

/// One TCP packet that belongs to no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// From where to where.
    pub path: StrayPath,
    /// The flags it has set. Never SYN alone, which would start a connection.
    pub flags: BTreeSet<TcpFlag>,
    /// Only so many bytes of the TCP segment are sent.
    pub cut: Option<u16>,
    /// Its TCP checksum is wrong.
    pub bad_checksum: bool,
    /// It has TCP options.
    pub options: bool,
    /// What its sender gets.
    pub answer: Answer,
}

/// The way of a stray packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StrayPath {
    /// From a client to a service port of the router.
    ToService {
        /// The sender.
        from: Ref<Client>,
        /// The route.
        route: RouteId,
        /// Which of its ports.
        side: Side,
    },
    /// From a service address of a node that is running to a client.
    FromNode {
        /// The sender.
        from: Ref<Node>,
        /// From which of its service addresses.
        side: Side,
        /// The receiver.
        to: Ref<Client>,
    },
}

/// A flag of a TCP packet (RFC 9293, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are the RFC's")]
pub enum TcpFlag {
    Fin,
    Syn,
    Rst,
    Psh,
    Ack,
}

/// What the sender of a stray packet gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// RST.
    Rst,
    /// Nothing.
    None,
}

/// A command on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where.
    pub on: RunHost,
    /// The command line, for `sh -c`.
    pub command: Command,
    /// What has to be in its output.
    pub stdout: Option<String>,
    /// The exit status that it has to have.
    pub status: u8,
}

/// Where a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunHost {
    /// On the router itself.
    Router,
    /// On a client.
    Client(Ref<Client>),
    /// On a node's host; its process need not run.
    Node(Ref<Node>),
}

/// Something that has to become true in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// What.
    pub condition: Condition,
    /// How long it may take, from the start of the step.
    pub within: Duration,
    /// How long it has to take at least; zero unless a range was given.
    pub not_before: Duration,
}

impl Expectation {
    /// What is expected of every step that does not say otherwise.
    pub(crate) const SETTLED: Expectation =
        Expectation { condition: Condition::Settled, within: WITHIN_DEFAULT, not_before: Duration::ZERO };
}

/// Something that can become true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Exactly so many browsers of all groups have a connection (or a parked poll).
    Connected(u32),
    /// A node is active.
    Active(Ref<Node>),
    /// A node is in reserve.
    Reserve(Ref<Node>),
    /// A node is held: registered, and neither active nor in reserve until it has waited.
    Held(Ref<Node>),
    /// The routes of a node that was lost in this step have another owner.
    Failover(Ref<Node>),
    /// Browsers have shown so many different events, of all loads since the start.
    Delivered(u32),
    /// So many held connections of all apps have been answered, each since it was last used.
    FlowsAnswered(u32),
    /// What the steps so far have caused has come to rest: the nodes know the table that the daemon has, no move
    /// drains, and each browser of a connected group is connected to the owner of its route. Events of a load that
    /// runs beside the steps may be under way.
    Settled,
}
