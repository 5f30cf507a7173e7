//! Bad input: what is wrong, where, and what to do; exit status 2, and nothing is run.

use std::path::Path;

use crate::{Test, lab};

pub(crate) const TESTS: &[Test] = &[
    ("an_unknown_scenario_is_refused", None, an_unknown_scenario_is_refused),
    ("a_mistake_in_a_scenario_is_shown", None, a_mistake_in_a_scenario_is_shown),
    ("an_unknown_option_is_refused", None, an_unknown_option_is_refused),
];

/// These arguments end in exit status 2 and this on standard error, with no table and no results.
#[track_caller]
fn check(arguments: &[&str], expected: &str) {
    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad-input.json");
    let output = lab(arguments).arg("--json").arg(&results).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with(expected), "{stderr}");
    assert_eq!((output.status.code(), output.stdout), (Some(2), Vec::new()));
    assert!(!results.exists());
}

fn an_unknown_scenario_is_refused() {
    check(
        &["run", "first-node", "frist-node"],
        "error: no scenario is called \"frist-node\": did you mean \"first-node\"?\n",
    );
}

fn a_mistake_in_a_scenario_is_shown() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = directory.join("lost-node.yaml");
    let text = "scenario: lost-node\nabout: It names a node that there is not.\nrouter: {routes: 3}\nnodes: {n: 2}\n\
                steps:\n  - join: n1\n  - join: n3\n";
    std::fs::write(&file, text).unwrap();
    let shown = file.display();
    check(
        &["run", "first-node", file.to_str().unwrap()],
        &format!(
            "error: unknown node \"n3\"\n --> {shown}:7:11\n  |\n7 |   - join: n3\n  |           ^^ the nodes are n1..n2\n"
        ),
    );
    std::fs::remove_file(file).unwrap();
}

fn an_unknown_option_is_refused() {
    check(
        &["run", "first-node", "--kepe"],
        "error: unexpected argument '--kepe' found\n\n  tip: a similar argument exists: '--keep'\n",
    );
}
