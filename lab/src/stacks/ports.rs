//! The local ports of the connections that a stack dials.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// The dynamic ports (RFC 6335 §6).
const DYNAMIC: RangeInclusive<u16> = 49_152..=65_535;

/// Hands out dynamic ports in turn, so that none is used again soon.
#[derive(Debug)]
pub(super) struct Ports {
    next: u16,
    used: BTreeSet<u16>,
}

impl Ports {
    /// Starts somewhere in the range, as `seed` says.
    pub(super) fn new(seed: u64) -> Self {
        let count = u64::from(DYNAMIC.end() - DYNAMIC.start()) + 1;
        let offset = u16::try_from(seed % count).expect("a remainder of a 16-bit number has 16 bits");
        Self { next: DYNAMIC.start() + offset, used: BTreeSet::new() }
    }

    /// The next port that is free; `None` if all are taken.
    pub(super) fn take(&mut self) -> Option<u16> {
        for _ in DYNAMIC {
            let port = self.next;
            self.next = if port == *DYNAMIC.end() { *DYNAMIC.start() } else { port + 1 };
            if self.used.insert(port) {
                return Some(port);
            }
        }
        None
    }

    /// Gives a port back; one that was not taken is none of ours.
    pub(super) fn release(&mut self, port: u16) {
        self.used.remove(&port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_wrap_around_and_skip_what_is_used() {
        let mut ports = Ports::new(16_383);
        assert_eq!(ports.take(), Some(65_535));
        assert_eq!(ports.take(), Some(49_152));
        let mut again = Ports { next: 65_535, used: ports.used };
        assert_eq!(again.take(), Some(49_153));
    }

    #[test]
    fn there_is_an_end_of_ports() {
        let mut ports = Ports::new(0);
        assert_eq!(std::iter::from_fn(|| ports.take()).count(), 16_384);
        ports.release(50_000);
        assert_eq!(ports.take(), Some(50_000));
    }
}
