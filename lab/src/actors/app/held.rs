//! Connections that an app holds open, each to prove that its bytes and nobody else's come back on it.

use std::collections::BTreeMap;

use halod_core::ids::RouteId;
use halod_core::time::Instant;

use super::{ANSWER_WAIT, AppConfig};
use crate::actors::ConnId;
use crate::actors::event::SESSION;
use crate::actors::timers::Timers;
use crate::actors::wire::Wire;
use crate::observation::Observation;
use crate::orbited::orbit::{Recipient, Reply, ReplyReader, Request};

/// The flows of an app; those that failed stay as gaps, so that each probe reports them.
#[derive(Debug, Default)]
pub(super) struct Held {
    flows: Vec<Flow>,
    flow_by_conn: BTreeMap<ConnId, usize>,
    timers: Timers<ConnId>,
}

#[derive(Debug)]
struct Flow {
    /// Its number in its command.
    index: u32,
    /// `None` once it failed.
    conn: Option<ConnId>,
    established: bool,
    reader: ReplyReader,
    /// Counts the requests on it.
    requests: u32,
    /// The id whose reply is awaited.
    awaited: Option<String>,
}

impl Held {
    pub(super) fn owns(&self, conn: ConnId) -> bool {
        self.flow_by_conn.contains_key(&conn)
    }

    /// Dials `flows` connections, one route after another over 1..=`routes`.
    pub(super) fn open(&mut self, now: Instant, config: &AppConfig, flows: u32, routes: u16, wire: &mut Wire) {
        let routes = u32::from(routes.min(config.routes).max(1));
        for index in 0..flows {
            let conn = wire.dial(config.port_of(RouteId::from_index((index % routes) as usize)));
            self.flow_by_conn.insert(conn, self.flows.len());
            self.timers.set(conn, now + ANSWER_WAIT);
            let reader = ReplyReader::default();
            self.flows.push(Flow { index, conn: Some(conn), established: false, reader, requests: 0, awaited: None });
        }
    }

    /// Sends one more request on each flow. One that failed, or that still owes an answer, fails (again).
    pub(super) fn probe(&mut self, now: Instant, config: &AppConfig, wire: &mut Wire) {
        for position in 0..self.flows.len() {
            let flow = &self.flows[position];
            match flow.conn {
                Some(conn) if flow.established && flow.awaited.is_none() => self.ask(now, config, conn, wire),
                Some(conn) => self.fail(conn, wire),
                None => wire.observe(Observation::FlowFailed { index: flow.index }),
            }
        }
    }

    /// Closes all flows and forgets them.
    pub(super) fn release(&mut self, now: Instant, wire: &mut Wire) {
        for flow in std::mem::take(self).flows {
            match flow.conn {
                Some(conn) if flow.established => wire.finish(now, conn),
                Some(conn) => wire.abort(conn),
                None => {}
            }
        }
    }

    pub(super) fn connected(&mut self, now: Instant, config: &AppConfig, conn: ConnId, wire: &mut Wire) {
        if let Some(flow) = self.flow(conn) {
            flow.established = true;
            self.ask(now, config, conn, wire);
        }
    }

    fn ask(&mut self, now: Instant, config: &AppConfig, conn: ConnId, wire: &mut Wire) {
        self.timers.set(conn, now + ANSWER_WAIT);
        let Some(flow) = self.flow(conn) else { return };
        flow.requests += 1;
        // The connection's own number keeps ids of several commands apart.
        let id = format!("flow-{}-{}", conn.0, flow.requests);
        let nobody =
            Recipient { user: format!("nobody-{id}"), session: SESSION.into(), location: config.location.clone() };
        let request = Request { id: id.clone(), recipients: vec![nobody], body: id.clone().into_bytes() };
        flow.awaited = Some(id);
        wire.send(conn, request.to_bytes());
    }

    pub(super) fn received(&mut self, conn: ConnId, bytes: &[u8], wire: &mut Wire) {
        let Some(flow) = self.flow(conn) else { return };
        flow.reader.push(bytes);
        while let Some(flow) = self.flow(conn) {
            match flow.reader.next_reply() {
                Ok(None) => break,
                Ok(Some(Reply::Failure { id, .. })) if flow.awaited.as_ref() == Some(&id) => {
                    flow.awaited = None;
                    wire.observe(Observation::FlowAnswered { index: flow.index });
                    self.timers.cancel(&conn);
                }
                other => {
                    let id = other.ok().flatten().map(|reply| reply.id().to_owned()).unwrap_or_default();
                    wire.observe(Observation::Mismatched { id });
                    self.fail(conn, wire);
                }
            }
        }
    }

    /// The connection has ended.
    pub(super) fn lost(&mut self, conn: ConnId, wire: &mut Wire) {
        self.timers.cancel(&conn);
        if let Some(position) = self.flow_by_conn.remove(&conn) {
            let flow = &mut self.flows[position];
            flow.conn = None;
            wire.observe(Observation::FlowFailed { index: flow.index });
        }
    }

    pub(super) fn timeout(&mut self, now: Instant, wire: &mut Wire) {
        while let Some(conn) = self.timers.take_due(now) {
            self.fail(conn, wire);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn fail(&mut self, conn: ConnId, wire: &mut Wire) {
        wire.abort(conn);
        self.lost(conn, wire);
    }

    fn flow(&mut self, conn: ConnId) -> Option<&mut Flow> {
        self.flow_by_conn.get(&conn).map(|position| &mut self.flows[*position])
    }
}
