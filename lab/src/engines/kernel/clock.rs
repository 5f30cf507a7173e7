//! The one clock of the engine: CLOCK_MONOTONIC, which all processes of a machine share.

use halod_core::time::Instant;
use nix::time::{ClockId, clock_gettime};

/// Now. Comparable between the lab and the processes that it starts.
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    let seconds = u64::try_from(time.tv_sec()).expect("the monotonic clock starts at zero");
    let nanos = u64::try_from(time.tv_nsec()).expect("nanoseconds are not negative");
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}
