//! Which events a browser has shown, to drop the ones that come again.

use std::collections::{BTreeMap, BTreeSet};

use crate::observation::{EVENT_NUMBER_BITS, EventId};

/// How many events a browser remembers of each app.
const REMEMBERED_MAX: usize = 4_096;

/// The highest event ids that were shown. An app delivers the events of a user in order and one at a time, so that one
/// below all of a full memory can only be a very late repetition.
///
/// A lower id that was never shown is new all the same: the lab is to see events that come out of order.
#[derive(Debug, Default)]
pub(super) struct ShownEvents {
    /// By the app, so that the events of one do not drive out those of another.
    remembered_by_app: BTreeMap<u64, BTreeSet<EventId>>,
}

impl ShownEvents {
    /// Whether `event` is new; remembers it.
    pub(super) fn insert(&mut self, event: EventId) -> bool {
        let remembered = self.remembered_by_app.entry(event >> EVENT_NUMBER_BITS).or_default();
        let full = remembered.len() == REMEMBERED_MAX;
        if full && remembered.first().is_some_and(|&lowest| event < lowest) {
            return false;
        }
        let new = remembered.insert(event);
        if new && full {
            remembered.pop_first();
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::first_event;

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
        assert_eq!(shown.remembered_by_app[&0].len(), REMEMBERED_MAX);
        // The lowest that is left is 2 * (extra + 1): repeated as is everything below, but the gap above it is new.
        assert_eq!([2, 2 * extra, 2 * extra + 2].map(|event| shown.insert(event)), [false; 3]);
        assert!(shown.insert(2 * extra + 3));
    }

    #[test]
    fn each_app_has_a_memory_of_its_own() {
        let mut shown = ShownEvents::default();
        assert!((0..REMEMBERED_MAX as u64).all(|number| shown.insert(first_event(1) + number)));
        assert_eq!([first_event(0), first_event(0)].map(|event| shown.insert(event)), [true, false]);
    }
}
