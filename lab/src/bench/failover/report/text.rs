//! The report for a terminal.

use std::fmt::Write as _;

use super::super::comparison::ratio;
use super::super::{Measure, Pacing, Pair, Ratio};
use super::{Report, milliseconds};
use crate::bench::Distribution;
use crate::timing::LATE_BOUND;

impl Report {
    /// The tables and the histograms.
    pub fn text(&self) -> String {
        let mut text = self.table();
        for (measure, distribution) in self.totals() {
            let _ = writeln!(text, "\n{}: {}", measure.title(), figures(&distribution));
            text.push_str(&distribution.histogram());
        }
        text += &self.beside_haproxy();
        if let Some(Pacing { per_second, loss, leave }) = self.pacing {
            let [loss, leave] = [loss, leave].map(|Ratio { min, max }| format!("{min:.2} to {max:.2}"));
            let _ = writeln!(
                text,
                "\nconnections ended in any second, at a pace of {per_second}: {loss} times that after a loss, {leave} after a leave"
            );
        }
        for excess in self.excess() {
            let _ = writeln!(text, "\nover the budget: {excess}");
        }
        if self.is_late() {
            let _ = writeln!(
                text,
                "\n{}the lab's own timers or heartbeats were more than {LATE_BOUND:?} late in {} of {} cells, by up to {:?}",
                if self.exit() == crate::report::Exit::Invalid { "invalid: " } else { "" },
                self.outcomes().filter(|outcomes| outcomes.is_late()).count(),
                self.outcomes().count(),
                self.late_max()
            );
        }
        text
    }

    /// p50 / p99 of each kind of loss on either side, and the ratio of the medians.
    fn beside_haproxy(&self) -> String {
        let Some(comparison) = &self.comparison else { return String::new() };
        let mut text = format!(
            "\nbeside HAProxy {}, p50 / p99 in ms; above 1, the ratio of the medians is in favour of HaloD\n\
             {:9}  {:12}  {:>6}  {:>17}  {:>17}  {:>6}\n",
            comparison.version, "loss", "", "deaths", "halod", "haproxy", "ratio"
        );
        for Pair { halod, haproxy } in &comparison.pairs {
            for measure in Pair::MEASURES.into_iter().filter(|measure| measure.is_of(halod.cell.kind)) {
                let [one, other]: [Distribution; 2] =
                    [halod, haproxy].map(|outcomes| outcomes.numbers(measure).collect());
                let what = match measure {
                    Measure::CrashToReset | Measure::SilenceToReset => "disconnected",
                    _ => "outage",
                };
                let _ = writeln!(
                    text,
                    "{:9}  {what:12}  {:>6}  {:>17}  {:>17}  {:>6}",
                    halod.cell.kind.verb(),
                    halod.cell.deaths,
                    row(&one, &[50, 99]),
                    row(&other, &[50, 99]),
                    ratio(&one, &other).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
                );
            }
        }
        text
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
                let _ = write!(text, "  {:>27}", row(&distribution, &[50, 99, 100]) + unit);
            }
            let _ = writeln!(text, "  {:>6.2} ms", milliseconds(outcomes.late_max));
        }
        text
    }
}

fn row(distribution: &Distribution, percents: &[usize]) -> String {
    percents.iter().map(|&percent| figure(distribution, percent)).collect::<Vec<_>>().join(" / ")
}

fn figures(distribution: &Distribution) -> String {
    let [p50, p99, max] = [50, 99, 100].map(|percent| figure(distribution, percent));
    format!("p50 {p50}, p99 {p99}, max {max} of {}", distribution.count())
}

fn figure(distribution: &Distribution, percent: usize) -> String {
    distribution.percentile(percent).map_or("-".to_owned(), |number| format!("{number:.2}"))
}
