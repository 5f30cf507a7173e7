//! The membership state machine: what goes in, and exactly what comes out.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use halod_core::cluster::{Cluster, ClusterConfig, ConnId, Output};
use halod_core::flow::{FlowKey, FlowPhase, FlowView, Flows};
use halod_core::ids::{Epoch, RouteId, Side};
use halod_core::protocol::{
    DecodeError, Endpoints, FromNode, Heartbeat, Hello, Incarnation, NodeState, ToNode, Token, decode_from_node,
};
use halod_core::routing::SessionId;
use halod_core::time::Instant;

/// When every test begins.
const START: Instant = Instant::from_nanos(1_000_000_000);
const HEARTBEAT: Duration = Duration::from_millis(100);
const DRAIN: Duration = Duration::from_secs(30);
const REDIAL: Duration = Duration::from_millis(50);

/// A cluster with a clock, and nodes n1, n2, ... whose connection, token and host carry the same number.
struct Bench {
    cluster: Cluster,
    now: Instant,
    flows: FakeFlows,
    beats: u64,
}

#[derive(Default)]
struct FakeFlows(Vec<(RouteId, SessionId, FlowView)>);

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
    fn new(routes: u16, reserve: usize) -> Self {
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

    fn open(&mut self, number: u8) -> String {
        self.cluster.open(self.now, conn(number), host(number), Token(number.into()));
        self.outputs()
    }

    fn say(&mut self, number: u8, message: FromNode) -> String {
        self.cluster.receive(self.now, conn(number), Ok(message));
        self.outputs()
    }

    fn join(&mut self, number: u8) -> String {
        self.open(number);
        self.say(number, FromNode::Hello(hello(number)))
    }

    fn beat_from(&mut self, number: u8, from: u8, token: u64, seq: u64) {
        let beat = FromNode::Heartbeat(Heartbeat { token: Token(token), seq, connections: Some(0) });
        let from = SocketAddr::new(host(from), 5000 + u16::from(number));
        self.cluster.receive_datagram(self.now, from, &Ok(beat));
    }

    /// Lets time pass, calling `timeout` whenever it is due.
    fn pass(&mut self, time: Duration) -> String {
        let end = self.now + time;
        while self.cluster.deadline() <= end {
            self.now = self.cluster.deadline().max(self.now);
            self.cluster.timeout(self.now, &self.flows);
        }
        self.now = end;
        self.outputs()
    }

    /// Everything that was asked for, a line each; log lines are left out.
    fn outputs(&mut self) -> String {
        let mut text = String::new();
        while let Some(output) = self.cluster.poll() {
            let line = match output {
                Output::Send(ConnId(conn), message) => format!("n{conn} <- {}", describe(&message)),
                Output::Close(ConnId(conn)) => format!("n{conn} closed"),
                Output::Beat(to, _) => format!("beat to {to}"),
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
}

fn conn(number: u8) -> ConnId {
    ConnId(number.into())
}

fn host(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
}

fn at(number: u8, port: u16) -> Endpoints {
    Endpoints::try_from(vec![SocketAddr::new(host(number), port)]).unwrap()
}

fn hello(number: u8) -> Hello {
    Hello {
        version: 1,
        name: format!("n{number}"),
        incarnation: Incarnation(number.into()),
        browser: at(number, 8000),
        app: at(number, 9000),
        admin: SocketAddr::new(host(number), 9001),
    }
}

fn describe(message: &ToNode) -> String {
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

fn route(number: u16) -> RouteId {
    RouteId::new(number).unwrap()
}

fn drained(number: u16, epoch: u64) -> FromNode {
    FromNode::Drained { route: route(number), epoch: Epoch(epoch) }
}

fn browser_flow(port: u16, phase: FlowPhase, active_ms: u64) -> FlowView {
    let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), port);
    let last_active = START + Duration::from_millis(active_ms);
    FlowView { key: FlowKey { client: peer, service: peer }, side: Side::Browser, peer, phase, last_active }
}

#[test]
fn a_joiner_takes_its_share_and_only_the_former_owner_hears_of_it() {
    let mut bench = Bench::new(4, 0);
    assert_eq!(bench.join(1), "epoch 1 held by n1\nn1 <- welcome as 1 with 1,2,3,4\n");
    assert_eq!(
        bench.join(2),
        "epoch 2 held by n1 n2\n\
         n1 <- moved 3 for 30000 ms\n\
         n1 <- moved 4 for 30000 ms\n\
         n2 <- welcome as 2 with 3,4\n"
    );
}

#[test]
fn reserves_wait_and_are_not_demoted() {
    let mut bench = Bench::new(4, 1);
    bench.join(1);
    assert_eq!(bench.join(2), "epoch 1 held by n1\nn2 <- welcome in reserve\n");
    assert!(bench.join(3).ends_with("n3 <- welcome as 2 with 3,4\n"));
}

#[test]
fn more_nodes_than_routes_wait_in_reserve() {
    let mut bench = Bench::new(1, 0);
    bench.join(1);
    assert!(bench.join(2).ends_with("n2 <- welcome in reserve\n"));
}

#[test]
fn a_reserve_takes_the_id_of_a_node_that_leaves() {
    let mut bench = Bench::new(2, 1);
    bench.join(1);
    bench.join(2);
    assert_eq!(
        bench.say(1, FromNode::Leave),
        "epoch 2 held by n2\n\
         n1 <- moved 1 for 30000 ms\n\
         n1 <- moved 2 for 30000 ms\n\
         n2 <- assigned 1 with 1,2\n"
    );
}

#[test]
fn without_reserve_the_highest_id_takes_over_and_its_routes_return() {
    // Of 24 routes among 4 nodes, id 1 is given up: 7 and 8 stay on n4's process, 19, 20, 23, 24 go back.
    let mut bench = Bench::new(24, 0);
    for number in 1..=4 {
        bench.join(number);
    }
    let text = bench.say(1, FromNode::Leave);
    let moved: Vec<&str> = text.lines().filter(|line| line.contains("moved")).collect();
    let expected: Vec<String> = [1, 2, 3, 4, 5, 6]
        .map(|number| format!("n1 <- moved {number} for 30000 ms"))
        .into_iter()
        .chain([19, 20, 23, 24].map(|number| format!("n4 <- moved {number} for 30000 ms")))
        .collect();
    assert_eq!(moved, expected);
    let told: Vec<&str> = text.lines().filter(|line| line.contains("assigned") || line.contains("returned")).collect();
    assert_eq!(
        told,
        [
            "n2 <- returned 19",
            "n2 <- returned 20",
            "n3 <- returned 23",
            "n3 <- returned 24",
            "n2 <- assigned 2 with 13,14,15,16,17,18,19,20",
            "n3 <- assigned 3 with 9,10,11,12,21,22,23,24",
            "n4 <- assigned 1 with 1,2,3,4,5,6,7,8",
        ]
    );
}

#[test]
fn a_drain_names_browsers_first_the_most_recent_before_others() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = [
        browser_flow(1001, FlowPhase::Established, 1),
        browser_flow(1002, FlowPhase::Established, 2),
        browser_flow(1003, FlowPhase::HalfOpen, 3),
        browser_flow(1004, FlowPhase::Ended, 4),
    ]
    .map(|flow| (route(2), SessionId(1), flow))
    .to_vec();
    bench.join(2);
    let named = "n1 <- reconnect 2 browser [203.0.113.1:1002,203.0.113.1:1001] left 1\n";
    assert_eq!(bench.pass(Duration::from_millis(1)), named);

    bench.flows.0[2].2.phase = FlowPhase::Established;
    assert_eq!(bench.pass(HEARTBEAT), "n1 <- reconnect 2 browser [203.0.113.1:1003] left 0\n");
    assert_eq!(bench.pass(HEARTBEAT), "", "nobody is named twice");
}

/// Browser flows of route 2 at the first node, so many that naming them all takes three seconds.
fn crowd() -> Vec<(RouteId, SessionId, FlowView)> {
    let flow = |index: u16| browser_flow(1000 + index, FlowPhase::Established, 0);
    (0..3000).map(|index| (route(2), SessionId(1), flow(index))).collect()
}

#[test]
fn who_waits_long_for_the_pace_is_named_once_all_the_same() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = crowd();
    bench.join(2);
    let mut named = 0;
    for _ in 0..60 {
        let text = bench.live(&[1, 2], HEARTBEAT);
        let peers = text.lines().filter_map(|line| line.split_once('[')?.1.split_once(']'));
        for peer in peers.flat_map(|(peers, _)| peers.split(',')) {
            named += 1;
            bench.flows.0.retain(|(_, _, flow)| flow.peer.to_string() != peer);
        }
    }
    assert_eq!((named, bench.flows.0.len()), (3000, 0));
}

#[test]
fn who_waited_to_be_named_is_forgotten_when_the_route_returns() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = crowd();
    bench.join(2);
    bench.live(&[1, 2], HEARTBEAT);
    bench.say(2, FromNode::Leave);
    bench.say(2, drained(2, 3));
    assert_eq!(bench.live(&[1, 2], HEARTBEAT), "n2 <- reconnect 2 browser [] left 0\n");
}

#[test]
fn app_flows_follow_when_no_browser_is_left_and_they_are_silent() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    let app = FlowView { side: Side::App, ..browser_flow(2001, FlowPhase::Established, 50) };
    let browser = browser_flow(1001, FlowPhase::Established, 0);
    bench.flows.0 = vec![(route(2), SessionId(1), browser), (route(2), SessionId(1), app)];
    bench.join(2);
    assert_eq!(bench.pass(Duration::from_millis(1)), "n1 <- reconnect 2 browser [203.0.113.1:1001] left 0\n");
    bench.flows.0.remove(0);
    assert_eq!(bench.pass(HEARTBEAT), "", "the app spoke 50 ms ago");
    assert_eq!(bench.pass(HEARTBEAT), "n1 <- reconnect 2 app [203.0.113.1:2001] left 0\n");
}

#[test]
fn a_node_that_leaves_is_let_go_when_it_has_drained() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    bench.say(2, drained(2, 9));
    let text = bench.say(2, FromNode::Leave);
    assert_eq!(text, "epoch 3 held by n1\nn1 <- returned 2\nn2 <- moved 2 for 30000 ms\nn1 <- assigned 1 with 1,2\n");
    assert_eq!(bench.pass(Duration::from_millis(1)), "n2 <- reconnect 2 browser [] left 0\n");
    assert_eq!(bench.say(2, drained(2, 3)), "");
    assert_eq!(bench.pass(HEARTBEAT), "n2 closed\nepoch 3 held by n1\n");
}

#[test]
fn a_reserve_that_leaves_is_let_go_at_once() {
    let mut bench = Bench::new(2, 1);
    bench.join(1);
    bench.join(2);
    assert_eq!(bench.say(2, FromNode::Leave), "epoch 1 held by n1\nn2 closed\nepoch 1 held by n1\n");
}

#[test]
fn what_a_drain_leaves_at_its_deadline_holds_nobody() {
    let mut bench = Bench::new(1, 1);
    bench.join(1);
    bench.join(2);
    bench.flows.0 = vec![(route(1), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.say(1, FromNode::Leave);
    for seq in 1..300 {
        for number in [1, 2] {
            bench.beat_from(number, number, number.into(), seq);
        }
        let text = bench.pass(HEARTBEAT);
        assert!(!text.contains("closed"), "after {seq} heartbeats: {text}");
    }
    bench.beat_from(1, 1, 1, 300);
    bench.beat_from(2, 2, 2, 300);
    assert!(bench.pass(HEARTBEAT * 2).contains("n1 closed"));
}

#[test]
fn silence_is_a_loss_after_three_and_a_half_heartbeats() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.beat_from(1, 1, 1, 1);
    assert!(!bench.pass(Duration::from_millis(349)).contains("closed"));
    assert!(bench.pass(Duration::from_millis(1)).ends_with("n1 closed\nepoch 2 held by \n"));
}

#[test]
fn a_node_without_a_heartbeat_yet_may_have_to_wait_for_its_token() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    assert!(!bench.pass(Duration::from_millis(3_499)).contains("closed"));
    assert!(bench.pass(Duration::from_millis(1)).contains("n1 closed"));
}

#[test]
fn a_daemon_that_was_late_itself_blames_nobody() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.now = bench.now + Duration::from_secs(1);
    bench.cluster.timeout(bench.now, &bench.flows);
    assert!(!bench.outputs().contains("closed"));
}

#[test]
fn forged_heartbeats_are_counted_and_do_not_keep_a_node_alive() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.beat_from(1, 1, 1, 1);
    bench.pass(Duration::from_millis(200));
    bench.beat_from(1, 2, 1, 1);
    bench.beat_from(1, 1, 99, 2);
    bench.cluster.receive_datagram(bench.now, SocketAddr::new(host(1), 1), &decode_from_node(b"nonsense"));
    assert_eq!(bench.cluster.beats_ignored(), 3);
    assert!(bench.pass(Duration::from_millis(150)).contains("n1 closed"));
}

#[test]
fn an_old_heartbeat_proves_nothing() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.beat_from(1, 1, 1, 7);
    bench.pass(Duration::from_millis(200));
    bench.beat_from(1, 1, 1, 7);
    assert_eq!(bench.cluster.beats_ignored(), 1);
    assert!(bench.pass(Duration::from_millis(150)).contains("n1 closed"));
}

#[test]
fn beats_are_answered_where_they_came_from() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.beat_from(1, 1, 1, 1);
    assert_eq!(bench.outputs(), "beat to 10.0.0.1:5001\n", "the first at once");
    bench.beat_from(1, 1, 1, 2);
    assert_eq!(bench.pass(HEARTBEAT), "beat to 10.0.0.1:5001\n");
}

#[test]
fn a_connection_without_hello_is_closed() {
    let mut bench = Bench::new(2, 0);
    bench.open(1);
    assert_eq!(bench.pass(Duration::from_secs(5)), "n1 <- error HelloExpected\nn1 closed\n");
    bench.open(2);
    assert_eq!(bench.say(2, FromNode::Leave), "n2 <- error HelloExpected\nn2 closed\n");
    assert_eq!(bench.say(2, FromNode::Hello(hello(2))), "", "it is closed");
}

#[test]
fn addresses_are_held_by_one_node_and_names_have_a_form() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    let mut refused = |change: &dyn Fn(&mut Hello)| {
        let mut message = hello(2);
        change(&mut message);
        bench.open(2);
        bench.say(2, FromNode::Hello(message))
    };
    assert_eq!(refused(&|hello| hello.browser = at(1, 8000)), "n2 <- error AddressTaken\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.app = at(2, 8000)), "n2 <- error AddressTaken\nn2 closed\n");
    let own = Endpoints::try_from(vec!["192.0.2.1:80".parse().unwrap()]).unwrap();
    assert_eq!(refused(&|hello| hello.app = own), "n2 <- error AddressTaken\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.version = 2), "n2 <- error WrongVersion\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.name = String::new()), "n2 <- error Malformed\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.name = "a\nb".into()), "n2 <- error Malformed\nn2 closed\n");
    assert_eq!(refused(&|hello| hello.name = "x".repeat(65)), "n2 <- error Malformed\nn2 closed\n");
}

#[test]
fn what_does_not_fit_a_session_is_said_and_forgiven() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    assert_eq!(bench.say(1, FromNode::Hello(hello(1))), "n1 <- error Unexpected\n");
    assert_eq!(bench.say(1, drained(1, 1)), "n1 <- error Unexpected\n");
    let beat = Heartbeat { token: Token(1), seq: 1, connections: None };
    assert_eq!(bench.say(1, FromNode::Heartbeat(beat)), "n1 <- error Unexpected\n");
    bench.cluster.receive(bench.now, conn(1), decode_from_node(br#"{"type":"dance"}"#));
    assert_eq!(bench.outputs(), "n1 <- error UnknownType\n");
}

#[test]
fn a_line_that_cannot_be_read_ends_the_session() {
    for error in [DecodeError::LineTooLong, DecodeError::Malformed("why".into())] {
        let mut bench = Bench::new(2, 0);
        bench.join(1);
        let code = if error == DecodeError::LineTooLong { "LineTooLong" } else { "Malformed" };
        bench.cluster.receive(bench.now, conn(1), Err(error));
        assert_eq!(bench.outputs(), format!("n1 <- error {code}\nn1 closed\nepoch 2 held by \n"));
    }
}

#[test]
fn greetings_are_bounded_and_the_oldest_makes_room() {
    let mut bench = Bench::new(2, 0);
    for number in 0..256 {
        bench.cluster.open(bench.now, ConnId(number), host(1), Token(number));
    }
    assert_eq!(bench.outputs(), "");
    bench.cluster.open(bench.now, ConnId(256), host(1), Token(256));
    assert_eq!(bench.outputs(), "n0 <- error Full\nn0 closed\n");
}

/// The redialled connection of node `number`, as the driver numbers it in these tests.
fn redialled(number: u8) -> u8 {
    100 + number
}

impl Bench {
    fn disconnect(&mut self, number: u8) -> String {
        self.cluster.disconnect(self.now, conn(number));
        self.outputs()
    }

    fn answer_redial(&mut self, session: u64, number: u8, message: FromNode) -> String {
        self.cluster.redialed(SessionId(session), conn(redialled(number)));
        self.say(redialled(number), message)
    }

    fn refuse_redial(&mut self, session: u64) -> String {
        self.cluster.redial_failed(self.now, SessionId(session));
        self.outputs()
    }

    /// Keeps `numbers` alive for `time`.
    fn live(&mut self, numbers: &[u8], time: Duration) -> String {
        let mut text = String::new();
        let end = self.now + time;
        while self.now < end {
            for &number in numbers {
                self.beats += 1;
                self.beat_from(number, number, number.into(), self.beats);
            }
            text += &self.pass(HEARTBEAT);
        }
        let lines = text.lines().filter(|line| !line.starts_with("beat to"));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

#[test]
fn a_broken_connection_makes_a_suspect_that_a_hello_clears() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    assert_eq!(bench.disconnect(1), "epoch 1 held by n1 suspects 1\nredial 1 at 10.0.0.1:9001\n");
    assert_eq!(
        bench.answer_redial(1, 1, FromNode::Hello(hello(1))),
        "epoch 1 held by n1\nn101 <- welcome as 1 with 1,2\n"
    );
    assert_eq!(bench.live(&[1], REDIAL * 2), "");
    assert_eq!(bench.say(redialled(1), FromNode::Leave).lines().next(), Some("epoch 2 held by "));
}

#[test]
fn a_suspect_that_cannot_be_dialled_is_lost_at_once() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    bench.disconnect(1);
    assert_eq!(bench.refuse_redial(1), "epoch 3 held by n2\nn2 <- assigned 1 with 1,2\n");
}

#[test]
fn an_accept_proves_nothing() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.disconnect(1);
    bench.cluster.redialed(SessionId(1), conn(101));
    assert_eq!(bench.pass(REDIAL - Duration::from_millis(1)), "");
    assert_eq!(bench.pass(Duration::from_millis(1)), "n101 closed\nepoch 2 held by \n");
}

#[test]
fn another_process_in_its_place_proves_that_it_is_gone() {
    let mut other = hello(1);
    other.incarnation = Incarnation(99);
    for answer in [FromNode::Hello(other), FromNode::Leave] {
        let mut bench = Bench::new(2, 0);
        bench.join(1);
        bench.disconnect(1);
        assert_eq!(bench.answer_redial(1, 1, answer), "n101 closed\nepoch 2 held by \n");
    }
}

#[test]
fn a_redial_that_breaks_or_comes_late_proves_nothing() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.disconnect(1);
    bench.cluster.redialed(SessionId(1), conn(101));
    assert_eq!(bench.disconnect(101), "n101 closed\nepoch 2 held by \n");
    bench.cluster.redialed(SessionId(1), conn(102));
    assert_eq!(bench.outputs(), "n102 closed\n");
}

#[test]
fn a_newcomer_of_a_name_waits_for_the_holder_to_prove_itself() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    let mut newcomer = hello(2);
    newcomer.name = "n1".into();
    bench.open(2);
    let asked = "epoch 1 held by n1 suspects 1\nredial 1 at 10.0.0.1:9001\n";
    assert_eq!(bench.say(2, FromNode::Hello(newcomer.clone())), asked);
    bench.open(3);
    assert_eq!(bench.say(3, FromNode::Hello(newcomer)), "n3 <- error NameTaken\nn3 closed\n", "one may wait");
    assert_eq!(
        bench.answer_redial(1, 1, FromNode::Hello(hello(1))),
        "n1 closed\nepoch 1 held by n1\nn2 <- error NameTaken\nn2 closed\nn101 <- welcome as 1 with 1,2\n"
    );
}

#[test]
fn a_newcomer_is_let_in_when_the_holder_of_its_name_has_left() {
    let mut bench = Bench::new(1, 1);
    bench.join(1);
    bench.join(2);
    bench.say(1, FromNode::Leave);
    bench.pass(Duration::from_millis(1));
    let mut restarted = hello(1);
    restarted.incarnation = Incarnation(77);
    bench.open(3);
    let asked = "epoch 2 held by n2 suspects 1\nredial 1 at 10.0.0.1:9001\n";
    assert_eq!(bench.say(3, FromNode::Hello(restarted)), asked);
    bench.say(1, drained(1, 2));
    let let_in = "n1 closed\nepoch 2 held by n2\nn3 <- welcome in reserve\n";
    assert_eq!(bench.pass(REDIAL), let_in);
    assert_eq!(bench.refuse_redial(1), "", "it is of no interest any more");
}

#[test]
fn a_newcomer_that_has_waited_for_its_name_is_examined_like_any_other() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.join(2);
    let newcomer = Hello { name: "n1".into(), incarnation: Incarnation(77), ..hello(2) };
    bench.open(3);
    bench.say(3, FromNode::Hello(newcomer));
    let refused = "n1 closed\nn3 <- error AddressTaken\nn3 closed\nepoch 3 held by n2\nn2 <- assigned 1 with 1,2\n";
    assert_eq!(bench.refuse_redial(1), refused);
}

#[test]
fn a_process_that_was_started_again_takes_its_own_id_back() {
    let mut bench = Bench::new(2, 1);
    for number in [1, 2, 3] {
        bench.join(number);
    }
    // n2 waits in reserve, but n1's new process has the better claim to n1's id.
    let mut restarted = hello(1);
    restarted.incarnation = Incarnation(77);
    bench.open(4);
    bench.say(4, FromNode::Hello(restarted));
    assert_eq!(bench.refuse_redial(1), "n1 closed\nepoch 3 held by n1 n3\nn4 <- welcome as 1 with 1\n");
}

#[test]
fn losses_at_once_are_one_change_and_reserves_go_to_the_lowest_ids() {
    // n1 is active, n2 waits, n3 to n5 are active as 2 to 4. Then 1, 2 and 4 fall silent.
    let mut bench = Bench::new(8, 1);
    for number in 1..=5 {
        bench.join(number);
    }
    bench.live(&[1, 2, 3, 4, 5], HEARTBEAT);
    let text = bench.live(&[2, 4], HEARTBEAT * 5);
    let changes: Vec<&str> = text.lines().filter(|line| line.starts_with("epoch")).collect();
    assert_eq!(changes, ["epoch 5 held by n2 n4"], "{text}");
}

#[test]
fn a_name_that_keeps_dying_has_to_wait() {
    let mut bench = Bench::new(2, 0);
    let mut number = 10;
    for expected in ["welcome as 1", "welcome as 1", "welcome while held"] {
        number += 1;
        let mut again = hello(1);
        again.incarnation = Incarnation(number.into());
        bench.open(number);
        let text = bench.say(number, FromNode::Hello(again));
        assert!(text.contains(expected), "{text}");
        if expected != "welcome while held" {
            bench.disconnect(number);
            bench.refuse_redial((number - 10).into());
        }
    }
    // Its heartbeats carry the token of the connection that it was welcomed on.
    for seq in 1..=9 {
        bench.beat_from(1, number, number.into(), seq);
        assert!(!bench.pass(HEARTBEAT).contains("assigned"));
    }
    bench.beat_from(1, number, number.into(), 10);
    assert!(bench.pass(HEARTBEAT).contains("n13 <- assigned 1 with 1,2\n"));
}

#[test]
fn flows_of_a_lost_node_end_at_the_pace_those_of_apps_at_once() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = (0..60)
        .map(|index| (route(2), SessionId(1), browser_flow(1000 + index, FlowPhase::Established, index.into())))
        .collect();
    bench.flows.0.push((route(1), SessionId(1), browser_flow(9, FlowPhase::HalfOpen, 0)));
    let app = FlowView { side: Side::App, ..browser_flow(2001, FlowPhase::Established, 50) };
    bench.flows.0.push((route(1), SessionId(1), app));
    bench.disconnect(1);
    bench.pass(Duration::from_millis(40));
    bench.refuse_redial(1);
    let first = bench.pass(Duration::ZERO);
    let ends: Vec<&str> = first.lines().collect();
    assert_eq!(ends[..2], ["end 203.0.113.1:2001 toward Client", "end 203.0.113.1:1059 toward Client"]);
    assert_eq!(ends.len(), 22, "one app, and 20 ms of 1,000 a second");
    assert_eq!(bench.pass(Duration::from_millis(33)).lines().count(), 33, "1,000 a second, in batches");
    assert_eq!(bench.pass(Duration::from_millis(100)).lines().count(), 6);
}

#[test]
fn what_a_drain_leaves_at_its_deadline_is_ended_towards_both() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    let app = FlowView { side: Side::App, ..browser_flow(2001, FlowPhase::Established, 50) };
    bench.flows.0 =
        vec![(route(2), SessionId(1), browser_flow(1001, FlowPhase::Established, 0)), (route(2), SessionId(1), app)];
    bench.join(2);
    assert!(!bench.live(&[1, 2], DRAIN - HEARTBEAT).contains("end "));
    assert_eq!(
        bench.live(&[1, 2], HEARTBEAT * 2),
        "end 203.0.113.1:2001 toward Both\nend 203.0.113.1:1001 toward Both\n"
    );
}

#[test]
fn a_second_move_never_extends_a_deadline() {
    let mut bench = Bench::new(2, 1);
    bench.join(1);
    bench.join(2);
    bench.flows.0 = vec![(route(1), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.say(1, FromNode::Leave);
    bench.live(&[1, 2], DRAIN / 2);
    bench.disconnect(2);
    bench.refuse_redial(2);
    assert!(!bench.live(&[1], DRAIN / 2 - HEARTBEAT).contains("end "), "the drain goes on");
    assert!(bench.live(&[1], HEARTBEAT * 2).contains("end 203.0.113.1:1001 toward Both"));
}

#[test]
fn a_former_node_that_is_lost_takes_its_drain_with_it() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = vec![(route(2), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.join(2);
    bench.pass(Duration::from_millis(1));
    bench.disconnect(1);
    bench.refuse_redial(1);
    assert_eq!(bench.pass(Duration::from_millis(20)), "end 203.0.113.1:1001 toward Client\n");
}

#[test]
fn a_cleared_suspect_hears_again_what_it_may_have_missed() {
    let mut bench = Bench::new(2, 0);
    bench.join(1);
    bench.flows.0 = vec![(route(2), SessionId(1), browser_flow(1001, FlowPhase::Established, 0))];
    bench.disconnect(1);
    assert!(!bench.join(2).contains("n1 <-"));
    bench.answer_redial(1, 1, FromNode::Hello(hello(1)));
    let text = bench.pass(Duration::from_millis(20));
    assert_eq!(text, "n101 <- reconnect 2 browser [203.0.113.1:1001] left 0\n");
}
