//! A bad config: what is wrong, where, and what to do; exit status 2, and nothing is started.

use crate::Test;
use crate::halod::{config, run_to_end};

pub(crate) const TESTS: &[Test] = &[
    ("overlapping_port_ranges_are_refused", overlapping_port_ranges_are_refused),
    ("a_port_range_of_another_size_is_refused", a_port_range_of_another_size_is_refused),
    ("no_routes_are_refused", no_routes_are_refused),
    ("an_unknown_key_is_refused", an_unknown_key_is_refused),
];

/// With one thing changed, a config of four routes is refused with these words and no others.
#[track_caller]
fn check((right, wrong): (&str, &str), expected: &str) {
    let text = config(4);
    assert!(text.contains(right), "{text}");
    let output = run_to_end(&text.replace(right, wrong));
    assert_eq!(String::from_utf8(output.stderr).unwrap().trim_end(), expected);
    assert_eq!((output.status.code(), output.stdout), (Some(2), Vec::new()));
}

fn overlapping_port_ranges_are_refused() {
    check(
        ("8005-8008", "8004-8007"),
        "\
error: the browser ports and the app ports share port 8004
 --> standard input:5:13
  |
5 | app_ports = \"8004-8007\"
  |             ^^^^^^^^^^^ port 8004 is a browser port already",
    );
}

fn a_port_range_of_another_size_is_refused() {
    check(
        ("8001-8004", "8001-8003"),
        "\
error: 4 routes need 4 browser ports, but the range has 3
 --> standard input:4:17
  |
4 | browser_ports = \"8001-8003\"
  |                 ^^^^^^^^^^^ \"8001-8004\" would fit",
    );
}

fn no_routes_are_refused() {
    check(
        ("routes = 4", "routes = 0"),
        "\
error: 0 routes are not possible
 --> standard input:2:10
  |
2 | routes = 0
  |          ^ 1 to 32767 are
  |
  = help: each route needs a browser port and an app port",
    );
}

fn an_unknown_key_is_refused() {
    check(
        ("reserve = 0", "resreve = 0"),
        "\
error: unknown key `resreve`
 --> standard input:9:1
  |
9 | resreve = 0
  | ^^^^^^^ did you mean `reserve`?
  |
  = help: known here: reserve, heartbeat, misses, drain, pace, redial_timeout",
    );
}
