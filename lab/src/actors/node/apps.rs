//! A node's connections to apps, and the requests that are not answered yet.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use halod_core::time::Instant;

use super::browsers::Settled;
use crate::actors::ConnId;
use crate::actors::wire::Wire;
use crate::orbited::orbit::{Incoming, NOT_REACHED, Recipient, Reply, Request, RequestReader};

/// Connections of apps; one more is reset.
const APPS_MAX: usize = 16_384;

/// Requests of one connection that are not answered yet; one more is a failure at once.
const IN_FLIGHT_MAX: u32 = 1024;

/// Bytes of replies that an app has not acknowledged; one that does not read them is reset.
const UNACKED_MAX: u64 = 4 * 1024 * 1024;

/// A request that is being delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeliveryId(u64);

#[derive(Debug, Default)]
pub(super) struct Apps {
    by_conn: BTreeMap<ConnId, AppConn>,
    conn_by_peer: BTreeMap<SocketAddr, ConnId>,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    begun: u64,
}

#[derive(Debug)]
struct AppConn {
    peer: SocketAddr,
    /// Gone once the stream cannot be read on.
    reader: Option<RequestReader>,
    in_flight: u32,
    phase: Phase,
    sent: u64,
    acked: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// To be finished when nothing is in flight; no new request is taken.
    Closing,
    /// FIN was sent.
    Finished,
}

#[derive(Debug)]
struct Delivery {
    app: ConnId,
    id: String,
    waiting: usize,
    failed: Vec<Recipient>,
}

impl Apps {
    pub(super) fn owns(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }

    pub(super) fn len(&self) -> u64 {
        self.by_conn.len() as u64
    }

    pub(super) fn accept(&mut self, conn: ConnId, peer: SocketAddr, wire: &mut Wire) {
        if self.by_conn.len() >= APPS_MAX {
            wire.abort(conn);
            return;
        }
        let reader = Some(RequestReader::default());
        self.by_conn.insert(conn, AppConn { peer, reader, in_flight: 0, phase: Phase::Open, sent: 0, acked: 0 });
        self.conn_by_peer.insert(peer, conn);
    }

    /// Returns the requests to deliver, which are in flight from now on; those that cannot be are answered here.
    pub(super) fn received(&mut self, now: Instant, conn: ConnId, bytes: &[u8], wire: &mut Wire) -> Vec<Request> {
        let Some(app) = self.by_conn.get_mut(&conn).filter(|app| app.phase != Phase::Finished) else {
            return Vec::new();
        };
        let mut requests = Vec::new();
        let Some(mut reader) = app.reader.take() else { return requests };
        reader.push(bytes);
        loop {
            match reader.next_request() {
                Ok(None) => {
                    app.reader = Some(reader);
                    break;
                }
                Ok(Some(Incoming::Refused(reply))) => app.reply(conn, &reply, wire),
                Ok(Some(Incoming::Event(request))) => match app.refusal() {
                    Some(msg) => app.reply(conn, &failure(&request.id, msg, Vec::new()), wire),
                    None => {
                        app.in_flight += 1;
                        requests.push(request);
                    }
                },
                Err(error) => {
                    app.reply(conn, &failure("", &error.to_string(), Vec::new()), wire);
                    app.phase = Phase::Closing;
                    break;
                }
            }
        }
        self.finish_if_answered(now, conn, wire);
        self.reset_if_unread(conn, wire);
        requests
    }

    /// Begins to deliver a request of `conn` to so many recipients.
    pub(super) fn begin(&mut self, conn: ConnId, id: &str, recipients: usize) -> DeliveryId {
        self.begun += 1;
        let delivery = DeliveryId(self.begun);
        let begun = Delivery { app: conn, id: id.to_owned(), waiting: recipients, failed: Vec::new() };
        self.deliveries.insert(delivery, begun);
        delivery
    }

    /// Notes what came of one recipient, and answers the request with the last of them.
    pub(super) fn settle(&mut self, now: Instant, settled: Settled, wire: &mut Wire) {
        let Some(delivery) = self.deliveries.get_mut(&settled.delivery) else { return };
        delivery.waiting -= 1;
        if !settled.reached {
            delivery.failed.push(settled.recipient);
        }
        if delivery.waiting > 0 {
            return;
        }
        let Delivery { app: conn, id, failed, .. } =
            self.deliveries.remove(&settled.delivery).expect("it was there a line ago");
        // The reply to an app that is gone is dropped.
        let Some(app) = self.by_conn.get_mut(&conn) else { return };
        app.in_flight -= 1;
        let reply = if failed.is_empty() { Reply::Success { id } } else { failure(&id, NOT_REACHED, failed) };
        app.reply(conn, &reply, wire);
        self.finish_if_answered(now, conn, wire);
        self.reset_if_unread(conn, wire);
    }

    pub(super) fn acked(&mut self, conn: ConnId, offset: u64) {
        if let Some(app) = self.by_conn.get_mut(&conn) {
            app.acked = offset.clamp(app.acked, app.sent);
        }
    }

    /// HaloD names this connection to be ended: at once if nothing is in flight, else after the replies.
    pub(super) fn finish_when_answered(&mut self, now: Instant, peer: SocketAddr, wire: &mut Wire) {
        if let Some(&conn) = self.conn_by_peer.get(&peer) {
            self.peer_finished(now, conn, wire);
        }
    }

    /// The app sends nothing more; it still gets its replies.
    pub(super) fn peer_finished(&mut self, now: Instant, conn: ConnId, wire: &mut Wire) {
        if let Some(app) = self.by_conn.get_mut(&conn).filter(|app| app.phase == Phase::Open) {
            app.phase = Phase::Closing;
            self.finish_if_answered(now, conn, wire);
        }
    }

    pub(super) fn ended(&mut self, conn: ConnId) {
        let Some(app) = self.by_conn.remove(&conn) else { return };
        if self.conn_by_peer.get(&app.peer) == Some(&conn) {
            self.conn_by_peer.remove(&app.peer);
        }
    }

    fn finish_if_answered(&mut self, now: Instant, conn: ConnId, wire: &mut Wire) {
        if let Some(app) = self.by_conn.get_mut(&conn)
            && app.phase == Phase::Closing
            && app.in_flight == 0
        {
            app.phase = Phase::Finished;
            wire.finish(now, conn);
        }
    }

    fn reset_if_unread(&mut self, conn: ConnId, wire: &mut Wire) {
        if self.by_conn.get(&conn).is_some_and(|app| app.sent - app.acked > UNACKED_MAX) {
            wire.abort(conn);
            self.ended(conn);
        }
    }
}

impl AppConn {
    /// Why no further request is taken, if so.
    fn refusal(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Open if self.in_flight < IN_FLIGHT_MAX => None,
            Phase::Open => Some("Too many requests in flight"),
            Phase::Closing | Phase::Finished => Some("The connection is being closed"),
        }
    }

    fn reply(&mut self, conn: ConnId, reply: &Reply, wire: &mut Wire) {
        let bytes = reply.to_bytes();
        self.sent += bytes.len() as u64;
        wire.send(conn, bytes);
    }
}

fn failure(id: &str, msg: &str, recipients: Vec<Recipient>) -> Reply {
    Reply::Failure { id: id.to_owned(), msg: msg.to_owned(), recipients }
}
