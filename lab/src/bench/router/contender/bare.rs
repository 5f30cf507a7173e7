//! The bare limit: every packet passes through a queue, as with HaloD's `rewrite`, in the same batches and with every payload
//! sent back. But nothing is decided and nothing changed, so the client speaks to the server's own address.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use halod::nft::{Rules, RulesSpec};
use halod::queue::{Queue, QueueConfig, QueuedPacket, Queues};
use halod_core::wire::Packet;

use super::Router;
use crate::bench::router::service::Service;
use crate::bench::router::setting::{Setting, Target};
use crate::engines::kernel::process::command;

/// Makes this executable the process that accepts.
pub const SUBCOMMAND: &str = "accept";

/// The NFQUEUE number, of the router's namespace.
const QUEUE: u16 = 0;

struct BareQueue {
    accepting: Service,
    rules: Rules,
}

pub(super) fn start(setting: &Setting) -> anyhow::Result<Box<dyn Router + '_>> {
    let mut accept = command(&setting.router, "/proc/self/exe")?;
    accept.arg(SUBCOMMAND);
    let accepting = Service::start("accept", accept, "", &setting.folder)?;
    let Target { web, bulk } = Target::SERVER;
    let spec = RulesSpec {
        queues: Queues::one(QUEUE),
        addresses: vec![web.ip()],
        browser_ports: web.port()..=web.port(),
        app_ports: bulk.port()..=bulk.port(),
        masquerade: false,
        every_packet: false,
    };
    let mut rules = setting.router.run(|| Rules::install(&spec))??;
    rules.set_nodes(&BTreeSet::<SocketAddr>::from([web, bulk]))?;
    Ok(Box::new(BareQueue { accepting, rules }))
}

impl Router for BareQueue {
    fn target(&self) -> Target {
        Target::SERVER
    }

    fn processor_time(&self) -> anyhow::Result<Option<Duration>> {
        self.accepting.processor_time().map(Some)
    }

    fn stop(self: Box<Self>) -> anyhow::Result<()> {
        self.rules.remove()?;
        self.accepting.stop()
    }
}

/// Accepts every packet of the queue, until the process is ended. Partial checksums are completed, as they have to be: the
/// kernel takes those of a payload that is sent back for complete.
///
/// # Errors
///
/// The queue cannot be bound, or failed.
pub fn accept_all() -> io::Result<()> {
    let config = QueueConfig { copy_range: QueueConfig::COPY_RANGE_MAX, length: 4096, fail_open: false, gso: true };
    let queue = Queue::open(QUEUE, config)?;
    let mut batch = queue.batch();
    loop {
        queue.recv(&mut batch)?;
        batch.packets().for_each(accept);
        queue.send(&mut batch)?;
    }
}

fn accept(mut packet: QueuedPacket<'_>) {
    let checksum = packet.checksum();
    if let Ok(Packet::Tcp(tcp)) = Packet::parse(packet.payload()) {
        tcp.with(checksum).finish();
    }
    packet.accept_rewritten();
}
