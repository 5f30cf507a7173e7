//! The machine that figures come from, and whether it had other work meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use serde::Serialize;

use super::Measure;
use super::load::Stolen;
use super::program::Program;
use crate::bench::Distribution;

/// What figures depend on, besides what is measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// What the processors call themselves; `None` where they do not.
    pub processor: Option<String>,
    /// How many there are.
    pub processors: usize,
    /// How HaloD and the lab were built.
    pub build: &'static str,
    /// What the other programs say of their versions, by name.
    pub programs: BTreeMap<&'static str, String>,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let described = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = described.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            kernel: kernel.trim().to_owned(),
            processor: model.map(|(_, model)| model.trim().to_owned()),
            processors: thread::available_parallelism().map_or(1, usize::from),
            build: if cfg!(debug_assertions) { "development" } else { "release" },
            programs: Program::ALL.into_iter().filter_map(|program| Some((program.name, program.version()?))).collect(),
        }
    }
}

/// What was seen of other work.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Quiet {
    /// Of each pause, in which nothing of the bench ran: the share of the machine's time that was taken.
    pauses: Vec<f64>,
    /// Of loads.
    stolen: Stolen,
}

/// The share of its time that others may take in the mean of all pauses. Figures are medians: a short burst does not
/// matter.
const FOREIGN_MAX: f64 = 0.1;
/// How much a rate of the steadiest contender, the one with the least to do, may differ between rounds: the upper quartile
/// divided by the lower one. The extremes of many rounds are further apart than those of a few, and no median hears of them.
const SWING_MAX: f64 = 1.3;

impl Quiet {
    pub(super) fn add_pause(&mut self, taken_share: f64) {
        self.pauses.push(taken_share);
    }

    pub(super) fn add_stolen(&mut self, stolen: Stolen) {
        self.stolen.add(stolen);
    }

    /// The share of the machine's time that others took while nothing of the bench ran.
    pub(super) fn foreign_share(&self) -> f64 {
        self.pauses.iter().sum::<f64>() / self.pauses.len().max(1) as f64
    }

    /// What the machine's host took of all loads.
    pub(super) fn stolen(&self) -> Stolen {
        self.stolen
    }

    /// Why figures of this machine say nothing, if so. `steadiest` is a contender, and its rates in each round.
    pub(super) fn disturbances(&self, steadiest: &str, rates: &[(Measure, Vec<f64>)]) -> Vec<String> {
        let mut said = Vec::new();
        let percent = |share: f64| share * 100.0;
        if self.foreign_share() > FOREIGN_MAX {
            said.push(format!(
                "other work took {:.0}% of the machine while the bench paused, at most {:.0}% is fine",
                percent(self.foreign_share()),
                percent(FOREIGN_MAX)
            ));
        }
        if self.stolen.share_max > Stolen::SHARE_MAX {
            said.push(format!(
                "the host of this virtual machine took {:.0}% of its time during a load, at its best try; at most {:.0}% is fine",
                percent(self.stolen.share_max),
                percent(Stolen::SHARE_MAX)
            ));
        }
        for (measure, rates) in rates {
            let rates: Distribution = rates.iter().copied().collect();
            let (Some(lower), Some(upper)) = (rates.percentile(25), rates.percentile(75)) else { continue };
            if upper > lower * SWING_MAX {
                let digits = measure.digits();
                let what = measure.heading();
                said.push(format!(
                    "{what} of {steadiest} differ from round to round: {lower:.digits$} to {upper:.digits$} (quartiles)"
                ));
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pauses: &[f64], stolen: f64, rates: &[f64], wanted: &[&str]) {
        let mut quiet = Quiet::default();
        pauses.iter().for_each(|&share| quiet.add_pause(share));
        quiet.add_stolen(Stolen { share_max: stolen, repeats: 0 });
        assert_eq!(quiet.disturbances("plain", &[(Measure::ReqsPerS, rates.to_vec())]), wanted);
    }

    #[test]
    fn a_busy_machine_is_found_out_in_three_ways() {
        check(&[0.0, 0.25, 0.02], Stolen::SHARE_MAX, &[100.0, 129.0, 120.0], &[]);
        check(&[], 0.0, &[50.0, 100.0, 110.0, 120.0, 900.0], &[]);
        check(&[], 0.0, &[], &[]);
        check(
            &[0.0, 0.9, 0.3],
            0.0,
            &[1.0],
            &["other work took 40% of the machine while the bench paused, at most 10% is fine"],
        );
        check(
            &[0.0],
            0.2,
            &[1.0],
            &[
                "the host of this virtual machine took 20% of its time during a load, at its best try; at most 5% is fine",
            ],
        );
        let differ = "requests/s of plain differ from round to round: 100 to 131 (quartiles)";
        check(&[0.0], 0.0, &[100.0, 131.0], &[differ]);
        check(&[0.0], 0.0, &[1.0, 100.0, 120.0, 131.0, 900.0], &[differ]);
    }
}
