//! How much there may be, and how little.

use super::*;

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
fn no_file_that_is_cut_short_or_lacks_a_line_panics() {
    let source = include_str!("../../../../../scenarios/stray-packets.yaml");
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
