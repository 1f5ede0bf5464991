//! Points in time as metadata writes them: `2031-01-31T23:59:59Z`, whole seconds, UTC, nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whole seconds since 1970-01-01T00:00:00Z without leap seconds, up to the end of the year 9999.
///
/// ```
/// use ota::uptane::UtcTime;
/// let time: UtcTime = "2024-02-29T12:00:00Z".parse()?;
/// assert_eq!(time.unix(), 1_709_208_000);
/// assert_eq!(time.to_string(), "2024-02-29T12:00:00Z");
/// # Ok::<(), ota::uptane::UtcTimeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcTime(u64);

/// A time that is not written as `YYYY-MM-DDTHH:MM:SSZ`, or that no calendar has. The sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time of the form YYYY-MM-DDTHH:MM:SSZ between 1970 and 9999")]
pub struct UtcTimeError(pub String);

impl UtcTime {
    /// 9999-12-31T23:59:59Z.
    pub const MAX: Self = Self(253_402_300_799);

    /// The time that many seconds after 1970-01-01T00:00:00Z; [`UtcTime::MAX`] where the year would pass 9999.
    pub const fn from_unix(seconds: u64) -> Self {
        if seconds > Self::MAX.0 { Self::MAX } else { Self(seconds) }
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn unix(self) -> u64 {
        self.0
    }
}

impl FromStr for UtcTime {
    type Err = UtcTimeError;

    fn from_str(text: &str) -> Result<Self, UtcTimeError> {
        parse(text).ok_or_else(|| UtcTimeError(text.chars().take(32).collect()))
    }
}

impl TryFrom<String> for UtcTime {
    type Error = UtcTimeError;

    fn try_from(text: String) -> Result<Self, UtcTimeError> {
        text.parse()
    }
}

impl From<UtcTime> for String {
    fn from(time: UtcTime) -> Self {
        time.to_string()
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0 / 86_400);
        let second = self.0 % 86_400;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

fn parse(text: &str) -> Option<UtcTime> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let shape = b"dddd-dd-ddTdd:dd:ddZ";
    let fits = bytes.iter().zip(shape).all(|(byte, want)| match want {
        b'd' => byte.is_ascii_digit(),
        _ => byte == want,
    });
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> { text.get(from..to)?.parse().ok() };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // A leap second has no place in the seconds since 1970, so second 60 is refused.
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=days_in(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    Some(UtcTime(days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second))
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date that exists, counted in years that begin in March so that February ends them.
const fn days_before(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date that many days after 1970-01-01.
const fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times_read_and_print() {
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2038-01-19T03:14:08Z", 2_147_483_648),
            ("9999-12-31T23:59:59Z", UtcTime::MAX.unix()),
        ] {
            assert_eq!(text.parse::<UtcTime>().unwrap().unix(), unix);
            assert_eq!(UtcTime::from_unix(unix).to_string(), text);
        }
        assert_eq!(UtcTime::from_unix(u64::MAX), UtcTime::MAX);
    }

    #[test]
    fn other_spellings_and_other_calendars_are_refused() {
        for text in [
            "2031-01-01T00:00:00+00:00",
            "2031-01-01T00:00:00.0Z",
            "2031-01-01 00:00:00Z",
            "2031-01-01t00:00:00z",
            "2031-1-01T00:00:00Z",
            "2031-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2031-04-31T00:00:00Z",
            "2031-00-01T00:00:00Z",
            "2031-13-01T00:00:00Z",
            "2031-01-00T00:00:00Z",
            "2031-01-01T24:00:00Z",
            "2031-01-01T00:60:00Z",
            "2016-12-31T23:59:60Z",
            "1969-12-31T23:59:59Z",
            "+031-01-01T00:00:00Z",
            "",
        ] {
            assert!(text.parse::<UtcTime>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_second_prints_and_reads_back(unix in 0..=UtcTime::MAX.unix()) {
            let time = UtcTime::from_unix(unix);
            prop_assert_eq!(time.to_string().parse::<UtcTime>(), Ok(time));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = text.parse::<UtcTime>();
        }
    }
}
