//! Times of a scenario that are measured by its heartbeats and its links: `3hb`, `2rtt+5ms`, `3hb..5hb`.
//!
//! Written so, an expectation stays right when the interval or the delay is changed.

use std::time::Duration;

use super::quantity::Quantity;

/// What a heartbeat and a round trip come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measures {
    /// Time between two heartbeats.
    pub(crate) heartbeat: Duration,
    /// The longest round trip between the router and the node in question.
    pub(crate) round_trip: Duration,
}

/// A sum of heartbeats, round trips and plain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    heartbeats: Thousandths,
    round_trips: Thousandths,
    plain: Duration,
}

/// A span, or anything between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Within {
    /// Earlier is wrong, if it is given.
    pub(crate) min: Option<Span>,
    /// Later is wrong.
    pub(crate) max: Span,
}

/// A factor with at most three digits after the point, kept exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Thousandths(u32);

impl Thousandths {
    fn parse(text: &str) -> Result<Self, String> {
        // "1.5" heartbeats are 1500 thousandths, as "1.5s" are 1500 milliseconds.
        let duration = Duration::parse(&format!("{text}s"))?;
        if duration.subsec_nanos() % 1_000_000 != 0 {
            return Err("at most 3 digits after the point".into());
        }
        u32::try_from(duration.as_millis()).map(Self).map_err(|_| "the number is too large".into())
    }

    fn of(self, duration: Duration) -> Duration {
        duration * self.0 / 1000
    }
}

impl Span {
    /// How long it is.
    pub(crate) fn length(&self, measures: Measures) -> Duration {
        self.heartbeats.of(measures.heartbeat) + self.round_trips.of(measures.round_trip) + self.plain
    }

    /// Whether it depends on the link of a node.
    pub(crate) fn counts_round_trips(&self) -> bool {
        self.round_trips != Thousandths::default()
    }
}

impl Quantity for Span {
    const NAME: &'static str = "a time";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)?(us|ms|s|min|hb|rtt)(\+[0-9]+(\.[0-9]+)?(us|ms|s|min|hb|rtt))*$";

    fn parse(text: &str) -> Result<Self, String> {
        let mut sum = Span::default();
        for term in text.split('+').map(str::trim) {
            if let Some(number) = term.strip_suffix("hb") {
                sum.heartbeats.0 = sum.heartbeats.0.saturating_add(Thousandths::parse(number.trim_end())?.0);
            } else if let Some(number) = term.strip_suffix("rtt") {
                sum.round_trips.0 = sum.round_trips.0.saturating_add(Thousandths::parse(number.trim_end())?.0);
            } else {
                sum.plain += Duration::parse(term).map_err(|why| match why.strip_prefix("the unit is missing: ") {
                    Some(_) => "the unit is missing: us, ms, s, min, hb or rtt".to_owned(),
                    None => why,
                })?;
            }
        }
        Ok(sum)
    }
}

impl Quantity for Within {
    const NAME: &'static str = "a time";
    const PATTERN: &'static str = r"^[0-9][0-9a-z.+ ]*(\.\.[0-9][0-9a-z.+ ]*)?$";

    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("..") {
            None => Ok(Self { min: None, max: Span::parse(text)? }),
            Some((min, max)) => Ok(Self { min: Some(Span::parse(min)?), max: Span::parse(max)? }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURES: Measures = Measures { heartbeat: Duration::from_millis(50), round_trip: Duration::from_millis(12) };

    fn check(text: &str, expected: Result<u64, &str>) {
        let millis = Span::parse(text).map(|span| span.length(MEASURES).as_millis() as u64);
        assert_eq!(millis, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn sums_of_heartbeats_round_trips_and_time() {
        check("200ms", Ok(200));
        check("3hb", Ok(150));
        check("3.5hb", Ok(175));
        check("2rtt+5ms", Ok(29));
        check("1hb + 1rtt + 1s + 1hb", Ok(1112));
        check("3", Err("the unit is missing: us, ms, s, min, hb or rtt"));
        check("hb", Err("a number comes first, as in 50 or 1.5"));
        check("1.2345hb", Err("at most 3 digits after the point"));
        check("2rtt+", Err("the unit is missing: us, ms, s, min, hb or rtt"));
        check("3hb-1ms", Err("a number with us, ms, s or min, as in 50ms or 1.5s"));
    }

    #[test]
    fn a_range_has_an_earliest_and_a_latest() {
        let within = Within::parse("3hb..5hb+1ms").unwrap();
        assert_eq!(within.min.map(|span| span.length(MEASURES)), Some(Duration::from_millis(150)));
        assert_eq!(within.max.length(MEASURES), Duration::from_millis(251));
        assert_eq!(Within::parse("5hb").unwrap().min, None);
    }
}
