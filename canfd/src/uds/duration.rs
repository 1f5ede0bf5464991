//! Durations in configuration, with their unit: `"50ms"`, `"2s"`, `"1.5s"`, `"200us"`, `"1m"`.
//!
//! Use with `#[serde(with = "canfd::uds::duration")]`.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
use std::time::Duration;

/// Reads a duration from a string.
///
/// # Errors
/// The deserializer's, and [`DurationError`] as a custom one.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

/// Writes a duration as seconds, which is what programs compare; people read the configuration itself.
///
/// # Errors
/// The serializer's.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// Reads a non-negative decimal number followed by `us`, `ms`, `s` or `m`.
///
/// # Errors
/// [`DurationError`] when the number or the unit is missing, or the result is longer than a year.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError(text.to_owned());
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?;
    let (number, unit) = text.split_at(split);
    let number = number.trim_end();
    let plain =
        number.starts_with(|c: char| c.is_ascii_digit()) && number.ends_with(|c: char| c.is_ascii_digit());
    let number: f64 = number.parse().ok().filter(|_| plain).ok_or_else(error)?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(error()),
    };
    if seconds > LONGEST_SECONDS {
        return Err(error());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| error())
}

/// A year: anything longer is a slip of the pen, and would overflow deadlines.
const LONGEST_SECONDS: f64 = 366.0 * 86_400.0;

/// A duration that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write a number and a unit, such as \"50ms\", \"2s\" or \"1m\"")]
pub struct DurationError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required_and_read() {
        assert_eq!(parse("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("200 us"), Ok(Duration::from_micros(200)));
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        assert_eq!(parse("366m"), Ok(Duration::from_secs(21_960)));
        for bad in
            ["", "50", "ms", "-1s", "+1s", "1h", "1e9s", ".5s", "5.s", "NaNs", "infs", "600000m", "1 s s"]
        {
            assert_eq!(parse(bad), Err(DurationError(bad.to_owned())), "{bad}");
        }
    }
}
