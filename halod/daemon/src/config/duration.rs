//! Durations as people write them: `100ms`, `30s`, `2m`, `1h`.

use std::time::Duration;

/// A whole number and its unit; `None` for anything else.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, expected) in [
            ("100ms", Some(Duration::from_millis(100))),
            ("0s", seconds(0)),
            ("30s", seconds(30)),
            ("2m", seconds(120)),
            ("1h", seconds(3600)),
            ("", None),
            ("30", None),
            ("s", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 s", None),
            ("1d", None),
            ("18446744073709551615h", None),
            ("18446744073709551616ms", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text:?}");
        }
    }
}
