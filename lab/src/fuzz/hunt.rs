//! Runs the cases of many seeds on all cores, until one fails.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Case, Failure, run};

/// Which seeds to try.
#[derive(Debug, Clone, Copy)]
pub struct Hunt {
    /// The first.
    pub from: u64,
    /// How many at most.
    pub seeds: u64,
    /// How long at most, in real time; to the end of `seeds` if `None`.
    pub time: Option<Duration>,
    /// Threads.
    pub threads: usize,
}

/// What a hunt came to.
#[derive(Debug)]
pub struct Found {
    /// Cases that were run to their end.
    pub ran: u64,
    /// The virtual time of all of them together.
    pub virtual_time: Duration,
    /// Of all their transcripts, in the order of the seeds; the same for the same seeds.
    pub transcripts: u64,
    /// The failure of the lowest seed that failed.
    pub failure: Option<(Case, Failure)>,
}

impl Hunt {
    /// Runs until a case fails, the seeds or the time are used up. `progress` hears how many cases have been run.
    pub fn run(self, progress: impl Fn(u64) + Sync) -> Found {
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let found = Mutex::new(Found { ran: 0, virtual_time: Duration::ZERO, transcripts: 0, failure: None });
        let end = self.time.map(|time| Instant::now() + time);
        let work = || {
            while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= self.seeds {
                    break;
                }
                let case = Case::draw(self.from + index);
                let outcome = run(&case);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.ran += 1;
                found.virtual_time += outcome.virtual_time;
                // Threads come in any order, so the sum must not depend on it.
                found.transcripts = found.transcripts.wrapping_add(outcome.transcript.rotate_left((index % 64) as u32));
                progress(found.ran);
                if let Some(failure) = outcome.failure {
                    stop.store(true, Ordering::Relaxed);
                    if found.failure.as_ref().is_none_or(|(earlier, _)| case.seed < earlier.seed) {
                        found.failure = Some((case, failure));
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(work);
            }
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
