//! What became of the events of one app.

use std::collections::BTreeMap;
use std::time::Duration;

use halod_core::time::Instant;

use crate::observation::EventId;
use crate::scenario::Retries;

/// The events of one app.
#[derive(Debug)]
pub(super) struct Events {
    first: EventId,
    by_id: BTreeMap<EventId, EventView>,
    /// The highest event that each user was shown.
    latest_shown: BTreeMap<String, EventId>,
    /// Of those in `by_id`, kept up to date: there may be many, and whoever waits for them asks often.
    counts: EventCounts,
}

#[derive(Debug)]
struct EventView {
    user: String,
    settled: bool,
    given_up: bool,
    shown: u32,
    /// When it fell due, and when it was shown.
    due_at: Option<Instant>,
    shown_at: Option<Instant>,
}

/// Events, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Ordered by the scenario.
    pub expected: u64,
    /// Sent at least once.
    pub sent: u64,
    /// Answered with `Success`.
    pub settled: u64,
    /// Not answered with `Success`, and not tried again.
    pub given_up: u64,
    /// Shown at least once.
    pub shown: u64,
    /// Shown more than once.
    pub shown_twice: u64,
    /// Shown after a later one of the same user.
    pub out_of_order: u64,
}

impl Events {
    /// None so far; they will be numbered from `first`.
    pub(super) fn new(first: EventId) -> Self {
        Self { first, by_id: BTreeMap::new(), latest_shown: BTreeMap::new(), counts: EventCounts::default() }
    }

    pub(super) fn expect(&mut self, events: u64) {
        self.counts.expected += events;
    }

    /// An event, which fell due at `due`, was sent.
    pub(super) fn send(&mut self, due: Instant, user: &str, event: EventId) {
        self.view(user, event).due_at.get_or_insert(due);
    }

    pub(super) fn settle(&mut self, event: EventId) {
        if let Some(view) = self.by_id.get_mut(&event) {
            self.counts.settled += u64::from(!std::mem::replace(&mut view.settled, true));
        }
    }

    /// The app got no `Success` for an event and does not try again.
    pub(super) fn give_up(&mut self, user: &str, event: EventId) {
        let is_known = std::mem::replace(&mut self.view(user, event).given_up, true);
        self.counts.given_up += u64::from(!is_known);
    }

    /// The user of each event that no browser has shown, and whether the app was told `Success`.
    pub(super) fn lost(&self) -> impl Iterator<Item = (&str, bool)> {
        self.by_id.values().filter(|view| view.shown == 0).map(|view| (view.user.as_str(), view.settled))
    }

    /// A browser has shown an event. Returns whether it is one of this app's, for this user. Reports of two hosts may
    /// cross, so an event may be shown before it is known to be sent.
    pub(super) fn show(&mut self, at: Instant, user: &str, event: EventId) -> bool {
        let is_expected = event.checked_sub(self.first).is_some_and(|before| before < self.counts.expected);
        if !is_expected || self.by_id.get(&event).is_some_and(|view| view.user != user) {
            return false;
        }
        let view = self.view(user, event);
        view.shown += 1;
        view.shown_at.get_or_insert(at);
        match view.shown {
            1 => self.counts.shown += 1,
            2 => self.counts.shown_twice += 1,
            _ => {}
        }
        let latest = self.latest_shown.entry(user.to_owned()).or_default();
        if event < *latest {
            self.counts.out_of_order += 1;
        }
        *latest = event.max(*latest);
        true
    }

    fn view(&mut self, user: &str, event: EventId) -> &mut EventView {
        self.by_id.entry(event).or_insert_with(|| {
            self.counts.sent += 1;
            EventView { user: user.to_owned(), settled: false, given_up: false, shown: 0, due_at: None, shown_at: None }
        })
    }

    pub(super) fn counts(&self) -> EventCounts {
        self.counts
    }

    /// When each event that was shown fell due, and how long it took from then on.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = (Instant, Duration)> {
        self.by_id.values().filter_map(|view| Some((view.due_at?, view.shown_at?.since(view.due_at?))))
    }

    /// Whether nothing more will come of the events, but what is on its way to a browser.
    pub(super) fn check_done(&self, retries: Retries) -> Result<(), String> {
        let EventCounts { expected, sent, settled, given_up, shown, .. } = self.counts();
        let answered = settled + given_up;
        let is_done = match retries {
            Retries::UntilSuccess => (sent, answered, shown) == (expected, expected, expected),
            Retries::None => (sent, answered) == (expected, expected),
        };
        if is_done {
            return Ok(());
        }
        Err(format!("of {expected} events, {sent} are sent, {answered} answered, {shown} shown"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::ORIGIN;

    fn events(expected: u64) -> Events {
        let mut events = Events::new(1);
        events.expect(expected);
        events
    }

    #[test]
    fn what_is_sent_again_counts_once_and_what_is_shown_again_twice() {
        let mut events = events(2);
        for event in [1, 1, 2] {
            events.send(NOW, "alice", event);
        }
        for event in [1, 2, 1] {
            assert!(events.show(NOW, "alice", event));
        }
        let counts = events.counts();
        assert_eq!((counts.sent, counts.shown, counts.shown_twice, counts.out_of_order), (2, 2, 1, 1));
    }

    #[test]
    fn an_event_of_another_user_or_beyond_the_load_is_nobodys() {
        let mut events = events(2);
        events.send(NOW, "alice", 1);
        assert!(!events.show(NOW, "bob", 1));
        assert!(!events.show(NOW, "alice", 3));
        assert!(!events.show(NOW, "alice", 0));
        assert_eq!(events.counts().sent, 1);
    }

    #[test]
    fn a_load_is_done_when_all_is_answered_and_shown() {
        let mut events = events(1);
        events.send(NOW, "alice", 1);
        events.show(NOW, "alice", 1);
        let check = |events: &Events| events.check_done(Retries::UntilSuccess);
        assert_eq!(check(&events), Err("of 1 events, 1 are sent, 0 answered, 1 shown".into()));
        events.settle(1);
        assert_eq!(check(&events), Ok(()));
    }

    #[test]
    fn an_event_that_is_tried_once_is_done_when_it_is_answered_or_given_up() {
        let mut events = events(3);
        (1..=3).for_each(|event| events.send(NOW, "alice", event));
        events.settle(1);
        events.give_up("alice", 2);
        let check = |events: &Events| events.check_done(Retries::None);
        assert_eq!(check(&events), Err("of 3 events, 3 are sent, 2 answered, 0 shown".into()));
        events.settle(3);
        events.show(NOW, "alice", 3);
        assert_eq!(check(&events), Ok(()));
        assert_eq!(events.lost().collect::<Vec<_>>(), [("alice", true), ("alice", false)]);
    }
}
