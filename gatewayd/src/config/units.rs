//! Quantities as people write them: `"250ms"`, `"64KiB"`, `"40%"`, `"0x7E0"`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time written with its unit: `us`, `ms`, `s`, `min`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes written with its unit: `B`, `KiB`, `MiB`, `GiB` or `TiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A share written as a percentage: `40%`, `0.5%`. Held as a part of one: 0.4, 0.005.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

impl Span {
    /// Parses `"250ms"`. `None` where the number or the unit is missing, unknown or too large.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let micros = match unit {
            "us" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "min" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return None,
        };
        Some(Self(Duration::from_micros(number.checked_mul(micros)?)))
    }

    /// The time span.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        for (unit, name) in [(1_000_000, "s"), (1_000, "ms")] {
            if micros.is_multiple_of(unit) {
                return write!(f, "{}{name}", micros / unit);
            }
        }
        write!(f, "{micros}us")
    }
}

impl Size {
    /// Parses `"64KiB"`. `None` where the number or the unit is missing, unknown or too large.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return None,
        };
        number.checked_mul(1 << shift).map(Self)
    }

    /// Bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

impl Percent {
    /// Parses `"0.5%"`. `None` where the number or the sign is missing, or the number is below zero or not finite.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        let plain = number.starts_with(|c: char| c.is_ascii_digit());
        let share = number.parse::<f64>().ok().filter(|_| plain)? / 100.0;
        share.is_finite().then_some(Self(share))
    }

    /// As a part of one.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A few parts per million of rounding would show as 0.30000000000000004%.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a time span; write for example \"250ms\", \"10s\", \"1h\""
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is not a size; write for example \"64KiB\", \"1MiB\", \"8GiB\""
            ))
        })
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a percentage; write for example \"40%\", \"0.5%\""))
        })
    }
}

impl Serialize for Span {
    /// Seconds: what programs compare.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_secs_f64())
    }
}

impl Serialize for Size {
    /// Bytes.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_carry_their_unit() {
        assert_eq!(Span::parse("250ms"), Some(Span(Duration::from_millis(250))));
        assert_eq!(Span::parse("2 h"), Some(Span(Duration::from_secs(7200))));
        assert_eq!(Span::parse("5000us"), Some(Span(Duration::from_millis(5))));
        assert_eq!(Span::parse("250"), None);
        assert_eq!(Span::parse("1 week"), None);
        assert_eq!(Span::parse("ms"), None);
        assert_eq!(Span::parse("-1s"), None);
        assert_eq!(Span::parse(&format!("{}d", u64::MAX)), None);
    }

    #[test]
    fn spans_print_in_the_largest_unit_that_loses_nothing() {
        for text in ["0s", "1us", "1001us", "250ms", "1001ms", "60s"] {
            assert_eq!(Span::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn shares_are_written_as_percentages_and_print_as_they_are_written() {
        assert_eq!(Percent::parse("40%"), Some(Percent(0.4)));
        assert_eq!(Percent::parse("0.25 %"), Some(Percent(0.0025)));
        for text in ["0%", "0.01%", "0.3%", "70%", "100%", "250%"] {
            assert_eq!(Percent::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        }
        for bad in ["1", "%", "NaN%", "inf%", "-1%", "1e999%", "1%%"] {
            assert_eq!(Percent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_print_as_they_are_written() {
        for text in ["0B", "1B", "64KiB", "3MiB", "5GiB", "1TiB"] {
            assert_eq!(Size::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Size::parse("64kb"), None);
        assert_eq!(Size::parse("99999999999TiB"), None);
    }
}
