//! Marks: how a verdict names a node to the kernel's rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Side;
use crate::routing::SessionId;

/// The mark of a packet (`NFQA_MARK`, `SO_MARK`) that is to go to one node's address for one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(u32);

impl Mark {
    /// The bits that all marks have in common, ASCII "HD", and which bits those are.
    pub const PREFIX: u32 = 0x4844_0000;
    /// See [`Mark::PREFIX`].
    pub const PREFIX_MASK: u32 = 0xffff_0000;

    /// The number that the kernel knows.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The bits of a mark below its prefix, less one for the side.
const PLACES: u16 = 1 << 15;

/// Which places among the marks are taken by which nodes. A place that is free again is given away again, the lowest first.
#[derive(Debug, Default)]
pub(super) struct Marks {
    by_session: BTreeMap<SessionId, u16>,
    /// Places below `used` that are free again.
    free: BTreeSet<u16>,
    /// Places that were ever taken.
    used: u16,
}

impl Marks {
    /// Gives a node a place, and returns its two marks; `None` if it has one.
    ///
    /// # Panics
    ///
    /// Beyond 32,768 nodes, eight times those that the cluster lets in.
    pub(super) fn assign(&mut self, session: SessionId) -> Option<[(Side, Mark); 2]> {
        if self.by_session.contains_key(&session) {
            return None;
        }
        let place = self.free.pop_first().unwrap_or_else(|| {
            let next = self.used;
            assert!(next < PLACES, "more nodes than marks");
            self.used += 1;
            next
        });
        self.by_session.insert(session, place);
        Some(both(place))
    }

    /// Takes a node's place back, and returns its marks.
    pub(super) fn release(&mut self, session: SessionId) -> [(Side, Mark); 2] {
        let place = self.by_session.remove(&session).expect("only nodes with a place are released");
        self.free.insert(place);
        both(place)
    }

    /// The mark of a registered node.
    pub(super) fn of(&self, session: SessionId, side: Side) -> Mark {
        mark(self.by_session[&session], if mutant!(MarksMixed) { Side::Browser } else { side })
    }
}

fn both(place: u16) -> [(Side, Mark); 2] {
    Side::ALL.map(|side| (side, mark(place, side)))
}

fn mark(place: u16, side: Side) -> Mark {
    Mark(Mark::PREFIX | u32::from(place) << 1 | u32::from(side == Side::App))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_place_is_given_away_again_and_no_mark_twice() {
        let mut marks = Marks::default();
        let [a, b, c] = [1, 2, 3].map(SessionId);
        assert_eq!(marks.assign(a), Some([(Side::Browser, Mark(0x4844_0000)), (Side::App, Mark(0x4844_0001))]));
        assert_eq!(marks.assign(b), Some([(Side::Browser, Mark(0x4844_0002)), (Side::App, Mark(0x4844_0003))]));
        assert_eq!(marks.assign(a), None);
        marks.release(a);
        marks.assign(c);
        assert_eq!(marks.of(c, Side::App), Mark(0x4844_0001));
        assert_eq!(marks.of(b, Side::Browser), Mark(0x4844_0002));
    }
}
