//! `lab bench`: what its figures look like. How large they are is no test's business.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{Test, lab};

pub(crate) const TESTS: &[Test] = &[
    ("bench_failover_writes_its_figures_for_each_cell", None, bench_failover_writes_its_figures_for_each_cell),
    ("bench_router_writes_its_figures_for_each_contender", None, bench_router_writes_its_figures_for_each_contender),
];

fn bench_failover_writes_its_figures_for_each_cell() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-failover.json");
    let words = "bench failover --count 2 --routes 24 --kind crash --kind power-off --json";
    let run = lab(&words.split(' ').collect::<Vec<_>>()).arg(&path).output().unwrap();
    let stdout = String::from_utf8(run.stdout).unwrap();
    let figures: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fs::remove_file(&path).unwrap();

    // A machine that is busy with other tests may be too late to judge.
    let status = if figures["valid"].as_bool().unwrap() { 0 } else { 3 };
    assert_eq!(run.status.code(), Some(status), "{stdout}");
    assert_eq!(figures["deaths"], 8);
    let of_crash = ["kill_to_fin_ms", "crash_to_table_ms"];
    for key in of_crash {
        check(&figures[key], Some(4));
    }
    check(&figures["silence_to_table_heartbeats"], Some(4));
    for key in ["loss_to_reset_ms", "outage_ms", "silence_to_reset_ms", "silence_outage_ms"] {
        check(&figures[key], None);
    }
    let cells = figures["cells"].as_array().unwrap();
    let described: Vec<_> = cells
        .iter()
        .map(|cell| {
            (cell["kind"].as_str().unwrap(), cell["reserve"].as_u64().unwrap(), cell["deaths"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(described, [("crash", 0, 2), ("crash", 1, 2), ("power-off", 0, 2), ("power-off", 1, 2)]);
    for (cell, key) in cells.iter().zip(["crash_to_table_ms"; 2]) {
        check(&cell[key], Some(2));
    }
    let pace = &figures["pace_ratio"]["loss"];
    assert!(0.0 < pace["min"].as_f64().unwrap() && pace["min"].as_f64() <= pace["max"].as_f64(), "{pace}");
    match &figures["haproxy"] {
        Value::Null => {}
        haproxy => {
            for key in ["loss_to_reset_ms", "outage_ms", "silence_to_reset_ms", "silence_outage_ms"] {
                check(&haproxy[key], None);
                check(&haproxy["halod"][key], None);
                assert!(haproxy["ratio_of_medians"][key].as_f64().is_some_and(|ratio| ratio > 0.0), "{haproxy}");
            }
            assert!(stdout.contains("\nbeside HAProxy "), "{stdout}");
        }
    }
    assert!(stdout.contains("\nfirst FIN or RST -> new table, ms: p50 "), "{stdout}");
}

fn bench_router_writes_its_figures_for_each_contender() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-router.json");
    let words = "bench router --rounds 1 --seconds 1 --only halod-rewrite --json";
    let run = lab(&words.split(' ').collect::<Vec<_>>()).arg(&path).output().unwrap();
    let stdout = String::from_utf8(run.stdout).unwrap();
    let figures: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    fs::remove_file(&path).unwrap();

    // A machine that is busy with other tests may have no time to itself.
    let status = if figures["valid"].as_bool().unwrap() { 0 } else { 3 };
    assert_eq!(run.status.code(), Some(status), "{stdout}");
    assert_eq!(figures["rounds"], 1);
    let contenders = figures["contenders"].as_object().unwrap();
    assert_eq!(contenders.keys().collect::<Vec<_>>(), ["direct", "halod-rewrite"]);
    // Without wrk, iperf3 or nginx there is nothing to see, and the report says so.
    let left_out = figures["left_out"].as_array().unwrap();
    for key in ["conns_per_s", "reqs_per_s", "p50_us", "p99_us", "light_p99_us", "bulk_gbit_s", "process_cpu_s_per_gb"]
    {
        let figure = &contenders["halod-rewrite"][key];
        assert!(figure.as_f64().map_or(!left_out.is_empty(), |figure| figure > 0.0), "{key}: {figure}");
    }
    assert!(stdout.contains("\nratios to plain / to nft-dnat\n"), "{stdout}");
}

/// A distribution: ordered, and of so many numbers if that is known.
fn check(distribution: &Value, count: Option<u64>) {
    let [p50, p99, max] = ["p50", "p99", "max"].map(|key| distribution[key].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{distribution}");
    assert!(distribution["count"].as_u64().is_some_and(|is| count.is_none_or(|wanted| is == wanted)), "{distribution}");
}
