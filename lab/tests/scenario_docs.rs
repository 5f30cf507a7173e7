//! `docs/scenarios.md` says what is true: its examples are read, its error is the one that is shown. So does
//! `docs/delivery.md`: its figures are those of the snapshot.

use lab::scenario::Scenario;

const PAGE: &str = include_str!("../../docs/scenarios.md");

const DELIVERY: &str = include_str!("../../docs/delivery.md");
const SNAPSHOT: &str = include_str!("../../snapshots/server-of-2007.snap");

/// The text of each block that is fenced as `language`.
fn blocks(language: &str) -> Vec<String> {
    blocks_of(PAGE, language)
}

fn blocks_of(page: &str, language: &str) -> Vec<String> {
    let fenced = page.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    fenced.filter(|(name, _)| *name == language).map(|(_, text)| text.to_owned()).collect()
}

fn read(source: &str) -> Result<Scenario, String> {
    Scenario::parse("scenarios/one-more-node.yaml", source).map_err(|diagnostics| diagnostics.to_string())
}

#[test]
fn the_example_is_right() {
    let scenario = read(&blocks("yaml")[0]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((scenario.nodes.len(), scenario.steps.len()), (2, 4));
}

#[test]
fn the_error_is_the_one_that_is_shown() {
    let errors = read(&blocks("yaml")[0].replace("join: n2", "join: n9")).expect_err("there is no n9");
    let shown = &blocks("")[0];
    assert!(errors.starts_with(shown.trim_end()), "{errors}");
}

#[test]
fn the_stray_packets_are_right() {
    let head = "scenario: one-more-node\nabout: x\nrouter: {routes: 3}\nnodes: {n: 1}\nclients: {c1: {}}\nsteps:\n- join: n1\n";
    let scenario = read(&format!("{head}{}", blocks("yaml")[1])).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(scenario.steps.len(), 5);
}

#[test]
fn the_losses_are_those_of_the_snapshot() {
    let lost: String = SNAPSHOT.split_inclusive('\n').filter(|line| line.starts_with("   lost by")).collect();
    assert_eq!(blocks_of(DELIVERY, ""), [lost]);
}
