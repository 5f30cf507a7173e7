//! The `rewrite` plane on NFQUEUE: a thread that takes packets from the kernel and gives verdicts back.

mod answer;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use halod_core::rewrite::{Rewrite, Stage, Verdict};
use nfq::Queue;
use nix::errno::Errno;
use tokio::sync::oneshot;

pub(crate) use self::answer::Answerer;
use crate::clock::Clock;

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
pub(crate) struct SharedPlane(Arc<Mutex<Rewrite>>);

impl SharedPlane {
    pub(crate) fn new(plane: Rewrite) -> Self {
        Self(Arc::new(Mutex::new(plane)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Rewrite> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
            Verdict::Accept | Verdict::Rewritten => nfq::Verdict::Accept,
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
