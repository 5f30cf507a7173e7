//! The `rewrite` plane on NFQUEUE: a thread that takes packets from the kernel and gives verdicts back, a batch at a time.

mod answer;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use halod_core::cluster::Cluster;
use halod_core::flow::{FlowKey, Toward};
use halod_core::plane::{Rewrite, Stage, Verdict};
use halod_core::record::Input;
use halod_core::routing::Routing;
use halod_core::time::Instant;
use halod_core::wire::{Checksum, Reset};
use tokio::sync::oneshot;

pub(crate) use self::answer::Answerer;
use crate::clock::Clock;
use crate::queue::{Batch, Queue, QueueConfig, QueuedPacket};
use crate::record::Recorder;

/// Packets are rewritten here, so all of each is needed. Without the daemon its rules drop, and so does a full queue.
const QUEUE: QueueConfig =
    QueueConfig { copy_range: QueueConfig::COPY_RANGE_MAX, length: 4096, fail_open: false, gso: true };

/// Netfilter's numbers of the hooks (`linux/netfilter.h`).
mod hook {
    pub(super) const PREROUTING: u8 = 0;
    pub(super) const INPUT: u8 = 1;
    pub(super) const OUTPUT: u8 = 3;
    pub(super) const POSTROUTING: u8 = 4;
}

/// The plane as the packet thread and the control loop share it.
#[derive(Clone)]
pub(crate) struct SharedPlane(Arc<Mutex<Plane>>);

impl SharedPlane {
    pub(crate) fn new(rewrite: Rewrite, recorder: Recorder) -> Self {
        Self(Arc::new(Mutex::new(Plane { rewrite, recorder })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Plane> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The plane, and the record of what it is told. What it only tells is that of [`Rewrite`].
///
/// It is told something behind the lock only, by either thread, so that the record has the order in which it was told.
pub(crate) struct Plane {
    rewrite: Rewrite,
    recorder: Recorder,
}

impl Plane {
    fn handle(&mut self, now: Instant, stage: Stage, checksum: Checksum, packet: &mut [u8]) -> Verdict {
        self.recorder.packet(now, stage, checksum, packet);
        self.rewrite.handle(now, stage, checksum, packet)
    }

    pub(crate) fn publish(&mut self, now: Instant, routing: Arc<Routing>, masquerades: BTreeMap<IpAddr, IpAddr>) {
        let input = Input::Publish { epoch: routing.epoch, masquerades };
        self.recorder.input(now, &input);
        if let Input::Publish { masquerades, .. } = input {
            self.rewrite.publish(now, routing, masquerades);
        }
    }

    pub(crate) fn end(&mut self, now: Instant, flow: FlowKey, toward: Toward) {
        self.recorder.input(now, &Input::End { flow, toward });
        self.rewrite.end(now, flow, toward);
    }

    /// Time has come for the plane, or for the cluster, which looks at the plane's flows.
    pub(crate) fn timeout(&mut self, now: Instant, cluster: &mut Cluster) {
        self.recorder.input(now, &Input::Timeout);
        self.rewrite.timeout(now);
        cluster.timeout(now, &self.rewrite);
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.recorder.input(now, &Input::Expire);
        self.rewrite.expire(now);
    }

    /// Not recorded: what leaves no longer counts for anything.
    pub(crate) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.rewrite.poll_transmit()
    }
}

impl Deref for Plane {
    type Target = Rewrite;

    fn deref(&self) -> &Rewrite {
        &self.rewrite
    }
}

/// Binds NFQUEUE number `number` and starts the thread. No rule may send packets to the queue before this returns.
/// The receiver hears of an error that ended the thread.
///
/// # Errors
///
/// The queue is taken or not permitted, or raw sockets are not.
pub(crate) fn start(number: u16, plane: SharedPlane, clock: Clock) -> io::Result<oneshot::Receiver<io::Error>> {
    let queue = Queue::open(number, QUEUE)?;
    let answerer = Answerer::open()?;
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("packets".into()).spawn(move || {
        let Err(error) = serve(&queue, &plane, &answerer, clock);
        // Nobody listens any more if the daemon is about to end.
        let _ = ended.send(error);
    })?;
    Ok(end)
}

fn serve(queue: &Queue, plane: &SharedPlane, answerer: &Answerer, clock: Clock) -> io::Result<Infallible> {
    let mut batch = queue.batch();
    let mut answers = Vec::with_capacity(Batch::PACKETS_MAX);
    loop {
        queue.recv(&mut batch)?;
        let mut plane = plane.lock();
        let now = clock.now();
        for packet in batch.packets() {
            answers.extend(decide(&mut plane, now, packet));
        }
        // Behind the lock, so that whoever publishes a routing finds each packet either not yet decided about, or gone.
        queue.send(&mut batch)?;
        drop(plane);
        for answer in answers.drain(..) {
            if let Err(error) = answerer.send(&answer) {
                tracing::debug!(%error, "a reset could not be sent");
            }
        }
    }
}

/// Decides about a packet; what its sender is to be told comes back.
fn decide(plane: &mut Plane, now: Instant, mut packet: QueuedPacket<'_>) -> Option<Reset> {
    let verdict = match stage(packet.hook()) {
        Some(stage) => plane.handle(now, stage, packet.checksum(), packet.payload()),
        None => Verdict::Accept,
    };
    match verdict {
        Verdict::Accept => packet.accept(),
        Verdict::Rewritten => packet.accept_rewritten(),
        Verdict::Drop => packet.drop(),
        Verdict::Answer(reset) => {
            packet.drop();
            return Some(reset);
        }
    }
    None
}

fn stage(hook: u8) -> Option<Stage> {
    match hook {
        hook::PREROUTING | hook::OUTPUT => Some(Stage::Ingress),
        hook::POSTROUTING => Some(Stage::Egress { local: false }),
        hook::INPUT => Some(Stage::Egress { local: true }),
        _ => None,
    }
}
