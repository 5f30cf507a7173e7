//! The report for a terminal.

use std::fmt::Write as _;

use super::super::contender::{NFT_DNAT, PLAIN};
use super::super::load::Stolen;
use super::{Measure, Outcome, Report};

impl Report {
    /// The tables, and what is wrong.
    pub fn text(&self) -> String {
        let mut text = format!(
            "medians, rounds: {}, {} s for each load; {} build, Linux {}, {} processors\n",
            self.rounds, self.seconds, self.machine.build, self.machine.kernel, self.machine.processors
        );
        text += &self.table("contender", &Measure::SPEED, |outcome, measure| {
            figure(self.median(outcome, measure), measure.digits())
        });
        text += "\nratios to plain / to nft-dnat\n";
        text += &self.table("contender", &Measure::SPEED, |outcome, measure| self.ratios(outcome, measure));
        if self.direct().is_some() {
            text += "\nprocessor seconds: of the router (the machine's, less those without a router), of the machine, and of \
                     the router's process\n";
            text += &self.costs();
        }
        if !self.left_out.is_empty() {
            let _ = writeln!(text, "\n{}", self.left_out.join("\n"));
        }
        let repeats = self.quiet.stolen().repeats;
        if repeats > 0 {
            let _ = writeln!(
                text,
                "\nloads put on again, because the host of this virtual machine took more than {:.0}% of its time: {repeats}",
                Stolen::SHARE_MAX * 100.0
            );
        }
        for shortfall in self.shortfall() {
            let _ = writeln!(text, "\nunder the budget: {shortfall}");
        }
        for disturbance in self.disturbances() {
            let _ = writeln!(text, "\ninvalid: {disturbance}");
        }
        text
    }

    fn costs(&self) -> String {
        let [per_gb, per_million] = [&Measure::COST[..3], &Measure::COST[3..]];
        let cell = |outcome: &Outcome, measure: Measure| figure(self.median(outcome, measure), measure.digits());
        format!("{}\n{}", self.table("per GB", per_gb, cell), self.table("per million requests", per_million, cell))
    }

    fn ratios(&self, outcome: &Outcome, measure: Measure) -> String {
        let ratio = |other: &str| {
            let other = self.median(self.outcome(other)?, measure)?;
            Some(self.median(outcome, measure)? / other)
        };
        let [plain, nft_dnat] = [PLAIN, NFT_DNAT].map(|other| figure(ratio(other), 2));
        format!("{plain} / {nft_dnat}")
    }

    /// A line for each contender, a column for each measure that any of them has.
    fn table(&self, corner: &str, measures: &[Measure], cell: impl Fn(&Outcome, Measure) -> String) -> String {
        let is_there = |measure: &Measure| self.outcomes.iter().any(|outcome| self.median(outcome, *measure).is_some());
        let measures: Vec<Measure> = measures.iter().copied().filter(is_there).collect();
        let mut rows = vec![Vec::from_iter(measures.iter().map(|measure| measure.heading().to_owned()))];
        rows.extend(
            self.outcomes.iter().map(|outcome| measures.iter().map(|&measure| cell(outcome, measure)).collect()),
        );
        let names = || std::iter::once(corner).chain(self.outcomes.iter().map(|outcome| outcome.name));
        let first = names().map(str::len).max().unwrap_or(0);
        let widths: Vec<usize> =
            (0..measures.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for (name, row) in names().zip(&rows) {
            let _ = write!(text, "{name:first$}");
            for (cell, &width) in row.iter().zip(&widths) {
                let _ = write!(text, "  {cell:>width$}");
            }
            text.push('\n');
        }
        text
    }
}

fn figure(number: Option<f64>, digits: usize) -> String {
    number.map_or("-".to_owned(), |number| format!("{number:.digits$}"))
}
