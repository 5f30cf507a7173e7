//! The clocks of the engine.

use std::time::Duration;

use halod_core::time::Instant;
use nix::time::{ClockId, clock_gettime};

/// Now, by CLOCK_MONOTONIC, which all processes of a machine share: comparable between the lab and those that it starts.
pub fn now() -> Instant {
    Instant::from_nanos(nanoseconds(ClockId::CLOCK_MONOTONIC))
}

/// For how long this thread has used a core.
pub fn thread_cpu_time() -> Duration {
    Duration::from_nanos(nanoseconds(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("Linux has this clock");
    let seconds = u64::try_from(time.tv_sec()).expect("the clock starts at zero");
    let nanos = u64::try_from(time.tv_nsec()).expect("nanoseconds are not negative");
    seconds * 1_000_000_000 + nanos
}
