//! A walk through the steps that keeps account of who has joined, is connected or holds connections, so that each step
//! is possible after those before it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use halod_core::ids::{RouteId, Side};

use super::Mistakes;
use super::faults::Presence;
use super::hosts::Hosts;
use super::names::names;
use super::text::as_written;
use crate::scenario::file::{self, Names, Verb};
use crate::scenario::located::{At, Either};
use crate::scenario::{
    Action, Answer, App, BrowserGroup, Command, Engine, Expectation, Fault, Hold, Load, LossRule, Node, RateChange,
    Ref, Router, Run, RunHost, Step, Stray, StrayPath, Tcp, TcpFlag,
};

/// The largest event body, in bytes. Larger ones would measure the links, not the router.
const BODY_MAX: u32 = 1_000_000;

/// The state of affairs after the steps so far.
pub(super) struct Walk<'a> {
    pub(super) mistakes: &'a mut Mistakes,
    source: &'a str,
    pub(super) router: &'a Router,
    pub(super) hosts: &'a Hosts,
    /// Only the simulator runs it.
    pub(super) only: Option<Engine>,
    pub(super) losses: LossRule,
    pub(super) presence: Presence,
    /// Who was lost in this step.
    pub(super) lost_now: Vec<Ref<Node>>,
    pub(super) connected: BTreeSet<Ref<BrowserGroup>>,
    pub(super) events: u64,
    loaded: BTreeSet<Ref<App>>,
    pub(super) flows_by_app: BTreeMap<Ref<App>, u32>,
    pub(super) halod: Halod,
}

/// What HaloD's process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Halod {
    #[default]
    Running,
    Stopped,
    Killed,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        mistakes: &'a mut Mistakes,
        source: &'a str,
        router: &'a Router,
        hosts: &'a Hosts,
        only: Option<Engine>,
        losses: LossRule,
    ) -> Self {
        Self {
            mistakes,
            source,
            router,
            hosts,
            only,
            losses,
            presence: Presence::default(),
            lost_now: Vec::new(),
            connected: BTreeSet::new(),
            events: 0,
            loaded: BTreeSet::new(),
            flows_by_app: BTreeMap::new(),
            halod: Halod::default(),
        }
    }

    /// The steps, but for those with a mistake.
    pub(super) fn steps(mut self, steps: &[At<file::Step>]) -> Vec<Step> {
        let mut steps: Vec<Step> = steps.iter().filter_map(|step| self.step(step)).collect();
        // Nothing begins after the last step, so it waits in any case.
        if let Some(last) = steps.last_mut().filter(|last| !last.comes_to_rest()) {
            last.expect.push(Expectation::SETTLED);
        }
        steps
    }

    fn step(&mut self, step: &At<file::Step>) -> Option<Step> {
        self.lost_now.clear();
        let action = self.action(&step.value.head, &step.span);
        let expect = self.expectations(&step.value.rest.expect);
        let before = &self.source[..step.span.start];
        let line = before.matches('\n').count() + 1;
        Some(Step { text: as_written(self.source, step.span.start), line, action: action?, expect })
    }

    fn action(&mut self, verb: &Verb, span: &Range<usize>) -> Option<Action> {
        match verb {
            Verb::Join(names) => self.join(names),
            Verb::Leave(name) => self.leave(name),
            Verb::Connect(name) => self.connect(name),
            Verb::Disconnect(disconnect) => self.disconnect(disconnect),
            Verb::Load(load) => self.load(load, span).map(Action::Load),
            Verb::Rate(change) => self.rate(change).map(Action::Rate),
            Verb::Hold(hold) => self.hold(hold).map(Action::Hold),
            Verb::Probe(name) => self.probe(name),
            Verb::Stray(stray) => self.stray(stray).map(Action::Stray),
            Verb::Crash(names) => self.fault(names, Fault::Crash),
            Verb::PowerOff(names) => self.fault(names, Fault::PowerOff),
            Verb::Hang(names) => self.fault(names, Fault::Hang),
            Verb::Resume(names) => self.fault(names, Fault::Resume),
            Verb::Cut(cut) => self.cut(cut),
            Verb::Heal(names) => self.fault(names, Fault::Heal),
            Verb::Flap(flap) => self.flap(flap),
            Verb::Restart(names) => self.fault(names, Fault::Restart),
            Verb::Relink(relink) => self.relink(relink),
            Verb::Pause(pause) => self.pause(pause),
            Verb::Jump(time) => self.jump(time),
            Verb::Wait(duration) => self.mistakes.quantity(duration).map(Action::Wait),
            Verb::Busy(time) => self.busy(time),
            Verb::Halod(order) => self.halod(order),
            Verb::Run(run) => self.run(run).map(Action::Run),
        }
    }

    fn join(&mut self, names: &Names) -> Option<Action> {
        self.needs_halod(&names.span);
        let mut joining = Vec::new();
        for (node, span) in self.nodes(names) {
            let outcome = self.presence.join(node);
            if self.allow(node, &span, outcome) {
                joining.push(node);
            }
        }
        (!joining.is_empty()).then_some(Action::Join(joining))
    }

    fn leave(&mut self, name: &At<String>) -> Option<Action> {
        self.needs_halod(&name.span);
        let node = self.node(&name.value, &name.span)?;
        let outcome = self.presence.leave(node);
        self.allow(node, &name.span, outcome).then_some(Action::Leave(node))
    }

    fn connect(&mut self, connect: &At<Either<String, file::Connect>>) -> Option<Action> {
        let (name, rate) = match &connect.value {
            Either::Short(name) => (&At { value: name.clone(), span: connect.span.clone() }, None),
            Either::Long(file::Connect { browsers, rate }) => (browsers, Some(self.mistakes.quantity(rate))),
        };
        let group = self.group(name)?;
        if !self.connected.insert(group) {
            let message = format!("the browsers \"{}\" connect a second time", name.value);
            self.mistakes.add(&name.span, message, "disconnect them first");
        }
        Some(Action::Connect(group, rate.flatten()))
    }

    fn disconnect(&mut self, disconnect: &At<Either<String, file::Disconnect>>) -> Option<Action> {
        let (name, by) = match &disconnect.value {
            Either::Short(name) => (&At { value: name.clone(), span: disconnect.span.clone() }, None),
            Either::Long(file::Disconnect { browsers, by }) => (browsers, *by),
        };
        let group = self.group(name)?;
        if !self.connected.remove(&group) {
            let message = format!("the browsers \"{}\" are not connected", name.value);
            self.mistakes.add(&name.span, message, "connect them first");
        }
        Some(Action::Disconnect(group, by.unwrap_or_default()))
    }

    fn load(&mut self, load: &file::Load, span: &Range<usize>) -> Option<Load> {
        if self.hosts.browsers.is_empty() {
            self.mistakes.add(span, "a load without browsers", "it has no user to go to");
        }
        self.mistakes.count(&load.events, "events", u32::MAX.into());
        if let Some(size) = &load.size {
            self.mistakes.count(size, "bytes of a body", BODY_MAX.into());
        }
        let room = load.room.as_ref().map_or(1, |room| self.room(room));
        let (app, rate) = (self.app(&load.app), self.mistakes.quantity(&load.rate));
        self.loaded.extend(app);
        let size_min = load.size.as_ref().map_or(0, |size| size.value);
        let load = Load { app: app?, events: load.events.value, rate: rate?, room, size_min, wait: load.wait };
        self.events += load.deliveries();
        Some(load)
    }

    /// Rooms that are not full would leave it to chance how many events there are.
    fn room(&mut self, room: &At<u16>) -> u16 {
        let users: u32 = self.hosts.browsers.iter().map(|group| u32::from(group.count)).sum();
        if self.mistakes.count(room, "users of a room", users.max(1).into()) && !users.is_multiple_of(room.value.into())
        {
            let message = format!("{users} users do not fill rooms of {}", room.value);
            self.mistakes.add(&room.span, message, "all rooms have the same size");
        }
        room.value
    }

    fn rate(&mut self, change: &file::RateChange) -> Option<RateChange> {
        let (app, to) = (self.app(&change.app), self.mistakes.quantity(&change.to));
        if app.is_some_and(|app| !self.loaded.contains(&app)) {
            let message = format!("app \"{}\" has no load", change.app.value);
            self.mistakes.add(&change.app.span, message, "load it first");
        }
        Some(RateChange { app: app?, to: to? })
    }

    fn hold(&mut self, hold: &file::Hold) -> Option<Hold> {
        let counts_fit = self.mistakes.count(&hold.flows, "flows", u16::MAX.into())
            & self.mistakes.count(&hold.routes, "routes", self.router.routes.into());
        let app = self.app(&hold.app)?;
        let (flows, routes) = (hold.flows.value, hold.routes.value);
        if self.flows_by_app.insert(app, flows).is_some() {
            let message = format!("app \"{}\" holds connections already", hold.app.value);
            self.mistakes.add(&hold.app.span, message, "an app holds once");
        }
        let ports = self.hosts.apps[app].ports;
        if let Some(ports) = ports.filter(|&ports| counts_fit && flows.div_ceil(routes.into()) > ports.into()) {
            let message = format!("{flows} flows over {routes} routes do not fit into {ports} local ports");
            self.mistakes.add(&hold.flows.span, message, format!("at most {}", u32::from(ports) * u32::from(routes)));
        }
        Some(Hold { app, flows, routes })
    }

    fn probe(&mut self, name: &At<String>) -> Option<Action> {
        let app = self.app(name)?;
        if !self.flows_by_app.contains_key(&app) {
            self.mistakes.add(&name.span, format!("app \"{}\" holds no connections", name.value), "hold some first");
        }
        Some(Action::Probe(app))
    }

    fn stray(&mut self, stray: &file::Stray) -> Option<Stray> {
        let path = self.stray_path(stray);
        let flags: BTreeSet<TcpFlag> = stray.flags.value.iter().copied().collect();
        if flags.contains(&TcpFlag::Syn) && !flags.contains(&TcpFlag::Ack) {
            self.mistakes.add(&stray.flags.span, "a SYN starts a connection, it is no stray packet", "leave it out");
        }
        if flags.contains(&TcpFlag::Rst) && stray.answer.value == Answer::Rst {
            self.mistakes.add(&stray.answer.span, "nobody answers RST with RST", "RFC 9293, 3.5.2: none");
        }
        if let Some(cut) = &stray.cut {
            self.mistakes.count(cut, "bytes to send", 60);
        }
        Some(Stray {
            path: path?,
            flags,
            cut: stray.cut.as_ref().map(|cut| cut.value),
            bad_checksum: stray.bad_checksum,
            options: stray.options,
            answer: stray.answer.value,
        })
    }

    fn stray_path(&mut self, stray: &file::Stray) -> Option<StrayPath> {
        let At { value: from, span } = &stray.from;
        if let Some(from) = self.hosts.client(from) {
            if let Some(side) = &stray.side {
                self.mistakes.add(&side.span, "a client has no service port", "the side belongs into \"to\"");
            }
            let Either::Long(service) = &stray.to.value else {
                self.mistakes.add(&stray.to.span, "a client sends to a service port", "as in {route: 3, side: app}");
                return None;
            };
            self.mistakes.count(&service.route, "routes", self.router.routes.into());
            let route = RouteId::new(service.route.value)?;
            return Some(StrayPath::ToService { from, route, side: side_or_default(service.side) });
        }
        let from = self.host_of(from, span, "clients and nodes")?;
        if !self.presence.is_running(from) {
            self.mistakes.add(span, format!("node \"{}\" is not running", stray.from.value), "join it first");
        }
        let Either::Short(to) = &stray.to.value else {
            self.mistakes.add(&stray.to.span, "a node sends to a client", "the name of a client");
            return None;
        };
        let clients = names(&self.hosts.clients, |client| &client.name);
        let Some(to) = self.hosts.client(to) else {
            self.unknown("client", to, &stray.to.span, &clients);
            return None;
        };
        Some(StrayPath::FromNode { from, side: side_or_default(stray.side.as_ref().map(|side| side.value)), to })
    }

    fn run(&mut self, run: &file::Run) -> Option<Run> {
        let At { value: name, span } = &run.on;
        let on = match name.as_str() {
            "router" => Some(RunHost::Router),
            _ => match self.hosts.client(name) {
                Some(client) => Some(RunHost::Client(client)),
                None => self.host_of(name, span, "hosts besides the router").map(RunHost::Node),
            },
        };
        if let Some(RunHost::Node(node)) = on
            && self.hosts.nodes[node].tcp == Tcp::Smoltcp
        {
            let message = format!("node \"{}\" has no kernel to run commands", self.hosts.nodes[node].name);
            self.mistakes.add(span, message, "its TCP is smoltcp's");
        }
        let command = Command::parse(&run.command.value, self.router.routes)
            .map_err(|why| self.mistakes.add(&run.command.span, "the command does not fit", why));
        Some(Run { on: on?, command: command.ok()?, stdout: run.stdout.clone(), status: run.status.unwrap_or(0) })
    }
}

fn side_or_default(side: Option<file::Side>) -> Side {
    match side {
        Some(file::Side::App) => Side::App,
        Some(file::Side::Browser) | None => Side::Browser,
    }
}
