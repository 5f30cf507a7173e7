//! What `lab run` tells: one table of all scenarios, the reasons of what failed, and the same as JSON.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use similar::TextDiff;

use crate::scenario::Engine;
use crate::timing::{LoadTimes, LossTimes, RestTimes};

/// The outcome of a run of the lab.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One for each scenario and engine, in the order in which they ran.
    pub results: Vec<ScenarioResult>,
}

/// The outcome of a scenario on an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScenarioResult {
    /// The scenario's name.
    pub scenario: String,
    /// What ran it.
    pub engine: Engine,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Time from its first step to its last expectation, on the engine's clock.
    #[serde(rename = "duration_ms", serialize_with = "as_milliseconds")]
    pub duration: Duration,
    /// The times of each loss of a node, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossTimes>,
    /// What became of its loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadTimes>,
    /// What HaloD's process used during each `wait` of a second or more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rests: Vec<RestTimes>,
    /// Figures; `None` if it did not run.
    #[serde(flatten)]
    pub figures: Option<Figures>,
    /// What it produced; `None` if it did not run.
    pub snapshot: Option<String>,
    /// How long everything took, to be the same in every run; `None` on an engine where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<String>,
    /// Set if the snapshot is not the expected one; the verdict is then a failure.
    pub difference: Option<Difference>,
}

/// What the table shows of a scenario that ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Routes that changed owner, over all steps.
    pub moves: u64,
    /// Browsers that changed node, over all steps.
    pub reconnects: u64,
    /// Events that no browser has shown.
    pub events_lost: u64,
}

/// What came of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reasons", rename_all = "kebab-case")]
pub enum Verdict {
    /// All was as expected.
    Pass,
    /// It was not, for these reasons.
    Fail(Vec<String>),
    /// The machine was too slow or too busy to judge; says by how much.
    Invalid(#[serde(serialize_with = "as_list")] String),
    /// It was not tried; says why.
    Skipped(#[serde(serialize_with = "as_list")] String),
}

/// Two snapshots that should be equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is a snapshot of: the scenario, or its times.
    pub name: String,
    /// What the file in `snapshots/` says.
    pub expected: String,
    /// What came.
    pub actual: String,
}

/// How the lab's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Nothing failed.
    Pass = 0,
    /// A scenario failed.
    Fail = 1,
    /// The command line or a scenario file is wrong; nothing was run.
    Usage = 2,
    /// None failed, but one could not be judged.
    Invalid = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

const HEADINGS: [&str; 6] = ["scenario", "verdict", "duration", "moves", "reconnects", "events lost"];

impl Report {
    /// The table, the reasons of what did not pass and the totals, with the escape sequences of a terminal. Print it
    /// through [`anstream`], which removes them in a pipe and where NO_COLOR is set.
    pub fn styled(&self) -> String {
        let mut text = self.table();
        if let [ScenarioResult { load: Some(load), .. }] = self.results.as_slice() {
            let _ = writeln!(text, "\n{load}");
        }
        for result in &self.results {
            text.push_str(&result.explanation());
        }
        let _ = writeln!(text, "\n{}", self.totals());
        text
    }

    /// The report as indented JSON with a newline at its end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is JSON");
        text.push('\n');
        text
    }

    /// How the lab's process should end.
    pub fn exit(&self) -> Exit {
        let any = |is_it: fn(&Verdict) -> bool| self.results.iter().any(|result| is_it(&result.verdict));
        if any(|verdict| matches!(verdict, Verdict::Fail(_))) {
            Exit::Fail
        } else if any(|verdict| matches!(verdict, Verdict::Invalid(_))) {
            Exit::Invalid
        } else {
            Exit::Pass
        }
    }

    /// The table; the engine stands beside the name if there is more than one.
    fn table(&self) -> String {
        let one_engine = self.results.windows(2).all(|pair| pair[0].engine == pair[1].engine);
        let rows: Vec<[String; 6]> = self.results.iter().map(|result| result.row(one_engine)).collect();
        let widths: [usize; 6] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].len()).chain([HEADINGS[column].len()]).max().unwrap_or(0)
        });
        let bold = Style::new().bold();
        let mut text = write_row(&HEADINGS.map(str::to_owned), &widths, bold, bold);
        for (row, result) in rows.iter().zip(&self.results) {
            text.push_str(&write_row(row, &widths, Style::new(), result.verdict.style()));
        }
        text
    }

    fn totals(&self) -> String {
        let count = |word: &str| self.results.iter().filter(|result| result.verdict.word() == word).count();
        let invalid = match count("invalid") {
            0 => String::new(),
            number => format!(", {number} invalid"),
        };
        format!("{} passed, {} failed, {} skipped{invalid}", count("pass"), count("fail"), count("skipped"))
    }
}

impl ScenarioResult {
    fn row(&self, one_engine: bool) -> [String; 6] {
        let name = if one_engine { self.scenario.clone() } else { format!("{} ({})", self.scenario, self.engine) };
        let figure = |of: fn(&Figures) -> u64| self.figures.as_ref().map_or("-".to_owned(), |all| of(all).to_string());
        let duration = match self.figures {
            Some(_) => format!("{:.2} s", self.duration.as_secs_f64()),
            None => "-".to_owned(),
        };
        [
            name,
            self.verdict.word().to_owned(),
            duration,
            figure(|all| all.moves),
            figure(|all| all.reconnects),
            figure(|all| all.events_lost),
        ]
    }

    /// Why it did not pass, beginning with an empty line; empty if it did.
    fn explanation(&self) -> String {
        let (name, word, style) = (&self.scenario, self.verdict.word(), self.verdict.style());
        let reasons = match &self.verdict {
            Verdict::Pass => return String::new(),
            Verdict::Fail(reasons) => reasons.as_slice(),
            Verdict::Invalid(reason) | Verdict::Skipped(reason) => std::slice::from_ref(reason),
        };
        let mut text = format!("\n{style}{word}{style:#} {name} ({})\n", self.engine);
        for reason in reasons {
            let _ = writeln!(text, "  {}", reason.replace('\n', "\n  "));
        }
        if let Some(difference) = &self.difference {
            text.push_str(&difference.styled());
        }
        text
    }
}

impl Verdict {
    /// Its name.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail(_) => "fail",
            Verdict::Invalid(_) => "invalid",
            Verdict::Skipped(_) => "skipped",
        }
    }

    fn style(&self) -> Style {
        let color = match self {
            Verdict::Pass => AnsiColor::Green,
            Verdict::Fail(_) => AnsiColor::Red,
            Verdict::Invalid(_) => AnsiColor::Magenta,
            Verdict::Skipped(_) => AnsiColor::Yellow,
        };
        color.on_default()
    }
}

impl Difference {
    /// A unified diff from the expected snapshot to the one that came.
    fn styled(&self) -> String {
        let diff = TextDiff::from_lines(&self.expected, &self.actual);
        let plain = diff.unified_diff().header(&format!("snapshots/{}.snap", self.name), "this run").to_string();
        let lines = plain.lines().map(|line| {
            let style = match line.as_bytes().first() {
                Some(b'+') => AnsiColor::Green.on_default(),
                Some(b'-') => AnsiColor::Red.on_default(),
                Some(b'@') => AnsiColor::Cyan.on_default(),
                _ => Style::new(),
            };
            format!("  {style}{line}{style:#}\n")
        });
        lines.collect()
    }
}

/// One row: words to the left, numbers to the right.
fn write_row(cells: &[String; 6], widths: &[usize; 6], style: Style, verdict: Style) -> String {
    let [scenario, word, duration, moves, reconnects, lost] = cells;
    let [name_width, verdict_width, duration_width, moves_width, reconnects_width, lost_width] = *widths;
    format!(
        "{style}{scenario:name_width$}{style:#}  {verdict}{word:verdict_width$}{verdict:#}  \
         {style}{duration:>duration_width$}  {moves:>moves_width$}  {reconnects:>reconnects_width$}  \
         {lost:>lost_width$}{style:#}\n"
    )
}

/// `reasons` is a list whatever the verdict.
fn as_list<S: serde::Serializer>(reason: &impl Serialize, serializer: S) -> Result<S::Ok, S::Error> {
    [reason].serialize(serializer)
}

fn as_milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
