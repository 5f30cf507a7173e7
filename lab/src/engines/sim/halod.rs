//! HaloD as an actor: its core with the control port on a simulated stack, and the plane beside it.
//!
//! The counterpart of the daemon's loop. What the core decides is not repeated here: this moves lines, datagrams and
//! time.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use halod::config::Config;
use halod_core::cluster::{Cluster, ConnId as ControlConnId, Note, Output as Wish};
use halod_core::plane::{PlaneKind, Stage, Verdict};
use halod_core::protocol::{LineBuffer, Token, decode_from_node, encode};
use halod_core::routing::{Routing, SessionId};
use halod_core::time::Instant;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::plane::Plane;
use crate::actors::{Actor, ConnId, Input, Output};
use crate::addresses;
use crate::network::Segment;

/// How long the peer of a connection that is being closed has for closing its end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often flows that have been silent for too long are dropped.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// HaloD.
pub(super) struct Halod {
    cluster: Cluster,
    plane: Plane,
    /// What was put into force since it was last taken.
    published: Vec<Arc<Routing>>,
    /// What it would have logged since that was last taken.
    notes: Vec<Note>,
    routing: Arc<Routing>,
    masquerade: bool,
    redial_timeout: Duration,
    /// How long the kernel takes to say what it tracks.
    survey: Duration,
    /// When it will have said so, if it is being asked.
    answer_at: Option<Instant>,
    /// Draws the tokens.
    random: StdRng,
    connections: BTreeMap<ConnId, Connection>,
    connections_opened: u64,
    housekeeping: Instant,
    /// By how much its clock is ahead of the host's.
    skew: Duration,
    outputs: VecDeque<Output>,
}

/// A control connection.
enum Connection {
    /// Messages are taken.
    Open(LineBuffer),
    /// Dialled to a suspect.
    Dialled { node: SessionId, until: Instant },
    /// Closed from here: what still comes is not looked at.
    Closing { until: Instant },
}

impl Halod {
    /// HaloD on a host with these addresses, as its config wants it.
    pub(super) fn new(
        now: Instant,
        config: &Config,
        own_addresses: &[IpAddr],
        plane: PlaneKind,
        survey: Duration,
        seed: u64,
    ) -> Self {
        Self {
            cluster: Cluster::new(now, config.cluster(own_addresses.iter().copied())),
            plane: Plane::new(plane, config.plane_config(seed), config.masquerade),
            published: Vec::new(),
            notes: Vec::new(),
            routing: Arc::default(),
            masquerade: config.masquerade,
            redial_timeout: config.redial_timeout,
            survey,
            answer_at: None,
            random: StdRng::seed_from_u64(seed),
            connections: BTreeMap::new(),
            connections_opened: 0,
            housekeeping: now + HOUSEKEEPING,
            skew: Duration::ZERO,
            outputs: VecDeque::new(),
        }
    }

    /// Its clock jumps ahead.
    pub(super) fn jump(&mut self, time: Duration) {
        self.skew += time;
    }

    /// Decides about a packet, and rewrites it.
    pub(super) fn pass(&mut self, now: Instant, stage: Stage, packet: &mut [u8]) -> Verdict {
        self.plane.handle(now + self.skew, stage, packet)
    }

    /// The next packet of the plane's own to send.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.plane.poll_transmit(now + self.skew)
    }

    /// The routing in force.
    pub(super) fn routing(&self) -> &Routing {
        &self.routing
    }

    /// Takes what was put into force since the last call, in order.
    pub(super) fn take_published(&mut self) -> Vec<Arc<Routing>> {
        std::mem::take(&mut self.published)
    }

    /// Takes what would have been logged since the last call, in order.
    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Flows in the table.
    pub(super) fn flow_count(&self) -> usize {
        self.plane.flow_count()
    }

    /// When the plane has something to do, which a packet may change.
    pub(super) fn plane_deadline(&self) -> Instant {
        self.plane.deadline().map_or(self.housekeeping, |deadline| deadline.min(self.housekeeping)) - self.skew
    }

    /// Lets the plane do what is due by `now`.
    pub(super) fn plane_timeout(&mut self, now: Instant) {
        let now = now + self.skew;
        if self.housekeeping <= now {
            self.housekeeping = now + HOUSEKEEPING;
            self.plane.expire(now);
        }
        self.plane.timeout(now);
    }

    fn open(&mut self, connection: Connection) -> ConnId {
        self.connections_opened += 1;
        let conn = ConnId(self.connections_opened);
        self.connections.insert(conn, connection);
        conn
    }

    fn receive(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        if let Some(Connection::Open(lines)) = self.connections.get_mut(&conn) {
            lines.push(bytes);
        }
        // The connection may be closed on account of a line.
        while let Some(Connection::Open(lines)) = self.connections.get_mut(&conn) {
            let message = match lines.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => decode_from_node(&line),
                Err(error) => Err(error),
            };
            self.cluster.receive(now, control(conn), message);
            self.carry_out(now);
        }
    }

    fn peer_finished(&mut self, now: Instant, conn: ConnId) {
        if let Some(Connection::Open(_)) = self.connections.get(&conn) {
            self.close(now, conn);
            self.cluster.disconnect(now, control(conn));
        }
    }

    fn ended(&mut self, now: Instant, conn: ConnId) {
        match self.connections.remove(&conn) {
            Some(Connection::Open(_)) => self.cluster.disconnect(now, control(conn)),
            Some(Connection::Dialled { node, .. }) => self.cluster.redial_failed(now, node),
            Some(Connection::Closing { .. }) | None => {}
        }
    }

    fn close(&mut self, now: Instant, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            *connection = Connection::Closing { until: now + CLOSE_TIMEOUT };
            self.outputs.push_back(Output::Finish(conn));
        }
    }

    fn timeout(&mut self, now: Instant) {
        let overdue = |(&conn, connection): (&ConnId, &Connection)| match *connection {
            Connection::Dialled { until, node } => (until <= now).then_some((conn, Some(node))),
            Connection::Closing { until } => (until <= now).then_some((conn, None)),
            Connection::Open(_) => None,
        };
        for (conn, dialled) in self.connections.iter().filter_map(overdue).collect::<Vec<_>>() {
            self.connections.remove(&conn);
            self.outputs.push_back(Output::Abort(conn));
            if let Some(node) = dialled {
                self.cluster.redial_failed(now, node);
            }
        }
        self.carry_out(now);
        self.take_answer(now);
        if self.cluster.deadline() <= now {
            self.cluster.timeout(now);
        }
    }

    /// Lets the cluster look at the flows, or asks the kernel for them first.
    fn look(&mut self, now: Instant) {
        if self.answer_at.is_some() || !self.cluster.wants_look(now) {
            return;
        }
        self.cluster.begin_look(now);
        if self.plane.wants_entries() {
            self.plane.ask(now);
            self.answer_at = Some(now + self.survey);
            self.take_answer(now);
        } else {
            self.cluster.look(now, self.plane.flows());
            self.carry_out(now);
        }
    }

    /// The kernel has said what it tracks, if it is time for that.
    fn take_answer(&mut self, now: Instant) {
        if self.answer_at.take_if(|due| *due <= now).is_some() {
            self.plane.survey(now);
            self.cluster.look(now, self.plane.flows());
            self.carry_out(now);
        }
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(wish) = self.cluster.poll() {
            match wish {
                Wish::Send(conn, message) => self.outputs.push_back(Output::Send(ConnId(conn.0), encode(&message))),
                Wish::Close(conn) => self.close(now, ConnId(conn.0)),
                Wish::Beat(to, message) => self.outputs.push_back(Output::SendDatagram(to, encode(&message))),
                Wish::Redial(node, admin) => {
                    let conn = self.open(Connection::Dialled { node, until: now + self.redial_timeout });
                    self.outputs.push_back(Output::Dial(conn, admin));
                }
                Wish::End(flow, toward) => self.plane.end(now, flow, toward),
                Wish::Publish(routing) => {
                    self.plane.publish(now, Arc::clone(&routing), self.masquerades(&routing));
                    self.published.push(Arc::clone(&routing));
                    self.routing = routing;
                }
                Wish::Note(note) => self.notes.push(note),
            }
        }
    }

    /// The router's address on the nodes' segment, for the host of each node.
    fn masquerades(&self, routing: &Routing) -> BTreeMap<IpAddr, IpAddr> {
        let own = addresses::router(Segment::Lan);
        let nodes = routing.members.values().flat_map(|member| member.service_addresses());
        let hosts = nodes.map(|address| address.ip()).filter(|_| self.masquerade);
        hosts.map(|host| (host, if host.is_ipv4() { own.v4 } else { own.v6 })).collect()
    }
}

impl Actor for Halod {
    type Command = std::convert::Infallible;

    fn command(&mut self, _: Instant, command: Self::Command) {
        match command {}
    }

    fn accept(&mut self, now: Instant, _: SocketAddr, peer: SocketAddr) -> ConnId {
        let now = now + self.skew;
        let conn = self.open(Connection::Open(LineBuffer::default()));
        let token = Token(self.random.random());
        self.cluster.open(now, control(conn), peer.ip(), token);
        self.carry_out(now);
        conn
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        let now = now + self.skew;
        match input {
            Input::Connected(conn) => {
                if let Some(&Connection::Dialled { node, .. }) = self.connections.get(&conn) {
                    self.connections.insert(conn, Connection::Open(LineBuffer::default()));
                    self.cluster.redialed(node, control(conn));
                }
            }
            Input::Received(conn, bytes) => self.receive(now, conn, bytes),
            Input::Acked(..) => {}
            Input::PeerFinished(conn) => self.peer_finished(now, conn),
            Input::Ended(conn, _) => self.ended(now, conn),
            Input::Datagram(from, bytes) => self.cluster.receive_datagram(now, from, &decode_from_node(bytes)),
            Input::Timeout => self.timeout(now),
        }
        self.carry_out(now);
        // The plane has heard of a loss before the cluster looks for its flows.
        self.look(now);
    }

    fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let of_connections = self.connections.values().filter_map(|connection| match *connection {
            Connection::Dialled { until, .. } | Connection::Closing { until } => Some(until),
            Connection::Open(_) => None,
        });
        of_connections.chain(self.answer_at).chain([self.cluster.deadline()]).min().map(|deadline| deadline - self.skew)
    }
}

/// The core numbers connections as this actor does.
fn control(conn: ConnId) -> ControlConnId {
    ControlConnId(conn.0)
}
