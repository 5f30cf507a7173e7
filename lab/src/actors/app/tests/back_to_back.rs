use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::actors::event::EventBody;
use crate::actors::node::{Node, NodeConfig, Success};
use crate::observation::Observation;

const BROWSER: &str = "10.0.1.1:8000";
const NODE_APP: &str = "10.0.1.1:9000";

/// An app and a node whose bytes arrive, and are acknowledged, as soon as they are sent.
struct Pump {
    now: Instant,
    app: App,
    node: Node,
    /// The node's name of each connection of the app, and the reverse.
    node_by_app: BTreeMap<ConnId, ConnId>,
    app_by_node: BTreeMap<ConnId, ConnId>,
    sent_by_node: BTreeMap<ConnId, u64>,
    to_browsers: BTreeMap<ConnId, Vec<u8>>,
    finished: Vec<ConnId>,
    settled: Vec<u64>,
    failures: usize,
}

impl Pump {
    fn new(users: &[&str], success: Success) -> Self {
        let node = NodeConfig {
            name: "n1".into(),
            control: "10.0.0.1:7000".parse().unwrap(),
            browser: vec![BROWSER.parse().unwrap()],
            app: vec![NODE_APP.parse().unwrap()],
            admin: "10.0.1.1:9001".parse().unwrap(),
            incarnation: 1,
            success,
            obeys: true,
            seed: 1,
            half_close: Duration::from_secs(5),
        };
        Self {
            now: Instant::ORIGIN,
            app: App::new(config(users, 24)),
            node: Node::new(node).unwrap(),
            node_by_app: BTreeMap::new(),
            app_by_node: BTreeMap::new(),
            sent_by_node: BTreeMap::new(),
            to_browsers: BTreeMap::new(),
            finished: Vec::new(),
            settled: Vec::new(),
            failures: 0,
        }
    }

    fn browser(&mut self, request: &str) -> ConnId {
        let peer = format!("10.0.2.1:{}", 4000 + self.to_browsers.len());
        let conn = self.node.accept(self.now, BROWSER.parse().unwrap(), peer.parse().unwrap());
        self.to_browsers.insert(conn, Vec::new());
        self.node.handle(self.now, Input::Received(conn, request.as_bytes()));
        self.settle_down();
        conn
    }

    /// Moves bytes until both have nothing more to do now.
    fn settle_down(&mut self) {
        loop {
            if let Some(output) = self.app.poll() {
                self.of_app(output);
            } else if let Some(output) = self.node.poll() {
                self.of_node(output);
            } else {
                return;
            }
        }
    }

    fn of_app(&mut self, output: Output) {
        match output {
            Output::Dial(conn, to) => {
                let peer = SocketAddr::new(to.ip(), 30_000 + u16::try_from(conn.0).unwrap());
                let at_node = self.node.accept(self.now, NODE_APP.parse().unwrap(), peer);
                self.node_by_app.insert(conn, at_node);
                self.app_by_node.insert(at_node, conn);
                self.app.handle(self.now, Input::Connected(conn));
            }
            Output::Send(conn, bytes) => self.node.handle(self.now, Input::Received(self.node_by_app[&conn], &bytes)),
            Output::Finish(conn) => self.node.handle(self.now, Input::PeerFinished(self.node_by_app[&conn])),
            Output::Observe(Observation::Settled { event, .. }) => self.settled.push(event),
            Output::Observe(Observation::Failed { .. }) => self.failures += 1,
            Output::Observe(_) => {}
            Output::Abort(_) | Output::SendDatagram(..) => panic!("not expected of the app: {output:?}"),
        }
    }

    fn of_node(&mut self, output: Output) {
        match output {
            Output::Send(conn, bytes) => {
                let sent = self.sent_by_node.entry(conn).or_default();
                *sent += bytes.len() as u64;
                match self.app_by_node.get(&conn) {
                    Some(at_app) => self.app.handle(self.now, Input::Received(*at_app, &bytes)),
                    None => self.to_browsers.get_mut(&conn).unwrap().extend(bytes),
                }
                self.node.handle(self.now, Input::Acked(conn, *sent));
            }
            Output::Finish(conn) => match self.app_by_node.get(&conn) {
                Some(at_app) => {
                    self.app.handle(self.now, Input::Ended(*at_app, End::Closed));
                    self.node.handle(self.now, Input::Ended(conn, End::Closed));
                }
                None => {
                    self.finished.push(conn);
                    self.node.handle(self.now, Input::Ended(conn, End::Closed));
                }
            },
            Output::Observe(_) => {}
            Output::Dial(..) | Output::Abort(_) | Output::SendDatagram(..) => {
                panic!("not expected of the node: {output:?}")
            }
        }
    }

    /// Lets time pass until the next deadline of either.
    fn step(&mut self) {
        self.now = self.now.max(self.app.deadline().into_iter().chain(self.node.deadline()).min().unwrap());
        self.app.handle(self.now, Input::Timeout);
        self.node.handle(self.now, Input::Timeout);
        self.settle_down();
    }

    fn run_until_settled(&mut self, events: usize, mut between: impl FnMut(&mut Self)) {
        for _ in 0..10_000 {
            if self.settled.len() == events {
                return;
            }
            self.step();
            between(self);
        }
        panic!("{} of {events} events are settled", self.settled.len());
    }

    fn events_of(&self, user: &str, conns: impl IntoIterator<Item = ConnId>) -> Vec<u64> {
        let mut shown = Vec::new();
        for conn in conns {
            let text = String::from_utf8(self.to_browsers[&conn].clone()).unwrap();
            for object in text.split_inclusive('}').filter(|object| !object.is_empty()) {
                let body = EventBody::parse(object.as_bytes()).unwrap();
                assert_eq!(body.user, user);
                shown.push(body.event);
            }
        }
        shown
    }
}

#[test]
fn every_event_reaches_its_user_once_and_in_order() {
    for success in [Success::Acknowledged, Success::HandedOver] {
        let users = ["alice", "bob", "carol"];
        let mut pump = Pump::new(&users, success);
        let browsers: Vec<(&str, ConnId)> = users
            .iter()
            .map(|user| (*user, pump.browser(&format!("GET /demo?user={user}&transport=raw HTTP/1.1\r\n\r\n"))))
            .collect();
        pump.app.command(pump.now, load(300, 1));
        pump.settle_down();
        pump.run_until_settled(300, |_| {});

        assert_eq!(pump.failures, 0);
        let mut all = Vec::new();
        for (user, conn) in browsers {
            let shown = pump.events_of(user, [conn]);
            assert_eq!(shown.len(), 100);
            assert!(shown.is_sorted(), "{user} was shown {shown:?}");
            all.extend(shown);
        }
        all.sort_unstable();
        assert_eq!(all, (1..=300).collect::<Vec<u64>>());
    }
}

#[test]
fn a_browser_that_polls_and_comes_late_gets_every_event_too() {
    let mut pump = Pump::new(&["alice"], Success::Acknowledged);
    pump.app.command(pump.now, load(20, 1));
    pump.settle_down();
    // Nobody is there yet: the first event fails and waits.
    while pump.failures < 3 {
        pump.step();
    }
    let request = "GET /demo|alice,0,xhr HTTP/1.1\r\n\r\n";
    let mut polls = VecDeque::from([pump.browser(request)]);
    pump.run_until_settled(20, |pump| {
        if pump.finished.last() == polls.back() {
            polls.push_back(pump.browser(request));
        }
    });
    assert_eq!(pump.events_of("alice", polls), (1..=20).collect::<Vec<u64>>());
}
