//! The daemon's clock: nanoseconds since it started, for a core that has none.

use halod_core::time::Instant;

/// Where the core's time begins. Copies tell the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    pub(crate) fn now(self) -> Instant {
        Instant::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same point in time for the timers of the runtime.
    pub(crate) fn timer(self, at: Instant) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + at.since(Instant::ORIGIN))
    }
}
