//! What an author of a scenario sees, for right files and wrong ones.

use std::time::Duration;

use halod_core::ids::{RouteId, Side};

use crate::orbited::Transport;
use crate::scenario::{
    Action, Engine, Expectation, Family, Invariant, Link, Scenario, StrayPath, Success, WITHIN_DEFAULT,
};

mod limits;
mod meaning;

/// A file that is right up to its steps.
const HEAD: &str = "\
scenario: x
about: Nothing.
router: {routes: 24}
nodes: {n: 8}
browsers: {b: {count: 240}}
apps: {a: {ports: 8}}
clients: {c1: {}}
";

fn parse(source: &str) -> Result<Scenario, String> {
    Scenario::parse("scenarios/x.yaml", source).map_err(|diagnostics| diagnostics.to_string())
}

/// The scenario made of [`HEAD`] and `steps`.
fn with_steps(steps: &str) -> Scenario {
    parse(&format!("{HEAD}steps:\n{steps}")).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Checks that `source` is wrong in this way.
fn check(source: &str, expected: &str) {
    assert_eq!(parse(source).expect_err("it is wrong"), expected.trim_matches('\n'));
}

/// Checks the messages and labels for [`HEAD`] with `steps`, one a line.
fn check_steps(steps: &str, expected: &[&str]) {
    check_source(&format!("{HEAD}steps:\n{steps}"), expected);
}

fn check_source(source: &str, expected: &[&str]) {
    let diagnostics = Scenario::parse("x.yaml", source).expect_err("it is wrong");
    let shown: Vec<String> = diagnostics.list().iter().map(|d| format!("{} | {}", d.message, d.label)).collect();
    assert_eq!(shown, expected, "{diagnostics}");
}

#[test]
fn an_unknown_node_is_shown_with_its_place() {
    check(
        &format!("{HEAD}steps:\n  - join: n1..n3\n\n  - leave: n9\n"),
        "
error: unknown node \"n9\"
  --> scenarios/x.yaml:11:12
   |
11 |   - leave: n9
   |            ^^ the nodes are n1..n8",
    );
}

#[test]
fn several_mistakes_are_shown_at_once_in_the_order_of_the_file() {
    check(
        "\
scenario: y
about: Nothing.
router: {routes: 24, heartbeat: 50}
nodes: {n: 2}
links:
  m: {delay: 1ms}
  n2: {loss: 200%}
steps:
  - join: [n1, n1]
",
        "
error: the scenario is called \"y\", but its file \"x\"
 --> scenarios/x.yaml:1:11
  |
1 | scenario: y
  |           ^ both have the same name

error: \"50\" is not a duration
 --> scenarios/x.yaml:3:33
  |
3 | router: {routes: 24, heartbeat: 50}
  |                                 ^^ the unit is missing: us, ms, s or min

error: a link of nobody: \"m\"
 --> scenarios/x.yaml:6:3
  |
6 |   m: {delay: 1ms}
  |   ^ a link belongs to a node or one of default, n

error: \"200%\" is not a percentage
 --> scenarios/x.yaml:7:14
  |
7 |   n2: {loss: 200%}
  |              ^^^^ at most 100%

error: node \"n1\" joins a second time
 --> scenarios/x.yaml:9:16
  |
9 |   - join: [n1, n1]
  |                ^^ it has not left since",
    );
}

#[test]
fn mistakes_of_form_have_the_same_form() {
    check(
        "scenario: x\nabuot: Nothing.\n",
        "
error: unknown key \"abuot\"
 --> scenarios/x.yaml:2:1
  |
2 | abuot: Nothing.
  | ^^^^^ did you mean \"about\"?",
    );
    check(
        "scenario: x\nsteps: [{join: n1}\n",
        "
error: unclosed bracket '['
 --> scenarios/x.yaml:2:8
  |
2 | steps: [{join: n1}
  |        ^",
    );
}

#[test]
fn each_mistake_of_form_says_what_is_right() {
    check_steps("  - jion: n1\n", &["unknown word \"jion\" | did you mean \"join\"?"]);
    check_steps(
        "  - explode: n1\n",
        &[
            "unknown word \"explode\" | one of join, leave, connect, disconnect, load, rate, hold, probe, stray, crash, power-off, hang, resume, cut, heal, flap, restart, relink, pause, jump, wait, busy, halod, run",
        ],
    );
    check_steps("  - join: n1\n    exepct: []\n", &["unknown key \"exepct\" | did you mean \"expect\"?"]);
    check_steps("  - join: n1\n    leave: n1\n", &["unknown key \"leave\" | the keys here are expect"]);
    check_steps("  - load: {app: a, evnets: 3}\n", &["unknown key \"evnets\" | did you mean \"events\"?"]);
    check_steps("  - load: {app: a, rate: 1/s}\n", &["the key \"events\" is missing | here"]);
    check_steps("  - load: {app: a, events: many}\n", &["\"many\" does not fit | a whole number from 0 to 4294967295"]);
    check_steps("  - load: {app: a, events: 1, rate: 1/s, wait: yes}\n", &["\"yes\" does not fit | true or false"]);
    check_steps("  - join: {n: 1}\n", &["a value of another kind is needed | a list"]);
    check_steps("  - join\n", &["a value of another kind is needed | a mapping, as in {key: value}"]);
    check_steps("  - {}\n", &["a value of another kind is needed | a mapping that begins with one of the known words"]);
    check_steps("  - leave: [n1]\n", &["a value of another kind is needed | a single value"]);
    check_steps("  []\nsteps: []\n", &["the key \"steps\" is given twice | "]);
}

#[test]
fn nodes_join_and_leave_in_turn() {
    check_steps("  - leave: n1\n", &["node \"n1\" leaves before it joins | join it first"]);
    check_steps("  - join: n1\n  - join: n1..n2\n", &["node \"n1\" joins a second time | it has not left since"]);
    check_steps("  - join: n0\n", &["unknown node \"n0\" | the nodes are n1..n8"]);
    check_steps("  - join: n\n", &["unknown node \"n\" | the nodes are n1..n8"]);
    check_steps("  - join: []\n", &["no node is named | at least one"]);
    check_steps("  - join: n3..n1\n", &["\"n3..n1\" is not a range of nodes | as in n1..n8, lowest first"]);
    check_steps("  - join: n1..m2\n", &["\"n1..m2\" is not a range of nodes | as in n1..n8, lowest first"]);
    check_steps("  - join: n8..n9\n", &["unknown node \"n9\" | the nodes are n1..n8"]);
    with_steps("  - join: n1\n  - leave: n1\n  - join: n1\n");
}

#[test]
fn browsers_and_apps_do_one_thing_at_a_time() {
    check_steps("  - connect: c\n", &["unknown group of browsers \"c\" | there is b"]);
    check_steps(
        "  - connect: b\n  - connect: b\n",
        &["the browsers \"b\" connect a second time | disconnect them first"],
    );
    check_steps("  - disconnect: b\n", &["the browsers \"b\" are not connected | connect them first"]);
    check_steps(
        "  - disconnect: {browsers: c, by: fin}\n  - connect: b\n  - disconnect: {browsers: b, by: hand}\n",
        &["unknown word \"hand\" | one of close, fin, rst"],
    );
    check_steps("  - rate: {app: a, to: 5/s}\n", &["app \"a\" has no load | load it first"]);
    check_steps("  - probe: a\n", &["app \"a\" holds no connections | hold some first"]);
    check_steps("  - load: {app: q, events: 1, rate: 1/s}\n", &["unknown app \"q\" | there is a"]);
    check_steps(
        "  - load: {app: a, events: 0, rate: 0/s}\n",
        &["0 is not a possible number of events | from 1 to 4294967295", "\"0/s\" is not a rate | at least 1/s"],
    );
    check_steps(
        "  - hold: {app: a, flows: 9, routes: 1}\n",
        &["9 flows over 1 routes do not fit into 8 local ports | at most 8"],
    );
    check_steps(
        "  - hold: {app: a, flows: 9, routes: 25}\n",
        &["25 is not a possible number of routes | from 1 to 24"],
    );
}

#[test]
fn expectations_can_come_true() {
    check_steps(
        "  - connect: b\n    expect: [{connected: 241}]\n",
        &["241 can never be reached | up to this step 240 browsers are told to connect"],
    );
    check_steps(
        "  - join: n1\n    expect: [{connected: 1}, {active: [n1, n2]}, {flows_answered: 1}]\n",
        &[
            "1 can never be reached | up to this step 0 browsers are told to connect",
            "node \"n2\" is not there to be expected | it is not running",
            "1 can never be reached | up to this step 0 flows are held",
        ],
    );
    check_steps(
        "  - load: {app: a, events: 5, rate: 1/s}\n    expect: [{delivered: 6, within: 5}]\n",
        &[
            "6 can never be reached | up to this step 5 events are dispatched",
            "\"5\" is not a time | the unit is missing: us, ms, s, min, hb or rtt",
        ],
    );
    check_steps(
        "  - join: n1\n    expect: [{conected: 1}]\n",
        &["unknown word \"conected\" | did you mean \"connected\"?"],
    );
}

#[test]
fn faults_befall_who_is_there() {
    let after_join = |steps: &str, expected: &[&str]| check_steps(&format!("  - join: n1..n4\n{steps}"), expected);
    for verb in ["crash", "power-off", "hang", "resume", "cut", "heal", "restart"] {
        check_steps(&format!("  - {verb}: n1\n"), &["node \"n1\" is not running | join it first"]);
        after_join(&format!("  - power-off: n2\n  - {verb}: n2\n"), &["node \"n2\" is not running | join it first"]);
    }
    after_join("  - resume: n1\n", &["node \"n1\" does not hang | nothing to resume"]);
    after_join("  - heal: n1\n", &["node \"n1\" is not cut off | nothing to heal"]);
    after_join("  - hang: n1\n  - hang: n1\n", &["node \"n1\" hangs already | resume it first"]);
    after_join("  - hang: n1\n  - leave: n1\n", &["node \"n1\" hangs | resume it first"]);
    after_join(
        "  - cut: n1\n  - cut: {host: n1, way: up}\n",
        &["node \"n1\" is cut off already | heal its link first"],
    );
    after_join("  - cut: n1\n  - restart: n1\n", &["node \"n1\" is cut off | heal its link first"]);
    after_join("  - cut: n1\n  - crash: n1\n  - join: n1\n", &["node \"n1\" is cut off | heal its link first"]);
    after_join("  - cut: n9\n", &["unknown node \"n9\" | the nodes are n1..n8"]);
    after_join("  - hang: n1\n    expect: [{active: n1}]\n", &["node \"n1\" is not there to be expected | it hangs"]);
    with_steps(
        "  - join: n1..n4\n  - crash: [n1, n2]\n  - join: n1\n  - power-off: n3\n  - join: n3\n  - restart: n3\n\
         \x20 - cut: {host: n3, way: down}\n  - heal: n3\n  - cut: n4\n  - crash: n4\n  - heal: n4\n  - join: n4\n\
         \x20 - hang: n1\n  - cut: n1\n  - heal: n1\n  - resume: n1\n  - leave: n1\n",
    );
}

#[test]
fn a_flap_loses_its_node_for_certain_or_not_at_all() {
    let flap = |down: &str, up: &str| {
        let steps = format!("  - join: n1\n  - flap: {{host: n1, times: 2, down: {down}, up: {up}}}\n");
        parse(&format!("{HEAD}steps:\n{steps}")).ok().map(|scenario| match scenario.steps[1].action {
            Action::Flap(flap) => flap.loses,
            _ => panic!("it flaps"),
        })
    };
    assert_eq!(flap("75ms", "50ms"), Some(false));
    assert_eq!(flap("75ms", "49ms"), None);
    assert_eq!(flap("76ms", "50ms"), None);
    assert_eq!(flap("175ms", "50ms"), None);
    assert_eq!(flap("176ms", "1ms"), Some(true));
}

#[test]
fn heartbeats_may_be_late_as_long_as_nobody_is_lost() {
    let late = |of: &str, delay: &str| format!("  - join: n1\n  - relink: {{of: {of}, datagrams: {delay}}}\n");
    let scenario = with_steps(&late("n1", "125ms"));
    let Action::Relink(_, link) = &scenario.steps[1].action else { panic!("it is another link") };
    assert_eq!(link.datagrams, Some(Duration::from_millis(125)));
    let luck = "whether the node is lost by this is a matter of luck | at most 125ms, or `losses: any`";
    check_steps(&late("n1", "126ms"), &[luck]);
    check_steps(&late("b", "1ms"), &["only nodes send datagrams | they are their heartbeats"]);
    assert!(parse(&format!("{HEAD}losses: any\nsteps:\n{}", late("n1", "126ms"))).is_ok());
}

#[test]
fn failovers_have_times_in_heartbeats_and_round_trips() {
    let steps = "steps:\n  - join: n1..n3\n  - crash: n2\n    expect: [{failover: n2, within: 1hb..2rtt+3hb}]\n";
    let links = "links: {default: {delay: 1ms}, n2: {delay: 4ms..6ms}, n3: {delay: 10ms}}\nbudget: {failover: 1rtt, outage-p99: 2hb}\n";
    let scenario = parse(&format!("{HEAD}{links}{steps}")).unwrap();
    let expectation = scenario.steps[1].expect[0];
    let ms = Duration::from_millis;
    assert_eq!((expectation.not_before, expectation.within), (ms(50), ms(174)));
    assert_eq!((scenario.budget.failover, scenario.budget.outage_p99), (Some(ms(20)), Some(ms(100))));

    let expect = |what: &str, expected: &str| {
        check_steps(&format!("  - join: n1..n2\n  - crash: n2\n    expect: [{what}]\n"), &[expected]);
    };
    expect("{failover: n1}", "node \"n1\" is not lost in this step | nobody has to take over");
    expect("{failover: n2, within: 5hb..3hb}", "this range is empty | the shorter time comes first, as in 3hb..5hb");
    expect("{connected: 0, within: 1s..2s}", "only a failover can come too early | a single time");
    expect("{connected: 0, within: 2rtt}", "round trips are those of a node that is lost | heartbeats or plain time");
}

#[test]
fn a_step_need_not_come_to_rest() {
    let scenario =
        with_steps("  - join: n1\n    expect: [{settled: false}]\n  - wait: 1s\n    expect: [{settled: false}]\n");
    let expected: Vec<&[Expectation]> = vec![&[], &[Expectation::SETTLED]];
    assert_eq!(scenario.steps.iter().map(|step| step.expect.as_slice()).collect::<Vec<_>>(), expected);
}

#[test]
fn stray_packets_have_a_possible_way() {
    check_steps(
        "  - stray: {from: c1, to: {route: 25}, flags: [syn], answer: rst}\n",
        &[
            "25 is not a possible number of routes | from 1 to 24",
            "a SYN starts a connection, it is no stray packet | leave it out",
        ],
    );
    check_steps(
        "  - stray: {from: c1, to: c1, side: app, flags: [rst], answer: rst}\n",
        &[
            "a client sends to a service port | as in {route: 3, side: app}",
            "a client has no service port | the side belongs into \"to\"",
            "nobody answers RST with RST | RFC 9293, 3.5.2: none",
        ],
    );
    check_steps(
        "  - stray: {from: n1, to: {route: 1}, flags: [ack], cut: 0, answer: none}\n",
        &[
            "node \"n1\" is not running | join it first",
            "a node sends to a client | the name of a client",
            "0 is not a possible number of bytes to send | from 1 to 60",
        ],
    );
    check_steps(
        "  - stray: {from: c2, to: {route: 1}, flags: [ack], answer: rst}\n",
        &["unknown host \"c2\" | the clients and nodes are c1, n1..n8"],
    );
}

#[test]
fn commands_run_on_hosts() {
    check_steps(
        "  - run: {on: routre, command: 'echo {x}'}\n",
        &[
            "unknown host \"routre\" | the hosts besides the router are c1, n1..n8",
            "the command does not fit | {x} is none of {service}, {browser-port:R}, {app-port:R}",
        ],
    );
}

#[test]
fn only_a_machine_can_be_busy() {
    let message = "the simulator has no machine to keep busy | `only: {engine: kernel, because: ..}` allows it";
    check_steps("  - busy: 60s\n", &[message]);
    assert!(parse(&format!("{HEAD}only: {{engine: kernel, because: cores}}\nsteps:\n  - busy: 60s\n")).is_ok());
}

#[test]
fn what_befalls_halod_follows_what_befell_it_before() {
    let message = "in the simulator HaloD is no process of its own | `only: {engine: kernel, because: ..}` allows it";
    check_steps("  - halod: kill\n", &[message]);
    check_steps("  - halod: hang\n", &["unknown word \"hang\" | one of kill, start, stop, continue"]);
    let on_the_kernel = |steps: &str| format!("{HEAD}only: {{engine: kernel, because: signals}}\nsteps:\n{steps}");
    let all = "  - halod: kill\n  - halod: start\n  - halod: stop\n  - halod: continue\n";
    assert!(parse(&on_the_kernel(all)).is_ok());
    let check = |steps: &str, message: &str| check_source(&on_the_kernel(steps), &[message]);
    check("  - halod: start\n", "HaloD is running here | it has to be killed");
    check("  - halod: stop\n  - halod: kill\n", "HaloD is stopped here | it has to be running");
    check("  - halod: kill\n  - join: n1\n", "HaloD is killed here | nobody would answer the node");
}

#[test]
fn a_node_without_a_kernel_runs_no_commands() {
    let source = HEAD.replace("n: 8", "n: {count: 8, tcp: smoltcp}") + "steps:\n  - run: {on: n1, command: ls}\n";
    let error = parse(&source).expect_err("it is wrong");
    assert!(error.starts_with("error: node \"n1\" has no kernel to run commands"), "{error}");
}
