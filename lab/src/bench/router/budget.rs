//! What the short form must reach: far less than HaloD does, so that only what loses half of its speed is found.

use super::contender::{HALOD_REWRITE, HALOD_STEER, HAPROXY, NFT_DNAT};
use super::{Contender, Measure};

/// Bounds, each of one contender and one measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget(&'static [Bound]);

/// How far a measure may be from another contender's in the same run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bound {
    contender: &'static str,
    measure: Measure,
    within: Within,
    of: &'static str,
}

/// Parts of the other's.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Within {
    AtLeast(f64),
    AtMost(f64),
}

use Within::{AtLeast, AtMost};

impl Budget {
    /// That of `--short`.
    pub const SHORT: Budget = Budget(&[
        Bound { contender: HALOD_REWRITE, measure: Measure::ReqsPerS, within: AtLeast(0.5), of: HAPROXY },
        Bound { contender: HALOD_REWRITE, measure: Measure::BulkGbitS, within: AtLeast(0.65), of: HAPROXY },
        Bound { contender: HALOD_STEER, measure: Measure::ConnsPerS, within: AtLeast(0.5), of: NFT_DNAT },
        Bound { contender: HALOD_STEER, measure: Measure::ReqsPerS, within: AtLeast(0.5), of: NFT_DNAT },
        Bound { contender: HALOD_STEER, measure: Measure::BulkGbitS, within: AtLeast(0.5), of: NFT_DNAT },
        Bound { contender: HALOD_STEER, measure: Measure::P99, within: AtMost(2.0), of: NFT_DNAT },
        Bound { contender: HALOD_STEER, measure: Measure::LightP99, within: AtMost(2.0), of: NFT_DNAT },
    ]);

    /// Those that it speaks of, as they are told.
    pub fn contenders(self) -> Vec<Contender> {
        let is_named =
            |contender: &Contender| self.0.iter().any(|bound| [bound.contender, bound.of].contains(&contender.name));
        Contender::ALL.into_iter().filter(is_named).collect()
    }

    /// What is beyond it, in words. Whoever is compared with nobody, because a program is missing, is not judged.
    pub(super) fn shortfall(self, median: impl Fn(&str, Measure) -> Option<f64>) -> Vec<String> {
        let mut said = Vec::new();
        for &Bound { contender, measure, within, of } in self.0 {
            let Some(other) = median(of, measure) else { continue };
            let what = format!("{} of {contender}", measure.heading());
            let Some(is) = median(contender, measure) else {
                said.push(format!("{what}: not measured, though {of}'s was"));
                continue;
            };
            let ratio = is / other;
            match within {
                AtLeast(least) if ratio < least => {
                    said.push(format!("{what}: {ratio:.2} of {of}'s, at least {least:.2}"));
                }
                AtMost(most) if ratio > most => said.push(format!("{what}: {ratio:.2} of {of}'s, at most {most:.2}")),
                AtLeast(_) | AtMost(_) => {}
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_budget_is_said() {
        let check = |of_rewrite: Option<f64>, p99: f64, wanted: &[&str]| {
            let median = |name: &str, measure| match (name, measure) {
                (HALOD_REWRITE, Measure::ReqsPerS) => of_rewrite,
                (HAPROXY, Measure::ReqsPerS) => Some(40_000.0),
                (HALOD_STEER, Measure::P99) => Some(p99),
                (NFT_DNAT, Measure::P99) => Some(100.0),
                _ => None,
            };
            assert_eq!(Budget::SHORT.shortfall(median), wanted);
        };
        check(Some(20_000.0), 200.0, &[]);
        check(Some(16_000.0), 100.0, &["requests/s of halod-rewrite: 0.40 of haproxy's, at least 0.50"]);
        check(Some(20_000.0), 201.0, &["p99 us of halod-steer: 2.01 of nft-dnat's, at most 2.00"]);
        check(None, 100.0, &["requests/s of halod-rewrite: not measured, though haproxy's was"]);
    }
}
