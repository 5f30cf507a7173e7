//! What the ledger makes of nodes that are lost and come back.

use std::net::SocketAddr;
use std::time::Duration;

use halod_core::ids::{Epoch, RouteId};
use halod_core::protocol::NodeState;
use halod_core::user::route_of;

use super::*;
use crate::orbited::Transport;
use crate::scenario::{Action, HalodOrder, Way};

const SOURCE: &str = "\
scenario: x
about: Two nodes and two routes, a browser each.
router: {routes: 2, reserve: 0}
nodes: {n: 2}
browsers: {a: {count: 1}, b: {count: 1}}
steps: []
";

fn scenario() -> Scenario {
    let scenario = Scenario::parse("x.yaml", SOURCE).unwrap();
    assert_eq!(["b1", "a1"].map(|user| route_of(user, 2).number()), [1, 2], "the tests below count on it");
    scenario
}

const STEPS_OF_TWO_APPS: &str = "
steps:
  - load: {app: p, events: 1, rate: 1/s}
  - load: {app: q, events: 2, rate: 1/s}
";

/// A ledger and shorthands for what it hears.
struct Stage<'a> {
    ledger: Ledger<'a>,
    nodes: Vec<Ref<Node>>,
}

fn ms(millis: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(millis)
}

impl<'a> Stage<'a> {
    /// n1 owns route 1 and serves b1, n2 owns route 2 and serves a1.
    fn new(scenario: &'a Scenario) -> Self {
        let nodes: Vec<Ref<Node>> = scenario.nodes.entries().map(|(node, _)| node).collect();
        let mut stage = Self { ledger: Ledger::new(scenario), nodes };
        for (node, owned) in [(0, [1, 2].as_slice()), (1, &[2])] {
            stage.order(0, Order::Join(stage.nodes[node]));
            stage.welcome(1, node, owned, node as u64 + 1);
        }
        stage.assign(2, 0, &[1], 2);
        for (group, entry) in scenario.browsers.entries() {
            stage.order(3, Order::Connect { group, from: 0, to: entry.count });
        }
        stage.attach(4, 0, "b1");
        stage.attach(5, 1, "a1");
        stage.rests();
        stage.ledger.close_step("start".into());
        stage
    }

    fn order(&mut self, at: u64, order: Order<'_>) {
        self.ledger.order(ms(at), order, "step");
    }

    fn fault(&mut self, at: u64, fault: Fault) {
        let node = self.nodes[1];
        self.order(at, Order::Fault(fault, &[node]));
    }

    fn see(&mut self, at: u64, by: Witness, observation: Observation) {
        self.ledger.see(Seen { at: ms(at), by, observation });
    }

    fn node_sees(&mut self, at: u64, node: usize, observation: Observation) {
        self.see(at, Witness::Node(self.nodes[node]), observation);
    }

    fn welcome(&mut self, at: u64, node: usize, owned: &[u16], epoch: u64) {
        let (id, routes) = (Some(NodeId::from_index(node)), routes(owned));
        let welcomed = Observation::Welcomed { state: NodeState::Active, id, routes, epoch: Epoch(epoch) };
        self.node_sees(at, node, welcomed);
    }

    fn assign(&mut self, at: u64, node: usize, owned: &[u16], epoch: u64) {
        let id = NodeId::from_index(node);
        self.node_sees(at, node, Observation::Assigned { id, routes: routes(owned), epoch: Epoch(epoch) });
    }

    fn attach(&mut self, at: u64, node: usize, user: &str) {
        let peer = SocketAddr::from(([10, 1, 1, 1], u16::try_from(at).unwrap()));
        self.node_sees(at, node, Observation::Attached { user: user.into(), transport: Transport::Sse, peer });
    }

    /// A browser connects and has its first byte in the same moment.
    fn first_byte(&mut self, at: u64, user: &str) {
        self.see(at, Witness::Browser, Observation::Connected { user: user.into() });
        self.see(at, Witness::Browser, Observation::FirstByte { user: user.into() });
    }

    fn settled(&self) -> Result<(), String> {
        self.ledger.check(Condition::Settled)
    }

    fn rests(&mut self) {
        assert_eq!((self.settled(), self.ledger.take_faults()), (Ok(()), vec![]));
    }

    fn waits(&self, why: &str) {
        assert_eq!(self.settled(), Err(why.to_owned()));
    }
}

fn routes(numbers: &[u16]) -> Vec<RouteId> {
    numbers.iter().map(|&number| RouteId::new(number).unwrap()).collect()
}

#[test]
fn a_crash_is_over_when_others_own_the_routes_and_serve_the_users() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    stage.fault(10, Fault::Crash);
    stage.ledger.see_closing(stage.nodes[1], ms(12));
    stage.waits("route 2 has no owner");
    assert!(stage.ledger.check(Condition::Failover(stage.nodes[1])).is_err());

    // Both were under way when the node died.
    stage.see(9, Witness::Browser, Observation::Connected { user: "a1".into() });
    stage.see(11, Witness::Browser, Observation::FirstByte { user: "a1".into() });
    stage.see(13, Witness::Browser, Observation::Disconnected { user: "a1".into() });
    stage.assign(15, 0, &[1, 2], 3);
    assert_eq!(stage.ledger.check(Condition::Failover(stage.nodes[1])), Ok(()));
    stage.waits("a1 of route 2 is not connected; its place is n1");

    stage.attach(18, 0, "a1");
    stage.waits("a1 has had no byte since its node was lost");
    stage.first_byte(19, "a1");
    stage.rests();

    let times = stage.ledger.loss_times();
    let [loss] = times.as_slice() else { panic!("{times:?}") };
    let millis = |time: Option<Duration>| time.map(|time| time.as_millis());
    assert_eq!((loss.step.as_str(), loss.node.as_str()), ("step", "n2"));
    assert_eq!((millis(loss.first_closing), millis(loss.failover)), (Some(2), Some(3)));
    assert_eq!((millis(loss.resets.percentile(50)), millis(loss.outages.percentile(50))), (Some(3), Some(9)));
    let reconnects = stage.ledger.close_step("crash".into()).reconnects["a"];
    assert_eq!((reconnects.of_moved, reconnects.others), (1, 0));
}

#[test]
fn who_hangs_or_is_cut_off_does_not_count_until_it_is_welcomed_again() {
    let scenario = scenario();
    for (fault, end) in [(Fault::Hang, Fault::Resume), (Fault::Cut(Way::Up), Fault::Heal)] {
        let mut stage = Stage::new(&scenario);
        stage.fault(10, fault);
        stage.assign(200, 0, &[1, 2], 3);
        stage.attach(210, 0, "a1");
        stage.first_byte(211, "a1");
        stage.rests();
        assert!(stage.ledger.check(Condition::Active(stage.nodes[1])).is_err());

        stage.fault(300, end);
        stage.waits("n2 is not welcomed again");
        // What it did while nobody listened, and that it finds its connection ended.
        stage.attach(301, 1, "a1");
        stage.assign(302, 1, &[2], 2);
        stage.node_sees(303, 1, Observation::ControlEnded);
        stage.waits("n2 is not welcomed again");

        stage.welcome(310, 1, &[2], 4);
        stage.assign(311, 0, &[1], 4);
        stage.attach(312, 1, "a1");
        stage.node_sees(313, 0, Observation::Detached { user: "a1".into() });
        stage.rests();
        stage.node_sees(400, 1, Observation::ControlEnded);
        assert_eq!(stage.ledger.take_false_alarms(), ["n2: the control connection ended"]);
    }
}

#[test]
fn a_first_byte_counts_only_of_a_node_that_is_in_touch() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    stage.fault(10, Fault::Hang);
    stage.assign(20, 0, &[1, 2], 3);
    // Accepted by the kernel of the hung node, and answered when its process goes on.
    stage.fault(30, Fault::Resume);
    stage.attach(31, 1, "a1");
    stage.first_byte(32, "a1");
    assert_eq!(stage.ledger.loss_times()[0].outages.times(), []);
    // The report of the browser is here first.
    stage.first_byte(52, "a1");
    stage.attach(51, 0, "a1");
    assert_eq!(stage.ledger.loss_times()[0].outages.times(), [Duration::from_millis(42)]);
}

#[test]
fn who_is_lost_before_its_first_byte_has_served_nobody() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    stage.fault(10, Fault::Crash);
    stage.assign(15, 0, &[1, 2], 3);
    stage.attach(18, 0, "a1");
    let node = stage.nodes[0];
    stage.order(20, Order::Fault(Fault::Restart, &[node]));
    stage.first_byte(21, "a1");
    stage.welcome(30, 0, &[1, 2], 5);
    stage.attach(31, 0, "a1");
    stage.first_byte(33, "a1");
    let outages = stage.ledger.loss_times().remove(0).outages;
    assert_eq!(outages.times(), [Duration::from_millis(23)], "counted from the first loss");
}

#[test]
fn who_hangs_and_is_cut_off_needs_both_to_end() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    stage.fault(10, Fault::Hang);
    stage.fault(11, Fault::Cut(Way::Both));
    stage.fault(12, Fault::Resume);
    stage.welcome(13, 1, &[2], 3);
    stage.waits("route 2 has no owner");
    stage.fault(14, Fault::Heal);
    stage.waits("n2 is not welcomed again");
    assert_eq!(stage.ledger.loss_times().len(), 1, "it was lost once");
}

#[test]
fn who_leaves_as_it_is_lost_does_not_come_back() {
    let scenario = Scenario::parse("x.yaml", &format!("{SOURCE}losses: any\n")).unwrap();
    let mut stage = Stage::new(&scenario);
    stage.order(10, Order::Leave(stage.nodes[1]));
    stage.node_sees(10, 1, Observation::ControlEnded);
    stage.node_sees(10, 1, Observation::ControlEnded);
    stage.assign(11, 0, &[1, 2], 3);
    stage.attach(12, 0, "a1");
    stage.first_byte(13, "a1");
    stage.rests();
}

#[test]
fn a_restarted_node_is_another_process_and_no_change_of_node() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    stage.fault(10, Fault::Restart);
    stage.waits("n2 is joining");
    stage.welcome(30, 1, &[2], 4);
    assert_eq!(stage.ledger.failover(stage.nodes[1]), Some(Duration::from_millis(20)));
    stage.waits("a1 of route 2 is not connected; its place is n2");
    stage.attach(31, 1, "a1");
    stage.first_byte(32, "a1");
    stage.rests();
    let reconnects = stage.ledger.close_step("restart".into()).reconnects["a"];
    assert_eq!((reconnects.on_moved_routes, reconnects.of_moved, reconnects.others), (0, 0, 0));
}

#[test]
fn a_connection_reaches_one_node_but_its_port_may_be_used_again() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    let peer = SocketAddr::from(([10, 1, 1, 1], 5));
    let attached = |user: &str| Observation::Attached { user: user.into(), transport: Transport::Sse, peer };
    // The connection of a1 to n2.
    stage.node_sees(10, 0, attached("a1"));
    assert_eq!(stage.ledger.take_faults(), ["the connection of a1 from 10.1.1.1:5 reached two nodes"]);

    let mut stage = Stage::new(&scenario);
    stage.node_sees(10, 1, Observation::Detached { user: "a1".into() });
    stage.node_sees(11, 0, attached("b1"));
    stage.attach(12, 0, "b1");
    stage.node_sees(13, 1, attached("a1"));
    stage.fault(14, Fault::Crash);
    stage.node_sees(15, 0, attached("b1"));
    assert_eq!(stage.ledger.take_faults(), [""; 0]);
}

#[test]
fn an_event_is_of_the_app_that_its_number_names() {
    let source = SOURCE.replace("steps: []", "apps: {p: {}, q: {}}") + STEPS_OF_TWO_APPS;
    let scenario = Scenario::parse("x.yaml", &source).unwrap();
    let mut ledger = Ledger::new(&scenario);
    let [p, q] = scenario.apps.entries().map(|(app, _)| app).collect::<Vec<_>>()[..] else { panic!("two apps") };
    for step in &scenario.steps {
        let Action::Load(load) = &step.action else { panic!("it is a load") };
        ledger.order(ms(0), Order::Load(load), "step");
    }
    let mut see = |by, observation| ledger.see(Seen { at: ms(1), by, observation });
    let shown = |user: &str, event| Observation::Shown { user: user.into(), event };
    // Shown before it is known to be sent, and the first of the second app.
    see(Witness::Browser, shown("a1", first_event(1)));
    see(
        Witness::App(q),
        Observation::Sent { user: "a1".into(), event: first_event(1), attempt: 1, waited: Duration::ZERO },
    );
    see(
        Witness::App(p),
        Observation::Sent { user: "b1".into(), event: first_event(0), attempt: 1, waited: Duration::ZERO },
    );
    // Of a user that it is not for, and beyond the load of either app.
    see(Witness::Browser, shown("a1", first_event(0)));
    see(Witness::Browser, shown("b1", first_event(0) + 1));
    see(Witness::Browser, shown("b1", first_event(1) + 2));
    let nobody_sent = |user, event: EventId| format!("{user} was shown event {event}, which nobody sent to it");
    let faults = [("a1", first_event(0)), ("b1", first_event(0) + 1), ("b1", first_event(1) + 2)];
    assert_eq!(ledger.take_faults(), faults.map(|(user, event)| nobody_sent(user, event)));
    assert_eq!(ledger.check_loads(), Err("p: of 1 events, 1 are sent, 0 answered, 0 shown".into()));
    assert_eq!(ledger.check(Condition::Delivered(1)), Ok(()));
}

#[test]
fn an_epoch_only_grows() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    stage.assign(10, 0, &[1], 2);
    assert_eq!(stage.ledger.take_faults(), [""; 0]);
    stage.assign(11, 0, &[1, 2], 1);
    assert_eq!(stage.ledger.take_faults(), ["n1: it was told of epoch 1 after 2"]);
}

#[test]
fn a_held_node_is_neither_active_nor_in_reserve() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    let n2 = stage.nodes[1];
    stage.fault(10, Fault::Restart);
    stage.assign(15, 0, &[1, 2], 3);
    let held = Observation::Welcomed { state: NodeState::Held, id: None, routes: vec![], epoch: Epoch(3) };
    stage.node_sees(20, 1, held);
    let conditions = [Condition::Held(n2), Condition::Active(n2), Condition::Reserve(n2)];
    let is_held = || Err("it is held".to_owned());
    assert_eq!(conditions.map(|condition| stage.ledger.check(condition)), [Ok(()), is_held(), is_held()]);
    stage.attach(21, 0, "a1");
    stage.first_byte(22, "a1");
    stage.rests();
    assert_eq!(stage.ledger.close_step("restart".into()).held.into_iter().collect::<Vec<_>>(), ["n2"]);

    stage.assign(30, 1, &[2], 4);
    stage.assign(31, 0, &[1], 4);
    assert_eq!(stage.ledger.check(Condition::Active(n2)), Ok(()));
    assert!(stage.ledger.check(Condition::Held(n2)).is_err());
}

#[test]
fn a_loss_shows_where_somebody_gets_the_routes() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    let [n1, n2] = [stage.nodes[0], stage.nodes[1]];
    stage.fault(10, Fault::PowerOff);
    assert!(stage.ledger.is_missed(&[n2]));
    stage.assign(20, 0, &[1, 2], 3);
    stage.order(30, Order::Fault(Fault::Crash, &[n1]));
    assert!(!stage.ledger.is_missed(&[n1]), "nobody is left");
    stage.rests();
}

#[test]
fn without_halod_the_last_table_counts_until_all_are_welcomed_again() {
    let scenario = scenario();
    let mut stage = Stage::new(&scenario);
    stage.order(10, Order::Halod(HalodOrder::Kill));
    stage.node_sees(11, 0, Observation::ControlEnded);
    stage.rests();
    assert!(stage.ledger.check(Condition::Active(stage.nodes[0])).is_err());

    stage.order(20, Order::Halod(HalodOrder::Start));
    stage.waits("n1 is not welcomed again");
    // Another HaloD counts epochs from 1. Its first word may be there before the end of the former one is noticed.
    stage.welcome(21, 0, &[1], 1);
    stage.node_sees(22, 1, Observation::ControlEnded);
    stage.waits("n2 is not welcomed again");
    stage.welcome(23, 1, &[2], 1);
    stage.rests();
    stage.node_sees(30, 0, Observation::ControlEnded);
    assert_eq!(stage.ledger.take_false_alarms(), ["n1: the control connection ended"]);
}
