//! Plays a scenario under virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use halod_core::time::Instant;

use super::world::{Catch, Closing, World};
use crate::actors::app::AppCommand;
use crate::actors::browser::BrowserCommand;
use crate::actors::node::NodeCommand;
use crate::actors::player::PlayerCommand;
use crate::addresses;
use crate::cast::{self, StrayEnds, StraySender};
use crate::engine::{CommandOutcome, Engine, Order, Seen, Witness};
use crate::network::Direction;
use crate::scenario::{Answer, App, BrowserGroup, Fault, Link, LinkOf, Node, Ref, Run, Stray, Way};
use crate::stacks::StackId;
use crate::stray;

/// How long the answer to a stray packet is waited for.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);

const BOTH: &[Direction] = &[Direction::Up, Direction::Down];

impl Engine for World<'_> {
    fn now(&self) -> Instant {
        self.now
    }

    fn give(&mut self, order: Order<'_>) -> anyhow::Result<Instant> {
        match order {
            Order::Join(node) => self.join(node)?,
            Order::Leave(node) => {
                self.hosts.command(self.now, self.nodes[&node], PlayerCommand::Node(NodeCommand::Leave));
            }
            Order::Connect { group, from, to } => {
                for &browser in &self.browsers[&group][usize::from(from)..usize::from(to)] {
                    self.hosts.command(self.now, browser, PlayerCommand::Browser(BrowserCommand::Connect));
                }
            }
            Order::Disconnect(group, by) => self.tell_browsers(group, cast::parting(by)),
            Order::Load(load) => self.tell_app(load.app, cast::load(load)),
            Order::Rate(change) => self.tell_app(change.app, cast::rate(change)),
            Order::Hold(hold) => self.tell_app(hold.app, cast::hold(hold)),
            Order::Probe(app) => self.tell_app(app, AppCommand::Probe),
            Order::Fault(fault, nodes) => nodes.iter().try_for_each(|&node| self.befall(fault, node))?,
            Order::Relink(of, link) => self.relink(of, link),
            Order::Freeze(group) => self.browsers[&group].iter().for_each(|&browser| self.hosts.freeze(browser)),
            Order::Thaw(group) => {
                let now = self.now;
                self.browsers[&group].iter().for_each(|&browser| self.hosts.thaw(now, browser));
            }
            Order::Jump(time) => self.router.jump(self.now, time),
            Order::Halod(_) => anyhow::bail!("HaloD is no process of its own here"),
            Order::Busy(_) => anyhow::bail!("there is no machine to keep busy"),
        }
        Ok(self.now)
    }

    fn next(&mut self, until: Instant) -> anyhow::Result<Option<Seen>> {
        while self.seen.is_empty() && self.now < until {
            self.advance(until);
        }
        if let Some(broken) = self.router.broken() {
            anyhow::bail!("{broken}");
        }
        Ok(self.seen.pop_front())
    }

    fn first_closing(&mut self, node: Ref<Node>) -> Option<Instant> {
        let Some(&Closing::Seen(at)) = self.closings.get(&node) else { return None };
        self.closings.remove(&node);
        Some(at)
    }

    fn late_max(&self) -> anyhow::Result<Duration> {
        Ok(Duration::ZERO)
    }

    fn stray(&mut self, stray: &Stray) -> anyhow::Result<Answer> {
        let StrayEnds { sender, source, destination } = cast::stray(self.scenario, stray);
        let host = match sender {
            StraySender::Client(client) => self.clients[&client],
            StraySender::Node(node) => self.nodes[&node],
        };
        self.catch = Some(Catch { local: source, peer: destination, caught: VecDeque::new() });
        let port = self.port(host);
        self.switch.send(self.now, port, stray::packet(stray, source, destination));
        let end = self.now + ANSWER_WITHIN;
        let mut answer = None;
        while answer.is_none() && self.now < end {
            self.advance(end);
            answer = self.catch.as_mut().and_then(|catch| catch.caught.pop_front());
        }
        self.catch = None;
        match answer {
            None => Ok(Answer::None),
            Some(packet) if stray::is_reset(packet.clone()) => Ok(Answer::Rst),
            Some(packet) => anyhow::bail!("it was answered with {packet:02x?}"),
        }
    }

    fn run(&mut self, _: &Run) -> anyhow::Result<CommandOutcome> {
        anyhow::bail!("the simulator runs no commands; `only: {{engine: kernel, because: ..}}` says so in a scenario")
    }
}

impl World<'_> {
    fn tell_browsers(&mut self, group: Ref<BrowserGroup>, command: BrowserCommand) {
        for &browser in &self.browsers[&group] {
            self.hosts.command(self.now, browser, PlayerCommand::Browser(command));
        }
    }

    fn tell_app(&mut self, app: Ref<App>, command: AppCommand) {
        self.hosts.command(self.now, self.apps[&app], PlayerCommand::App(command));
    }

    fn befall(&mut self, fault: Fault, node: Ref<Node>) -> anyhow::Result<()> {
        let id = self.nodes[&node];
        match fault {
            Fault::Crash => self.kill(node, id),
            Fault::Restart => {
                self.kill(node, id);
                self.join(node)?;
            }
            Fault::PowerOff => {
                self.cut(id, BOTH);
                self.hosts.power_off(id);
                self.forget(node);
            }
            Fault::Hang => self.hosts.freeze(id),
            Fault::Resume => self.hosts.thaw(self.now, id),
            Fault::Cut(Way::Both) => self.cut(id, BOTH),
            Fault::Cut(Way::Up) => self.cut(id, &[Direction::Up]),
            Fault::Cut(Way::Down) => self.cut(id, &[Direction::Down]),
            Fault::Heal => self.switch.heal(self.port(id)),
        }
        Ok(())
    }

    fn relink(&mut self, of: LinkOf, link: &Link) {
        let stacks = match of {
            LinkOf::Node(node) => vec![self.nodes[&node]],
            LinkOf::App(app) => vec![self.apps[&app]],
            LinkOf::Browsers(group) => self.browsers[&group].clone(),
        };
        for stack in stacks {
            let port = self.port(stack);
            self.switch.configure(port, cast::link(link));
        }
    }

    fn kill(&mut self, node: Ref<Node>, id: StackId) {
        self.closings.insert(node, Closing::Awaited);
        self.hosts.kill(self.now, id);
        self.forget(node);
    }

    /// The last words of a process that was killed count no more.
    fn forget(&mut self, node: Ref<Node>) {
        self.router.see_death(self.now, addresses::node(node.index()).both());
        self.seen.retain(|seen| seen.by != Witness::Node(node));
    }

    fn cut(&mut self, id: StackId, directions: &[Direction]) {
        let port = self.port(id);
        directions.iter().for_each(|&direction| self.switch.cut(port, direction));
    }
}
