//! The MQTT topics of a vehicle: built and taken apart here and nowhere else.
//!
//! All lie under `v1/<vin>/`. What a topic carries is said at [`Topic`].

use std::fmt;

/// What every topic starts with; raised when a topic or payload changes its meaning.
const ROOT: &str = "v1";

/// Longest vehicle or ECU segment in bytes.
pub const MAX_SEGMENT_LEN: usize = 64;

/// Every vehicle's telemetry, for a subscriber (behind `$share/<group>/` when several share the work).
pub const ALL_TELEMETRY: &str = "v1/+/telemetry/#";

/// Every vehicle's campaign events, for a subscriber.
pub const ALL_OTA_EVENTS: &str = "v1/+/ota/event";

/// Every vehicle's presence, for a subscriber.
pub const ALL_PRESENCE: &str = "v1/+/presence";

/// Why a topic or a segment is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// A segment holds something else than ASCII letters, digits, `-` and `_`. Wildcards and separators would let one
    /// vehicle speak for others.
    #[error("character {0:?} in a topic segment")]
    Character(char),
    /// A segment is empty or longer than [`MAX_SEGMENT_LEN`].
    #[error("topic segment of {0} bytes, 1 to {MAX_SEGMENT_LEN} allowed")]
    Length(usize),
    /// Not one of a vehicle's topics.
    #[error("unknown topic {0:?}")]
    Unknown(String),
}

/// A vehicle's name as one level of a topic: its VIN (ISO 3779), or a bench's name of the same alphabet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VinSegment(String);

/// An ECU's serial as one level of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EcuSegment(String);

macro_rules! segment {
    ($name:ident) => {
        impl $name {
            /// Takes a segment.
            ///
            /// # Errors
            /// [`TopicError::Length`] and [`TopicError::Character`].
            pub fn new(text: &str) -> Result<Self, TopicError> {
                checked(text).map(|text| Self(text.to_owned()))
            }

            /// The segment's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

segment!(VinSegment);
segment!(EcuSegment);

/// A stream of telemetry blocks; the last levels of its topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// CPU samples of the gateway.
    Profile,
    /// Metrics of the gateway.
    Metrics,
    /// Block input and output of the gateway.
    Io,
    /// What an ECU sent up.
    Ecu(EcuSegment),
}

/// A topic of one vehicle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// From the vehicle: something a person should see, JSON.
    Alert,
    /// To the vehicle: look for a campaign, JSON.
    OtaCommand,
    /// From the vehicle: one change of a stage, JSON.
    OtaEvent,
    /// From the vehicle, retained and its last will: whether it is there.
    Presence,
    /// From the vehicle: blocks of a stream, as in `WIRE.md`.
    Telemetry(Stream),
    /// To the vehicle: send a keyframe. The payload is the stream's levels as in [`Stream`]'s text form; an empty
    /// payload asks for all of them.
    TelemetryRebirth,
}

impl Topic {
    /// The whole topic for a vehicle.
    pub fn of(&self, vin: &VinSegment) -> String {
        format!("{ROOT}/{vin}/{self}")
    }

    /// Takes a whole topic apart.
    ///
    /// # Errors
    /// [`TopicError`] when it is none of a vehicle's.
    pub fn parse(topic: &str) -> Result<(VinSegment, Self), TopicError> {
        let unknown = || TopicError::Unknown(topic.to_owned());
        let rest = topic.strip_prefix(ROOT).and_then(|rest| rest.strip_prefix('/')).ok_or_else(unknown)?;
        let (vin, rest) = rest.split_once('/').ok_or_else(unknown)?;
        let vin = VinSegment::new(vin)?;
        let topic = match rest {
            "alert" => Self::Alert,
            "ota/command" => Self::OtaCommand,
            "ota/event" => Self::OtaEvent,
            "presence" => Self::Presence,
            "telemetry/rebirth" => Self::TelemetryRebirth,
            other => Self::Telemetry(Stream::parse(other.strip_prefix("telemetry/").ok_or_else(unknown)?)?),
        };
        Ok((vin, topic))
    }
}

impl Stream {
    /// Takes the levels behind `telemetry/`, or the payload of a rebirth request.
    ///
    /// # Errors
    /// [`TopicError`] when it is no stream.
    pub fn parse(levels: &str) -> Result<Self, TopicError> {
        match levels {
            "io" => Ok(Self::Io),
            "metrics" => Ok(Self::Metrics),
            "profile" => Ok(Self::Profile),
            other => match other.strip_prefix("ecu/") {
                Some(serial) => EcuSegment::new(serial).map(Self::Ecu),
                None => Err(TopicError::Unknown(levels.to_owned())),
            },
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ecu(serial) => write!(f, "ecu/{serial}"),
            Self::Io => f.write_str("io"),
            Self::Metrics => f.write_str("metrics"),
            Self::Profile => f.write_str("profile"),
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert => f.write_str("alert"),
            Self::OtaCommand => f.write_str("ota/command"),
            Self::OtaEvent => f.write_str("ota/event"),
            Self::Presence => f.write_str("presence"),
            Self::Telemetry(stream) => write!(f, "telemetry/{stream}"),
            Self::TelemetryRebirth => f.write_str("telemetry/rebirth"),
        }
    }
}

/// A filter by which the members of `group` share the messages of `filter` (MQTT 5.0, section 4.8.2).
///
/// # Errors
/// [`TopicError`] when the group is not one plain segment.
pub fn shared(group: &str, filter: &str) -> Result<String, TopicError> {
    Ok(format!("$share/{}/{filter}", checked(group)?))
}

fn checked(text: &str) -> Result<&str, TopicError> {
    if text.is_empty() || text.len() > MAX_SEGMENT_LEN {
        return Err(TopicError::Length(text.len()));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
        Some(other) => Err(TopicError::Character(other)),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vin() -> VinSegment {
        VinSegment::new("LGWTEST0000000001").unwrap()
    }

    #[test]
    fn every_topic_is_spelled_as_agreed_and_comes_back() {
        let ecu = Stream::Ecu(EcuSegment::new("brake-01").unwrap());
        let all = [
            (Topic::Alert, "alert"),
            (Topic::OtaCommand, "ota/command"),
            (Topic::OtaEvent, "ota/event"),
            (Topic::Presence, "presence"),
            (Topic::Telemetry(Stream::Profile), "telemetry/profile"),
            (Topic::Telemetry(Stream::Metrics), "telemetry/metrics"),
            (Topic::Telemetry(Stream::Io), "telemetry/io"),
            (Topic::Telemetry(ecu), "telemetry/ecu/brake-01"),
            (Topic::TelemetryRebirth, "telemetry/rebirth"),
        ];
        for (topic, levels) in all {
            let whole = topic.of(&vin());
            assert_eq!(whole, format!("v1/LGWTEST0000000001/{levels}"));
            assert_eq!(Topic::parse(&whole), Ok((vin(), topic)));
        }
    }

    #[test]
    fn wildcards_separators_and_other_alphabets_never_enter_a_topic() {
        for (text, character) in
            [("a/b", '/'), ("+", '+'), ("a#", '#'), ("$SYS", '$'), ("\u{e4}", '\u{e4}'), ("a.b", '.')]
        {
            assert_eq!(VinSegment::new(text), Err(TopicError::Character(character)), "{text}");
        }
        assert_eq!(EcuSegment::new("a\0"), Err(TopicError::Character('\0')));
    }

    #[test]
    fn the_longest_segment_is_taken_and_one_byte_more_is_not() {
        assert!(VinSegment::new(&"V".repeat(MAX_SEGMENT_LEN)).is_ok());
        let refused = Err(TopicError::Length(MAX_SEGMENT_LEN + 1));
        assert_eq!(VinSegment::new(&"V".repeat(MAX_SEGMENT_LEN + 1)), refused);
        assert_eq!(VinSegment::new(""), Err(TopicError::Length(0)));
    }

    #[test]
    fn what_is_not_ours_is_unknown() {
        for topic in
            ["", "v1", "v1/X", "v2/X/alert", "v1/X/", "v1/X/ota", "v1/X/telemetry", "v1/X/telemetry/heap"]
        {
            assert!(matches!(Topic::parse(topic), Err(TopicError::Unknown(_))), "{topic}");
        }
        assert_eq!(Topic::parse("v1/X/telemetry/ecu/"), Err(TopicError::Length(0)));
    }

    #[test]
    fn a_group_shares_a_filter() {
        assert_eq!(shared("fleet", ALL_TELEMETRY).unwrap(), "$share/fleet/v1/+/telemetry/#");
        assert_eq!(shared("a/b", ALL_TELEMETRY), Err(TopicError::Character('/')));
    }
}
