//! What the short form must not exceed: far more than HaloD takes on an idle machine, so that a loaded one passes too.

use super::{Measure, Pacing, Ratio};
use crate::bench::Distribution;

/// The longest that 99 in 100 may take, and how well the pace has to be kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// First FIN or RST of a dead node until the new table, in milliseconds.
    pub crash_to_table_ms: f64,
    /// Silence until the new table, in heartbeats.
    pub silence_to_table_heartbeats: f64,
    /// Kill until the first byte from the new node, in milliseconds.
    pub outage_ms: f64,
    /// Connections that ended in a second, divided by the pace.
    pub pace: Ratio,
}

impl Budget {
    /// That of `--short`. An idle machine takes a fifth of the times, and stays within a twentieth of the pace.
    pub const SHORT: Budget = Budget {
        crash_to_table_ms: 40.0,
        silence_to_table_heartbeats: 5.0,
        outage_ms: 150.0,
        pace: Ratio { min: 0.8, max: 1.1 },
    };

    /// What is over it, in words.
    pub(super) fn excess(&self, totals: &[(Measure, Distribution)], pacing: Option<Pacing>) -> Vec<String> {
        let limit = |measure: Measure| match measure {
            Measure::CrashToTable => Some(self.crash_to_table_ms),
            Measure::SilenceToTable => Some(self.silence_to_table_heartbeats),
            Measure::CrashToByte => Some(self.outage_ms),
            _ => None,
        };
        let mut excess = Vec::new();
        for (measure, distribution) in totals {
            if let (Some(limit), Some(p99)) = (limit(*measure), distribution.percentile(99))
                && p99 > limit
            {
                excess.push(format!("{}: p99 {p99:.2}, at most {limit:.2}", measure.title()));
            }
        }
        for (what, ratio) in pacing.iter().flat_map(|pacing| [("a loss", pacing.loss), ("a leave", pacing.leave)]) {
            if ratio.min < self.pace.min || ratio.max > self.pace.max {
                let (is, may) = (ratio, self.pace);
                excess.push(format!(
                    "{what}: {:.2} to {:.2} times the pace, must be {:.2} to {:.2}",
                    is.min, is.max, may.min, may.max
                ));
            }
        }
        excess
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_budget_is_said() {
        let numbers = |number: f64| std::iter::repeat_n(number, 3).collect::<Distribution>();
        let check = |measure, number, pacing, wanted: &[&str]| {
            assert_eq!(Budget::SHORT.excess(&[(measure, numbers(number))], pacing), wanted);
        };
        check(Measure::CrashToTable, 40.0, None, &[]);
        check(Measure::KillToFin, 4000.0, None, &[]);
        check(Measure::SilenceToTable, 5.01, None, &["silence -> new table, heartbeats: p99 5.01, at most 5.00"]);
        let (slow, fast) = (Ratio { min: 0.7, max: 1.0 }, Ratio { min: 1.0, max: 1.2 });
        check(
            Measure::CrashToByte,
            1.0,
            Some(Pacing { per_second: 100, loss: fast, leave: slow }),
            &[
                "a loss: 1.00 to 1.20 times the pace, must be 0.80 to 1.10",
                "a leave: 0.70 to 1.00 times the pace, must be 0.80 to 1.10",
            ],
        );
    }
}
