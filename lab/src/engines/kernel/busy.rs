//! Work without a use, on every core: what a machine looks like that has more to do than HaloD.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A thread on each core that does nothing but compute. They have the priority of every other process and end after
/// their time, or when this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    over: Arc<AtomicBool>,
}

impl Busy {
    pub(super) fn start(time: Duration) -> io::Result<Self> {
        let busy = Self { over: Arc::default() };
        let end = Instant::now() + time;
        for _ in 0..thread::available_parallelism()?.get() {
            let over = Arc::clone(&busy.over);
            thread::Builder::new().name("busy".into()).spawn(move || compute(end, &over))?;
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn compute(end: Instant, over: &AtomicBool) {
    while Instant::now() < end && !over.load(Ordering::Relaxed) {
        std::hint::black_box(
            (0..10_000).fold(0_u64, |sum, number| sum.wrapping_mul(31) ^ std::hint::black_box(number)),
        );
    }
}
