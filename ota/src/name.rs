//! Identifiers that come in from outside, each checked once and a type of its own from then on.
//!
//! All of them are short and plain ASCII, so that they are safe in file names, URLs, MQTT topics and logs, and are
//! in Unicode normal form C as RFC 5198 wants without a table to prove it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An identifier that is not one. The sender of the text is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a {what}: {rule}")]
pub struct NameError {
    /// What it should have been.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
    /// The text, cut to 64 characters.
    pub found: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    Ok(Self(text))
                } else {
                    Err(NameError { what: $what, rule: $rule, found: text.chars().take(64).collect() })
                }
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A vehicle identification number (ISO 3779): 17 digits and upper-case letters without I, O, Q.
    Vin,
    "VIN",
    "17 digits and upper-case letters, none of them I, O or Q",
    |text| {
        text.len() == 17
            && text.bytes().all(|byte| {
                byte.is_ascii_digit() || byte.is_ascii_uppercase() && !matches!(byte, b'I' | b'O' | b'Q')
            })
    }
);

name!(
    /// Names one ECU of the fleet (Uptane 2.1, section 2.1 "ECU identifier").
    EcuSerial,
    "ECU serial",
    "1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    |text| plain(text, 64)
);

name!(
    /// Names a kind of ECU hardware (Uptane 2.1 "hardware identifier").
    HardwareIdentifier,
    "hardware identifier",
    "1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    |text| plain(text, 64)
);

name!(
    /// The name of a target file. One path segment that can leave no folder, and never the name of a `.tree`.
    TargetName,
    "target name",
    "1 to 128 of A-Z a-z 0-9 . _ -, a letter or digit first, not ending in `.tree`",
    |text| plain(text, 128) && !text.ends_with(".tree")
);

name!(
    /// Names a campaign for as long as its vehicle keeps a journal.
    CampaignId,
    "campaign id",
    "1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    |text| plain(text, 64)
);

name!(
    /// Names a key-encryption key of the vehicle.
    KekId,
    "key-encryption key id",
    "1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    |text| plain(text, 64)
);

name!(
    /// ECUs of one group are activated together or not at all.
    GroupName,
    "group name",
    "1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first",
    |text| plain(text, 64)
);

name!(
    /// The version an ECU shows its reader, as text: `2.1.0`.
    SoftwareVersion,
    "software version",
    "1 to 64 printable ASCII characters without space",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
);

name!(
    /// A condition that must hold before an ECU is programmed, in the daemon's own words: `speed=0`.
    Precondition,
    "precondition",
    "1 to 128 printable ASCII characters",
    |text| (1..=128).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
);

fn plain(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for bad in [
            "", ".", "..", "../a", "a/b", "a\\b", "/a", "-a", ".a", "a\0", "a b", "ä", "a.tree", "a%2f", "a#",
        ] {
            assert!(TargetName::from_str(bad).is_err(), "{bad:?}");
        }
        assert_eq!(TargetName::from_str("brake-2.1.0.bin").unwrap().as_str(), "brake-2.1.0.bin");
    }

    #[test]
    fn lengths_are_bounded_at_the_last_character() {
        assert!(TargetName::from_str(&"a".repeat(128)).is_ok());
        let error = TargetName::from_str(&"a".repeat(129)).unwrap_err();
        assert_eq!(error.found.len(), 64);
        assert!(EcuSerial::from_str(&"a".repeat(64)).is_ok());
        assert!(EcuSerial::from_str(&"a".repeat(65)).is_err());
    }

    #[test]
    fn a_vin_has_seventeen_characters_and_no_i_o_q() {
        assert!(Vin::from_str("WDB9066331S123456").is_ok());
        for bad in ["WDB9066331S12345", "WDB9066331S1234567", "WDB9066331I123456", "wdb9066331s123456"] {
            assert!(Vin::from_str(bad).is_err(), "{bad}");
        }
    }
}
