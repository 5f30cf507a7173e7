//! What happened in a run, as one number: two runs that differ in one bit of one packet differ here.

use std::hash::{DefaultHasher, Hasher};

use halod_core::time::Instant;

/// All that happened so far.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    // Its keys are constants: the same in every process.
    hasher: DefaultHasher,
}

impl Transcript {
    /// Something happened.
    pub(super) fn note(&mut self, at: Instant, what: &[u8]) {
        self.hasher.write_u64(at.as_nanos());
        self.hasher.write(what);
    }

    /// All of it.
    pub(super) fn value(&self) -> u64 {
        self.hasher.finish()
    }
}
