//! Plays a scenario with real processes: orders become lines to processes, lines of processes become observations.

use std::process::{Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::Context;
use halod_core::time::Instant;

use super::busy::Busy;
use super::clock;
use super::fabric::End;
use super::inbox::{Incoming, Trouble};
use super::process;
use super::world::World;
use crate::actors::app::AppCommand;
use crate::actors::browser::BrowserCommand;
use crate::actors::node::NodeCommand;
use crate::actors::player::PlayerCommand;
use crate::addresses;
use crate::cast::{self, StrayEnds, StraySender};
use crate::engine::{CommandOutcome, Engine, Order, Seen, Witness};
use crate::scenario::{Answer, BrowserGroup, Family, Link, LinkOf, Node, Placeholder, Ref, Run, Stray};
use crate::stray;
use crate::timing::RouterCpu;

/// How long the answer to a stray packet may take, and how long no answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_millis(200);
/// How long a command may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(20);

impl Engine for World<'_> {
    fn now(&self) -> Instant {
        clock::now()
    }

    fn give(&mut self, order: Order<'_>) -> anyhow::Result<Instant> {
        let now = clock::now();
        match order {
            Order::Join(node) => self.join(node)?,
            Order::Leave(node) => self.tell_node(node, NodeCommand::Leave)?,
            Order::Connect { group, from, to } => {
                let browsers = &self.browsers[&group][usize::from(from)..usize::from(to)];
                let connect = || PlayerCommand::Browser(BrowserCommand::Connect);
                browsers.iter().try_for_each(|&browser| self.fabric.command(browser, connect()))?;
            }
            Order::Disconnect(group, by) => self.tell_browsers(group, cast::parting(by))?,
            Order::Load(load) => self.app_process(load.app)?.send(&cast::load(load))?,
            Order::Rate(change) => self.app_process(change.app)?.send(&cast::rate(change))?,
            Order::Hold(hold) => self.app_process(hold.app)?.send(&cast::hold(hold))?,
            Order::Probe(app) => self.app_process(app)?.send(&AppCommand::Probe)?,
            Order::Busy(time) => self.busy = Some(Busy::start(time)?),
            Order::Fault(fault, nodes) => return self.befall(fault, nodes),
            Order::Relink(of, link) => self.relink(of, link)?,
            Order::Freeze(group) => self.pause_browsers(group, true)?,
            Order::Thaw(group) => self.pause_browsers(group, false)?,
            Order::Halod(order) => return self.befall_daemon(order),
            Order::Jump(_) => anyhow::bail!("the clock of a kernel cannot be made to jump"),
        }
        Ok(now)
    }

    fn next(&mut self, until: Instant) -> anyhow::Result<Option<Seen>> {
        loop {
            match self.inbox.next(until.since(clock::now())) {
                None => return Ok(None),
                Some(Incoming::Seen(seen)) if self.is_alive(&seen) => return Ok(Some(seen)),
                Some(Incoming::DaemonEnded(start)) if self.is_current_daemon(start) => {
                    anyhow::bail!("{} has ended: {}", self.balancer.name(), self.daemon_log())
                }
                // The last words of a process that was killed count no more.
                Some(Incoming::FromProcess(start, seen)) if self.is_current(seen.by, start) => return Ok(Some(seen)),
                Some(Incoming::Trouble(start, by, trouble)) if self.is_current(by, start) => {
                    self.judge(by, &trouble)?;
                }
                Some(
                    Incoming::Seen(_) | Incoming::FromProcess(..) | Incoming::Trouble(..) | Incoming::DaemonEnded(_),
                ) => {}
            }
        }
    }

    fn first_closing(&mut self, node: Ref<Node>) -> Option<Instant> {
        self.closings.get(&node)?.try_recv().ok()
    }

    fn late_max(&self) -> anyhow::Result<Duration> {
        Ok(self.fabric.totals()?.late_max.max(self.overdue_max))
    }

    fn router_cpu(&self) -> anyhow::Result<Option<RouterCpu>> {
        let Some(process) = self.daemon_cpu()? else { return Ok(None) };
        Ok(Some(RouterCpu { process, kernel: self.fabric.totals()?.forwarding }))
    }

    fn stray(&mut self, stray: &Stray) -> anyhow::Result<Answer> {
        let StrayEnds { sender, source, destination } = cast::stray(self.scenario, stray);
        let port = match sender {
            StraySender::Client(client) => self.client_port(client),
            StraySender::Node(node) => self.node_port(node).0,
        };
        let caught = self.fabric.catch(source, destination)?;
        self.fabric.inject(port, stray::packet(stray, source, destination))?;
        let patience = if stray.answer == Answer::None { SILENCE } else { ANSWER_WITHIN };
        match caught.recv_timeout(patience) {
            Ok(packet) if stray::is_reset(packet.clone()) => Ok(Answer::Rst),
            Ok(packet) => anyhow::bail!("it was answered with {packet:02x?}"),
            Err(RecvTimeoutError::Timeout) => Ok(Answer::None),
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the network between the hosts has failed"),
        }
    }

    fn run(&mut self, run: &Run) -> anyhow::Result<CommandOutcome> {
        let scenario = self.scenario;
        let line = run.command.render(|placeholder| match placeholder {
            Placeholder::Service => match (scenario.router.family, addresses::service()) {
                (Family::V4, service) => service.v4.to_string(),
                (Family::V6, service) => format!("[{}]", service.v6),
            },
            Placeholder::Port(side, route) => addresses::port(side, scenario.router.routes, route).to_string(),
        });
        let mut command = process::command(self.netns(run.on), "sh")?;
        command.args(["-c", &line]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let Output { status, stdout, stderr } = wait(process::spawn_with_descendants(&mut command)?)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(CommandOutcome { status: status.code(), stdout: text(stdout), stderr: text(stderr) })
    }
}

impl World<'_> {
    fn tell_browsers(&self, group: Ref<BrowserGroup>, command: BrowserCommand) -> anyhow::Result<()> {
        self.browsers[&group]
            .iter()
            .try_for_each(|&stack| Ok(self.fabric.command(stack, PlayerCommand::Browser(command))?))
    }

    fn relink(&self, of: LinkOf, link: &Link) -> anyhow::Result<()> {
        let config = cast::link(link);
        match of {
            LinkOf::Node(node) => self.fabric.configure(End::Port(self.node_port(node).0), config)?,
            LinkOf::App(app) => self.fabric.configure(End::Port(self.app_port(app)), config)?,
            LinkOf::Browsers(group) => {
                for &stack in &self.browsers[&group] {
                    self.fabric.configure(End::Stack(stack), config)?;
                }
            }
        }
        Ok(())
    }

    fn pause_browsers(&self, group: Ref<BrowserGroup>, pause: bool) -> anyhow::Result<()> {
        self.browsers[&group].iter().try_for_each(|&stack| Ok(self.fabric.pause(stack, pause)?))
    }

    /// Nodes and apps run until the scenario ends.
    fn judge(&self, by: Witness, trouble: &Trouble) -> anyhow::Result<()> {
        let name = match by {
            Witness::Node(node) => &self.scenario.nodes[node].name,
            Witness::App(app) => &self.scenario.apps[app].name,
            Witness::Browser => unreachable!("browsers have no process"),
        };
        match trouble {
            Trouble::Garbled(line) => anyhow::bail!("{name} said something that is no observation: {line}"),
            Trouble::Ended => anyhow::bail!("the process of {name} has ended"),
        }
    }
}

/// Waits for the end of a command, and kills it with all that it has started if that does not come.
fn wait(child: std::process::Child) -> anyhow::Result<Output> {
    let id = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(COMMAND_WITHIN) {
        Ok(output) => Ok(output?),
        Err(_) => {
            nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGKILL).context("a command that takes too long")?;
            anyhow::bail!("it was not done after {COMMAND_WITHIN:?}")
        }
    }
}
