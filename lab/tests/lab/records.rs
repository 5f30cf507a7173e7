//! `--record` and `lab replay`: what the daemon was told makes the same core decide the same once more.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::{Test, lab};

pub(crate) const TESTS: &[Test] = &[("a_record_ends_with_the_table_of_its_scenario", None, a_record_ends_in_its_table)];

/// The records of a run, removed when dropped.
struct Records(PathBuf);

impl Records {
    fn of(scenarios: &[&str]) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("records-{}", std::process::id()));
        // The verdict on the scenario is not this test's: a busy machine may be too slow for its budgets of time.
        let run = lab(&["run"]).args(scenarios).arg("--record").arg(&directory).output().unwrap();
        assert_ne!(run.status.code(), Some(2), "{}", String::from_utf8_lossy(&run.stderr));
        Self(directory)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The last table with its holders that a text has.
fn last_table(text: &str) -> (Vec<&str>, Option<&str>) {
    let is_row = |line: &str| line.contains(" | ");
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.iter().rposition(|line| is_row(line)).expect("there is a table") + 1;
    let begin = lines[..end].iter().rposition(|line| !is_row(line)).map_or(0, |index| index + 1);
    (lines[begin..end].to_vec(), lines.iter().rfind(|line| line.starts_with("   holders: ")).copied())
}

fn a_record_ends_in_its_table() {
    // Losses with and without a reserve, drains, and both IP versions.
    let scenarios = ["crash-without-reserve", "crash-during-a-drain", "crash-ipv6", "stray-packets"];
    let records = Records::of(&scenarios);
    for scenario in scenarios {
        let record = records.0.join(format!("{scenario}.record"));
        assert_eq!(fs::metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);
        let replay = lab(&["replay"]).arg(&record).output().unwrap();
        let told = String::from_utf8(replay.stdout).unwrap();
        assert_eq!((replay.status.code(), replay.stderr.as_slice()), (Some(0), &b""[..]), "{told}");
        let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshots");
        let snapshot = fs::read_to_string(snapshots.join(format!("{scenario}.snap"))).unwrap();
        assert_eq!(last_table(&told), last_table(&snapshot), "{scenario}");
        for line in ["decisions    as they were recorded", "ends         where the daemon stopped"] {
            assert!(told.lines().any(|other| other == line), "{scenario}:\n{told}");
        }
    }
}
