//! A scenario as it is written: the shape of the YAML file and of its JSON Schema.
//!
//! Says which keys there are and of which type their values are; whether names exist and numbers make sense is the
//! matter of [`super::check`]. The doc comments of the fields are the descriptions that an editor shows.

use std::time::Duration;

use halod_core::plane::PlaneKind;
use schemars::JsonSchema;
use serde::Deserialize;

use super::located::{At, Either, Entries, Headed, Unit};
use super::quantity::{Delay, Percent, Rate};
use super::span::{Span, Within};
use super::{
    Answer, Engine, Family, HalodOrder, Invariant, LossRule, Network, OnReconnect, Parting, Retries, Success, Tag, Tcp,
    TcpFlag, Way,
};
use crate::orbited::Transport;

/// A scenario of the HaloD lab: hosts, links and steps, and what has to come of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "HaloD scenario")]
pub(crate) struct File {
    /// The name, which is the name of the file without `.yaml`.
    pub(crate) scenario: At<String>,
    /// What it shows, in a sentence or two.
    pub(crate) about: At<String>,
    /// `slow`: left out unless all scenarios are asked for.
    #[serde(default)]
    pub(crate) tags: Vec<Tag>,
    /// Set if only one engine can run it.
    pub(crate) only: Option<Only>,
    /// Programs that have to be installed; without them the scenario is skipped.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// Seeds everything random; 1 if not given.
    pub(crate) seed: Option<u64>,
    /// The router's configuration.
    pub(crate) router: At<Router>,
    /// Groups of nodes: `n: 8` makes n1 to n8. They are started by `join`.
    pub(crate) nodes: Entries<Either<u16, Nodes>>,
    /// Groups of browsers, each browser a user of its own: `b` of 240 has the users b1 to b240.
    #[serde(default)]
    pub(crate) browsers: Entries<Browsers>,
    /// Hosts that dispatch events to the users of all browsers.
    #[serde(default)]
    pub(crate) apps: Entries<App>,
    /// Further hosts, for `run` and `stray`.
    #[serde(default)]
    pub(crate) clients: Entries<Client>,
    /// How packets get from a host to the router and back: `default`, then by group, then by single node.
    #[serde(default)]
    pub(crate) links: Entries<Link>,
    /// What is done, one after another.
    pub(crate) steps: Vec<At<Step>>,
    /// What has to hold all the time; everything there is, if not given.
    pub(crate) always: Option<Vec<Invariant>>,
    /// Which nodes HaloD may take for lost; `ordered` if not given.
    #[serde(default)]
    pub(crate) losses: LossRule,
    /// What the times of all losses together may come to.
    #[serde(default)]
    pub(crate) budget: Budget,
}

/// The longest that things may take, over a whole run: times as in `within`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Budget {
    /// From each loss until its routes have another owner.
    pub(crate) failover: Option<Unit<Span>>,
    /// From the loss of its node to a browser's first byte from another, for 99 in 100.
    pub(crate) outage_p99: Option<Unit<Span>>,
    /// How many times longer 99 in 100 events may be under way that are dispatched after the first loss than 99 in 100 of
    /// those before it.
    pub(crate) delivery_ratio: Option<At<u32>>,
    /// From the time at which an event falls due until a browser shows it, for 99 in 100.
    pub(crate) delivery_p99: Option<Unit<Span>>,
    /// What HaloD's process uses of one core at most during each `wait` of a second or more.
    pub(crate) router_cpu: Option<Unit<Percent>>,
}

/// The one engine that can run a scenario.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Only {
    /// Which.
    pub(crate) engine: Engine,
    /// Why the other cannot.
    pub(crate) because: String,
}

/// The router's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Router {
    /// Number of routes, N.
    pub(crate) routes: At<u16>,
    /// The one data plane that is meant; every one if not given.
    pub(crate) plane: Option<Plane>,
    /// How many nodes are kept in reserve before more become active; 1 if not given.
    pub(crate) reserve: Option<u16>,
    /// Time between two heartbeats of a node; 50ms if not given.
    pub(crate) heartbeat: Option<Unit<Duration>>,
    /// How many heartbeats in a row may be missing; 3 if not given.
    pub(crate) misses: Option<At<u32>>,
    /// How long a moved route may drain; 10s if not given.
    pub(crate) drain: Option<Unit<Duration>>,
    /// How many queues and threads the daemon has with `rewrite`; its own default if not given.
    pub(crate) queues: Option<At<u16>>,
    /// How many first packets of connections may wait for the daemon with `steer`; its own default if not given.
    pub(crate) queue_len: Option<At<u32>>,
    /// How long the simulator's kernel takes to say which connections it tracks, with `steer`; no time if not given.
    pub(crate) survey: Option<Unit<Duration>>,
    /// Give nodes the router's address instead of the client's.
    #[serde(default)]
    pub(crate) masquerade: bool,
    /// The address family in which browsers and apps reach the service; v4 if not given. Nodes have both.
    pub(crate) family: Option<Family>,
    /// How many connections a second HaloD may end; its own default if not given.
    pub(crate) pace: Option<Unit<Rate>>,
    /// How long a node that HaloD dials back may take to say hello; its own default if not given.
    pub(crate) redial: Option<Unit<Duration>>,
}

/// A data plane of HaloD.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Plane {
    /// Every packet is rewritten in userspace.
    Rewrite,
    /// Userspace decides, the kernel rewrites.
    Steer,
}

impl From<Plane> for PlaneKind {
    fn from(plane: Plane) -> Self {
        match plane {
            Plane::Rewrite => Self::Rewrite,
            Plane::Steer => Self::Steer,
        }
    }
}

/// The long form of a group of nodes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nodes {
    /// How many.
    pub(crate) count: u16,
    /// When a node answers `Success` to an event; `acknowledged` if not given.
    pub(crate) success: Option<Success>,
    /// What a node makes of HaloD's `reconnect`; `obey` if not given.
    pub(crate) reconnect: Option<OnReconnect>,
    /// Whose TCP it has on the kernel engine; `kernel` if not given.
    pub(crate) tcp: Option<Tcp>,
}

/// A group of browsers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Browsers {
    /// How many.
    pub(crate) count: At<u16>,
    /// What they speak, in turn: with two transports every second browser has the second. `sse` if not given.
    pub(crate) transports: Option<At<Vec<Transport>>>,
    /// The address family of this group, if it is not the router's.
    pub(crate) family: Option<Family>,
}

/// A host that dispatches events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct App {
    /// How many local ports it has, to make it use each towards several routes.
    pub(crate) ports: Option<At<u16>>,
    /// How often it tries to deliver an event; `until-success` if not given.
    pub(crate) retries: Option<Retries>,
}

/// A host with a TCP of the kernel and nothing that runs on it by itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    /// Where it is; `wan` if not given.
    pub(crate) on: Option<Network>,
}

/// What happens to packets between a host and the router. What is not given is taken from the group or the default.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// How long a packet takes in one direction: `1ms`, or `4ms..6ms` for anything between. 0 if not given.
    pub(crate) delay: Option<Unit<Delay>>,
    /// Let packets overtake each other if their delays say so; in order if not given.
    pub(crate) reorders: Option<bool>,
    /// How many packets are lost, in each direction. None if not given.
    pub(crate) loss: Option<Unit<Percent>>,
    /// How many packets arrive twice, in each direction. None if not given.
    pub(crate) duplicates: Option<Unit<Percent>>,
    /// The largest IP packet that gets through, in bytes. The ends do not know it: their interfaces have 1500.
    pub(crate) mtu: Option<At<u16>>,
}

/// One thing that is done, and what comes of it.
pub(crate) type Step = Headed<Verb, StepRest>;

/// What may stand beside the verb of a step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepRest {
    /// What has to become true after it. `settled` within 10 seconds is expected of every step.
    #[serde(default)]
    pub(crate) expect: Vec<Expect>,
}

/// Something that becomes true in time.
pub(crate) type Expect = Headed<Condition, ExpectRest>;

/// What may stand beside a condition.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectRest {
    /// How long it may take, from the start of the step; 10s if not given. `3hb` are three heartbeats, `2rtt+5ms` two
    /// round trips and 5 ms; of a failover `3hb..5hb` says that it must not come before three heartbeats either.
    pub(crate) within: Option<Unit<Within>>,
}

/// A name, a range of nodes (`n1..n8`), or a list of those.
pub(crate) type Names = At<Either<String, Vec<At<String>>>>;

/// What a step does.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Step")]
pub(crate) enum Verb {
    /// Starts nodes, one after another: each waits for its welcome before the next starts.
    Join(Names),
    /// A node says that it leaves, and ends once it is drained.
    Leave(At<String>),
    /// All browsers of a group connect.
    Connect(At<Either<String, Connect>>),
    /// All browsers of a group close their connections.
    Disconnect(At<Either<String, Disconnect>>),
    /// An app dispatches events to all users in turn.
    Load(Load),
    /// The loads of an app that run go on at another rate.
    Rate(RateChange),
    /// An app opens connections to the app ports and keeps them open; a node has to answer on each.
    Hold(Hold),
    /// Each connection that an app holds is used once more.
    Probe(At<String>),
    /// Sends one TCP packet that belongs to no connection.
    Stray(Stray),
    /// Kills the processes of nodes: their kernels end all their connections.
    Crash(Names),
    /// Processes and links of nodes vanish at once, without a last packet.
    PowerOff(Names),
    /// Stops the processes of nodes: their kernels still acknowledge and accept.
    Hang(Names),
    /// Lets the processes of nodes go on.
    Resume(Names),
    /// Cuts the link of a node.
    Cut(At<Either<String, Cut>>),
    /// Ends the cuts of nodes' links.
    Heal(Names),
    /// Cuts and heals the link of a node several times.
    Flap(Flap),
    /// Kills the processes of nodes; others join at once under their names.
    Restart(Names),
    /// Makes the link of a node, of an app or of each browser of a group another one. What is not given is as under
    /// `links`.
    Relink(Relink),
    /// Stops the browsers of a group for a while: their TCP goes on, but nobody reads.
    Pause(Pause),
    /// Makes HaloD's clock jump ahead by this, as that of a machine that was suspended. The simulator only.
    Jump(Unit<Duration>),
    /// Does nothing for a while.
    Wait(Unit<Duration>),
    /// Keeps every core of the machine busy for a while, with a thread of normal priority on each.
    Busy(Unit<Duration>),
    /// Something befalls HaloD itself, or is over: `kill` and `start`, or `stop` and `continue`. The kernel only.
    Halod(At<HalodOrder>),
    /// Runs a command on a host.
    Run(Run),
}

/// Browsers that do not connect all at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connect {
    /// Which group.
    pub(crate) browsers: At<String>,
    /// How many a second.
    pub(crate) rate: Unit<Rate>,
}

/// How browsers close.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disconnect {
    /// Which group.
    pub(crate) browsers: At<String>,
    /// In which way; `close` if not given.
    pub(crate) by: Option<Parting>,
}

/// A cut of a link.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cut {
    /// Whose link.
    pub(crate) host: At<String>,
    /// Which way: `up` is from the host to the router. `both` if not given.
    pub(crate) way: Option<Way>,
}

/// Another link for a host.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Relink {
    /// A node, an app or a group of browsers.
    pub(crate) of: At<String>,
    /// How long a packet takes in one direction.
    pub(crate) delay: Option<Unit<Delay>>,
    /// Whether packets overtake each other.
    pub(crate) reorders: Option<bool>,
    /// How many packets are lost, in each direction.
    pub(crate) loss: Option<Unit<Percent>>,
    /// How many packets arrive twice, in each direction.
    pub(crate) duplicates: Option<Unit<Percent>>,
    /// How long a UDP datagram takes in one direction, if not as long as other packets. A node's are its heartbeats.
    pub(crate) datagrams: Option<Unit<Duration>>,
}

/// Browsers that stop for a while.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pause {
    /// Which group.
    pub(crate) browsers: At<String>,
    /// For how long.
    pub(crate) time: Unit<Duration>,
}

/// A link that goes down and up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flap {
    /// Whose link.
    pub(crate) host: At<String>,
    /// How often.
    pub(crate) times: At<u32>,
    /// How long it is cut each time.
    pub(crate) down: Unit<Duration>,
    /// How long it is whole after that.
    pub(crate) up: Unit<Duration>,
}

/// Events that an app dispatches.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// Which app.
    pub(crate) app: At<String>,
    /// How many events.
    pub(crate) events: At<u32>,
    /// How many a second.
    pub(crate) rate: Unit<Rate>,
    /// The smallest body, in bytes; as small as it gets if not given.
    pub(crate) size: Option<At<u32>>,
    /// Puts users into rooms of so many. Each of the `events` is then something that a user says, all users in turn: it goes
    /// to everybody in the room, the user too, as an event of its own.
    pub(crate) room: Option<At<u16>>,
    /// Wait for the last event before the next step; otherwise the load runs beside the steps that follow.
    #[serde(default)]
    pub(crate) wait: bool,
}

/// Another rate of what an app dispatches.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateChange {
    /// Which app.
    pub(crate) app: At<String>,
    /// How many events a second of each of its loads.
    pub(crate) to: Unit<Rate>,
}

/// Connections that an app holds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    /// Which app.
    pub(crate) app: At<String>,
    /// How many connections.
    pub(crate) flows: At<u32>,
    /// Over how many routes, from route 1 on, in turn.
    pub(crate) routes: At<u16>,
}

/// One TCP packet that belongs to no connection.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stray {
    /// The client or node that sends it.
    pub(crate) from: At<String>,
    /// Where a client sends it: a route. Where a node sends it: a client.
    pub(crate) to: At<Either<String, Service>>,
    /// From which of its service ports a node sends it; `browser` if not given.
    pub(crate) side: Option<At<Side>>,
    /// The flags it has set.
    pub(crate) flags: At<Vec<TcpFlag>>,
    /// Send only so many bytes of the TCP segment.
    pub(crate) cut: Option<At<u16>>,
    /// Send it with a wrong TCP checksum.
    #[serde(default)]
    pub(crate) bad_checksum: bool,
    /// Send it with TCP options.
    #[serde(default)]
    pub(crate) options: bool,
    /// What its sender gets.
    pub(crate) answer: At<Answer>,
}

/// A service port of the router.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    /// Which route.
    pub(crate) route: At<u16>,
    /// Which port of the route; `browser` if not given.
    pub(crate) side: Option<Side>,
}

/// Who a service port is for.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// Browsers.
    Browser,
    /// Applications.
    App,
}

/// A command that runs on a host.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// `router`, a client or a node.
    pub(crate) on: At<String>,
    /// The command line, for `sh -c`. `{service}` is the router's service address, `{browser-port:3}` and
    /// `{app-port:3}` are the ports of route 3; `{{` and `}}` are single braces.
    pub(crate) command: At<String>,
    /// What has to be in its output.
    pub(crate) stdout: Option<String>,
    /// The exit status it has to have; 0 if not given.
    pub(crate) status: Option<u8>,
}

/// Something that becomes true.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Expectation")]
pub(crate) enum Condition {
    /// So many browsers are connected.
    Connected(At<u32>),
    /// These nodes are active.
    Active(Names),
    /// These nodes are in reserve.
    Reserve(Names),
    /// These nodes are held: they were lost more than once of late, and wait until they count again.
    Held(Names),
    /// Browsers have shown so many events since the start.
    Delivered(At<u32>),
    /// So many held connections have been answered, each since it was last used.
    FlowsAnswered(At<u32>),
    /// The routes of these nodes, which are lost in this step, have other owners.
    Failover(Names),
    /// What the steps so far have caused has come to rest. `false`: do not wait for it, begin the next step at once.
    Settled(bool),
}
