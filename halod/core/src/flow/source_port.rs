//! Which source port a flow has at its node.
//!
//! A client reuses a source port towards different destination ports. Towards one node those flows would look the
//! same, so all but the first get another port.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// How many ports are tried before a connection is refused room.
const TRIES_MAX: usize = 4096;

/// The ports that may be given to a flow whose own port is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RangeInclusive<u16>", into = "RangeInclusive<u16>")]
pub struct SourcePorts {
    first: u16,
    count: u32,
}

impl SourcePorts {
    /// The ports of `range`; `None` if it is empty.
    pub fn new(range: &RangeInclusive<u16>) -> Option<Self> {
        let count = u32::from(*range.end()).checked_sub(u32::from(*range.start()))? + 1;
        Some(Self { first: *range.start(), count })
    }

    /// A port that `is_free`, tried from a place that depends on `hash`, so that neighbours do not try in step.
    pub(super) fn find(&self, hash: u64, mut is_free: impl FnMut(u16) -> bool) -> Option<u16> {
        let start = u32::try_from(hash % u64::from(self.count)).expect("a remainder is below the count");
        let candidates = (0..self.count).take(TRIES_MAX).map(|step| {
            let offset = (start + step) % self.count;
            self.first + u16::try_from(offset).expect("an offset lies in the range of ports")
        });
        candidates.into_iter().find(|&port| is_free(port))
    }

    /// Whether a flow may have `port`.
    pub(super) fn contains(&self, port: u16) -> bool {
        port.checked_sub(self.first).is_some_and(|offset| u32::from(offset) < self.count)
    }
}

impl TryFrom<RangeInclusive<u16>> for SourcePorts {
    type Error = &'static str;

    fn try_from(range: RangeInclusive<u16>) -> Result<Self, Self::Error> {
        Self::new(&range).ok_or("a range of source ports has at least one port")
    }
}

impl From<SourcePorts> for RangeInclusive<u16> {
    fn from(SourcePorts { first, count }: SourcePorts) -> Self {
        first..=u16::try_from(u32::from(first) + count - 1).expect("a range ends at a port")
    }
}

/// The address that packets of a flow carry towards its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disguise {
    /// What the node sees.
    pub(super) peer: SocketAddr,
    /// What the packet carries between the two hooks of a masqueraded flow: the client's address, the new port.
    pub(super) transit: SocketAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_range_is_tried_and_no_more() {
        let ports = SourcePorts::new(&(100..=103)).unwrap();
        let mut tried = Vec::new();
        assert_eq!(
            ports.find(2, |port| {
                tried.push(port);
                false
            }),
            None
        );
        assert_eq!(tried, [102, 103, 100, 101]);
    }

    #[test]
    fn the_range_may_reach_the_last_port() {
        let ports = SourcePorts::new(&(65_535..=65_535)).unwrap();
        assert_eq!(ports.find(7, |_| true), Some(65_535));
        assert!(SourcePorts::new(&(0..=65_535)).unwrap().contains(65_535));
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range is what is tested")]
        let empty = 5..=4;
        assert_eq!(SourcePorts::new(&empty), None);
    }
}
