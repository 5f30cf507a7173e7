//! The `rewrite` plane on NFQUEUE: a thread that takes packets from the kernel and gives verdicts back.

mod answer;

use std::collections::BTreeMap;
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
use nfq::Queue;
use nix::errno::Errno;
use tokio::sync::oneshot;

pub(crate) use self::answer::Answerer;
use crate::clock::Clock;
use crate::record::Recorder;

/// Packets that may wait in the kernel for a verdict.
const QUEUE_LENGTH_MAX: u32 = 4096;

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
    fn handle(&mut self, now: Instant, stage: Stage, packet: &mut [u8]) -> Verdict {
        self.recorder.packet(now, stage, packet);
        self.rewrite.handle(now, stage, packet)
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
    let mut queue = Queue::open()?;
    queue.bind(number)?;
    queue.set_queue_max_len(number, QUEUE_LENGTH_MAX)?;
    let answerer = Answerer::open()?;
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("packets".into()).spawn(move || {
        let error = serve(&mut queue, &plane, &answerer, clock);
        // Nobody listens any more if the daemon is about to end.
        let _ = ended.send(error);
    })?;
    Ok(end)
}

fn serve(queue: &mut Queue, plane: &SharedPlane, answerer: &Answerer, clock: Clock) -> io::Error {
    loop {
        let mut message = match queue.recv() {
            Ok(message) => message,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return error,
        };
        let verdict = match stage(message.get_hook()) {
            Some(stage) => plane.lock().handle(clock.now(), stage, message.get_payload_mut()),
            None => Verdict::Accept,
        };
        message.set_verdict(match &verdict {
            Verdict::Accept | Verdict::Rewritten | Verdict::Marked(_) => nfq::Verdict::Accept,
            Verdict::Drop | Verdict::Answer(_) => nfq::Verdict::Drop,
        });
        if let Verdict::Answer(reset) = &verdict
            && let Err(error) = answerer.send(reset)
        {
            tracing::debug!(%error, "a reset could not be sent");
        }
        if let Err(error) = queue.verdict(message)
            && !is_passing(&error)
        {
            return error;
        }
    }
}

/// Whether the queue goes on after this: interrupted, overrun, or a packet that the kernel no longer has.
fn is_passing(error: &io::Error) -> bool {
    let passing = [Errno::EINTR, Errno::ENOBUFS, Errno::ENOENT].map(|errno| errno as i32);
    error.raw_os_error().is_some_and(|errno| passing.contains(&errno))
}

fn stage(hook: u8) -> Option<Stage> {
    match hook {
        hook::PREROUTING | hook::OUTPUT => Some(Stage::Ingress),
        hook::POSTROUTING => Some(Stage::Egress { local: false }),
        hook::INPUT => Some(Stage::Egress { local: true }),
        _ => None,
    }
}
