//! Numbers with a unit, as a scenario writes them: `50ms`, `4ms..6ms`, `200/s`, `2%`.

use std::time::Duration;

/// A number with a unit that is written as text.
pub(crate) trait Quantity: Sized {
    /// What it is, with its article.
    const NAME: &'static str;
    /// The regular expression of its text, for editors.
    const PATTERN: &'static str;

    /// Reads the text; the error says what is wrong with it or how it is written.
    fn parse(text: &str) -> Result<Self, String>;
}

/// The longest duration that a scenario can name: long enough for a soak, short enough for any timer.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How much a packet is held up on a link, in one direction: anything from `min` to `max`, each as likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delay {
    /// At least.
    pub min: Duration,
    /// At most.
    pub max: Duration,
}

/// A part of a whole, kept exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Percent {
    per_million: u32,
}

/// How often something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate {
    per_second: u32,
}

impl Percent {
    /// Parts in a million, 0..=1,000,000.
    pub const fn per_million(self) -> u32 {
        self.per_million
    }

    /// The part as a number from 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.per_million) / 1e6
    }
}

impl Rate {
    /// Times a second, at least 1.
    pub const fn per_second(self) -> u32 {
        self.per_second
    }

    /// Time from one to the next.
    pub fn interval(self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }
}

impl Quantity for Duration {
    const NAME: &'static str = "a duration";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)?(us|ms|s|min)$";

    fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text);
        let decimals_and_factor = match unit {
            "us" => (3, 1),
            "ms" => (6, 1),
            "s" => (9, 1),
            "min" => (9, 60),
            "" => return Err("the unit is missing: us, ms, s or min".into()),
            _ => return Err("a number with us, ms, s or min, as in 50ms or 1.5s".into()),
        };
        let (decimals, factor) = decimals_and_factor;
        let nanos = decimal(number, decimals)?.checked_mul(factor).ok_or("at most 24 hours")?;
        let duration = Duration::from_nanos(nanos);
        if duration > DURATION_MAX { Err("at most 24 hours".into()) } else { Ok(duration) }
    }
}

impl Quantity for Delay {
    const NAME: &'static str = "a delay";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)?(us|ms|s|min)(\.\.[0-9]+(\.[0-9]+)?(us|ms|s|min))?$";

    fn parse(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let delay = Delay { min: Duration::parse(min)?, max: Duration::parse(max)? };
        if delay.min > delay.max { Err("the shorter delay comes first, as in 4ms..6ms".into()) } else { Ok(delay) }
    }
}

impl Quantity for Percent {
    const NAME: &'static str = "a percentage";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]{1,4})?%$";

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').ok_or("a number with %, as in 2% or 0.5%")?;
        let per_million = decimal(number.trim_end(), 4)?;
        match u32::try_from(per_million) {
            Ok(per_million @ 0..=1_000_000) => Ok(Percent { per_million }),
            _ => Err("at most 100%".into()),
        }
    }
}

impl Quantity for Rate {
    const NAME: &'static str = "a rate";
    const PATTERN: &'static str = r"^[1-9][0-9]*/s$";

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix("/s").ok_or("a whole number a second, as in 200/s")?;
        match number.trim_end().parse() {
            Ok(per_second @ 1..=1_000_000) => Ok(Rate { per_second }),
            Ok(0) => Err("at least 1/s".into()),
            Ok(_) => Err("at most 1000000/s".into()),
            Err(_) => Err("a whole number a second, as in 200/s".into()),
        }
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// `text` times ten to the power of `decimals`, exactly.
fn decimal(text: &str, decimals: usize) -> Result<u64, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return Err("a number comes first, as in 50 or 1.5".into());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals {
        return Err(format!("at most {decimals} digits after the point"));
    }
    format!("{whole}{fraction:0<decimals$}").parse().map_err(|_| "the number is too large".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Quantity + std::fmt::Debug + PartialEq>(text: &str, expected: Result<T, &str>) {
        assert_eq!(T::parse(text), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn durations() {
        check("50ms", Ok(Duration::from_millis(50)));
        check("1.5s", Ok(Duration::from_millis(1500)));
        check("0.25ms", Ok(Duration::from_micros(250)));
        check("2 min", Ok(Duration::from_secs(120)));
        check("0s", Ok(Duration::ZERO));
        check::<Duration>("50", Err("the unit is missing: us, ms, s or min"));
        check::<Duration>("50m", Err("a number with us, ms, s or min, as in 50ms or 1.5s"));
        check::<Duration>("-5ms", Err("a number with us, ms, s or min, as in 50ms or 1.5s"));
        check::<Duration>("ms", Err("a number comes first, as in 50 or 1.5"));
        check::<Duration>("1.2.3s", Err("a number comes first, as in 50 or 1.5"));
        check::<Duration>("0.0001us", Err("at most 3 digits after the point"));
        check::<Duration>("1441min", Err("at most 24 hours"));
        check::<Duration>("99999999999999999999s", Err("the number is too large"));
    }

    #[test]
    fn delays() {
        let ms = Duration::from_millis;
        check("1ms", Ok(Delay { min: ms(1), max: ms(1) }));
        check("4ms..6ms", Ok(Delay { min: ms(4), max: ms(6) }));
        check::<Delay>("6ms..4ms", Err("the shorter delay comes first, as in 4ms..6ms"));
        check::<Delay>("4..6ms", Err("the unit is missing: us, ms, s or min"));
    }

    #[test]
    fn percentages() {
        check("2%", Ok(Percent { per_million: 20_000 }));
        check("0.5%", Ok(Percent { per_million: 5_000 }));
        check("100%", Ok(Percent { per_million: 1_000_000 }));
        check::<Percent>("101%", Err("at most 100%"));
        check::<Percent>("2", Err("a number with %, as in 2% or 0.5%"));
    }

    #[test]
    fn rates() {
        check("200/s", Ok(Rate { per_second: 200 }));
        check::<Rate>("0/s", Err("at least 1/s"));
        check::<Rate>("1.5/s", Err("a whole number a second, as in 200/s"));
        check::<Rate>("200", Err("a whole number a second, as in 200/s"));
        assert_eq!(Rate { per_second: 400 }.interval(), Duration::from_micros(2500));
    }
}
