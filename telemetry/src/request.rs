//! What a receiver asks a vehicle for, as it stands in the payload under `telemetry/rebirth`.
//!
//! `profile` asks for a keyframe of that stream. `profile 0123456789abcdef 17,20-22` asks for blocks of it again that the
//! receiver has not seen: the sender's life and the numbers, as hexadecimal and decimal digits. Senders that know the
//! first form only answer both with a keyframe.

use std::fmt;
use std::str::FromStr;

use crate::header::{BlockHeader, BootId};
use crate::topics::{Stream, TopicError};

/// Ranges that one request may name.
pub const MAX_RANGES: usize = 16;

/// Longest payload in bytes: the longest stream, the life, and the ranges.
pub const MAX_REQUEST_LEN: usize = 80 + 17 + MAX_RANGES * 42;

/// Why a request is refused. Its sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not written as a request is.
    #[error("not a request for telemetry")]
    Form,
    /// Longer than any request.
    #[error("request of {0} bytes, at most {MAX_REQUEST_LEN} allowed")]
    TooLong(usize),
    /// No, or too many ranges.
    #[error("{0} ranges, 1 to {MAX_RANGES} allowed")]
    Ranges(usize),
    /// Not a stream.
    #[error(transparent)]
    Stream(#[from] TopicError),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The stream.
    pub stream: Stream,
    /// The blocks to send again; `None` asks for a keyframe.
    pub missing: Option<Missing>,
}

/// Blocks of one life of a stream, at most [`MAX_RANGES`] ranges of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    boot: BootId,
    /// First and last, both included.
    ranges: Vec<(u64, u64)>,
}

impl Missing {
    /// The blocks from the first to the last number of each pair.
    ///
    /// # Errors
    /// [`RequestError::Ranges`] where there are none or too many, [`RequestError::Form`] where one ends before it begins.
    pub fn new(boot: BootId, ranges: Vec<(u64, u64)>) -> Result<Self, RequestError> {
        if ranges.is_empty() || ranges.len() > MAX_RANGES {
            return Err(RequestError::Ranges(ranges.len()));
        }
        if ranges.iter().any(|(first, last)| first > last) {
            return Err(RequestError::Form);
        }
        Ok(Self { boot, ranges })
    }

    /// Whether the block is one of them.
    pub fn names(&self, header: &BlockHeader) -> bool {
        header.boot == self.boot
            && self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&header.seq))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.stream)?;
        let Some(missing) = &self.missing else { return Ok(()) };
        write!(f, " {:016x} ", missing.boot.0)?;
        for (at, (first, last)) in missing.ranges.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Request {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        if text.len() > MAX_REQUEST_LEN {
            return Err(RequestError::TooLong(text.len()));
        }
        let mut words = text.split(' ');
        let stream = Stream::parse(words.next().unwrap_or_default())?;
        let missing = match (words.next(), words.next(), words.next()) {
            (None, ..) => None,
            (Some(boot), Some(ranges), None) => Some(missing(boot, ranges)?),
            _ => return Err(RequestError::Form),
        };
        Ok(Self { stream, missing })
    }
}

fn missing(boot: &str, ranges: &str) -> Result<Missing, RequestError> {
    let plain = |text: &str, len: usize| (1..=len).contains(&text.len()) && !text.starts_with('+');
    if boot.len() != 16 || !plain(boot, 16) {
        return Err(RequestError::Form);
    }
    let boot = u64::from_str_radix(boot, 16).map_err(|_| RequestError::Form)?;
    let number = |text: &str| {
        if plain(text, 20) { text.parse().map_err(|_| RequestError::Form) } else { Err(RequestError::Form) }
    };
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => Ok((number(first)?, number(last)?)),
        None => number(text).map(|it| (it, it)),
    };
    // One past the bound is enough to refuse it.
    let ranges = ranges.split(',').take(MAX_RANGES + 1).map(range).collect::<Result<_, RequestError>>()?;
    Missing::new(BootId(boot), ranges)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topics::EcuSegment;

    #[test]
    fn requests_have_exactly_these_texts() {
        let again = |ranges: &[(u64, u64)]| Missing::new(BootId(0xAB), ranges.to_vec()).unwrap();
        let profile = Request { stream: Stream::Profile, missing: None };
        assert_eq!(profile.to_string(), "profile");
        let some = Request { missing: Some(again(&[(17, 17), (20, 22)])), ..profile };
        assert_eq!(some.to_string(), "profile 00000000000000ab 17,20-22");
        assert_eq!("profile 00000000000000ab 17,20-22".parse(), Ok(some));
    }

    #[test]
    fn the_longest_request_passes_and_one_range_more_is_refused() {
        let ranges = vec![(u64::MAX - 1, u64::MAX); MAX_RANGES];
        let stream = Stream::Ecu(EcuSegment::new(&"e".repeat(64)).unwrap());
        let longest = Request { stream, missing: Some(Missing::new(BootId(1), ranges).unwrap()) };
        assert!(longest.to_string().len() <= MAX_REQUEST_LEN);
        assert_eq!(longest.to_string().parse(), Ok(longest));
        let many = format!("io 0000000000000001 {}", ["1"; MAX_RANGES + 1].join(","));
        assert_eq!(many.parse::<Request>(), Err(RequestError::Ranges(MAX_RANGES + 1)));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "profile ",
            "profile 1 1",
            "profile 00000000000000ab",
            "profile 00000000000000ab ",
            "profile 00000000000000ab 2-1",
            "profile 00000000000000ab 1-",
            "profile 00000000000000ab +1",
            "profile +0000000000000ab 1",
            "profile 00000000000000ab 1 2",
            "profile 00000000000000ab 18446744073709551616",
            "profile  00000000000000ab 1",
        ] {
            assert!(bad.parse::<Request>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_passes_comes_back(text in "(profile|ecu/a1)( [0-9a-f]{15,17}( [-0-9,]{0,40})?)?") {
            if let Ok(request) = text.parse::<Request>() {
                prop_assert_eq!(request.to_string().parse(), Ok(request));
            }
        }
    }
}
