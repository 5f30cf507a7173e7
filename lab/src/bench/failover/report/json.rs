//! The report for programs.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq};

use super::super::comparison::ratio;
use super::super::{Comparison, HEARTBEAT, Outcomes, Pair};
use super::{Report, milliseconds};
use crate::report::Exit;

impl Report {
    /// Indented JSON with a newline at its end: the measures of all cells, those of the comparison under `haproxy`, then
    /// `cells` with their own.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a report is JSON");
        text.push('\n');
        text
    }
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
        map.serialize_entry("pace_ratio", &self.pacing)?;
        map.serialize_entry("over_budget", &self.excess())?;
        map.serialize_entry("haproxy", &self.comparison.as_ref().map(OfHaproxy))?;
        map.serialize_entry("cells", &Cells(&self.cells))?;
        map.end()
    }
}

/// HAProxy's figures, then HaloD's beside it, then what they come to.
struct OfHaproxy<'a>(&'a Comparison);

impl Serialize for OfHaproxy<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let OfHaproxy(comparison) = *self;
        let made = Pair::MEASURES.into_iter().filter(|measure| {
            let mut pairs = comparison.pairs.iter();
            pairs.any(|pair| measure.is_of(pair.haproxy.cell.kind))
        });
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &comparison.version)?;
        let heartbeat = comparison.pairs.first().map(|pair| milliseconds(pair.halod.cell.heartbeat));
        map.serialize_entry("heartbeat_ms", &heartbeat)?;
        let mut beside = serde_json::Map::new();
        let mut ratios = serde_json::Map::new();
        for measure in made {
            let halod = comparison.distribution(|pair| &pair.halod, measure);
            let haproxy = comparison.distribution(|pair| &pair.haproxy, measure);
            map.serialize_entry(measure.key(), &haproxy)?;
            ratios.insert(measure.key().into(), ratio(&halod, &haproxy).into());
            beside.insert(measure.key().into(), serde_json::to_value(halod).map_err(serde::ser::Error::custom)?);
        }
        map.serialize_entry("halod", &beside)?;
        map.serialize_entry("ratio_of_medians", &ratios)?;
        map.serialize_entry("kinds", &Pairs(&comparison.pairs))?;
        map.end()
    }
}

/// The pairs of a comparison, each a cell of either side.
struct Pairs<'a>(&'a [Pair]);

impl<'a> Serialize for Pairs<'a> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cells = |Pair { halod, haproxy }: &'a Pair| [("halod", OfCell(halod)), ("haproxy", OfCell(haproxy))];
        serializer.collect_seq(self.0.iter().map(cells).map(BTreeMap::from))
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
        map.serialize_entry("heartbeat_ms", &milliseconds(outcomes.cell.heartbeat))?;
        map.serialize_entry("deaths", &outcomes.losses.len())?;
        map.serialize_entry("late_max_ms", &milliseconds(outcomes.late_max))?;
        for (measure, distribution) in outcomes.measures().into_iter().filter(|(_, made)| made.count() > 0) {
            map.serialize_entry(measure.key(), &distribution)?;
        }
        map.end()
    }
}
