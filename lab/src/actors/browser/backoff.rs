//! How long a browser waits before it dials again.

use std::time::Duration;

/// The shortest first span: nothing doubled is still nothing.
const FIRST_MIN: Duration = Duration::from_millis(1);

/// Exponential backoff with jitter. Each wait is drawn from the upper half of a span that doubles from `first` to `max`,
/// so that browsers that were refused together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    /// Dials and losses in a row that came to nothing.
    failures: u32,
    random: SplitMix64,
}

impl Backoff {
    pub(super) fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self { first, max, failures: 0, random: SplitMix64(seed) }
    }

    /// The node chose another first span.
    pub(super) fn set_first(&mut self, first: Duration) {
        self.first = first;
    }

    /// A connection was of use: the next failure is the first one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after a connection was lost: none if it is the first failure.
    pub(super) fn after_loss(&mut self) -> Duration {
        if self.failures > 0 {
            return self.after_refusal();
        }
        self.failures = 1;
        Duration::ZERO
    }

    /// The wait after a dial that was refused.
    pub(super) fn after_refusal(&mut self) -> Duration {
        self.failures = self.failures.max(1);
        let doublings = (self.failures - 1).min(31);
        let span = self.first.max(FIRST_MIN).saturating_mul(1 << doublings).min(self.max);
        self.failures = self.failures.saturating_add(1);
        span / 2 + self.random.below(span / 2)
    }
}

/// Sebastiano Vigna's SplitMix64: a few lines that give the same numbers for ever, which a library does not promise.
#[derive(Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A duration in `0..span`, zero for an empty one.
    fn below(&mut self, span: Duration) -> Duration {
        let nanos = (u128::from(self.next()) * span.as_nanos()) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_split_mix_64() {
        let mut random = SplitMix64(1_234_567);
        // From the reference implementation in C.
        assert_eq!([random.next(), random.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let ms = Duration::from_millis;
        for seed in 0..100 {
            let mut backoff = Backoff::new(ms(100), ms(1_000), seed);
            assert_eq!(backoff.after_loss(), Duration::ZERO);
            for span in [100, 200, 400, 800, 1_000, 1_000] {
                let wait = backoff.after_refusal();
                assert!((ms(span / 2)..ms(span)).contains(&wait), "{wait:?} for {span} ms");
            }
            backoff.reset();
            backoff.set_first(ms(10));
            assert!((ms(5)..ms(10)).contains(&backoff.after_refusal()));
            assert!((ms(10)..ms(20)).contains(&backoff.after_loss()));
            backoff.set_first(Duration::ZERO);
            assert!((ms(2)..ms(4)).contains(&backoff.after_loss()));
        }
    }

    #[test]
    fn no_number_of_failures_is_too_many() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX, 0);
        backoff.failures = u32::MAX;
        assert!(backoff.after_refusal() >= Duration::from_secs(1 << 30));
    }
}
