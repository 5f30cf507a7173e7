//! Plays a scenario with real processes: orders become lines to processes, lines of processes become observations.

use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::Context;
use halod_core::ids::Side;
use halod_core::time::Instant;

use super::clock;
use super::inbox::{Incoming, Trouble};
use super::process;
use super::world::World;
use crate::actors::app::AppCommand;
use crate::actors::browser::BrowserCommand;
use crate::actors::node::NodeCommand;
use crate::addresses;
use crate::engine::{CommandOutcome, Engine, Order, Seen, Witness};
use crate::scenario::{Answer, BrowserGroup, Family, Node, Placeholder, Ref, Run, Stray, StrayPath};
use crate::stray;

/// How long the answer to a stray packet may take, and how long no answer is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_millis(200);
/// Where a stray packet of a client comes from or goes to: a port that nothing uses.
const STRAY_PORT: u16 = 4444;
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
            Order::Leave(node) => self.node_process(node)?.send(&NodeCommand::Leave)?,
            Order::Connect(group) => self.tell_browsers(group, BrowserCommand::Connect)?,
            Order::Disconnect(group) => self.tell_browsers(group, BrowserCommand::Close)?,
            Order::Load(load) => self.app_process(load.app)?.send(&AppCommand::Load {
                events: load.events.into(),
                interval: load.rate.interval(),
                body_bytes: load.size_min as usize,
            })?,
            Order::Hold(hold) => {
                let command = AppCommand::Hold { flows: hold.flows, routes: hold.routes };
                self.app_process(hold.app)?.send(&command)?;
            }
            Order::Probe(app) => self.app_process(app)?.send(&AppCommand::Probe)?,
            Order::Fault(fault, nodes) => return self.befall(fault, nodes),
        }
        Ok(now)
    }

    fn next(&mut self, until: Instant) -> anyhow::Result<Option<Seen>> {
        loop {
            match self.inbox.next(until.since(clock::now())) {
                None => return Ok(None),
                Some(Incoming::Seen(seen)) => return Ok(Some(seen)),
                Some(Incoming::DaemonEnded) => anyhow::bail!("halod has ended: {}", self.daemon_log()),
                // The last words of a process that was killed count no more.
                Some(Incoming::FromProcess(start, seen)) if self.is_current(seen.by, start) => return Ok(Some(seen)),
                Some(Incoming::Trouble(start, by, trouble)) if self.is_current(by, start) => {
                    self.judge(by, &trouble)?;
                }
                Some(Incoming::FromProcess(..) | Incoming::Trouble(..)) => {}
            }
        }
    }

    fn first_closing(&mut self, node: Ref<Node>) -> Option<Instant> {
        self.closings.get(&node)?.try_recv().ok()
    }

    fn late_max(&self) -> anyhow::Result<Duration> {
        Ok(self.fabric.totals()?.late_max)
    }

    fn stray(&mut self, stray: &Stray) -> anyhow::Result<Answer> {
        let family = self.scenario.router.family;
        let (port, source, destination) = match stray.path {
            StrayPath::ToService { from, route, side } => {
                let (port, address) = self.client_port(from);
                let service_port = addresses::port(side, self.scenario.router.routes, route);
                let service = SocketAddr::new(addresses::service().family(family), service_port);
                (port, SocketAddr::new(address.family(family), STRAY_PORT), service)
            }
            StrayPath::FromNode { from, side, to } => {
                let (port, address) = self.node_port(from);
                let node_port = match side {
                    Side::Browser => addresses::NODE_BROWSER_PORT,
                    Side::App => addresses::NODE_APP_PORT,
                };
                let (_, client) = self.client_port(to);
                let client = SocketAddr::new(client.family(family), STRAY_PORT);
                (port, SocketAddr::new(address.family(family), node_port), client)
            }
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
        self.browsers[&group].iter().try_for_each(|&stack| Ok(self.fabric.command(stack, command)?))
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
