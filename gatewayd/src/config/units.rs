//! Quantities as people write them: `"250ms"`, `"64KiB"`, `"40%"`, `"0x7E0"`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A length of time written with its unit: `ms`, `s`, `min`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes written with its unit: `B`, `KiB`, `MiB`, `GiB` or `TiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Span {
    /// Parses `"250ms"`. `None` where the number or the unit is missing, unknown or too large.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split(text)?;
        let millis = match unit {
            "ms" => number,
            "s" => number.checked_mul(1_000)?,
            "min" => number.checked_mul(60_000)?,
            "h" => number.checked_mul(3_600_000)?,
            "d" => number.checked_mul(86_400_000)?,
            _ => return None,
        };
        Some(Self(Duration::from_millis(millis)))
    }

    /// The time span.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) { write!(f, "{}s", millis / 1000) } else { write!(f, "{millis}ms") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_carry_their_unit() {
        assert_eq!(Span::parse("250ms"), Some(Span(Duration::from_millis(250))));
        assert_eq!(Span::parse("2 h"), Some(Span(Duration::from_secs(7200))));
        assert_eq!(Span::parse("250"), None);
        assert_eq!(Span::parse("ms"), None);
        assert_eq!(Span::parse("-1s"), None);
        assert_eq!(Span::parse(&format!("{}d", u64::MAX)), None);
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
