//! What the report says of scenarios that passed, failed and were skipped.

use super::*;

fn result(scenario: &str, verdict: Verdict, figures: Option<Figures>) -> ScenarioResult {
    let duration = Duration::from_millis(1234);
    ScenarioResult {
        scenario: scenario.into(),
        engine: Engine::Kernel,
        verdict,
        duration,
        losses: Vec::new(),
        load: None,
        rests: Vec::new(),
        figures,
        snapshot: None,
        times: None,
        difference: None,
    }
}

fn plain(report: &Report) -> String {
    anstream::adapter::strip_str(&report.styled()).to_string()
}

fn every_verdict() -> Report {
    let figures = Some(Figures { moves: 34, reconnects: 410, events_lost: 0 });
    let mut failed = result("graceful-leave", Verdict::Fail(vec!["step 3: connected: 239 of 240".into()]), figures);
    let name = "graceful-leave".into();
    failed.difference = Some(Difference { name, expected: "a\nb\nc\n".into(), actual: "a\nB\nc\n".into() });
    Report {
        results: vec![
            result("eight-nodes", Verdict::Pass, figures),
            failed,
            result("ipv6", Verdict::Invalid("the machine was 40 ms late".into()), figures),
            result("curl-client", Verdict::Skipped("curl is not installed".into()), None),
        ],
    }
}

#[test]
fn the_table_is_aligned_and_followed_by_the_reasons() {
    assert_eq!(
        plain(&every_verdict()),
        "\
scenario        verdict  duration  moves  reconnects  events lost
eight-nodes     pass       1.23 s     34         410            0
graceful-leave  fail       1.23 s     34         410            0
ipv6            invalid    1.23 s     34         410            0
curl-client     skipped         -      -           -            -

fail graceful-leave (kernel)
  step 3: connected: 239 of 240
  --- snapshots/graceful-leave.snap
  +++ this run
  @@ -1,3 +1,3 @@
   a
  -b
  +B
   c

invalid ipv6 (kernel)
  the machine was 40 ms late

skipped curl-client (kernel)
  curl is not installed

1 passed, 1 failed, 1 skipped, 1 invalid
"
    );
}

#[test]
fn colours_are_escape_sequences_that_a_pipe_does_not_see() {
    let report = Report { results: vec![result("ipv6", Verdict::Pass, None)] };
    assert!(report.styled().contains("\u{1b}[32mpass   \u{1b}[0m"));
    assert!(!plain(&report).contains('\u{1b}'));
}

#[test]
fn two_engines_are_told_apart() {
    let mut report = Report { results: vec![result("ipv6", Verdict::Pass, None), result("ipv6", Verdict::Pass, None)] };
    report.results[1].engine = Engine::Sim;
    assert!(plain(&report).contains("\nipv6 (kernel)  pass"));
    assert!(plain(&report).contains("\nipv6 (sim)     pass"));
}

#[test]
fn the_exit_status_tells_the_worst() {
    let exit = |verdicts: &[Verdict]| {
        let results = verdicts.iter().map(|verdict| result("x", verdict.clone(), None)).collect();
        Report { results }.exit()
    };
    let (fail, invalid, skipped) =
        (Verdict::Fail(vec![]), Verdict::Invalid(String::new()), Verdict::Skipped(String::new()));
    assert_eq!(exit(&[Verdict::Pass, skipped]), Exit::Pass);
    assert_eq!(exit(&[Verdict::Pass, invalid.clone()]), Exit::Invalid);
    assert_eq!(exit(&[invalid, fail]), Exit::Fail);
}

#[test]
fn the_json_is_flat() {
    let mut report = every_verdict();
    report.results.drain(1..3);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&report.to_json()).unwrap(),
        serde_json::json!({"results": [
            {
                "scenario": "eight-nodes", "engine": "kernel", "verdict": "pass", "duration_ms": 1234,
                "moves": 34, "reconnects": 410, "events_lost": 0, "snapshot": null, "difference": null
            },
            {
                "scenario": "curl-client", "engine": "kernel", "verdict": "skipped",
                "reasons": ["curl is not installed"], "duration_ms": 1234, "snapshot": null, "difference": null
            },
        ]})
    );
}
