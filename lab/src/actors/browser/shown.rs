//! Which events a browser has shown, to drop the ones that come again.

use std::collections::BTreeSet;

use crate::observation::EventId;

/// How many events a browser remembers.
const REMEMBERED_MAX: usize = 4_096;

/// The highest event ids that were shown. An app delivers the events of a user in order and one at a time, so that one
/// below all of a full memory can only be a very late repetition.
///
/// A lower id that was never shown is new all the same: the lab is to see events that come out of order.
#[derive(Debug, Default)]
pub(super) struct ShownEvents {
    remembered: BTreeSet<EventId>,
}

impl ShownEvents {
    /// Whether `event` is new; remembers it.
    pub(super) fn insert(&mut self, event: EventId) -> bool {
        let full = self.remembered.len() == REMEMBERED_MAX;
        if full && self.remembered.first().is_some_and(|&lowest| event < lowest) {
            return false;
        }
        let new = self.remembered.insert(event);
        if new && full {
            self.remembered.pop_first();
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_shown_is_a_repetition() {
        let mut shown = ShownEvents::default();
        assert_eq!(
            [5, 9, 5, 7, 9, 7, 1].map(|event| shown.insert(event)),
            [true, true, false, true, false, false, true]
        );
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut shown = ShownEvents::default();
        let (memory, extra) = (REMEMBERED_MAX as u64, 10);
        assert!((1..=memory + extra).all(|number| shown.insert(2 * number)));
        assert_eq!(shown.remembered.len(), REMEMBERED_MAX);
        // The lowest that is left is 2 * (extra + 1): repeated as is everything below, but the gap above it is new.
        assert_eq!([2, 2 * extra, 2 * extra + 2].map(|event| shown.insert(event)), [false; 3]);
        assert!(shown.insert(2 * extra + 3));
    }
}
