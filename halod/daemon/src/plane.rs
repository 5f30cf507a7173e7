//! A data plane on NFQUEUE: threads that take packets from the kernel and give verdicts back, a batch at a time.

mod answer;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use halod_core::cluster::Cluster;
use halod_core::flow::{FlowKey, Toward};
use halod_core::plane::steer::Entry;
use halod_core::plane::{self as core, Doubt, PlaneKind, Seen, Stage, Steer, Transmit, Verdict};
use halod_core::record::Input;
use halod_core::routing::Routing;
use halod_core::time::Instant;
use halod_core::wire::{Checksum, Reset};
use tokio::sync::oneshot::{self, error::RecvError};
use tokio::task::JoinSet;

pub(crate) use self::answer::Answerer;
use crate::clock::Clock;
use crate::conntrack::Conntrack;
use crate::nft;
use crate::queue::{Batch, Queue, QueueConfig, QueuedPacket};
use crate::record::Recorder;

/// How the queues of a plane behave. Every plane wants whole packets: `rewrite` changes them, `steer` keeps SYNs, and what
/// else it sees is little.
pub(crate) fn queue_config(kind: PlaneKind, steer_queue_length: u32) -> QueueConfig {
    let (length, fail_open) = match kind {
        // Without a decision nothing may pass: this host's own stack would reset flows that it knows nothing of.
        PlaneKind::Rewrite => (4096, false),
        // Without a decision the rules behind the queue decide, by the last table.
        PlaneKind::Steer => (steer_queue_length, true),
    };
    QueueConfig { copy_range: QueueConfig::COPY_RANGE_MAX, length, fail_open, gso: true }
}

/// Netfilter's numbers of the hooks (`linux/netfilter.h`).
mod hook {
    pub(super) const PREROUTING: u8 = 0;
    pub(super) const INPUT: u8 = 1;
    pub(super) const OUTPUT: u8 = 3;
    pub(super) const POSTROUTING: u8 = 4;
}

/// The plane as the packet threads and the control loop share it.
#[derive(Clone)]
pub(crate) struct SharedPlane(Arc<Shared>);

struct Shared {
    /// Read by a thread from when it decides about packets until they are gone. The kernel forwards them while it takes the
    /// verdicts, and that is most of the work: threads do it side by side.
    under_way: RwLock<()>,
    plane: Mutex<Plane>,
}

/// The plane, while each packet is either not yet decided about, or gone.
pub(crate) struct AtRest<'a> {
    plane: MutexGuard<'a, Plane>,
    _nothing_under_way: RwLockWriteGuard<'a, ()>,
}

impl SharedPlane {
    pub(crate) fn new(plane: core::Plane, recorder: Recorder) -> Self {
        let plane = Mutex::new(Plane { plane, recorder });
        Self(Arc::new(Shared { under_way: RwLock::default(), plane }))
    }

    /// Nobody decides meanwhile. Packets that were decided about may still be on their way.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Plane> {
        self.0.plane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every packet that was decided about is gone, and lets no thread begin with others.
    pub(crate) fn at_rest(&self) -> AtRest<'_> {
        let nothing_under_way = self.0.under_way.write().unwrap_or_else(PoisonError::into_inner);
        AtRest { plane: self.lock(), _nothing_under_way: nothing_under_way }
    }

    /// For a thread that decides about packets, as long as they are not gone.
    fn under_way(&self) -> RwLockReadGuard<'_, ()> {
        self.0.under_way.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for AtRest<'_> {
    type Target = Plane;

    fn deref(&self) -> &Plane {
        &self.plane
    }
}

impl DerefMut for AtRest<'_> {
    fn deref_mut(&mut self) -> &mut Plane {
        &mut self.plane
    }
}

/// The plane, and the record of what it is told. What it only tells is that of [`core::Plane`].
///
/// It is told something behind the lock only, by whichever thread, so that the record has the order in which it was told.
pub(crate) struct Plane {
    plane: core::Plane,
    recorder: Recorder,
}

impl Plane {
    fn handle(&mut self, now: Instant, seen: Seen, checksum: Checksum, packet: &mut [u8]) -> Verdict {
        self.recorder.packet(now, seen, checksum, packet);
        self.plane.handle(now, seen, checksum, packet)
    }

    pub(crate) fn publish(&mut self, now: Instant, routing: Arc<Routing>, masquerades: BTreeMap<IpAddr, IpAddr>) {
        let input = Input::Publish { epoch: routing.epoch, masquerades };
        self.recorder.input(now, &input);
        if let Input::Publish { masquerades, .. } = input {
            self.plane.publish(now, routing, masquerades);
        }
    }

    pub(crate) fn end(&mut self, now: Instant, flow: FlowKey, toward: Toward) {
        self.recorder.input(now, &Input::End { flow, toward });
        self.plane.end(now, flow, toward);
    }

    /// Time has come for the plane, or for the cluster.
    pub(crate) fn timeout(&mut self, now: Instant, cluster: &mut Cluster) {
        self.recorder.input(now, &Input::Timeout);
        self.plane.timeout(now);
        cluster.timeout(now);
    }

    /// The cluster looks at the flows, all of which are known here.
    pub(crate) fn look(&mut self, now: Instant, cluster: &mut Cluster) {
        self.recorder.input(now, &Input::Look);
        cluster.begin_look(now);
        cluster.look(now, &self.plane);
    }

    /// The kernel is about to be asked which connections it tracks, for the cluster.
    pub(crate) fn ask(&mut self, now: Instant, cluster: &mut Cluster) {
        self.recorder.input(now, &Input::Ask);
        cluster.begin_look(now);
        if let Some(steer) = self.plane.as_steer() {
            steer.ask();
        }
    }

    /// It has said so. Asked `again` for one of them, it says how that is now.
    pub(crate) fn survey(
        &mut self,
        now: Instant,
        answer: Vec<Entry>,
        again: impl FnMut(FlowKey) -> Option<Entry>,
        cluster: &mut Cluster,
    ) {
        let Some(steer) = self.plane.as_steer() else { return };
        // The record is written behind the lock.
        let input = Input::Survey { entries: steer.relevant(answer, again) };
        self.recorder.input(now, &input);
        if let Input::Survey { entries } = input {
            steer.survey(now, &entries);
            cluster.look(now, &self.plane);
        }
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.recorder.input(now, &Input::Expire);
        self.plane.expire(now);
    }

    /// Not recorded: what leaves no longer counts for anything.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.plane.poll_transmit()
    }

    /// Nor is this: what the kernel is told and asked.
    pub(crate) fn as_steer(&mut self) -> Option<&mut Steer> {
        self.plane.as_steer()
    }
}

impl Deref for Plane {
    type Target = core::Plane;

    fn deref(&self) -> &core::Plane {
        &self.plane
    }
}

/// Starts a thread for each queue. Each task is one of them: it ends with the error that ended the thread, or with another if
/// that panicked.
///
/// # Errors
///
/// Raw sockets are not permitted.
pub(crate) fn start(
    queues: Vec<Queue>,
    plane: &SharedPlane,
    clock: Clock,
) -> io::Result<JoinSet<Result<io::Error, RecvError>>> {
    let mut threads = JoinSet::new();
    for queue in queues {
        let (answerer, plane) = (Answerer::open()?, plane.clone());
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new().name(format!("packets-{}", queue.number())).spawn(move || {
            let Err(error) = serve(&queue, &plane, &answerer, clock);
            // Nobody listens any more if the daemon is about to end.
            let _ = ended.send(error);
        })?;
        threads.spawn(end);
    }
    Ok(threads)
}

fn serve(queue: &Queue, plane: &SharedPlane, answerer: &Answerer, clock: Clock) -> io::Result<Infallible> {
    let mut conntrack = plane.lock().as_steer().is_some().then(Conntrack::open).transpose()?;
    let mut batch = queue.batch();
    let (mut answers, mut doubts) = (Vec::with_capacity(Batch::PACKETS_MAX), Vec::new());
    loop {
        queue.recv(&mut batch)?;
        let under_way = plane.under_way();
        let mut locked = plane.lock();
        let now = clock.now();
        for packet in batch.packets() {
            match decide(&mut locked, now, packet) {
                Some(Reply::Answer(reset)) => answers.push(reset),
                Some(Reply::Doubt(doubt)) => doubts.push(doubt),
                None => {}
            }
        }
        drop(locked);
        queue.send(&mut batch)?;
        drop(under_way);
        let resolved =
            doubts.drain(..).filter(|doubt| !conntrack.as_mut().is_none_or(|kernel| is_tracked(kernel, doubt)));
        answers.extend(resolved.map(|doubt| doubt.answer));
        for answer in answers.drain(..) {
            if let Err(error) = answerer.send(&answer, None) {
                tracing::debug!(%error, "a reset could not be sent");
            }
        }
    }
}

/// What the sender of a packet is to be told, or its receiver.
enum Reply {
    Answer(Reset),
    /// This, if the kernel tracks nothing between its ends.
    Doubt(Doubt),
}

/// If the kernel does not say, the sender will ask again.
fn is_tracked(conntrack: &mut Conntrack, doubt: &Doubt) -> bool {
    conntrack.is_tracked(doubt.source, doubt.destination).unwrap_or(true)
}

/// Decides about a packet.
fn decide(plane: &mut Plane, now: Instant, mut packet: QueuedPacket<'_>) -> Option<Reply> {
    let seen = match **plane {
        core::Plane::Rewrite(_) => stage(packet.hook()).map(Seen::Stage),
        core::Plane::Steer(_) => nft::tracking(packet.mark()).map(Seen::Tracking),
    };
    let is_marked = matches!(seen, Some(Seen::Tracking(_)));
    let verdict = match seen {
        Some(seen) => plane.handle(now, seen, packet.checksum(), packet.payload()),
        None => Verdict::Accept,
    };
    match verdict {
        // The mark was for this thread.
        Verdict::Accept if is_marked => packet.accept_marked(0),
        Verdict::Accept => packet.accept(),
        Verdict::Rewritten => packet.accept_rewritten(),
        Verdict::Marked(mark) => packet.accept_marked(mark.number()),
        Verdict::Drop => packet.drop(),
        Verdict::Answer(reset) => {
            packet.drop();
            return Some(Reply::Answer(reset));
        }
        Verdict::Doubt(doubt) => {
            packet.drop();
            return Some(Reply::Doubt(doubt));
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
