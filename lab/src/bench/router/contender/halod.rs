//! HaloD itself: the real daemon, as a process in the router's namespace, with one node and one route. Requests go by the
//! route's browser port, bulk by its app port.

use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Router;
use super::registrar::Registrar;
use crate::bench::router::service::Service;
use crate::bench::router::setting::{CONTROL, Setting, Target};
use crate::engines::kernel::daemon::SUBCOMMAND;
use crate::engines::kernel::process::command;

/// How it is configured.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Rewrite,
    Steer,
    /// `steer`, whose established flows pass through the daemon too.
    SteerEveryPacket,
}

/// The daemon and its node.
struct Halod {
    daemon: Service,
    // Dropped after the daemon, which would take its end for the loss of a node.
    _node: Registrar,
}

impl Router for Halod {
    fn target(&self) -> Target {
        Target::SERVICE
    }

    fn processor_time(&self) -> anyhow::Result<Option<Duration>> {
        self.daemon.processor_time().map(Some)
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        self.end()
    }
}

/// Where the system lacks what a plane needs, the daemon takes another one, and says so.
pub(super) fn obstacle(setting: &Setting, mode: Mode) -> anyhow::Result<Option<String>> {
    let halod = Halod::start(setting, mode)?;
    let other = halod.daemon.log().lines().find(|line| line.contains("the plane `")).map(str::to_owned);
    halod.end()?;
    Ok(other)
}

pub(super) fn start(setting: &Setting, mode: Mode) -> anyhow::Result<Box<dyn Router + '_>> {
    Ok(Box::new(Halod::start(setting, mode)?))
}

impl Halod {
    fn start(setting: &Setting, mode: Mode) -> anyhow::Result<Self> {
        let mut halod = command(&setting.router, "/proc/self/exe")?;
        halod.args([SUBCOMMAND, "run", "--config", "-"]);
        let mut daemon = Service::start("halod", halod, &config(mode), &setting.folder)?;
        daemon.await_ready(|| Ok(setting.router.run(|| TcpStream::connect(CONTROL))?.is_ok()))?;
        let node = Registrar::register(&setting.server, CONTROL, Target::SERVER.web, Target::SERVER.bulk)?;
        Ok(Self { daemon, _node: node })
    }

    /// SIGTERM would leave the rules of `steer` in force.
    fn end(self) -> anyhow::Result<()> {
        self.daemon.stop_by(Signal::SIGINT)
    }
}

/// Heartbeats are rare and may be late: it is the packet path that is measured.
fn config(mode: Mode) -> String {
    let (plane, every_packet) = match mode {
        Mode::Rewrite => ("rewrite", false),
        Mode::Steer => ("steer", false),
        Mode::SteerEveryPacket => ("steer", true),
    };
    let Target { web, bulk } = Target::SERVICE;
    format!(
        "[router]\n\
         routes = 1\n\
         addresses = [\"{}\"]\n\
         browser_ports = \"{web}-{web}\"\n\
         app_ports = \"{bulk}-{bulk}\"\n\
         control = [\"{CONTROL}\"]\n\
         plane = \"{plane}\"\n\
         every_packet = {every_packet}\n\
         [cluster]\n\
         reserve = 0\n\
         heartbeat = \"1s\"\n\
         misses = 10\n",
        web.ip(),
        web = web.port(),
        bulk = bulk.port()
    )
}
