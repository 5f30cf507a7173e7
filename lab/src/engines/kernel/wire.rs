//! What the lab and the processes of its hosts say to each other: commands in on stdin, observations out on stdout, a
//! line of JSON each.

use halod_core::time::Instant;
use serde::{Deserialize, Serialize};

use crate::observation::Observation;

/// An observation and when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped {
    /// Nanoseconds of the [clock](super::clock).
    at: u64,
    /// What was seen.
    #[serde(flatten)]
    pub observation: Observation,
}

impl Stamped {
    /// An observation made at `at`.
    pub fn new(at: Instant, observation: Observation) -> Self {
        Self { at: at.as_nanos(), observation }
    }

    /// When it was made.
    pub fn at(&self) -> Instant {
        Instant::from_nanos(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let stamped = Stamped::new(Instant::from_nanos(7), Observation::Shown { user: "alice".into(), event: 3 });
        let line = serde_json::to_string(&stamped).unwrap();
        assert_eq!(line, r#"{"at":7,"saw":"shown","user":"alice","event":3}"#);
        assert_eq!(serde_json::from_str::<Stamped>(&line).unwrap(), stamped);
    }
}
