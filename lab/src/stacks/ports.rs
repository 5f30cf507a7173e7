//! The local ports of the connections that a stack dials.

use std::ops::RangeInclusive;

/// The dynamic ports (RFC 6335 §6).
pub const DYNAMIC_PORTS: RangeInclusive<u16> = 49_152..=65_535;

/// Hands out ports in turn, so that none is used again soon.
///
/// Which are free is for the caller to say: a port may serve several connections, if those are to different ends.
#[derive(Debug)]
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    next: u16,
}

impl Ports {
    /// Starts somewhere in the range, as `seed` says.
    pub(super) fn new(range: RangeInclusive<u16>, seed: u64) -> Self {
        let count = u64::from(range.end() - range.start()) + 1;
        let offset = u16::try_from(seed % count).expect("a remainder of a 16-bit number has 16 bits");
        Self { next: range.start() + offset, range }
    }

    /// The next port that is free; `None` if all are taken.
    pub(super) fn take(&mut self, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        for _ in self.range.clone() {
            let port = self.next;
            self.next = if port == *self.range.end() { *self.range.start() } else { port + 1 };
            if is_free(port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_wrap_around_and_skip_what_is_used() {
        let mut ports = Ports::new(DYNAMIC_PORTS, 16_383);
        assert_eq!(ports.take(|_| true), Some(65_535));
        assert_eq!(ports.take(|_| true), Some(49_152));
        assert_eq!(ports.take(|port| port != 49_153), Some(49_154));
    }

    #[test]
    fn there_is_an_end_of_ports() {
        let mut ports = Ports::new(7..=9, 1);
        assert_eq!(ports.take(|_| false), None);
        assert_eq!(ports.take(|port| port == 8), Some(8));
    }
}
