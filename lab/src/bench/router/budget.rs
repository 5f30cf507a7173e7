//! What the short form must reach: far less than HaloD does, so that only what loses half of its speed is found.

use super::contender::{HALOD_REWRITE, HALOD_STEER, HAPROXY, NFT_DNAT};
use super::{Contender, Measure};

/// Floors, each for one contender and one rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget(&'static [Floor]);

/// The least that a rate may be, as a part of another contender's in the same run.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Floor {
    contender: &'static str,
    measure: Measure,
    ratio: f64,
    of: &'static str,
}

impl Budget {
    /// That of `--short`.
    pub const SHORT: Budget = Budget(&[
        Floor { contender: HALOD_REWRITE, measure: Measure::ReqsPerS, ratio: 0.25, of: HAPROXY },
        Floor { contender: HALOD_REWRITE, measure: Measure::BulkGbitS, ratio: 0.25, of: HAPROXY },
        Floor { contender: HALOD_STEER, measure: Measure::ConnsPerS, ratio: 0.5, of: NFT_DNAT },
        Floor { contender: HALOD_STEER, measure: Measure::ReqsPerS, ratio: 0.5, of: NFT_DNAT },
        Floor { contender: HALOD_STEER, measure: Measure::BulkGbitS, ratio: 0.5, of: NFT_DNAT },
    ]);

    /// Those that it speaks of, as they are told.
    pub fn contenders(self) -> Vec<Contender> {
        let is_named =
            |contender: &Contender| self.0.iter().any(|floor| [floor.contender, floor.of].contains(&contender.name));
        Contender::ALL.into_iter().filter(is_named).collect()
    }

    /// What is below it, in words. A contender that was not measured is not judged.
    pub(super) fn shortfall(self, median: impl Fn(&str, Measure) -> Option<f64>) -> Vec<String> {
        let mut said = Vec::new();
        for &Floor { contender, measure, ratio, of } in self.0 {
            if let (Some(is), Some(other)) = (median(contender, measure), median(of, measure))
                && is < other * ratio
            {
                said.push(format!(
                    "{} of {contender}: {:.2} of {of}'s, at least {ratio:.2}",
                    measure.heading(),
                    is / other
                ));
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_the_budget_is_said() {
        let check = |of_rewrite: Option<f64>, wanted: &[&str]| {
            let median = |name: &str, measure| match (name, measure) {
                (HALOD_REWRITE, Measure::ReqsPerS) => of_rewrite,
                (HAPROXY, _) => Some(40_000.0),
                _ => None,
            };
            assert_eq!(Budget::SHORT.shortfall(median), wanted);
        };
        check(Some(10_000.0), &[]);
        check(None, &[]);
        check(Some(8_000.0), &["requests/s of halod-rewrite: 0.20 of haproxy's, at least 0.25"]);
    }
}
