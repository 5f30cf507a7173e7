//! The hosts of one scenario, and the order in which things happen to them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use halod_core::time::Instant;

use super::router::Router;
use super::transcript::{self, Transcript};
use crate::actors::app::App as AppActor;
use crate::actors::browser::Browser;
use crate::actors::node::{Node as NodeActor, NodeCommand};
use crate::actors::player::{Player, PlayerCommand};
use crate::addresses::{self, Pair};
use crate::cast::{self, MTU};
use crate::engine::{Seen, Witness};
use crate::monitor::Broken;
use crate::network::{Attachment, PortId, Role, Segment, Switch, closing_source, tcp_endpoints};
use crate::scenario::{App, BrowserGroup, Client, Link, Node, Ref, Scenario};
use crate::stacks::{Buffers, DYNAMIC_PORTS, Observed, StackConfig, StackId, Stacks};

/// All hosts of a scenario, at one point of its time.
pub struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) now: Instant,
    pub(super) switch: Switch,
    pub(super) hosts: Stacks<Player>,
    /// Where each stack is attached, and as whom what runs on it speaks; a client says nothing.
    places: Vec<(PortId, Option<Witness>)>,
    stacks_by_port: BTreeMap<PortId, StackId>,
    pub(super) router: Router,
    router_ports: [PortId; 2],
    pub(super) nodes: BTreeMap<Ref<Node>, StackId>,
    pub(super) apps: BTreeMap<Ref<App>, StackId>,
    pub(super) clients: BTreeMap<Ref<Client>, StackId>,
    pub(super) browsers: BTreeMap<Ref<BrowserGroup>, Vec<StackId>>,
    pub(super) seen: VecDeque<Seen>,
    pub(super) closings: BTreeMap<Ref<Node>, Closing>,
    pub(super) catch: Option<Catch>,
    transcript: Transcript,
    /// Who wants to hear of everything as it happens.
    tell: Option<Tell>,
    tells_packets: bool,
    /// What has happened since time last passed.
    at_once: u32,
    /// Starts of processes, so that each has an incarnation of its own.
    starts: u64,
}

/// The first FIN or RST of a process that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    Awaited,
    Seen(Instant),
}

/// Takes packets out of the network instead of delivering them.
#[derive(Debug)]
pub(super) struct Catch {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) caught: VecDeque<Vec<u8>>,
}

/// So much never happens at one point in time: something goes round in circles.
const AT_ONCE_MAX: u32 = 1_000_000;

/// Hears of everything.
type Tell = Box<dyn FnMut(Instant, String)>;

impl<'a> World<'a> {
    /// Builds all hosts and starts HaloD and the apps; nodes start when they join.
    ///
    /// # Errors
    ///
    /// A config that HaloD does not accept, or hosts that cannot be in one network.
    pub fn build(scenario: &'a Scenario) -> anyhow::Result<Self> {
        let now = Instant::ORIGIN;
        let router = Router::new(now, &scenario.router, cast::seed(scenario.seed, "halod", 0))?;
        let mut switch = Switch::new(addresses::icmp_source());
        let mut attach_router = |segment, name| switch.attach(&cast::router_attachment(scenario, name, segment));
        let router_ports = [attach_router(Segment::Wan, "wan")?, attach_router(Segment::Lan, "lan")?];
        let mut world = Self {
            scenario,
            now,
            switch,
            hosts: Stacks::default(),
            places: Vec::new(),
            stacks_by_port: BTreeMap::new(),
            router,
            router_ports,
            nodes: BTreeMap::new(),
            apps: BTreeMap::new(),
            clients: BTreeMap::new(),
            browsers: BTreeMap::new(),
            seen: VecDeque::new(),
            closings: BTreeMap::new(),
            catch: None,
            transcript: Transcript::default(),
            tell: None,
            tells_packets: false,
            at_once: 0,
            starts: 0,
        };
        world.build_hosts()?;
        Ok(world)
    }

    /// Lets `tell` hear of every observation and of all that HaloD would log, with its time; of each TCP segment that a
    /// host or the router receives, too, if `packets`.
    pub fn tell(&mut self, packets: bool, tell: impl FnMut(Instant, String) + 'static) {
        self.tells_packets = packets;
        self.tell = Some(Box::new(tell));
    }

    /// What was wrong with HaloD first.
    pub fn broken(&self) -> Option<&Broken> {
        self.router.broken()
    }

    /// A hash of every packet that was delivered and of everything that was seen so far, with their times.
    pub fn transcript(&self) -> u64 {
        self.transcript.value()
    }

    /// Packets delivered and observations made so far.
    pub fn events(&self) -> u64 {
        self.transcript.events()
    }

    fn build_hosts(&mut self) -> anyhow::Result<()> {
        let scenario = self.scenario;
        let ports = vec![addresses::NODE_BROWSER_PORT, addresses::NODE_APP_PORT, addresses::NODE_ADMIN_PORT];
        for (node, entry) in scenario.nodes.entries() {
            let place = (Segment::Lan, addresses::node(node.index()));
            let id = self.add_host(&entry.name, place, &entry.link, ports.clone(), Some(Witness::Node(node)), None)?;
            self.nodes.insert(node, id);
        }
        for (client, entry) in scenario.clients.entries() {
            let place = (addresses::segment(entry.on), addresses::client(entry.on, client.index()));
            let id = self.add_host(&entry.name, place, &entry.link, Vec::new(), None, None)?;
            self.clients.insert(client, id);
        }
        for (app, entry) in scenario.apps.entries() {
            let place = (Segment::Wan, addresses::app(app.index()));
            let actor = Player::App(Box::new(AppActor::new(cast::app(scenario, app))));
            self.starts += 1;
            let id =
                self.add_host(&entry.name, place, &entry.link, Vec::new(), Some(Witness::App(app)), Some(actor))?;
            self.apps.insert(app, id);
        }
        for cast::BrowserHost { group, address, link, seed, config } in cast::browsers(scenario) {
            let attachment =
                Attachment { segment: Segment::Wan, role: Role::Host, addresses: vec![address], link, seed };
            let stack = StackConfig {
                addresses: vec![address],
                listen: Vec::new(),
                local_ports: DYNAMIC_PORTS,
                udp: None,
                buffers: Buffers::SMALL,
                seed,
                mtu: MTU,
            };
            let actor = Player::Browser(Box::new(Browser::new(config)));
            let id = self.add(&attachment, &stack, Some(Witness::Browser), Some(actor))?;
            self.browsers.entry(group).or_default().push(id);
        }
        Ok(())
    }

    fn add_host(
        &mut self,
        name: &str,
        (segment, address): (Segment, Pair),
        link: &Link,
        listen: Vec<u16>,
        who: Option<Witness>,
        actor: Option<Player>,
    ) -> anyhow::Result<StackId> {
        let attachment = cast::attachment(self.scenario, name, segment, address, link);
        let local_ports = match who {
            Some(Witness::App(app)) => cast::local_ports(&self.scenario.apps[app]),
            _ => None,
        };
        let stack = StackConfig {
            addresses: address.both().to_vec(),
            udp: (!listen.is_empty()).then_some(0),
            listen,
            local_ports: local_ports.unwrap_or(DYNAMIC_PORTS),
            buffers: Buffers::LARGE,
            seed: attachment.seed,
            mtu: MTU,
        };
        self.add(&attachment, &stack, who, actor)
    }

    fn add(
        &mut self,
        attachment: &Attachment,
        stack: &StackConfig,
        who: Option<Witness>,
        actor: Option<Player>,
    ) -> anyhow::Result<StackId> {
        let port = self.switch.attach(attachment)?;
        let id = match actor {
            Some(actor) => self.hosts.add(self.now, stack, actor),
            None => self.hosts.add_idle(self.now, stack),
        };
        debug_assert_eq!(id.0, self.places.len(), "stacks are numbered in the order of their arrival");
        self.places.push((port, who));
        self.stacks_by_port.insert(port, id);
        Ok(id)
    }

    /// Where a host is attached.
    pub(super) fn port(&self, id: StackId) -> PortId {
        self.places[id.0].0
    }

    /// Starts a node's process anew; it joins. Its link is whole, whatever happened to it before.
    pub(super) fn join(&mut self, node: Ref<Node>) -> anyhow::Result<()> {
        self.starts += 1;
        let actor = NodeActor::new(cast::node(self.scenario, node, self.starts)).map_err(anyhow::Error::msg)?;
        let id = self.nodes[&node];
        self.switch.heal(self.port(id));
        self.hosts.start(self.now, id, Player::Node(Box::new(actor)));
        self.hosts.command(self.now, id, PlayerCommand::Node(NodeCommand::Join));
        Ok(())
    }

    /// Does all that is due now, and what follows from it at once; then lets time pass until the next thing that is
    /// due, at most until `until`.
    pub(super) fn advance(&mut self, until: Instant) {
        self.settle();
        let next = self.next_wakeup().map_or(until, |next| next.min(until)).max(self.now);
        if next > self.now {
            (self.now, self.at_once) = (next, 0);
        }
        self.settle();
    }

    fn next_wakeup(&self) -> Option<Instant> {
        [self.switch.next_wakeup(), self.hosts.next_wakeup(), Some(self.router.next_wakeup())]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does all that is due now.
    fn settle(&mut self) {
        while self.next_wakeup().is_some_and(|next| next <= self.now) {
            self.count();
            while let Some((port, packet)) = self.switch.poll(self.now) {
                self.deliver(port, packet);
            }
            let (switch, places, now) = (&mut self.switch, &self.places, self.now);
            self.hosts.poll(now, &mut |id, packet| switch.send(now, places[id.0].0, packet));
            let ports = self.router_ports;
            self.router.poll(now, &mut |segment, packet| switch.send(now, port_on(ports, segment), packet));
        }
        let places = &self.places;
        let seen = |Observed { at, by, observation }| Some(Seen { at, by: places[by.0].1?, observation });
        let notes = self.router.take_notes();
        if let Some(tell) = &mut self.tell {
            notes.iter().for_each(|note| tell(self.now, format!("halod: {note:?}")));
        }
        for seen in self.hosts.observed().filter_map(seen) {
            if let Some(tell) = &mut self.tell {
                tell(seen.at, format!("{}: {:?}", who(self.scenario, seen.by), seen.observation));
            }
            self.transcript.note(seen.at, format!("{seen:?}").as_bytes());
            self.seen.push_back(seen);
        }
    }

    /// Something happens.
    fn count(&mut self) {
        self.at_once += 1;
        assert!(self.at_once < AT_ONCE_MAX, "time stands still at {:?}", self.now.since(Instant::ORIGIN));
    }

    fn deliver(&mut self, port: PortId, packet: Vec<u8>) {
        self.count();
        self.transcript.note(self.now, &packet);
        if let (true, Some(tell)) = (self.tells_packets, &mut self.tell)
            && let Some(text) = transcript::describe(&packet)
        {
            tell(self.now, text);
        }
        if let Some(catch) = &mut self.catch
            && tcp_endpoints(&packet) == Some((catch.peer, catch.local))
        {
            catch.caught.push_back(packet);
        } else if let Some(&id) = self.stacks_by_port.get(&port) {
            self.hosts.deliver(self.now, id, packet);
        } else {
            self.note_closing(&packet);
            let (switch, now, ports) = (&mut self.switch, self.now, self.router_ports);
            self.router.receive(now, packet, &mut |segment, packet| switch.send(now, port_on(ports, segment), packet));
        }
    }

    /// What arrives at the router may be the first sign that a process was killed.
    fn note_closing(&mut self, packet: &[u8]) {
        if self.closings.is_empty() {
            return;
        }
        let Some(source) = closing_source(packet) else { return };
        let of_source = |(node, _): &(&Ref<Node>, &mut Closing)| addresses::node(node.index()).both().contains(&source);
        if let Some((_, closing)) = self.closings.iter_mut().find(of_source)
            && *closing == Closing::Awaited
        {
            *closing = Closing::Seen(self.now);
        }
    }
}

fn who(scenario: &Scenario, by: Witness) -> &str {
    match by {
        Witness::Node(node) => &scenario.nodes[node].name,
        Witness::App(app) => &scenario.apps[app].name,
        // Its user is in the observation.
        Witness::Browser => "browser",
    }
}

fn port_on([wan, lan]: [PortId; 2], segment: Segment) -> PortId {
    match segment {
        Segment::Wan => wan,
        Segment::Lan => lan,
    }
}
