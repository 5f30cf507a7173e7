//! Whether every core runs: a virtual machine's may stand still for milliseconds, and whoever it carried is late.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_timerslack;
use nix::unistd::Pid;
use rustix::process::setpriority_process;

/// How long a watcher sleeps. A core that stands still for less than this much longer may not be noticed.
const NAP: Duration = Duration::from_millis(2);
/// The highest priority: a watcher waits for nothing but its core.
const NICE: i32 = -20;
/// The thread that asks.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// A thread on each core that sleeps, and looks how much too long. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Cores {
    over: Arc<AtomicBool>,
    /// In nanoseconds.
    late_max: Arc<AtomicU64>,
}

impl Cores {
    pub(super) fn watch() -> io::Result<Self> {
        let cores = Self { over: Arc::default(), late_max: Arc::default() };
        let usable = sched_getaffinity(THIS_THREAD)?;
        for core in (0..CpuSet::count()).filter(|&core| usable.is_set(core).unwrap_or(false)) {
            let (over, late_max) = (Arc::clone(&cores.over), Arc::clone(&cores.late_max));
            thread::Builder::new().name(format!("core-{core}")).spawn(move || {
                // Where it is not permitted to have precedence, nothing can be said of the core.
                if prepare(core).is_ok() {
                    nap(&over, &late_max);
                }
            })?;
        }
        Ok(cores)
    }

    /// The most by which a core was late.
    pub(super) fn late_max(&self) -> Duration {
        Duration::from_nanos(self.late_max.load(Ordering::Relaxed))
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Makes this thread the watcher of `core`.
fn prepare(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core)?;
    sched_setaffinity(THIS_THREAD, &only)?;
    set_timerslack(1)?;
    Ok(setpriority_process(None, NICE)?)
}

fn nap(over: &AtomicBool, late_max: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        let begin = Instant::now();
        thread::sleep(NAP);
        let late = begin.elapsed().saturating_sub(NAP);
        late_max.fetch_max(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
