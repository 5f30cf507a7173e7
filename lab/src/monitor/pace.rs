//! How many browsers HaloD ends in a second.

use std::collections::VecDeque;
use std::time::Duration;

use halod_core::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// The ends of the last second.
#[derive(Debug)]
pub(super) struct Pace {
    allowed: usize,
    ended: VecDeque<Instant>,
}

impl Pace {
    /// A tenth more than the pace is allowed, and the two of a beginning.
    pub(super) fn new(per_second: u32) -> Self {
        let allowed = usize::try_from(per_second + per_second / 10 + 2).unwrap_or(usize::MAX);
        Self { allowed, ended: VecDeque::new() }
    }

    /// HaloD ends the connection of a browser. Says how many it was within a second if that is too many.
    pub(super) fn see_end(&mut self, now: Instant) -> Option<usize> {
        self.ended.push_back(now);
        while self.ended.pop_front_if(|at| *at + SECOND <= now).is_some() {}
        Some(self.ended.len()).filter(|&count| count > self.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_slides() {
        let mut pace = Pace::new(10);
        let mut see = |millis: u64| pace.see_end(Instant::ORIGIN + Duration::from_millis(millis));
        assert!((0..13).all(|number| see(number).is_none()));
        assert_eq!(see(999), Some(14));
        assert_eq!(see(1_001), None, "those of 0 and 1 ms are over");
        assert_eq!(see(1_001), Some(14));
    }
}
