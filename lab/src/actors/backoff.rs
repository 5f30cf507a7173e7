//! How long to wait before the next try.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// Waits that double from a first to a longest, each drawn from the upper half of its step, so that many who failed
/// together do not try again together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    step: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, step: first }
    }

    /// The next wait.
    pub(crate) fn wait(&mut self, rng: &mut StdRng) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(self.longest);
        rng.random_range(step / 2..=step)
    }

    /// Begins anew with the first wait.
    pub(crate) fn reset(&mut self) {
        self.step = self.first;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn steps_double_up_to_the_longest_and_each_wait_is_in_the_upper_half() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for step_ms in [100, 200, 400, 800, 1000, 1000] {
            let step = Duration::from_millis(step_ms);
            let wait = backoff.wait(&mut rng);
            assert!(step / 2 <= wait && wait <= step, "{wait:?} for a step of {step:?}");
        }
        backoff.reset();
        assert!(backoff.wait(&mut rng) <= Duration::from_millis(100));
    }
}
