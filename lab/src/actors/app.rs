//! An application: dispatches events to users through the app ports, and holds connections open to see that they
//! keep their node.
//!
//! It knows the cluster as every application does: the address of HaloD, the number of routes and the hash. Which
//! node answers, it cannot tell.

mod dispatch;
mod held;
mod link;
mod schedule;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use halod_core::ids::RouteId;
use halod_core::time::Instant;
use serde::{Deserialize, Serialize};

use self::dispatch::Dispatch;
use self::held::Held;
use self::schedule::{Load, Schedule};
use super::wire::Wire;
use super::{Actor, ConnId, Input, Output};
use crate::observation::EventId;

/// How long a request may stay unanswered.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long a connection that the app closes may take to end.
const HALF_CLOSE: Duration = Duration::from_secs(5);

/// Whom an app serves, and through which ports.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AppConfig {
    /// What the scenario calls it.
    pub name: String,
    /// HaloD's service address.
    pub server: IpAddr,
    /// The app port of route 1.
    pub app_port_first: u16,
    /// The number of routes, N; at least 1.
    pub routes: u16,
    /// The users to whom events go.
    pub users: Vec<String>,
    /// The number of its first event; the others follow.
    pub first_event: EventId,
    /// The location of their browsers.
    pub location: String,
    /// Whether an event is tried until a node answers `Success`; otherwise it is tried once.
    pub retries: bool,
    /// Of its random numbers.
    pub seed: u64,
}

impl AppConfig {
    fn port_of(&self, route: RouteId) -> SocketAddr {
        SocketAddr::new(self.server, self.app_port_first.saturating_add(route.number() - 1))
    }
}

/// What a scenario can tell an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppCommand {
    /// Let users speak from now on, evenly spaced; each time all users of a room get an event.
    Load {
        /// How many times.
        utterances: u64,
        /// The time between two; the first is due at once.
        interval: Duration,
        /// The least length of a body, in bytes.
        body_bytes: usize,
        /// How many users are in a room, at least 1.
        room: usize,
    },
    /// Go on with the loads that run at another rate.
    Rate {
        /// The time between two utterances of a load.
        interval: Duration,
    },
    /// Open connections, spread evenly over routes, and send a request to nobody on each: a node answers `Failure`.
    Hold {
        /// How many connections.
        flows: u32,
        /// Over routes 1..=`routes`.
        routes: u16,
    },
    /// Send one more request on each held connection.
    Probe,
    /// Close the held connections.
    ReleaseAll,
}

/// An app.
#[derive(Debug)]
pub struct App {
    config: AppConfig,
    wire: Wire,
    schedule: Schedule,
    dispatch: Dispatch,
    held: Held,
}

impl App {
    /// An app that does nothing yet.
    ///
    /// # Panics
    ///
    /// If there are users and `routes` is 0: a cluster without routes cannot be configured.
    pub fn new(config: AppConfig) -> Self {
        Self {
            wire: Wire::new(HALF_CLOSE),
            schedule: Schedule::new(&config),
            dispatch: Dispatch::new(config.clone()),
            held: Held::default(),
            config,
        }
    }

    fn start_due(&mut self, now: Instant) {
        while let Some(utterance) = self.schedule.take_due(now) {
            for (user, event) in utterance.events() {
                self.dispatch.enqueue(now, user, event, &mut self.wire);
            }
        }
    }

    fn lost(&mut self, now: Instant, conn: ConnId) {
        if self.held.owns(conn) {
            self.held.lost(conn, &mut self.wire);
        } else {
            self.dispatch.lost(now, conn, &mut self.wire);
        }
    }

    fn timeout(&mut self, now: Instant) {
        while self.wire.abort_overdue(now).is_some() {}
        self.start_due(now);
        self.dispatch.timeout(now, &mut self.wire);
        self.held.timeout(now, &mut self.wire);
    }
}

impl Actor for App {
    type Command = AppCommand;

    fn command(&mut self, now: Instant, command: AppCommand) {
        match command {
            AppCommand::Load { utterances, interval, body_bytes, room } => {
                self.schedule.add(Load { utterances, interval, body_bytes, room, due: now });
                self.start_due(now);
            }
            AppCommand::Rate { interval } => self.schedule.set_interval(now, interval),
            AppCommand::Hold { flows, routes } => self.held.open(now, &self.config, flows, routes, &mut self.wire),
            AppCommand::Probe => self.held.probe(now, &self.config, &mut self.wire),
            AppCommand::ReleaseAll => self.held.release(now, &mut self.wire),
        }
    }

    /// Nobody dials an app.
    fn accept(&mut self, _now: Instant, _local: SocketAddr, _peer: SocketAddr) -> ConnId {
        let conn = self.wire.open();
        self.wire.abort(conn);
        conn
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected(conn) if self.held.owns(conn) => {
                self.held.connected(now, &self.config, conn, &mut self.wire);
            }
            Input::Connected(conn) => self.dispatch.connected(now, conn, &mut self.wire),
            Input::Received(conn, bytes) if self.held.owns(conn) => self.held.received(conn, bytes, &mut self.wire),
            Input::Received(conn, bytes) => self.dispatch.received(now, conn, bytes, &mut self.wire),
            // A node sends its replies before its FIN: nothing more will be answered here.
            Input::PeerFinished(conn) if self.held.owns(conn) || self.dispatch.owns(conn) => {
                self.wire.finish(now, conn);
                self.lost(now, conn);
            }
            Input::Ended(conn, _) => {
                self.wire.ended(conn);
                self.lost(now, conn);
            }
            Input::Timeout => self.timeout(now),
            Input::PeerFinished(_) | Input::Acked(..) | Input::Datagram(..) => {}
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.wire.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        let deadlines = [self.wire.deadline(), self.schedule.next(), self.dispatch.deadline(), self.held.deadline()];
        deadlines.into_iter().flatten().min()
    }
}
