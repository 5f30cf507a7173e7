//! Events on their way to users: one unsettled event a user, tried until it is settled.
//!
//! A round tries the newest connection of the user's route, then the connection by which the user was reached last;
//! then it waits, and the next round begins. A reset or an answer that does not come ends an attempt, not the event.
//! An app that does not retry has one attempt instead, on the newest connection.

use std::collections::VecDeque;
use std::time::Duration;

use halod_core::ids::RouteId;
use halod_core::time::Instant;
use halod_core::user::route_of;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::link::Links;
use super::schedule::{Event, UserIndex};
use super::{ANSWER_WAIT, AppConfig};
use crate::actors::ConnId;
use crate::actors::backoff::Backoff;
use crate::actors::event::{EventBody, SESSION};
use crate::actors::timers::Timers;
use crate::actors::wire::Wire;
use crate::observation::{EventId, Observation};
use crate::orbited::orbit::{Recipient, Reply, Request};

#[derive(Debug)]
pub(super) struct Dispatch {
    config: AppConfig,
    users: Vec<User>,
    links: Links,
    /// When the answer is overdue or the next round begins.
    timers: Timers<UserIndex>,
    rng: StdRng,
}

#[derive(Debug)]
struct User {
    name: String,
    route: RouteId,
    queue: VecDeque<Event>,
    unsettled: Option<Unsettled>,
    /// The connection by which the user was reached last; it may have ended.
    home: Option<ConnId>,
}

#[derive(Debug)]
struct Unsettled {
    event: Event,
    /// How often it was written.
    attempts: u32,
    /// How long it was due before it was written for the first time.
    waited: Duration,
    backoff: Backoff,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On the newest connection.
    Newest(ConnId),
    /// On the user's home, after the newest.
    Home(ConnId),
    /// Between two rounds.
    Waiting,
}

impl Dispatch {
    pub(super) fn new(config: AppConfig) -> Self {
        let user = |name: &String| User {
            name: name.clone(),
            route: route_of(name, config.routes),
            queue: VecDeque::new(),
            unsettled: None,
            home: None,
        };
        Self {
            users: config.users.iter().map(user).collect(),
            links: Links::default(),
            timers: Timers::default(),
            rng: StdRng::seed_from_u64(config.seed),
            config,
        }
    }

    pub(super) fn owns(&self, conn: ConnId) -> bool {
        self.links.is_alive(conn)
    }

    pub(super) fn enqueue(&mut self, now: Instant, user: UserIndex, event: Event, wire: &mut Wire) {
        self.users[user].queue.push_back(event);
        if self.users[user].unsettled.is_none() {
            self.start_next(now, user, wire);
        }
    }

    fn start_next(&mut self, now: Instant, user: UserIndex, wire: &mut Wire) {
        let Some(event) = self.users[user].queue.pop_front() else { return };
        let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(200));
        let conn = self.links.newest(now, &self.config, self.users[user].route, wire);
        self.users[user].unsettled =
            Some(Unsettled { event, attempts: 0, waited: Duration::ZERO, backoff, place: Place::Waiting });
        self.put(now, user, Place::Newest(conn), wire);
    }

    fn put(&mut self, now: Instant, user: UserIndex, place: Place, wire: &mut Wire) {
        let (Place::Newest(conn) | Place::Home(conn)) = place else { return };
        let link = self.links.link(conn).expect("a place is a connection that is alive");
        let unsettled = self.users[user].unsettled.as_mut().expect("only an event has a place");
        unsettled.place = place;
        link.users_by_event.insert(unsettled.event.id, user);
        let established = link.established;
        self.timers.set(user, now + ANSWER_WAIT);
        if established {
            self.write(now, user, conn, wire);
        }
    }

    fn write(&mut self, now: Instant, user: UserIndex, conn: ConnId, wire: &mut Wire) {
        let User { name, unsettled, .. } = &mut self.users[user];
        let unsettled = unsettled.as_mut().expect("only an event is written");
        let Event { id, due, body_bytes } = unsettled.event;
        if unsettled.attempts == 0 {
            unsettled.waited = now.since(due);
        }
        unsettled.attempts += 1;
        let request = Request {
            id: id.to_string(),
            recipients: vec![Recipient {
                user: name.clone(),
                session: SESSION.into(),
                location: self.config.location.clone(),
            }],
            body: EventBody { event: id, user: name.clone() }.to_bytes(body_bytes),
        };
        wire.send(conn, request.to_bytes());
        let Unsettled { attempts: attempt, waited, .. } = *unsettled;
        wire.observe(Observation::Sent { user: name.clone(), event: id, attempt, waited });
    }

    pub(super) fn connected(&mut self, now: Instant, conn: ConnId, wire: &mut Wire) {
        let Some(link) = self.links.link(conn) else { return };
        link.established = true;
        let users: Vec<UserIndex> = link.users_by_event.values().copied().collect();
        for user in users {
            self.write(now, user, conn, wire);
        }
    }

    pub(super) fn received(&mut self, now: Instant, conn: ConnId, bytes: &[u8], wire: &mut Wire) {
        let Some(link) = self.links.link(conn) else { return };
        link.reader.push(bytes);
        while let Some(link) = self.links.link(conn) {
            match link.reader.next_reply() {
                Ok(None) => break,
                Ok(Some(reply)) => self.answered(now, conn, &reply, wire),
                Err(_) => {
                    wire.observe(Observation::Mismatched { id: String::new() });
                    wire.abort(conn);
                    self.lost(now, conn, wire);
                }
            }
        }
    }

    fn answered(&mut self, now: Instant, conn: ConnId, reply: &Reply, wire: &mut Wire) {
        let event = event_of(reply.id());
        let link = self.links.link(conn).expect("the reply came on this connection");
        let Some(user) = event.and_then(|event| link.users_by_event.remove(&event)) else {
            wire.observe(Observation::Mismatched { id: reply.id().to_owned() });
            return;
        };
        match reply {
            Reply::Success { .. } => {
                self.settled(now, user, conn, wire);
                self.start_next(now, user, wire);
            }
            Reply::Failure { .. } => {
                self.failed(now, user, true, wire);
                self.links.retire_unused(now, conn, wire);
            }
        }
    }

    fn settled(&mut self, now: Instant, user: UserIndex, conn: ConnId, wire: &mut Wire) {
        self.timers.cancel(&user);
        let state = &mut self.users[user];
        let unsettled = state.unsettled.take().expect("its event was in flight");
        wire.observe(Observation::Settled { user: state.name.clone(), event: unsettled.event.id });
        let former = state.home.replace(conn);
        self.links.move_home(now, former, conn, wire);
    }

    /// An attempt came to nothing; `written` if the event was on the wire.
    fn failed(&mut self, now: Instant, user: UserIndex, written: bool, wire: &mut Wire) {
        let User { name, unsettled, home, .. } = &mut self.users[user];
        let unsettled = unsettled.as_mut().expect("its event was in flight");
        if written {
            wire.observe(Observation::Failed { user: name.clone(), event: unsettled.event.id });
        }
        if !self.config.retries {
            self.give_up(now, user, wire);
            return;
        }
        if let (Place::Newest(newest), Some(home)) = (unsettled.place, *home)
            && home != newest
            && self.links.is_alive(home)
        {
            self.put(now, user, Place::Home(home), wire);
            return;
        }
        unsettled.place = Place::Waiting;
        self.timers.set(user, now + unsettled.backoff.wait(&mut self.rng));
    }

    fn give_up(&mut self, now: Instant, user: UserIndex, wire: &mut Wire) {
        self.timers.cancel(&user);
        let User { name, unsettled, .. } = &mut self.users[user];
        let event = unsettled.take().expect("its event was in flight").event.id;
        wire.observe(Observation::GivenUp { user: name.clone(), event });
        self.start_next(now, user, wire);
    }

    /// A connection has ended, or nothing more will be answered on it.
    pub(super) fn lost(&mut self, now: Instant, conn: ConnId, wire: &mut Wire) {
        let Some(link) = self.links.remove(conn) else { return };
        for user in link.users_by_event.into_values() {
            self.failed(now, user, link.established, wire);
        }
    }

    pub(super) fn timeout(&mut self, now: Instant, wire: &mut Wire) {
        while let Some(user) = self.timers.take_due(now) {
            let state = &self.users[user];
            match state.unsettled.as_ref().expect("only an event has a deadline").place {
                Place::Waiting => {
                    let conn = self.links.renewed(now, &self.config, state.route, wire);
                    self.put(now, user, Place::Newest(conn), wire);
                }
                Place::Newest(conn) | Place::Home(conn) => {
                    wire.abort(conn);
                    self.lost(now, conn, wire);
                }
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }
}

/// The event whose ORBIT id this is, written exactly as the app writes it.
fn event_of(id: &str) -> Option<EventId> {
    id.parse().ok().filter(|event: &EventId| event.to_string() == id)
}
