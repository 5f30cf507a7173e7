//! Which event is due when, and for which user. Not whether it can be sent.

use std::ops::Range;
use std::time::Duration;

use halod_core::time::Instant;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::AppConfig;
use crate::observation::EventId;

/// A user of the app, by its position in the config.
pub(super) type UserIndex = usize;

/// An event that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: EventId,
    /// Since when.
    pub(super) due: Instant,
    /// The least length of its body.
    pub(super) body_bytes: usize,
}

/// What a user says, which is due: an event of its own for each user of the room, itself among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Utterance {
    room: Range<UserIndex>,
    /// That of the first user of the room; the others have the numbers that follow.
    first: Event,
}

impl Utterance {
    /// Who gets which event, in the order of their numbers.
    pub(super) fn events(self) -> impl Iterator<Item = (UserIndex, Event)> {
        let Self { room, first } = self;
        room.zip(first.id..).map(move |(user, id)| (user, Event { id, ..first }))
    }
}

/// Evenly spaced utterances that are still to come.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) utterances: u64,
    pub(super) interval: Duration,
    pub(super) body_bytes: usize,
    /// How many users hear one: rooms are runs of so many users, at least 1. The last one may be smaller.
    pub(super) room: usize,
    /// When the next one is due.
    pub(super) due: Instant,
}

/// All loads of an app. Events are numbered in the order in which they fall due.
#[derive(Debug)]
pub(super) struct Schedule {
    loads: Vec<Load>,
    /// The number of the next event.
    next_event: EventId,
    users: usize,
    /// The rest of the users, shuffled; each speaks once before any speaks twice.
    deck: Vec<UserIndex>,
    rng: StdRng,
}

impl Schedule {
    pub(super) fn new(config: &AppConfig) -> Self {
        Self {
            loads: Vec::new(),
            next_event: config.first_event,
            users: config.users.len(),
            deck: Vec::new(),
            rng: StdRng::seed_from_u64(config.seed),
        }
    }

    /// Begins a load, beside those that run. Without users there is nobody to send to.
    pub(super) fn add(&mut self, load: Load) {
        if load.utterances > 0 && self.users > 0 {
            self.loads.push(load);
        }
    }

    /// Changes the time between two events of each load that runs. An event that would be due later than after the new
    /// one is due earlier.
    pub(super) fn set_interval(&mut self, now: Instant, interval: Duration) {
        for load in &mut self.loads {
            load.interval = interval;
            load.due = load.due.min(now + interval);
        }
    }

    /// Takes the next utterance that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Utterance> {
        let loads = self.loads.iter().enumerate();
        let (index, _) = loads.min_by_key(|(_, load)| load.due).filter(|(_, load)| load.due <= now)?;
        let load = &mut self.loads[index];
        let first = Event { id: self.next_event, due: load.due, body_bytes: load.body_bytes };
        let size = load.room.max(1);
        load.due = load.due + load.interval;
        load.utterances -= 1;
        if load.utterances == 0 {
            self.loads.remove(index);
        }
        let speaker = self.draw_user();
        let begin = speaker - speaker % size;
        let room = begin..(begin + size).min(self.users);
        self.next_event += room.len() as EventId;
        Some(Utterance { room, first })
    }

    /// When the next utterance is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.loads.iter().map(|load| load.due).min()
    }

    fn draw_user(&mut self) -> UserIndex {
        if self.deck.is_empty() {
            self.deck.extend(0..self.users);
            self.deck.shuffle(&mut self.rng);
        }
        self.deck.pop().expect("a load is only added where there are users")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::app::tests;

    /// Of an app whose events are numbered from 1,001.
    fn schedule(users: usize, seed: u64) -> Schedule {
        let users = (0..users).map(|user| format!("u{user}")).collect();
        Schedule::new(&AppConfig { users, seed, first_event: 1_001, ..tests::config(&[], 1) })
    }

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(1_000 + ms)
    }

    fn load(utterances: u64, interval_ms: u64) -> Load {
        Load { utterances, interval: Duration::from_millis(interval_ms), body_bytes: 0, room: 1, due: at(0) }
    }

    /// The next utterance, as the users and numbers of its events.
    fn take(schedule: &mut Schedule, now: Instant) -> Option<Vec<(UserIndex, EventId)>> {
        let utterance = schedule.take_due(now)?;
        Some(utterance.events().map(|(user, event)| (user, event.id)).collect())
    }

    #[test]
    fn events_are_evenly_spaced_and_numbered_over_all_loads() {
        let mut schedule = schedule(3, 1);
        schedule.add(load(3, 10));
        schedule.add(load(2, 15));
        let mut due = Vec::new();
        while let Some(next) = schedule.next() {
            assert_eq!(schedule.take_due(next - Duration::from_nanos(1)), None);
            let utterance = schedule.take_due(next).unwrap();
            due.extend(utterance.events().map(|(_, event)| (event.due, event.id)));
        }
        assert_eq!(due, [(at(0), 1_001), (at(0), 1_002), (at(10), 1_003), (at(15), 1_004), (at(20), 1_005)]);
    }

    #[test]
    fn a_change_of_the_interval_counts_from_now_on() {
        let mut schedule = schedule(1, 1);
        schedule.add(load(5, 100));
        let due = |schedule: &mut Schedule| {
            let next = schedule.next().unwrap();
            schedule.take_due(next).unwrap();
            next
        };
        assert_eq!([due(&mut schedule), due(&mut schedule)], [at(0), at(100)]);
        schedule.set_interval(at(120), Duration::from_millis(10));
        assert_eq!(due(&mut schedule), at(130), "not at 200");
        schedule.set_interval(at(135), Duration::from_millis(50));
        assert_eq!([due(&mut schedule), due(&mut schedule)], [at(140), at(190)]);
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn every_user_gets_about_as_many_and_the_seed_decides_the_order() {
        let users = |seed| {
            let mut schedule = schedule(4, seed);
            schedule.add(load(12, 0));
            std::iter::from_fn(|| take(&mut schedule, at(0)).map(|events| events[0].0)).collect::<Vec<_>>()
        };
        for round in users(7).chunks(4) {
            let mut round = round.to_vec();
            round.sort_unstable();
            assert_eq!(round, [0, 1, 2, 3]);
        }
        assert_eq!(users(7), users(7));
        assert_ne!(users(7), users(8));
    }

    #[test]
    fn a_room_hears_each_of_its_users() {
        let mut schedule = schedule(5, 1);
        schedule.add(Load { room: 2, ..load(5, 0) });
        let mut heard: Vec<_> = std::iter::from_fn(|| take(&mut schedule, at(0))).collect();
        let ids: Vec<EventId> = heard.iter().flatten().map(|(_, id)| *id).collect();
        assert_eq!(ids, (1_001..1_010).collect::<Vec<_>>(), "numbers follow each other over rooms");
        heard.iter_mut().flatten().for_each(|(_, id)| *id = 0);
        heard.sort();
        let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|user| (user, 0));
        assert_eq!(heard, [vec![a, b], vec![a, b], vec![c, d], vec![c, d], vec![e]]);
    }

    #[test]
    fn nobody_to_send_to_is_nothing_to_do() {
        let mut schedule = schedule(0, 1);
        schedule.add(load(5, 0));
        assert_eq!((schedule.next(), schedule.take_due(at(9))), (None, None));
    }
}
