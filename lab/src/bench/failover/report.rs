//! What `lab bench failover` tells: a table of the cells, a histogram of each measure, and the same as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq};

use super::{HEARTBEAT, Measure, Outcomes};
use crate::bench::Distribution;
use crate::report::Exit;
use crate::timing::LATE_BOUND;

/// All cells of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// In the order in which they ran.
    pub cells: Vec<Outcomes>,
}

impl Report {
    /// The table and the histograms.
    pub fn text(&self) -> String {
        let mut text = self.table();
        for (measure, distribution) in self.totals() {
            let _ = writeln!(text, "\n{}: {}", measure.title(), figures(&distribution));
            text.push_str(&distribution.histogram());
        }
        let late = self.cells.iter().filter(|cell| cell.is_late()).count();
        if late > 0 {
            let _ = writeln!(
                text,
                "\ninvalid: the lab's own timers were more than {LATE_BOUND:?} late in {late} of {} cells, by up to {:?}",
                self.cells.len(),
                self.late_max()
            );
        }
        text
    }

    /// Indented JSON with a newline at its end: the measures of all cells, then `cells` with their own.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is JSON");
        text.push('\n');
        text
    }

    /// How the lab's process should end.
    pub fn exit(&self) -> Exit {
        if self.cells.iter().any(Outcomes::is_late) { Exit::Invalid } else { Exit::Pass }
    }

    fn late_max(&self) -> Duration {
        self.cells.iter().map(|cell| cell.late_max).max().unwrap_or_default()
    }

    /// The measures that were made, over all cells that have them.
    fn totals(&self) -> Vec<(Measure, Distribution)> {
        let made = |measure: &Measure| self.cells.iter().any(|outcomes| measure.is_of(outcomes.cell.kind));
        let total = |measure: Measure| {
            let cells = self.cells.iter().filter(|outcomes| measure.is_of(outcomes.cell.kind));
            (measure, measure.distribution(cells.flat_map(|outcomes| &outcomes.losses)))
        };
        Measure::ALL.into_iter().filter(made).map(total).collect()
    }

    /// p50 / p99 / max of each cell; the table in force after silence is in heartbeats, all else in milliseconds.
    fn table(&self) -> String {
        let mut text = format!(
            "{:9}  {:>7}  {:>6}  {:>6}  {:>27}  {:>27}  {:>27}  {:>9}\n",
            "loss", "reserve", "routes", "deaths", "new table", "disconnected (ms)", "outage (ms)", "lab late"
        );
        for outcomes in &self.cells {
            let cell = outcomes.cell;
            let _ = write!(
                text,
                "{:9}  {:>7}  {:>6}  {:>6}",
                cell.kind.verb(),
                cell.reserve,
                cell.routes,
                outcomes.losses.len()
            );
            for (measure, distribution) in outcomes.measures() {
                let unit = match measure {
                    Measure::KillToFin => continue,
                    Measure::CrashToTable => " ms",
                    Measure::SilenceToTable => " hb",
                    _ => "",
                };
                let _ = write!(text, "  {:>27}", row(&distribution) + unit);
            }
            let _ = writeln!(text, "  {:>6.2} ms", milliseconds(outcomes.late_max));
        }
        text
    }
}

fn row(distribution: &Distribution) -> String {
    [50, 99, 100].map(|percent| figure(distribution, percent)).join(" / ")
}

fn figures(distribution: &Distribution) -> String {
    let [p50, p99, max] = [50, 99, 100].map(|percent| figure(distribution, percent));
    format!("p50 {p50}, p99 {p99}, max {max} of {}", distribution.count())
}

fn figure(distribution: &Distribution, percent: usize) -> String {
    distribution.percentile(percent).map_or("-".to_owned(), |number| format!("{number:.2}"))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("deaths", &self.cells.iter().map(|outcomes| outcomes.losses.len()).sum::<usize>())?;
        map.serialize_entry("heartbeat_ms", &milliseconds(HEARTBEAT))?;
        map.serialize_entry("late_max_ms", &milliseconds(self.late_max()))?;
        map.serialize_entry("valid", &(self.exit() == Exit::Pass))?;
        for (measure, distribution) in self.totals() {
            map.serialize_entry(measure.key(), &distribution)?;
        }
        map.serialize_entry("cells", &Cells(&self.cells))?;
        map.end()
    }
}

/// The cells of a report, each with its measures.
struct Cells<'a>(&'a [Outcomes]);

impl Serialize for Cells<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut cells = serializer.serialize_seq(Some(self.0.len()))?;
        for outcomes in self.0 {
            cells.serialize_element(&OfCell(outcomes))?;
        }
        cells.end()
    }
}

struct OfCell<'a>(&'a Outcomes);

impl Serialize for OfCell<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let OfCell(outcomes) = *self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", &outcomes.cell.kind)?;
        map.serialize_entry("reserve", &outcomes.cell.reserve)?;
        map.serialize_entry("routes", &outcomes.cell.routes)?;
        map.serialize_entry("deaths", &outcomes.losses.len())?;
        map.serialize_entry("late_max_ms", &milliseconds(outcomes.late_max))?;
        for (measure, distribution) in outcomes.measures() {
            map.serialize_entry(measure.key(), &distribution)?;
        }
        map.end()
    }
}
