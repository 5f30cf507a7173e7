//! Deadlines by what they are for, at most one each. Not a clock.

use std::collections::{BTreeMap, BTreeSet};

use halod_core::time::Instant;

/// The deadlines of many things, the earliest at hand.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    due_by_key: BTreeMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { due_by_key: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets the deadline of `key`, in place of an earlier one.
    pub(crate) fn set(&mut self, key: K, due: Instant) {
        self.cancel(&key);
        self.order.insert((due, key.clone()));
        self.due_by_key.insert(key, due);
    }

    pub(crate) fn cancel(&mut self, key: &K) {
        if let Some((key, due)) = self.due_by_key.remove_entry(key) {
            self.order.remove(&(due, key));
        }
    }

    /// Takes the earliest deadline that has come.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<K> {
        self.next().filter(|&due| due <= now)?;
        let (_, key) = self.order.pop_first()?;
        self.due_by_key.remove(&key);
        Some(key)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|&(due, _)| due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_deadline_and_the_earliest_comes_first() {
        let at = Instant::from_nanos;
        let mut timers = Timers::default();
        timers.set('a', at(1));
        timers.set('a', at(5));
        timers.set('b', at(3));
        timers.set('c', at(2));
        timers.cancel(&'c');
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(timers.take_due(at(2)), None);
        assert_eq!(timers.take_due(at(5)), Some('b'));
        assert_eq!(timers.take_due(at(5)), Some('a'));
        assert_eq!((timers.take_due(at(9)), timers.next()), (None, None));
    }
}
