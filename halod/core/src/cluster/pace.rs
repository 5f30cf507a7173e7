//! How fast browsers are told to move: so many connections a second, so that recovery is never a stampede.

use std::time::Duration;

use crate::time::Instant;

/// What was not used while there was nothing to do may be made up for in one go, up to this much time's worth.
const BURST: Duration = Duration::from_millis(20);
/// How long what is allowed may gather, so that it goes out in batches.
const BATCH: Duration = Duration::from_millis(10);

/// Spreads connections over time.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: Duration,
    /// When the next connection is due.
    next: Instant,
}

impl Pacer {
    /// At most `per_second` connections a second, at least 1.
    pub(super) fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), next: Instant::ORIGIN }
    }

    /// How many of `wanted` connections may go now.
    pub(super) fn take(&mut self, now: Instant, wanted: usize) -> usize {
        if mutant!(PacingOff) {
            return wanted;
        }
        self.next = self.next.max(now - BURST);
        let mut taken = 0;
        while taken < wanted && self.next <= now {
            self.next = self.next + self.interval;
            taken += 1;
        }
        taken
    }

    /// When to ask again, if some had to wait.
    pub(super) fn retry_at(&self) -> Instant {
        self.next + BATCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of an endless queue go out in each of some steps of 10 ms.
    fn taken(per_second: u32, steps: u64) -> Vec<usize> {
        let mut pacer = Pacer::new(per_second);
        let start = Instant::from_nanos(1_000_000_000);
        (0..steps).map(|step| pacer.take(start + Duration::from_millis(10) * step as u32, usize::MAX)).collect()
    }

    #[test]
    fn the_rate_holds_but_for_the_burst_at_the_start() {
        assert_eq!(taken(500, 4), [11, 5, 5, 5]);
        assert_eq!(taken(500, 101).iter().sum::<usize>(), 511);
        assert_eq!(taken(1, 101).iter().sum::<usize>(), 2);
    }

    #[test]
    fn no_more_than_is_wanted() {
        let mut pacer = Pacer::new(1000);
        assert_eq!(pacer.take(Instant::from_nanos(1_000_000_000), 3), 3);
        assert_eq!(pacer.take(Instant::from_nanos(1_000_000_000), 0), 0);
    }
}
