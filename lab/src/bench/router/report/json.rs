//! The report for programs.

use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

use super::{Measure, Outcome, Report};

impl Report {
    /// Indented JSON with a newline at its end: medians under `contenders`, by name, each with what its rounds gave.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is JSON");
        text.push('\n');
        text
    }

    /// What was not measured is `null`.
    fn figures(&self, outcome: &Outcome) -> Value {
        let measures = || Measure::SPEED.into_iter().chain(Measure::COST);
        let mut figures: Map<_, _> =
            measures().map(|measure| (measure.key().into(), self.median(outcome, measure).into())).collect();
        let rounds: Map<_, _> =
            measures().map(|measure| (measure.key().into(), self.rounds_of(outcome, measure).into())).collect();
        figures.insert("each_round".into(), rounds.into());
        figures.into()
    }
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let disturbances = self.disturbances();
        let contenders: Map<_, _> =
            self.outcomes.iter().map(|outcome| (outcome.name.into(), self.figures(outcome))).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("valid", &disturbances.is_empty())?;
        map.serialize_entry("why_invalid", &disturbances)?;
        map.serialize_entry("foreign_share", &self.quiet.foreign_share())?;
        map.serialize_entry("stolen_share_max", &self.quiet.stolen().share_max)?;
        map.serialize_entry("loads_repeated", &self.quiet.stolen().repeats)?;
        map.serialize_entry("rounds", &self.rounds)?;
        map.serialize_entry("seconds_per_load", &self.seconds)?;
        map.serialize_entry("under_budget", &self.shortfall())?;
        map.serialize_entry("left_out", &self.left_out)?;
        map.serialize_entry("machine", &self.machine)?;
        map.serialize_entry("contenders", &contenders)?;
        map.end()
    }
}
