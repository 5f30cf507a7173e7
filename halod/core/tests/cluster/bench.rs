//! A cluster with a clock, whose outputs are text.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use halod_core::cluster::{Cluster, ClusterConfig, ConnId, Note, Output};
use halod_core::flow::{FlowKey, FlowPhase, FlowView, Flows};
use halod_core::ids::{Epoch, RouteId, Side};
use halod_core::protocol::{Endpoints, FromNode, Heartbeat, Hello, Incarnation, NodeState, ToNode, Token};
use halod_core::routing::SessionId;
use halod_core::time::Instant;

/// When every test begins.
pub(crate) const START: Instant = Instant::from_nanos(1_000_000_000);
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
pub(crate) const DRAIN: Duration = Duration::from_secs(30);
pub(crate) const REDIAL: Duration = Duration::from_millis(50);

/// A cluster with a clock, and nodes n1, n2, ... whose connection, token and host carry the same number.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    pub(crate) now: Instant,
    pub(crate) flows: FakeFlows,
    beats: u64,
}

#[derive(Default)]
pub(crate) struct FakeFlows(pub(crate) Vec<(RouteId, SessionId, FlowView)>);

impl Flows for FakeFlows {
    fn visit(&self, route: RouteId, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        for (_, _, flow) in self.0.iter().filter(|(of, at, _)| (*of, *at) == (route, node)) {
            each(*flow);
        }
    }

    fn visit_node(&self, node: SessionId, each: &mut dyn FnMut(FlowView)) {
        for (_, _, flow) in self.0.iter().filter(|(_, at, _)| *at == node) {
            each(*flow);
        }
    }
}

impl Bench {
    pub(crate) fn new(routes: u16, reserve: usize) -> Self {
        let config = ClusterConfig {
            routes,
            reserve,
            heartbeat: HEARTBEAT,
            misses: 3,
            drain: DRAIN,
            pace: 1000,
            redial_timeout: REDIAL,
            own_addresses: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))],
        };
        let now = START;
        Self { cluster: Cluster::new(now, config), now, flows: FakeFlows::default(), beats: 0 }
    }

    pub(crate) fn open(&mut self, number: u8) -> String {
        self.cluster.open(self.now, conn(number), host(number), Token(number.into()));
        self.outputs()
    }

    pub(crate) fn say(&mut self, number: u8, message: FromNode) -> String {
        self.cluster.receive(self.now, conn(number), Ok(message));
        self.outputs()
    }

    pub(crate) fn join(&mut self, number: u8) -> String {
        self.open(number);
        self.say(number, FromNode::Hello(hello(number)))
    }

    pub(crate) fn beat_from(&mut self, number: u8, from: u8, token: u64, seq: u64) {
        let beat = FromNode::Heartbeat(Heartbeat { token: Token(token), seq, connections: Some(0) });
        let from = SocketAddr::new(host(from), 5000 + u16::from(number));
        self.cluster.receive_datagram(self.now, from, &Ok(beat));
    }

    /// Lets time pass, calling `timeout` whenever it is due.
    pub(crate) fn pass(&mut self, time: Duration) -> String {
        let end = self.now + time;
        while self.cluster.deadline() <= end {
            self.now = self.cluster.deadline().max(self.now);
            self.timeout();
        }
        self.now = end;
        self.outputs()
    }

    /// The driver's timer has come.
    pub(crate) fn timeout(&mut self) {
        self.cluster.timeout(self.now);
        if self.cluster.wants_look(self.now) {
            self.cluster.begin_look(self.now);
            self.cluster.look(self.now, &self.flows);
        }
    }

    /// Everything that was asked for, a line each; log lines are left out.
    pub(crate) fn outputs(&mut self) -> String {
        let mut text = String::new();
        while let Some(output) = self.cluster.poll() {
            let line = match output {
                Output::Send(ConnId(conn), message) => format!("n{conn} <- {}", describe(&message)),
                Output::Close(ConnId(conn)) => format!("n{conn} closed"),
                Output::Beat(to, ToNode::Heartbeat(beat)) => format!("beat {} to {to}", beat.seq),
                Output::Beat(..) => unreachable!("datagrams are heartbeats"),
                Output::Redial(node, to) => format!("redial {node} at {to}"),
                Output::End(flow, toward) => format!("end {} toward {toward:?}", flow.client),
                Output::Publish(routing) => {
                    let holders: Vec<&str> = routing.holders.iter().map(|member| member.name.as_str()).collect();
                    let suspects: String = routing.suspects.iter().map(|node| format!(" suspects {node}")).collect();
                    format!("epoch {} held by {}{suspects}", routing.epoch, holders.join(" "))
                }
                Output::Note(_) => continue,
            };
            writeln!(text, "{line}").unwrap();
        }
        text
    }

    /// What is for the log, and nothing else.
    pub(crate) fn notes(&mut self) -> Vec<Note> {
        let outputs = std::iter::from_fn(|| self.cluster.poll());
        outputs.filter_map(|output| if let Output::Note(note) = output { Some(note) } else { None }).collect()
    }

    pub(crate) fn disconnect(&mut self, number: u8) -> String {
        self.cluster.disconnect(self.now, conn(number));
        self.outputs()
    }

    pub(crate) fn answer_redial(&mut self, session: u64, number: u8, message: FromNode) -> String {
        self.cluster.redialed(SessionId(session), conn(redialled(number)));
        self.say(redialled(number), message)
    }

    pub(crate) fn refuse_redial(&mut self, session: u64) -> String {
        self.cluster.redial_failed(self.now, SessionId(session));
        self.outputs()
    }

    /// Keeps `numbers` alive for `time`.
    pub(crate) fn live(&mut self, numbers: &[u8], time: Duration) -> String {
        let mut text = String::new();
        let end = self.now + time;
        while self.now < end {
            for &number in numbers {
                self.beats += 1;
                self.beat_from(number, number, number.into(), self.beats);
            }
            text += &self.pass(HEARTBEAT);
        }
        let lines = text.lines().filter(|line| !line.starts_with("beat "));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

pub(crate) fn conn(number: u8) -> ConnId {
    ConnId(number.into())
}

pub(crate) fn host(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

pub(crate) fn at(number: u8, port: u16) -> Endpoints {
    Endpoints::try_from(vec![SocketAddr::new(host(number), port)]).unwrap()
}

pub(crate) fn hello(number: u8) -> Hello {
    Hello {
        version: 1,
        name: format!("n{number}"),
        incarnation: Incarnation(number.into()),
        browser: at(number, 8000),
        app: at(number, 9000),
        admin: SocketAddr::new(host(number), 9001),
    }
}

pub(crate) fn describe(message: &ToNode) -> String {
    let routes = |routes: &[RouteId]| routes.iter().map(RouteId::to_string).collect::<Vec<_>>().join(",");
    match message {
        ToNode::Welcome(welcome) => match welcome.id {
            Some(id) => format!("welcome as {id} with {}", routes(&welcome.routes)),
            None if welcome.state == NodeState::Held => "welcome while held".into(),
            None => "welcome in reserve".into(),
        },
        ToNode::Heartbeat(_) => unreachable!("heartbeats are datagrams"),
        ToNode::Assigned(assigned) => format!("assigned {} with {}", assigned.id, routes(&assigned.routes)),
        ToNode::RouteMoved(moved) => format!("moved {} for {} ms", moved.route, moved.deadline_ms),
        ToNode::Reconnect(named) => {
            let peers: Vec<String> = named.peers.iter().map(SocketAddr::to_string).collect();
            format!("reconnect {} {} [{}] left {}", named.route, named.side, peers.join(","), named.left)
        }
        ToNode::RouteReturned { route, .. } => format!("returned {route}"),
        ToNode::Error(error) => format!("error {:?}", error.code),
    }
}

pub(crate) fn route(number: u16) -> RouteId {
    RouteId::new(number).unwrap()
}

pub(crate) fn drained(number: u16, epoch: u64) -> FromNode {
    FromNode::Drained { route: route(number), epoch: Epoch(epoch) }
}

pub(crate) fn browser_flow(port: u16, phase: FlowPhase, active_ms: u64) -> FlowView {
    let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), port);
    let last_active = START + Duration::from_millis(active_ms);
    FlowView { key: FlowKey { client: peer, service: peer }, side: Side::Browser, peer, phase, last_active }
}

/// The redialled connection of node `number`, as the driver numbers it in these tests.
pub(crate) fn redialled(number: u8) -> u8 {
    100 + number
}
