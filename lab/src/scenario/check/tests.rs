//! What an author of a scenario sees, for right files and wrong ones.

use std::time::Duration;

use halod_core::ids::{RouteId, Side};

use crate::orbited::Transport;
use crate::scenario::{
    Action, Engine, Expectation, Family, Invariant, Link, Scenario, StrayPath, Success, WITHIN_DEFAULT,
};

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
fn names_and_numbers_have_limits() {
    check(
        "\
scenario: x
about: ''
router: {routes: 24001, heartbeat: 0ms, misses: 0}
nodes: {n: 0, Bad: 1, b: 1}
browsers: {b: {count: 0, transports: []}, b2: {count: 1}}
clients: {router: {}, b1: {}}
links: {default: {mtu: 1000}}
steps: []
",
        "
error: the scenario says nothing about itself
 --> scenarios/x.yaml:2:8
  |
2 | about: ''
  |        ^^ a sentence or two

error: 24001 is not a possible number of routes
 --> scenarios/x.yaml:3:18
  |
3 | router: {routes: 24001, heartbeat: 0ms, misses: 0}
  |                  ^^^^^ from 1 to 24000

error: heartbeats need time between them
 --> scenarios/x.yaml:3:36
  |
3 | router: {routes: 24001, heartbeat: 0ms, misses: 0}
  |                                    ^^^ more than zero

error: 0 is not a possible number of misses
 --> scenarios/x.yaml:3:49
  |
3 | router: {routes: 24001, heartbeat: 0ms, misses: 0}
  |                                                 ^ from 1 to 1000

error: the group \"n\" is empty
 --> scenarios/x.yaml:4:9
  |
4 | nodes: {n: 0, Bad: 1, b: 1}
  |         ^ at least one node

error: \"Bad\" is not a name
 --> scenarios/x.yaml:4:15
  |
4 | nodes: {n: 0, Bad: 1, b: 1}
  |               ^^^ a-z, then a-z, 0-9 and -

error: \"b\" is taken
 --> scenarios/x.yaml:5:12
  |
5 | browsers: {b: {count: 0, transports: []}, b2: {count: 1}}
  |            ^ it names a group of nodes already

error: 0 is not a possible number of browsers
 --> scenarios/x.yaml:5:23
  |
5 | browsers: {b: {count: 0, transports: []}, b2: {count: 1}}
  |                       ^ from 1 to 65535

error: browsers without a transport
 --> scenarios/x.yaml:5:38
  |
5 | browsers: {b: {count: 0, transports: []}, b2: {count: 1}}
  |                                      ^ at least one

error: the name of a group cannot end in a digit: \"b2\"
 --> scenarios/x.yaml:5:43
  |
5 | browsers: {b: {count: 0, transports: []}, b2: {count: 1}}
  |                                           ^^ its members are numbered

error: \"router\" is taken
 --> scenarios/x.yaml:6:11
  |
6 | clients: {router: {}, b1: {}}
  |           ^^^^^^ it names a word of the language already

error: \"b1\" is taken
 --> scenarios/x.yaml:6:23
  |
6 | clients: {router: {}, b1: {}}
  |                       ^^ it names a node already

error: an MTU of 1000 is too small
 --> scenarios/x.yaml:7:24
  |
7 | links: {default: {mtu: 1000}}
  |                        ^^^^ at least 1280, the smallest of IPv6",
    );
}

#[test]
fn there_is_room_for_so_many_hosts() {
    let check_room = |line: &str, (what, over): (&str, &str), expected: &str| {
        let fits = HEAD.replace(line, what);
        parse(&format!("{fits}steps: []\n")).unwrap_or_else(|errors| panic!("{errors}"));
        let source = format!("{}steps: []\n", HEAD.replace(line, over));
        let diagnostics = Scenario::parse("x.yaml", &source).expect_err("there is no room");
        let shown: Vec<String> = diagnostics.list().iter().map(|d| format!("{} | {}", d.message, d.label)).collect();
        assert_eq!(shown, [expected]);
    };
    let many = |count: u32| (0..count).map(|number| format!("h{number}x: {{}}, ")).collect::<String>();
    check_room(
        "{n: 8}",
        ("{n: 65000, m: 277}", "{n: 65000, m: 278}"),
        "there are 65278 nodes up to here | at most 65277",
    );
    check_room(
        "{b: {count: 240}}",
        ("{b: {count: 277}, c: {count: 65000}}", "{b: {count: 65000}, c: {count: 278}}"),
        "there are 65278 browsers up to here | at most 65277",
    );
    check_room(
        "{a: {ports: 8}}",
        (&format!("{{{}}}", many(112)), &format!("{{{}}}", many(113))),
        "there are 113 apps up to here | at most 112",
    );
    check_room(
        "{c1: {}}",
        (&format!("{{{}}}", many(128)), &format!("{{{}}}", many(129))),
        "there are 129 clients up to here | at most 128",
    );
    check_room(
        "{ports: 8}",
        ("{ports: 32768}", "{ports: 32769}"),
        "32769 is not a possible number of local ports | from 1 to 32768",
    );
}

#[test]
fn what_is_not_given_has_a_default() {
    let scenario = with_steps("  - join: n1\n");
    let router = &scenario.router;
    assert_eq!((router.routes, router.reserve, router.misses, router.family), (24, 1, 3, Family::V4));
    assert_eq!((router.heartbeat, router.drain), (Duration::from_millis(50), Duration::from_secs(10)));
    assert_eq!((scenario.seed, scenario.always.len()), (1, Invariant::ALL.len()));
    assert!(scenario.nodes.iter().all(|node| node.link == Link::default() && node.success == Success::Acknowledged));
    assert_eq!(scenario.steps[0].expect, [Expectation::SETTLED]);
    assert_eq!(Expectation::SETTLED.within, WITHIN_DEFAULT);
}

#[test]
fn links_are_inherited_property_by_property() {
    let links = "links: {default: {delay: 1ms}, n: {loss: 2%}, n2: {delay: 4ms..6ms, mtu: 1400}, b: {mtu: 1300}}\n";
    let scenario = parse(&format!("{HEAD}{links}steps: []\n")).unwrap();
    let shown = |link: &Link| {
        let Link { delay, loss, mtu, .. } = link;
        format!("{}-{} ms, {} ppm, {mtu}", delay.min.as_millis(), delay.max.as_millis(), loss.per_million())
    };
    let nodes: Vec<String> = scenario.nodes.iter().take(2).map(|node| shown(&node.link)).collect();
    assert_eq!(nodes, ["1-1 ms, 20000 ppm, 1500", "4-6 ms, 20000 ppm, 1400"]);
    assert_eq!(scenario.browsers.iter().map(|group| shown(&group.link)).collect::<Vec<_>>(), ["1-1 ms, 0 ppm, 1300"]);
}

#[test]
fn references_are_resolved() {
    let scenario = with_steps(
        "  - join: [n3, n1..n2]  # in this order\n    expect: [{active: n1..n2, within: 1s}]\n\
         \x20 - stray: {from: c1, to: {route: 3, side: app}, flags: [ack], answer: rst}\n\
         \x20 - run: {on: n3, command: 'true'}\n",
    );
    let Action::Join(nodes) = &scenario.steps[0].action else { panic!("it joins") };
    let names: Vec<&str> = nodes.iter().map(|&node| scenario.nodes[node].name.as_str()).collect();
    assert_eq!(names, ["n3", "n1", "n2"]);
    assert_eq!((scenario.steps[0].text.as_str(), scenario.steps[0].line), ("join: [n3, n1..n2]", 9));
    assert_eq!(scenario.steps[0].expect.len(), 3);
    assert_eq!(scenario.steps[0].expect[1].within, Duration::from_secs(1));

    let Action::Stray(stray) = &scenario.steps[1].action else { panic!("it is a packet") };
    let StrayPath::ToService { from, route, side } = stray.path else { panic!("it goes to the service") };
    assert_eq!((scenario.clients[from].name.as_str(), route, side), ("c1", RouteId::from_index(2), Side::App));
}

#[test]
fn browsers_have_users_and_transports_in_turn() {
    let source = HEAD.replace("{count: 240}", "{count: 3, transports: [iframe, sse]}");
    let scenario = parse(&format!("{source}steps: []\n")).unwrap();
    let group = scenario.browsers.iter().next().unwrap();
    let browsers: Vec<_> = (0..group.count).map(|index| (group.user(index), group.transport(index))).collect();
    let expected = [("b1", Transport::Iframe), ("b2", Transport::Sse), ("b3", Transport::Iframe)];
    assert_eq!(browsers, expected.map(|(user, transport)| (user.to_owned(), transport)));
}

#[test]
fn one_engine_and_programs_can_be_asked_for() {
    let scenario = parse(&format!(
        "{HEAD}only: {{engine: kernel, because: it runs curl}}\nneeds: [sh, no-such-program]\nsteps: []\n"
    ))
    .unwrap();
    assert_eq!(scenario.obstacle(Engine::Kernel), None);
    assert_eq!(scenario.obstacle(Engine::Sim), Some("it runs curl"));
    assert_eq!(scenario.missing_programs("/nowhere:/bin".as_ref()), ["no-such-program"]);
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
fn no_file_that_is_cut_short_or_lacks_a_line_panics() {
    let source = include_str!("../../../../scenarios/stray-packets.yaml");
    for (end, _) in source.char_indices() {
        let _ = parse(&source[..end]);
    }
    for missing in 0..source.lines().count() {
        let lines = source.lines().enumerate().filter(|(number, _)| *number != missing);
        let _ = parse(&lines.map(|(_, line)| format!("{line}\n")).collect::<String>());
    }
}

#[test]
fn a_scenario_without_nodes_says_so() {
    let source = HEAD.replace("nodes: {n: 8}", "nodes: {}") + "steps: [{join: n1}]\n";
    assert!(parse(&source).expect_err("there is no node").contains("the scenario has none"));
}

#[test]
fn browsers_come_at_a_rate_and_fill_their_rooms() {
    let steps = "  - join: n1\n  - connect: {browsers: b, rate: 100/s}\n  - load: {app: a, events: 12, rate: 3/s, room: 40}\n    expect: [{delivered: 480}]\n";
    let [_, connect, load] = &with_steps(steps).steps[..] else { panic!("three steps") };
    assert!(matches!(connect.action, Action::Connect(_, Some(rate)) if rate.per_second() == 100));
    assert!(matches!(&load.action, Action::Load(load) if (load.room, load.deliveries()) == (40, 480)));
    check_steps(
        "  - connect: {browsers: b, rate: 0/s}\n  - load: {app: a, events: 5, rate: 1/s, room: 7}\n",
        &["\"0/s\" is not a rate | at least 1/s", "240 users do not fill rooms of 7 | all rooms have the same size"],
    );
}

#[test]
fn a_node_without_a_kernel_runs_no_commands() {
    let source = HEAD.replace("n: 8", "n: {count: 8, tcp: smoltcp}") + "steps:\n  - run: {on: n1, command: ls}\n";
    let error = parse(&source).expect_err("it is wrong");
    assert!(error.starts_with("error: node \"n1\" has no kernel to run commands"), "{error}");
}
