//! The hosts of one scenario: namespaces and their interfaces, the daemon, the nodes, the apps and the browsers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::Context;
use halod_core::time::Instant;
use nix::sys::signal::Signal;

use super::busy::Busy;
use super::clock;
use super::daemon::{Balancer, Daemon};
use super::fabric::{ActorHost, Fabric, FabricConfig};
use super::hosts::Host;
use super::inbox::{Inbox, Incoming, StartId};
use super::netlink::{InterfaceConfig, Route};
use super::netns::Netns;
use super::process::Child;
use super::tun::Tun;
use crate::actors::browser::Browser;
use crate::actors::node::{Node as NodeActor, NodeCommand};
use crate::actors::player::{Player, PlayerCommand};
use crate::addresses::{self, Pair};
use crate::cast::{self, MTU};
use crate::engine::{Seen, Witness};
use crate::network::{PortId, Segment};
use crate::scenario::{App, BrowserGroup, Client, HalodOrder, Link, Node, Ref, RunHost, Scenario, Tcp};
use crate::stacks::{Buffers, DYNAMIC_PORTS, StackConfig, StackId};

/// What the person who runs the lab wants besides a verdict.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where to write a capture of every link.
    pub captures: Option<PathBuf>,
    /// Where the daemon is to record what it is told.
    pub record: Option<PathBuf>,
    /// What stands between browsers and nodes.
    pub balancer: Balancer,
}

/// A host with a TCP of the kernel.
struct KernelHost {
    netns: Netns,
    address: Pair,
    port: PortId,
    process: Option<Process>,
}

/// Where a node is.
enum NodeHost {
    Kernel(KernelHost),
    Stack(StackHost),
}

/// A host with a TCP of the lab's.
struct StackHost {
    stack: StackId,
    address: Pair,
    port: PortId,
    /// When the actor was started that runs on it.
    since: Option<Instant>,
}

impl KernelHost {
    fn running(&mut self) -> anyhow::Result<&mut Child> {
        self.process.as_mut().map(|process| &mut process.child).context("its process is not running")
    }
}

impl NodeHost {
    fn kernel(&self) -> Option<&KernelHost> {
        match self {
            NodeHost::Kernel(host) => Some(host),
            NodeHost::Stack(_) => None,
        }
    }
}

/// A process of a host.
struct Process {
    start: StartId,
    child: Child,
}

/// All hosts of a scenario. They vanish when it is dropped, or when the lab is killed.
pub struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) balancer: Balancer,
    // Dropped in this order: first whoever sends packets, last what carries them.
    nodes: BTreeMap<Ref<Node>, NodeHost>,
    apps: BTreeMap<Ref<App>, KernelHost>,
    clients: BTreeMap<Ref<Client>, KernelHost>,
    /// Which start of it this is.
    daemon: Option<(StartId, Daemon)>,
    daemon_starts: u64,
    record: Option<PathBuf>,
    pub(super) fabric: Fabric<Player>,
    router: Netns,
    pub(super) browsers: BTreeMap<Ref<BrowserGroup>, Vec<StackId>>,
    pub(super) inbox: Inbox,
    /// Where the first FIN or RST of each process that was killed is told.
    pub(super) closings: BTreeMap<Ref<Node>, Receiver<Instant>>,
    /// What keeps the cores busy, if anything does.
    pub(super) busy: Option<Busy>,
    /// The most by which the heartbeat of a node's process was late when something befell the node.
    pub(super) overdue_max: Duration,
    /// Starts of processes, so that each has an incarnation of its own.
    starts: u64,
}

impl<'a> World<'a> {
    /// Builds all hosts and starts the daemon and the apps; nodes start when they join. On the main thread only: the
    /// processes die with the thread that starts them.
    ///
    /// # Errors
    ///
    /// Whatever the kernel refuses.
    pub fn build(scenario: &'a Scenario, options: &Options) -> anyhow::Result<Self> {
        let on_stacks = scenario.nodes.entries().filter(|(_, entry)| entry.tcp == Tcp::Smoltcp);
        let (inbox, observed) = Inbox::new(on_stacks.map(|(node, _)| node).collect())?;
        let config = FabricConfig { icmp_source: addresses::icmp_source(), captures: options.captures.clone() };
        let fabric = Fabric::start(config, observed)?;
        let router = Netns::new()?;
        build_router(&router, &fabric, scenario).context("the router's namespace")?;
        let mut world = Self {
            scenario,
            balancer: options.balancer,
            nodes: BTreeMap::new(),
            apps: BTreeMap::new(),
            clients: BTreeMap::new(),
            daemon: None,
            daemon_starts: 0,
            record: options.record.clone(),
            fabric,
            router,
            browsers: BTreeMap::new(),
            inbox,
            closings: BTreeMap::new(),
            busy: None,
            overdue_max: Duration::ZERO,
            starts: 0,
        };
        for (node, entry) in scenario.nodes.entries() {
            let place = (Segment::Lan, addresses::node(node.index()));
            let host = match entry.tcp {
                Tcp::Kernel => NodeHost::Kernel(world.build_host(&entry.name, place, &entry.link)?),
                Tcp::Smoltcp => NodeHost::Stack(world.build_stack(entry, place)?),
            };
            world.nodes.insert(node, host);
        }
        for (client, entry) in scenario.clients.entries() {
            let place = (addresses::segment(entry.on), addresses::client(entry.on, client.index()));
            world.clients.insert(client, world.build_host(&entry.name, place, &entry.link)?);
        }
        for (app, entry) in scenario.apps.entries() {
            let mut host = world.build_host(&entry.name, (Segment::Wan, addresses::app(app.index())), &entry.link)?;
            world.start_app(app, entry, &mut host)?;
            world.apps.insert(app, host);
        }
        world.build_browsers()?;
        world.start_daemon()?;
        Ok(world)
    }

    fn start_daemon(&mut self) -> anyhow::Result<()> {
        self.daemon_starts += 1;
        let start = StartId(self.daemon_starts);
        let ended = self.inbox.sender();
        let tell = move || drop(ended.send(Incoming::DaemonEnded(start)));
        let daemon = Daemon::start(self.balancer, &self.router, self.scenario, self.record.as_deref(), tell)?;
        self.daemon = Some((start, daemon));
        Ok(())
    }

    /// Something befalls the daemon; says when.
    pub(super) fn befall_daemon(&mut self, order: HalodOrder) -> anyhow::Result<Instant> {
        let at = clock::now();
        match order {
            HalodOrder::Kill => self.daemon = None,
            HalodOrder::Start => self.start_daemon()?,
            HalodOrder::Stop => self.signal_daemon(Signal::SIGSTOP)?,
            HalodOrder::Continue => self.signal_daemon(Signal::SIGCONT)?,
        }
        Ok(at)
    }

    fn signal_daemon(&self, signal: Signal) -> anyhow::Result<()> {
        let (_, daemon) = self.daemon.as_ref().context("the daemon is not running")?;
        daemon.signal(signal)
    }

    /// Whether this is the daemon that is to run now.
    pub(super) fn is_current_daemon(&self, start: StartId) -> bool {
        self.daemon.as_ref().is_some_and(|&(current, _)| current == start)
    }

    /// The namespace of a host of a `run` step.
    pub(super) fn netns(&self, host: RunHost) -> &Netns {
        match host {
            RunHost::Router => &self.router,
            RunHost::Client(client) => &self.clients[&client].netns,
            RunHost::Node(node) => {
                &self.nodes[&node].kernel().expect("commands run on hosts that have a namespace").netns
            }
        }
    }

    /// Name and namespace of every host.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &Netns)> {
        let with_netns = self.nodes.iter().filter_map(|(node, host)| Some((*node, host.kernel()?)));
        let nodes = with_netns.map(|(node, host)| (self.scenario.nodes[node].name.as_str(), &host.netns));
        let apps = self.apps.iter().map(|(&app, host)| (self.scenario.apps[app].name.as_str(), &host.netns));
        let clients =
            self.clients.iter().map(|(&client, host)| (self.scenario.clients[client].name.as_str(), &host.netns));
        std::iter::once(("router", &self.router)).chain(nodes).chain(apps).chain(clients)
    }

    /// Where a node's packets enter the network, and its address.
    pub(super) fn node_port(&self, node: Ref<Node>) -> (PortId, Pair) {
        match &self.nodes[&node] {
            NodeHost::Kernel(KernelHost { port, address, .. }) | NodeHost::Stack(StackHost { port, address, .. }) => {
                (*port, *address)
            }
        }
    }

    /// Where an app's packets enter the network.
    pub(super) fn app_port(&self, app: Ref<App>) -> PortId {
        self.apps[&app].port
    }

    /// Where a client's packets enter the network.
    pub(super) fn client_port(&self, client: Ref<Client>) -> PortId {
        self.clients[&client].port
    }

    /// Starts a node's process anew; a former one is ended.
    pub(super) fn start_node(&mut self, node: Ref<Node>) -> anyhow::Result<()> {
        let entry = &self.scenario.nodes[node];
        let start = self.next_start();
        let config = cast::node(self.scenario, node, start.0);
        match self.nodes.get_mut(&node).expect("every node has a host") {
            NodeHost::Kernel(host) => {
                host.process = None;
                let reports = self.inbox.reports(start, Witness::Node(node))?;
                let child = Host::Node(config).start(&host.netns, reports);
                let child = child.with_context(|| format!("the process of {}", entry.name))?;
                host.process = Some(Process { start, child });
            }
            NodeHost::Stack(host) => {
                let actor = NodeActor::new(config).map_err(anyhow::Error::msg)?;
                host.since = Some(clock::now());
                self.fabric.start_actor(host.stack, Player::Node(Box::new(actor)))?;
            }
        }
        Ok(())
    }

    /// Tells a node that runs to do something.
    pub(super) fn tell_node(&mut self, node: Ref<Node>, command: NodeCommand) -> anyhow::Result<()> {
        match self.nodes.get_mut(&node).expect("every node has a host") {
            NodeHost::Kernel(host) => host.running()?.send(&command)?,
            NodeHost::Stack(host) => self.fabric.command(host.stack, PlayerCommand::Node(command))?,
        }
        Ok(())
    }

    /// Sends a signal to the process of a node, or does to its actor what that would.
    pub(super) fn signal_node(&mut self, node: Ref<Node>, signal: Signal) -> anyhow::Result<()> {
        match self.nodes.get_mut(&node).expect("every node has a host") {
            NodeHost::Kernel(host) => host.running()?.signal(signal)?,
            NodeHost::Stack(host) => match signal {
                Signal::SIGKILL => drop(self.fabric.kill(host.stack)?),
                Signal::SIGSTOP => self.fabric.pause(host.stack, true)?,
                Signal::SIGCONT => self.fabric.pause(host.stack, false)?,
                other => anyhow::bail!("an actor knows no {other}"),
            },
        }
        Ok(())
    }

    /// Takes their power from nodes whose kernel is the lab's. That of others goes on, cut off.
    pub(super) fn power_off(&self, nodes: &[Ref<Node>]) -> anyhow::Result<()> {
        for node in nodes {
            if let NodeHost::Stack(host) = &self.nodes[node] {
                self.fabric.power_off(host.stack)?;
            }
        }
        Ok(())
    }

    /// Whether what an actor reports is of the one that runs now.
    pub(super) fn is_alive(&self, seen: &Seen) -> bool {
        let Witness::Node(node) = seen.by else { return true };
        match &self.nodes[&node] {
            NodeHost::Stack(host) => host.since.is_some_and(|since| since <= seen.at),
            NodeHost::Kernel(_) => false,
        }
    }

    fn next_start(&mut self) -> StartId {
        self.starts += 1;
        StartId(self.starts)
    }

    /// Whether what a process reports is of the one that runs now.
    pub(super) fn is_current(&self, by: Witness, start: StartId) -> bool {
        let process = match by {
            Witness::Node(node) => self.nodes[&node].kernel().and_then(|host| host.process.as_ref()),
            Witness::App(app) => self.apps[&app].process.as_ref(),
            Witness::Browser => None,
        };
        process.is_some_and(|process| process.start == start)
    }

    /// Forgets processes that were killed. Each may take a moment to die, so all are to be killed before.
    pub(super) fn reap(&mut self, nodes: &[Ref<Node>]) {
        for node in nodes {
            match self.nodes.get_mut(node).expect("every node has a host") {
                NodeHost::Kernel(host) => host.process = None,
                NodeHost::Stack(host) => host.since = None,
            }
        }
    }

    /// The process of an app.
    pub(super) fn app_process(&mut self, app: Ref<App>) -> anyhow::Result<&mut Child> {
        self.apps.get_mut(&app).expect("every app has a host").running()
    }

    /// How long the daemon's threads have used a core so far; `None` while it is down.
    pub(super) fn daemon_cpu(&self) -> anyhow::Result<Option<Duration>> {
        self.daemon.as_ref().map(|(_, daemon)| daemon.cpu_time()).transpose()
    }

    /// The daemon's last words, for the report of a failure.
    pub fn daemon_log(&self) -> String {
        self.daemon.as_ref().map(|(_, daemon)| daemon.log()).unwrap_or_default()
    }

    /// Stops the daemon as an operator would, then everything else.
    ///
    /// # Errors
    ///
    /// The daemon did not stop, or not with exit status 0; or a capture could not be written.
    pub fn stop(mut self) -> anyhow::Result<()> {
        if let Some((_, daemon)) = self.daemon.take() {
            daemon.stop()?;
        }
        self.nodes.clear();
        self.apps.clear();
        self.fabric.stop().context("the network between the hosts")?;
        Ok(())
    }

    /// A namespace with an interface on a segment, its default route by the router.
    fn build_host(&self, name: &str, (segment, address): (Segment, Pair), link: &Link) -> anyhow::Result<KernelHost> {
        let build = || -> anyhow::Result<KernelHost> {
            let netns = Netns::new()?;
            let tun = Tun::new(&netns, "eth0", &subnet(address), MTU)?;
            let router = addresses::router(segment);
            for (gateway, any) in router.both().into_iter().zip(["0.0.0.0", "::"]) {
                let destination = (any.parse::<IpAddr>()?, 0);
                netns.add_route(&Route { destination, gateway: Some(gateway), interface: "eth0" })?;
            }
            let attachment = cast::attachment(self.scenario, name, segment, address, link);
            let port = self.fabric.attach_tun(name, attachment, tun)?;
            Ok(KernelHost { netns, address, port, process: None })
        };
        build().with_context(|| format!("the namespace of {name}"))
    }

    /// A host in this process, on which nothing runs yet.
    fn build_stack(&self, node: &Node, (segment, address): (Segment, Pair)) -> anyhow::Result<StackHost> {
        let attachment = cast::attachment(self.scenario, &node.name, segment, address, &node.link);
        let config = cast::node_stack(address, attachment.seed);
        let (stack, port) = self.fabric.attach_idle(&node.name, attachment, config)?;
        Ok(StackHost { stack, address, port, since: None })
    }

    fn start_app(&mut self, app: Ref<App>, entry: &App, host: &mut KernelHost) -> anyhow::Result<()> {
        if let Some(ports) = cast::local_ports(entry) {
            let range = format!("{} {}", ports.start(), ports.end());
            host.netns.set_sysctl("ipv4.ip_local_port_range", &range)?;
        }
        let spec = Host::App(cast::app(self.scenario, app));
        let start = self.next_start();
        let reports = self.inbox.reports(start, Witness::App(app))?;
        let child = spec.start(&host.netns, reports).with_context(|| format!("the process of {}", entry.name))?;
        host.process = Some(Process { start, child });
        Ok(())
    }

    fn build_browsers(&mut self) -> anyhow::Result<()> {
        for cast::BrowserHost { group, address, link, seed, config } in cast::browsers(self.scenario) {
            let stack = StackConfig {
                addresses: vec![address],
                listen: Vec::new(),
                local_ports: DYNAMIC_PORTS,
                udp: None,
                buffers: Buffers::SMALL,
                seed,
                mtu: MTU,
            };
            let host = ActorHost {
                segment: Segment::Wan,
                link,
                stack,
                actor: Player::Browser(Box::new(Browser::new(config))),
            };
            let stack = self.fabric.attach_actor(&self.scenario.browsers[group].name, host)?;
            self.browsers.entry(group).or_default().push(stack);
        }
        Ok(())
    }
}

fn build_router(netns: &Netns, fabric: &Fabric<Player>, scenario: &Scenario) -> anyhow::Result<()> {
    let service = addresses::service();
    netns.configure(&InterfaceConfig {
        name: "lo",
        addresses: &[(service.v4, 32), (service.v6, 128)],
        mtu: None,
        queue: None,
    })?;
    netns.set_sysctl("ipv4.ip_forward", "1")?;
    netns.set_sysctl("ipv6.conf.all.forwarding", "1")?;
    for (segment, name) in [(Segment::Wan, "wan"), (Segment::Lan, "lan")] {
        let address = addresses::router(segment);
        let tun = Tun::new(netns, name, &subnet(address), MTU)?;
        netns.set_sysctl(&format!("ipv4.conf.{name}.rp_filter"), "0")?;
        // What a link of the segment cannot carry is the sender's to know, not the router's to send elsewhere.
        netns.set_sysctl(&format!("ipv4.conf.{name}.send_redirects"), "0")?;
        let attachment = cast::router_attachment(scenario, name, segment);
        fabric.attach_tun(&format!("router-{name}"), attachment, tun)?;
    }
    Ok(())
}

fn subnet(address: Pair) -> [(IpAddr, u8); 2] {
    [(address.v4, addresses::PREFIX_V4), (address.v6, addresses::PREFIX_V6)]
}
