//! Scenarios: what a file of `scenarios/` says, checked.
//!
//! A [`Scenario`] cannot be wrong: every name is resolved to the thing that it names, every number is within its limits
//! and every step is possible after those before it. [`Scenario::parse`] makes it from text, or says what is wrong and
//! where. It knows nothing of the engines that run it.
//!
//! The file is read in two layers: `file` is its shape, `check` its meaning. A new verb is a variant of
//! `file::Verb` and of [`Action`] and a check of its own.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::time::Duration;

use halod_core::plane::PlaneKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::orbited::Transport;

mod check;
mod command;
mod diagnostic;
mod file;
mod located;
mod quantity;
mod schema;
mod span;
mod step;
mod syntax;
mod table;

pub use command::{Command, Placeholder};
pub(crate) use diagnostic::hint;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use quantity::{Delay, Percent, Rate};
pub use schema::json_schema;
pub use step::{
    Action, Answer, Condition, Expectation, Fault, Flap, HalodOrder, Hold, LinkOf, Load, Parting, RateChange, Run,
    RunHost, Step, Stray, StrayPath, TcpFlag, Way,
};
pub use table::{Ref, Table};

/// The most routes that a scenario can have: each takes two ports of the router, beside its own and the system's.
pub const ROUTES_MAX: u16 = 24_000;

/// What is expected of every step, and how long an expectation may take that says nothing of it.
pub const WITHIN_DEFAULT: Duration = Duration::from_secs(10);

/// A scenario: hosts, links and steps, and what has to come of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The name, which is also the file's.
    pub name: String,
    /// What it shows, in a sentence or two.
    pub about: String,
    /// Labels to choose scenarios by.
    pub tags: BTreeSet<Tag>,
    /// Set if one engine only can run it.
    pub only: Option<Only>,
    /// Programs that have to be installed.
    pub needs: Vec<String>,
    /// Seeds everything random.
    pub seed: u64,
    /// The router's configuration.
    pub router: Router,
    /// Every single node.
    pub nodes: Table<Node>,
    /// The groups of browsers.
    pub browsers: Table<BrowserGroup>,
    /// The hosts that dispatch events.
    pub apps: Table<App>,
    /// Further hosts.
    pub clients: Table<Client>,
    /// What is done, in order.
    pub steps: Vec<Step>,
    /// What has to hold all the time.
    pub always: BTreeSet<Invariant>,
    /// Which nodes HaloD may take for lost.
    pub losses: LossRule,
    /// What the times of all losses together may come to.
    pub budget: Budget,
}

/// Which nodes HaloD may take for lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LossRule {
    /// Those that a step loses. Any other loss is a false alarm.
    #[default]
    Ordered,
    /// Any, at any time: what befalls them may be too little or too short to tell. Only what is settled counts.
    Any,
}

/// The longest that things may take, over a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Of each loss: until its routes have another owner.
    pub failover: Option<Duration>,
    /// Of 99 in 100 browsers that lost their node: until the first byte from another.
    pub outage_p99: Option<Duration>,
    /// Of 99 in 100 events that are dispatched after the first loss: how many times longer they may be under way than 99
    /// in 100 of those before it, in the same run.
    pub delivery_ratio: Option<u32>,
    /// Of 99 in 100 events: from the time at which it falls due until a browser shows it.
    pub delivery_p99: Option<Duration>,
    /// What HaloD's process uses of a core during each `wait`.
    pub router_cpu: Option<Percent>,
}

/// A label of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tag {
    /// Left out unless all scenarios are asked for.
    Slow,
}

/// What runs a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The real daemon between network namespaces, in real time.
    Kernel,
    /// One process under virtual time.
    Sim,
}

/// The one engine that can run a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Only {
    /// Which.
    pub engine: Engine,
    /// Why the other cannot.
    pub because: String,
}

/// The router's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Number of routes, N: 1..=[`ROUTES_MAX`].
    pub routes: u16,
    /// The data plane; any if `None`.
    pub plane: Option<PlaneKind>,
    /// How many nodes are kept in reserve before more become active.
    pub reserve: u16,
    /// Time between two heartbeats, more than zero.
    pub heartbeat: Duration,
    /// How many heartbeats in a row may be missing, at least 1.
    pub misses: u32,
    /// How long a moved route may drain.
    pub drain: Duration,
    /// How many queues the daemon has with `rewrite`: a power of two, 16 at most; the daemon's own default if `None`.
    pub queues: Option<u16>,
    /// How many first packets may wait for the daemon, at least 1; the daemon's own default if `None`.
    pub queue_len: Option<u32>,
    /// How long the simulator's kernel takes to say which connections it tracks.
    pub survey: Duration,
    /// Whether nodes see the router's address instead of the client's.
    pub masquerade: bool,
    /// How browsers and apps reach the service.
    pub family: Family,
    /// How many connections a second may be ended; the daemon's own default if `None`.
    pub pace: Option<Rate>,
    /// How long a redial may take; the daemon's own default if `None`.
    pub redial: Option<Duration>,
}

impl Router {
    /// How long a node may be silent before it is lost: (misses + 1/2) heartbeats.
    pub fn silence_max(&self) -> Duration {
        self.heartbeat * self.misses + self.heartbeat / 2
    }
}

/// An address family of the service. Nodes always have both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

/// A fake node. It starts when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name: the group's with its number, from 1.
    pub name: String,
    /// When it answers `Success`.
    pub success: Success,
    /// What it makes of HaloD's `reconnect`.
    pub reconnect: OnReconnect,
    /// Whose TCP it has on the kernel engine.
    pub tcp: Tcp,
    /// Its way to the router.
    pub link: Link,
}

/// When a node answers `Success` to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Success {
    /// When the browser's TCP has acknowledged all of it.
    #[default]
    Acknowledged,
    /// When its own kernel has taken it, as the real Orbited does. Like that one, the node does not notice the FIN of a
    /// browser either.
    HandedOver,
}

/// What a node makes of HaloD's `reconnect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnReconnect {
    /// It ends the connections that are named.
    #[default]
    Obey,
    /// It lets them be, as a server does that knows nothing of HaloD. HaloD resets them at the drain's deadline.
    Ignore,
}

/// Whose TCP a node has on the kernel engine. In the simulator there is only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tcp {
    /// Linux's: the node is a process in a network namespace.
    #[default]
    Kernel,
    /// smoltcp's, in the lab's own process: there may be thousands.
    Smoltcp,
}

/// Browsers that act together. Each is a user and has an address of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserGroup {
    /// The name of the group.
    pub name: String,
    /// How many, at least 1.
    pub count: u16,
    /// What they speak, in turn; at least one.
    pub transports: Vec<Transport>,
    /// How they reach the service.
    pub family: Family,
    /// The way of each of them to the router.
    pub link: Link,
}

impl BrowserGroup {
    /// The user of browser `index`, counted from 0: `b1` is the first of group `b`.
    pub fn user(&self, index: u16) -> String {
        format!("{}{}", self.name, u32::from(index) + 1)
    }

    /// The transport of browser `index`, counted from 0.
    pub fn transport(&self, index: u16) -> Transport {
        self.transports[usize::from(index) % self.transports.len()]
    }
}

/// A host that dispatches events to the users of all browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: String,
    /// How many local ports it may use; the system's own range if `None`.
    pub ports: Option<u16>,
    /// How often it tries to deliver an event.
    pub retries: Retries,
    /// Its way to the router.
    pub link: Link,
}

/// How often an app tries to deliver an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Retries {
    /// Until a node answers `Success`.
    #[default]
    UntilSuccess,
    /// Once. What is answered with `Failure`, or not at all, is given up.
    None,
}

/// A host with a TCP of the kernel and nothing that runs on it by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub on: Network,
    /// Its way to the router.
    pub link: Link,
}

/// The side of the router on which a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Where browsers and apps are.
    #[default]
    Wan,
    /// The nodes' subnet: nodes reach it without the router.
    Lan,
}

/// What happens to packets between a host and the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// How long a packet takes, in one direction.
    pub delay: Delay,
    /// Whether a packet may overtake earlier ones.
    pub reorders: bool,
    /// How many packets are lost, in each direction.
    pub loss: Percent,
    /// How many packets arrive twice, in each direction.
    pub duplicates: Percent,
    /// How long a UDP datagram takes, in one direction, if not `delay`.
    pub datagrams: Option<Duration>,
    /// The largest IP packet that gets through, in bytes, at least 1280. The ends do not know it.
    pub mtu: u16,
}

impl Link {
    /// The longest time that a packet and its answer take.
    pub fn round_trip(&self) -> Duration {
        self.delay.max * 2
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Delay::default(),
            reorders: false,
            loss: Percent::default(),
            duplicates: Percent::default(),
            datagrams: None,
            mtu: 1500,
        }
    }
}

/// What has to hold all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// While a node is active, each route has exactly one owner.
    OneOwnerPerRoute,
    /// The active nodes' numbers of routes differ by at most one.
    Balanced,
    /// A connection is served by one node from its first byte to its last.
    FlowsKeepTheirNode,
    /// Each event of each load is shown in the end, once, and in the order in which it was dispatched to its user.
    NoEventLost,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Invariant; 4] =
        [Invariant::OneOwnerPerRoute, Invariant::Balanced, Invariant::FlowsKeepTheirNode, Invariant::NoEventLost];
}

impl Scenario {
    /// Reads the text of a scenario file. `path` is shown in errors and has to end in the name of the scenario.
    ///
    /// # Errors
    ///
    /// What is wrong with it: the first mistake of form, or every mistake of meaning.
    pub fn parse(path: &str, source: &str) -> Result<Self, Diagnostics> {
        let report = |list| Diagnostics::new(path, source, list);
        let file = syntax::read(source).map_err(|diagnostic| report(vec![diagnostic]))?;
        check::check(path, source, &file).map_err(report)
    }

    /// Why `engine` cannot run it; `None` if it can.
    pub fn obstacle(&self, engine: Engine) -> Option<&str> {
        self.only.as_ref().filter(|only| only.engine != engine).map(|only| only.because.as_str())
    }

    /// The programs that it needs and that are in no directory of `search_path` (the value of `PATH`).
    pub fn missing_programs(&self, search_path: &OsStr) -> Vec<&str> {
        let is_there = |program: &&String| std::env::split_paths(search_path).any(|dir| dir.join(program).is_file());
        self.needs.iter().filter(|program| !is_there(program)).map(String::as_str).collect()
    }
}

/// Reads a duration as scenarios write it: `50ms`, `1.5s`, `2min`.
///
/// # Errors
///
/// What is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    quantity::Quantity::parse(text)
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Engine::Kernel => "kernel",
            Engine::Sim => "sim",
        })
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Tag::Slow => "slow",
        })
    }
}
