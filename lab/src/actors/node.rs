//! A fake Orbited node: serves browsers and apps, and lets HaloD tell it which connections to end.
//!
//! It does better than the server of 2007 where that one loses events: it watches for the close of a browser, and
//! answers `Success` only when the browser's TCP has acknowledged the event. It does not know which route a
//! connection came by; HaloD names connections by their peers.

mod apps;
mod browsers;
mod control;
mod drains;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use halod_core::ids::{Epoch, RouteId, Side};
use halod_core::protocol::{Endpoints, Hello, Incarnation, PROTOCOL_VERSION, Reconnect, ToNode};
use halod_core::time::Instant;
use serde::{Deserialize, Serialize};

use self::apps::Apps;
use self::browsers::{Browsers, Offer, Settled};
use self::control::Control;
use self::drains::Drains;
use super::wire::Wire;
use super::{Actor, ConnId, End, Input, Output};
use crate::orbited::orbit::Request;

/// Who a node is, where it listens and how it behaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeConfig {
    /// What HaloD knows it by.
    pub name: String,
    /// HaloD's control port, for TCP and UDP.
    pub control: SocketAddr,
    /// Where it serves browsers: one address for each IP version.
    pub browser: Vec<SocketAddr>,
    /// Where it serves apps: one address for each IP version.
    pub app: Vec<SocketAddr>,
    /// Where it waits for HaloD's redial.
    pub admin: SocketAddr,
    /// Drawn anew for each start of the process.
    pub incarnation: u64,
    /// What it promises by `Success`.
    pub success: Success,
    /// Whether it ends the connections that HaloD names in `reconnect`, as it should.
    pub obeys: bool,
    /// Of its random numbers.
    pub seed: u64,
    /// How long a connection that it closes may take to end, before it is reset.
    pub half_close: Duration,
}

/// What a node promises by `Success`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Success {
    /// The browser's TCP has acknowledged the event.
    Acknowledged,
    /// The event was written to the connection, as in the released server. That one does not notice the FIN of a browser
    /// either: it reads nothing after the request, and a write fails only after RST.
    HandedOver,
}

/// What a scenario can tell a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeCommand {
    /// Register at HaloD, and again whenever the control connection is lost.
    Join,
    /// Give up the id; the session lives until HaloD closes it.
    Leave,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    wire: Wire,
    control: Control,
    drains: Drains,
    browsers: Browsers,
    apps: Apps,
}

impl Node {
    /// A node that has not joined yet. The driver listens on [`Node::listen`] for it.
    ///
    /// # Errors
    ///
    /// If the browser or the app addresses are no [`Endpoints`].
    pub fn new(config: NodeConfig) -> Result<Self, &'static str> {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            name: config.name.clone(),
            incarnation: Incarnation(config.incarnation),
            browser: Endpoints::try_from(config.browser.clone())?,
            app: Endpoints::try_from(config.app.clone())?,
            admin: config.admin,
        };
        Ok(Self {
            wire: Wire::new(config.half_close),
            control: Control::new(config.control, hello, config.seed),
            drains: Drains::default(),
            browsers: Browsers::new(config.success),
            apps: Apps::default(),
            config,
        })
    }

    /// The addresses to listen on.
    pub fn listen(&self) -> Vec<SocketAddr> {
        let NodeConfig { browser, app, admin, .. } = &self.config;
        browser.iter().chain(app).chain([admin]).copied().collect()
    }

    fn obey(&mut self, now: Instant, message: ToNode) {
        match message {
            ToNode::RouteMoved(moved) => self.drains.begin(moved.route, moved.epoch),
            ToNode::RouteReturned { route, .. } => self.drains.cancel(route),
            ToNode::Reconnect(reconnect) => self.end_named(now, &reconnect),
            _ => {}
        }
    }

    /// Ends the connections that HaloD names, as their transport needs it; a node that does not obey waits for their end.
    /// Unknown ones have ended already.
    fn end_named(&mut self, now: Instant, reconnect: &Reconnect) {
        match reconnect.side {
            Side::App if !self.config.obeys => {}
            Side::App => {
                for peer in &reconnect.peers {
                    self.apps.finish_when_answered(now, *peer, &mut self.wire);
                }
            }
            Side::Browser => {
                let peers = reconnect.peers.iter();
                let conns: Vec<ConnId> = peers.filter_map(|peer| self.browsers.conn_of(*peer)).collect();
                for &conn in conns.iter().filter(|_| self.config.obeys) {
                    self.browsers.ask_to_move(now, conn, &mut self.wire);
                }
                let drained = self.drains.name(reconnect.route, reconnect.epoch, &conns, reconnect.left == 0);
                self.report_drained(drained);
            }
        }
    }

    fn report_drained(&mut self, drained: impl IntoIterator<Item = (RouteId, Epoch)>) {
        for (route, epoch) in drained {
            self.control.report_drained(route, epoch, &mut self.wire);
        }
    }

    fn received(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        if self.browsers.owns(conn) {
            self.browsers.received(now, conn, bytes, &mut self.wire);
        } else if self.apps.owns(conn) {
            for request in self.apps.received(now, conn, bytes, &mut self.wire) {
                self.deliver(now, conn, request);
            }
        } else {
            for message in self.control.received(now, conn, bytes, self.connections(), &mut self.wire) {
                self.obey(now, message);
            }
        }
    }

    fn deliver(&mut self, now: Instant, app: ConnId, request: Request) {
        let Request { id, mut recipients, body } = request;
        recipients.sort();
        recipients.dedup();
        let delivery = self.apps.begin(app, &id, recipients.len());
        for recipient in recipients {
            let reached = match self.browsers.offer(now, &recipient, delivery, &id, &body, &mut self.wire) {
                Offer::Pending => continue,
                Offer::Reached => true,
                Offer::Unreachable => false,
            };
            self.apps.settle(now, Settled { delivery, recipient, reached }, &mut self.wire);
        }
    }

    fn settle_all(&mut self, now: Instant, all: Vec<Settled>) {
        for settled in all {
            self.apps.settle(now, settled, &mut self.wire);
        }
    }

    fn ended(&mut self, now: Instant, conn: ConnId, end: End) {
        self.wire.ended(conn);
        if self.browsers.owns(conn) {
            let settled = self.browsers.ended(now, conn, end, &mut self.wire);
            self.settle_all(now, settled);
            let drained = self.drains.ended(conn);
            self.report_drained(drained);
        } else if self.apps.owns(conn) {
            self.apps.ended(conn);
        } else {
            self.session_over(now, conn);
        }
    }

    /// A drain is a matter of one session: after its end nobody waits for `drained`.
    fn session_over(&mut self, now: Instant, conn: ConnId) {
        if self.control.ended(now, conn, &mut self.wire) {
            self.drains = Drains::default();
            self.quit_if_out(now);
        }
    }

    /// A process that has left ends, and its kernel closes what is left.
    fn quit_if_out(&mut self, now: Instant) {
        if self.control.is_out() {
            self.browsers.finish_all(now, &mut self.wire);
        }
    }

    fn peer_finished(&mut self, now: Instant, conn: ConnId) {
        if self.browsers.owns(conn) {
            self.browsers.peer_finished(now, conn, &mut self.wire);
        } else if self.apps.owns(conn) {
            self.apps.peer_finished(now, conn, &mut self.wire);
        } else if self.control.owns(conn) {
            self.wire.finish(now, conn);
            self.session_over(now, conn);
        }
    }

    fn timeout(&mut self, now: Instant) {
        while let Some(conn) = self.wire.abort_overdue(now) {
            self.ended(now, conn, End::Reset);
        }
        if self.control.give_up_on_silence(now, &mut self.wire) {
            self.drains = Drains::default();
            self.quit_if_out(now);
        }
        self.control.timeout(now, self.connections(), &mut self.wire);
        self.browsers.timeout(now, &mut self.wire);
    }

    /// Open connections of browsers and apps, as heartbeats report them.
    fn connections(&self) -> u64 {
        self.browsers.len() + self.apps.len()
    }
}

impl Actor for Node {
    type Command = NodeCommand;

    fn command(&mut self, now: Instant, command: NodeCommand) {
        match command {
            NodeCommand::Join => self.control.join(&mut self.wire),
            NodeCommand::Leave => {
                self.control.leave(now, &mut self.wire);
                self.quit_if_out(now);
            }
        }
    }

    fn accept(&mut self, now: Instant, local: SocketAddr, peer: SocketAddr) -> ConnId {
        let conn = self.wire.open();
        let serves = |addresses: &[SocketAddr]| addresses.iter().any(|address| address.port() == local.port());
        if serves(&self.config.browser) {
            self.browsers.accept(now, conn, peer, &mut self.wire);
        } else if serves(&self.config.app) {
            self.apps.accept(conn, peer, &mut self.wire);
        } else {
            self.control.accept(conn, &mut self.wire);
        }
        conn
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected(conn) => self.control.connected(conn, &mut self.wire),
            Input::Received(conn, bytes) => self.received(now, conn, bytes),
            Input::Acked(conn, offset) => {
                self.apps.acked(conn, offset);
                let settled = self.browsers.acked(conn, offset);
                self.settle_all(now, settled);
            }
            Input::PeerFinished(conn) => self.peer_finished(now, conn),
            Input::Ended(conn, end) => self.ended(now, conn, end),
            Input::Datagram(_, bytes) => self.control.heard(now, bytes),
            Input::Timeout => self.timeout(now),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        self.wire.poll()
    }

    fn deadline(&self) -> Option<Instant> {
        [self.wire.deadline(), self.control.deadline(), self.browsers.deadline()].into_iter().flatten().min()
    }
}
