//! A node's connections to browsers: who is attached where, what was written to them and what they acknowledged.

mod connection;
mod presence;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use halod_core::time::Instant;

use self::connection::{Attachment, Browser};
use self::presence::{Arrival, Presences};
use super::Success;
use super::apps::DeliveryId;
use crate::actors::timers::Timers;
use crate::actors::wire::Wire;
use crate::actors::{ConnId, End};
use crate::observation::Observation;
use crate::orbited::orbit::Recipient;
use crate::orbited::request::Request;
use crate::orbited::{Transport, encode};

/// Connections of browsers, of all kinds; one more is reset.
const BROWSERS_MAX: usize = 65_536;

/// Bytes written to a browser that it has not acknowledged; an event beyond is a failure.
const UNACKED_MAX: u64 = 1024 * 1024;

/// How long a browser may take to send its request.
const REQUEST_WAIT: Duration = Duration::from_secs(30);

/// Silence after which a ping is sent (Orbited 0.2).
const PING_AFTER: Duration = Duration::from_secs(60);

/// How long a poll is parked without an event (Orbited 0.1).
const POLL_IDLE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Browsers {
    success: Success,
    by_conn: BTreeMap<ConnId, Browser>,
    conn_by_peer: BTreeMap<SocketAddr, ConnId>,
    presences: Presences,
    timers: Timers<ConnId>,
}

/// What came of an event for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) delivery: DeliveryId,
    pub(super) recipient: Recipient,
    pub(super) reached: bool,
}

/// What became of an event that was offered to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// Written; a [`Settled`] will follow.
    Pending,
    /// The browser has it, or `Success` does not wait for that.
    Reached,
    /// No connection, or a browser that does not read.
    Unreachable,
}

impl Browsers {
    pub(super) fn new(success: Success) -> Self {
        Self {
            success,
            by_conn: BTreeMap::new(),
            conn_by_peer: BTreeMap::new(),
            presences: Presences::default(),
            timers: Timers::default(),
        }
    }

    pub(super) fn owns(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }

    pub(super) fn len(&self) -> u64 {
        self.by_conn.len() as u64
    }

    pub(super) fn conn_of(&self, peer: SocketAddr) -> Option<ConnId> {
        self.conn_by_peer.get(&peer).copied()
    }

    pub(super) fn accept(&mut self, now: Instant, conn: ConnId, peer: SocketAddr, wire: &mut Wire) {
        if self.by_conn.len() >= BROWSERS_MAX {
            wire.abort(conn);
            return;
        }
        self.by_conn.insert(conn, Browser::new(peer));
        self.conn_by_peer.insert(peer, conn);
        self.timers.set(conn, now + REQUEST_WAIT);
    }

    /// What comes after the request is not read, as in the released server.
    pub(super) fn received(&mut self, now: Instant, conn: ConnId, bytes: &[u8], wire: &mut Wire) {
        let Some(browser) = self.by_conn.get_mut(&conn).filter(|browser| browser.awaits_request()) else { return };
        browser.head.extend_from_slice(bytes);
        match Request::parse(&browser.head) {
            Ok(None) => {}
            Ok(Some((request, _))) => self.attach(now, conn, request, wire),
            Err(_) => {
                browser.send(conn, b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec(), wire);
                self.finish(now, conn, wire);
            }
        }
    }

    fn attach(&mut self, now: Instant, conn: ConnId, request: Request, wire: &mut Wire) {
        let Request { location, user, session, transport, last_event_id } = request;
        let key = Recipient { user: user.clone(), session, location };
        let browser = self.by_conn.get_mut(&conn).expect("the request came on this connection");
        browser.head = Vec::new();
        browser.attachment = Some(Attachment { key: key.clone(), transport, last_event_id });
        browser.send(conn, encode::preamble(transport), wire);
        let peer = browser.peer;

        let Arrival { displaced, is_new } = self.presences.arrive(&key, transport, conn);
        if is_new {
            wire.observe(Observation::Attached { user, transport, peer });
        }
        for former in displaced {
            self.finish(now, former, wire);
        }
        self.timers.set(conn, now + if transport == Transport::Xhr { POLL_IDLE } else { PING_AFTER });
    }

    /// Writes an event to the connection of `recipient`; to its first parked poll if it polls.
    pub(super) fn offer(
        &mut self,
        now: Instant,
        recipient: &Recipient,
        delivery: DeliveryId,
        id: &str,
        body: &[u8],
        wire: &mut Wire,
    ) -> Offer {
        let Some(conn) = self.presences.first_open(recipient) else { return Offer::Unreachable };
        let browser = self.by_conn.get_mut(&conn).expect("a presence names connections that exist");
        let attachment = browser.attachment.as_ref().expect("a presence names connections with a request");
        let transport = attachment.transport;
        if let Some(event) = attachment.had(id) {
            wire.observe(Observation::AlreadyHad { user: recipient.user.clone(), event });
            return Offer::Reached;
        }
        let frame = encode::event(transport, id, body);
        if browser.unacked() + frame.len() as u64 > UNACKED_MAX {
            return Offer::Unreachable;
        }
        browser.send(conn, frame, wire);
        if self.success == Success::Acknowledged {
            browser.await_ack(delivery);
        }
        if transport == Transport::Xhr {
            self.finish(now, conn, wire);
        } else {
            self.timers.set(conn, now + PING_AFTER);
        }
        match self.success {
            Success::Acknowledged => Offer::Pending,
            Success::HandedOver => Offer::Reached,
        }
    }

    pub(super) fn acked(&mut self, conn: ConnId, offset: u64) -> Vec<Settled> {
        self.by_conn.get_mut(&conn).map(|browser| browser.acked(offset)).unwrap_or_default()
    }

    /// Asks a browser to connect again: by an event where its transport has one, by a close otherwise.
    pub(super) fn ask_to_move(&mut self, now: Instant, conn: ConnId, wire: &mut Wire) {
        let Some(browser) = self.by_conn.get_mut(&conn) else { return };
        let transport = browser.attachment.as_ref().map(|attachment| attachment.transport);
        match transport.and_then(encode::reconnect) {
            Some(_) if browser.finishing => {}
            Some(event) => browser.send(conn, event, wire),
            None => self.finish(now, conn, wire),
        }
    }

    /// Closes a connection after what is queued; no new event goes to it. What was written can still be
    /// acknowledged.
    pub(super) fn finish(&mut self, now: Instant, conn: ConnId, wire: &mut Wire) {
        let Some(browser) = self.by_conn.get_mut(&conn).filter(|browser| !browser.finishing) else { return };
        browser.finishing = true;
        wire.finish(now, conn);
        self.timers.cancel(&conn);
        if let Some(attachment) = &browser.attachment {
            self.presences.close(now, &attachment.key, conn, wire);
        }
    }

    /// Closes every connection.
    pub(super) fn finish_all(&mut self, now: Instant, wire: &mut Wire) {
        for conn in self.by_conn.keys().copied().collect::<Vec<_>>() {
            self.finish(now, conn, wire);
        }
    }

    /// A browser has sent FIN, which a node that only hands over does not notice.
    pub(super) fn peer_finished(&mut self, now: Instant, conn: ConnId, wire: &mut Wire) {
        match self.success {
            Success::Acknowledged => self.finish(now, conn, wire),
            Success::HandedOver => {}
        }
    }

    pub(super) fn ended(&mut self, now: Instant, conn: ConnId, end: End, wire: &mut Wire) -> Vec<Settled> {
        let Some(mut browser) = self.by_conn.remove(&conn) else { return Vec::new() };
        self.timers.cancel(&conn);
        if self.conn_of(browser.peer) == Some(conn) {
            self.conn_by_peer.remove(&browser.peer);
        }
        if let Some(attachment) = &browser.attachment {
            self.presences.close(now, &attachment.key, conn, wire);
            self.presences.ended(now, &attachment.key, conn);
        }
        browser.settle_rest(end)
    }

    pub(super) fn timeout(&mut self, now: Instant, wire: &mut Wire) {
        self.presences.timeout(now, wire);
        while let Some(conn) = self.timers.take_due(now) {
            let Some(browser) = self.by_conn.get_mut(&conn) else { continue };
            match browser.attachment.as_ref().map(|attachment| attachment.transport) {
                None | Some(Transport::Xhr) => self.finish(now, conn, wire),
                Some(transport) => {
                    self.timers.set(conn, now + PING_AFTER);
                    let ping = encode::ping(transport);
                    if browser.unacked() + ping.len() as u64 <= UNACKED_MAX {
                        browser.send(conn, ping, wire);
                    }
                }
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.presences.deadline()).min()
    }
}
