//! Numbers of one kind, and what to say of them: percentiles and a histogram of text.

use std::fmt::Write as _;

use serde::Serialize;
use serde::ser::SerializeStruct;

/// Rows of a histogram.
const ROWS: usize = 10;
/// The longest bar, in characters.
const BAR: usize = 40;
/// The smallest number that a histogram tells from zero.
const SMALLEST: f64 = 1e-3;

/// Some finite numbers, smallest first. They have a unit, but only their owner knows it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distribution(Vec<f64>);

impl FromIterator<f64> for Distribution {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_unstable_by(f64::total_cmp);
        Self(numbers)
    }
}

impl Distribution {
    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The number that `percent` in 100 do not exceed (nearest rank); `None` without numbers.
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied()
    }

    /// A line for each of ten steps of equal ratio from the smallest to the largest number: where it begins, a bar, and
    /// how many there are. Times have long tails; so both their bulk and their tail are seen. Empty without numbers.
    pub fn histogram(&self) -> String {
        let (Some(&first), Some(&last)) = (self.0.first(), self.0.last()) else { return String::new() };
        // What is smaller has no ratio to speak of.
        let min = first.max(SMALLEST);
        let span = (last / min).ln().max(0.0);
        let rows = if span > 0.0 { ROWS } else { 1 };
        let mut counts = vec![0; rows];
        for number in &self.0 {
            let row = if span > 0.0 { ((number.max(min) / min).ln() / span * ROWS as f64) as usize } else { 0 };
            // The largest number belongs to the last row.
            counts[row.min(rows - 1)] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        let mut text = String::new();
        for (row, count) in counts.into_iter().enumerate() {
            let start = min * (span * row as f64 / ROWS as f64).exp();
            let _ = writeln!(text, "  {start:>9.2} {} {count}", "#".repeat((count * BAR).div_ceil(most)));
        }
        text
    }
}

impl Serialize for Distribution {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut figures = serializer.serialize_struct("Distribution", 4)?;
        figures.serialize_field("count", &self.count())?;
        for (key, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
            figures.serialize_field(key, &self.percentile(percent))?;
        }
        figures.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let numbers: Distribution = (1..=200).rev().map(f64::from).collect();
        assert_eq!([50, 99, 100].map(|percent| numbers.percentile(percent)), [Some(100.0), Some(198.0), Some(200.0)]);
        assert_eq!(serde_json::to_string(&numbers).unwrap(), r#"{"count":200,"p50":100.0,"p99":198.0,"max":200.0}"#);
        let none = Distribution::default();
        assert_eq!(serde_json::to_string(&none).unwrap(), r#"{"count":0,"p50":null,"p99":null,"max":null}"#);
    }

    fn check(numbers: impl IntoIterator<Item = f64>, histogram: &str) {
        assert_eq!(numbers.into_iter().collect::<Distribution>().histogram(), histogram);
    }

    #[test]
    fn a_histogram_has_steps_of_equal_ratio() {
        check(
            [1.0, 1.5, 1.6, 1.9, 3.0, 3.5, 700.0, 1024.0],
            "       1.00 ######################################## 4
       2.00 #################### 2
       4.00  0
       8.00  0
      16.00  0
      32.00  0
      64.00  0
     128.00  0
     256.00  0
     512.00 #################### 2
",
        );
    }

    #[test]
    fn equal_numbers_have_one_row_and_no_numbers_none() {
        check([2.5; 3], "       2.50 ######################################## 3\n");
        check([], "");
    }
}
