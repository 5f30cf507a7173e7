//! An app's connections: the newest of each route, and former ones that still lead to somebody.
//!
//! A connection keeps the node it started on. While a route drains, the newest connection leads to the new owner and
//! a former one to the owner before; browsers are at both. A former connection is kept as long as it is some user's
//! *home*, the one by which the user was reached last.

use std::collections::BTreeMap;
use std::time::Duration;

use halod_core::ids::RouteId;
use halod_core::time::Instant;

use super::AppConfig;
use super::schedule::UserIndex;
use crate::actors::ConnId;
use crate::actors::wire::Wire;
use crate::observation::EventId;
use crate::orbited::orbit::ReplyReader;

/// A connection that was dialled longer ago than this may have started on a node that the route has left since.
const FRESH_FOR: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct Links {
    by_conn: BTreeMap<ConnId, Link>,
    newest_by_route: BTreeMap<RouteId, ConnId>,
}

#[derive(Debug)]
pub(super) struct Link {
    route: RouteId,
    dialled: Instant,
    /// Before, nothing is written.
    pub(super) established: bool,
    pub(super) reader: ReplyReader,
    /// The events that wait for an answer on it, or for it to be established.
    pub(super) users_by_event: BTreeMap<EventId, UserIndex>,
    /// How many users it is the home of.
    homes: usize,
}

impl Links {
    pub(super) fn link(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.by_conn.get_mut(&conn)
    }

    pub(super) fn is_alive(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }

    /// The newest connection of `route`; dialled if there is none.
    pub(super) fn newest(&mut self, now: Instant, config: &AppConfig, route: RouteId, wire: &mut Wire) -> ConnId {
        match self.newest_by_route.get(&route) {
            Some(conn) => *conn,
            None => self.dial(now, config, route, wire),
        }
    }

    /// The newest connection of `route`, after dialling anew unless that was done just now.
    pub(super) fn renewed(&mut self, now: Instant, config: &AppConfig, route: RouteId, wire: &mut Wire) -> ConnId {
        let former = self.newest(now, config, route, wire);
        if now.since(self.by_conn[&former].dialled) <= FRESH_FOR {
            return former;
        }
        let conn = self.dial(now, config, route, wire);
        self.retire_unused(now, former, wire);
        conn
    }

    /// Makes `conn` the home of a user in place of `former`.
    pub(super) fn move_home(&mut self, now: Instant, former: Option<ConnId>, conn: ConnId, wire: &mut Wire) {
        if former == Some(conn) {
            return;
        }
        if let Some(link) = self.link(conn) {
            link.homes += 1;
        }
        if let Some(former) = former
            && let Some(link) = self.link(former)
        {
            link.homes -= 1;
            self.retire_unused(now, former, wire);
        }
    }

    /// Closes a connection that is not the newest, leads to nobody and has no request in flight.
    pub(super) fn retire_unused(&mut self, now: Instant, conn: ConnId, wire: &mut Wire) {
        let Some(link) = self.by_conn.get(&conn) else { return };
        let used = link.homes > 0 || !link.users_by_event.is_empty();
        if used || self.newest_by_route.get(&link.route) == Some(&conn) {
            return;
        }
        if link.established {
            wire.finish(now, conn);
        } else {
            wire.abort(conn);
        }
        self.by_conn.remove(&conn);
    }

    /// Forgets a connection, and returns it with what was in flight on it.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Link> {
        let link = self.by_conn.remove(&conn)?;
        if self.newest_by_route.get(&link.route) == Some(&conn) {
            self.newest_by_route.remove(&link.route);
        }
        Some(link)
    }

    fn dial(&mut self, now: Instant, config: &AppConfig, route: RouteId, wire: &mut Wire) -> ConnId {
        let conn = wire.dial(config.port_of(route));
        let link = Link {
            route,
            dialled: now,
            established: false,
            reader: ReplyReader::default(),
            users_by_event: BTreeMap::new(),
            homes: 0,
        };
        self.by_conn.insert(conn, link);
        self.newest_by_route.insert(route, conn);
        conn
    }
}
