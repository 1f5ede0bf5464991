//! The twelve stages of a campaign, and the event that each change of stage becomes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::{CampaignId, EcuSerial, Vin};

/// A stage of a campaign. These, and no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stage {
    /// The vehicle hears of the campaign.
    Announce,
    /// Metadata is fetched and verified.
    Metadata,
    /// The user agrees.
    Consent,
    /// The vehicle is in a state that allows what comes next.
    PreCheck,
    /// Chunks arrive.
    Download,
    /// Chunks are authenticated.
    Verify,
    /// Chunks are decrypted.
    Decrypt,
    /// Plain bytes go to the ECU.
    Transfer,
    /// The ECU checks what it has.
    Install,
    /// The ECU starts the new software.
    Activate,
    /// The outcome is told.
    Report,
    /// The old software comes back.
    Rollback,
}

impl Stage {
    /// All stages, in the order in which a campaign goes through them.
    pub const ALL: [Self; 12] = [
        Self::Announce,
        Self::Metadata,
        Self::Consent,
        Self::PreCheck,
        Self::Download,
        Self::Verify,
        Self::Decrypt,
        Self::Transfer,
        Self::Install,
        Self::Activate,
        Self::Report,
        Self::Rollback,
    ];

    /// The name that goes over the air.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Announce => "ANNOUNCE",
            Self::Metadata => "METADATA",
            Self::Consent => "CONSENT",
            Self::PreCheck => "PRE_CHECK",
            Self::Download => "DOWNLOAD",
            Self::Verify => "VERIFY",
            Self::Decrypt => "DECRYPT",
            Self::Transfer => "TRANSFER",
            Self::Install => "INSTALL",
            Self::Activate => "ACTIVATE",
            Self::Report => "REPORT",
            Self::Rollback => "ROLLBACK",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What came of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It has begun; the duration is zero.
    Started,
    /// It goes on; the duration is that so far.
    Progress,
    /// It went well.
    Ok,
    /// It was not needed.
    Skipped,
    /// It failed; the detail says why.
    Failed,
}

/// The id of a campaign's trace: an upper-case letter naming the vehicle platform, then 15 lower-case hex digits.
///
/// As a W3C trace id it is 15 zeros, the letter's ASCII code as two hex digits, and the 15 digits. That is never all
/// zero, keeps the random part at the right end where samplers look for it, and can be read back.
///
/// ```
/// use ota::stage::TraceId;
/// let id: TraceId = "G0123456789abcde".parse()?;
/// assert_eq!(id.w3c(), "000000000000000470123456789abcde");
/// assert_eq!(TraceId::from_w3c(&id.w3c())?, id);
/// # Ok::<(), ota::stage::TraceIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceId {
    /// An ASCII upper-case letter.
    platform: u8,
    /// Below 2^60.
    number: u64,
}

/// A text that is no trace id. The sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a trace id: an upper-case letter and 15 lower-case hex digits")]
pub struct TraceIdError(pub String);

impl TraceId {
    /// The id of a platform and a random number, of which 60 bits are used. `None` unless `platform` is one of A to Z.
    pub const fn new(platform: char, random: u64) -> Option<Self> {
        if !platform.is_ascii_uppercase() {
            return None;
        }
        // An ASCII letter, so nothing is cut.
        #[allow(clippy::cast_possible_truncation, reason = "an ASCII letter fits a byte")]
        Some(Self { platform: platform as u8, number: random & ((1 << 60) - 1) })
    }

    /// The W3C trace id, 32 hex digits.
    pub fn w3c(self) -> String {
        format!("{:017x}{:015x}", self.platform, self.number)
    }

    /// The id whose W3C trace id that is.
    pub fn from_w3c(text: &str) -> Result<Self, TraceIdError> {
        let read = || {
            let letter = text.strip_prefix("000000000000000")?;
            let (letter, number) = letter.split_at_checked(2)?;
            Self::from_parts(u8::from_str_radix(letter, 16).ok()?, number)
        };
        read().ok_or_else(|| TraceIdError(text.chars().take(40).collect()))
    }

    /// The `traceparent` header (W3C Trace Context, section 3.2) of a sampled span. `span` 0 is not a span, 1 is
    /// written instead.
    pub fn traceparent(self, span: u64) -> String {
        format!("00-{}-{:016x}-01", self.w3c(), span.max(1))
    }

    fn from_parts(platform: u8, number: &str) -> Option<Self> {
        let hex = number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !platform.is_ascii_uppercase() || number.len() != 15 || !hex {
            return None;
        }
        Some(Self { platform, number: u64::from_str_radix(number, 16).ok()? })
    }
}

impl FromStr for TraceId {
    type Err = TraceIdError;

    fn from_str(text: &str) -> Result<Self, TraceIdError> {
        text.split_at_checked(1)
            .and_then(|(platform, number)| Self::from_parts(platform.bytes().next()?, number))
            .ok_or_else(|| TraceIdError(text.chars().take(40).collect()))
    }
}

impl TryFrom<String> for TraceId {
    type Error = TraceIdError;

    fn try_from(text: String) -> Result<Self, TraceIdError> {
        text.parse()
    }
}

impl From<TraceId> for String {
    fn from(id: TraceId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:015x}", char::from(self.platform), self.number)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One change of stage, as it goes to `v1/<vin>/ota/event`. Receivers drop duplicates by (vin, boot, seq).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageEvent {
    /// The vehicle.
    pub vin: Vin,
    /// The campaign; none before metadata named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<CampaignId>,
    /// The campaign's trace; none before metadata or the command named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ota_trace_id: Option<TraceId>,
    /// The stage.
    pub stage_code: Stage,
    /// What came of it.
    pub status: Status,
    /// How long it took, in milliseconds.
    pub span_duration_ms: u64,
    /// The ECU, where the stage is one ECU's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecu_serial: Option<EcuSerial>,
    /// The thread that did the work.
    pub thread_name: String,
    /// Names the daemon's run: every start has another one.
    pub boot: String,
    /// Counts the events of a boot, without gaps, from 0.
    pub seq: u64,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub at: u64,
    /// Why, and how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
}

/// Why, and how much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// A stable word for programs: `rollback`, `chunk_mismatch`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The chunk it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u64>,
    /// Bytes done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes there are to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Who says so, where it is not the ECU itself: ECUs that speak only UDS sign nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested_by: Option<Attestation>,
}

/// Who vouches for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attestation {
    /// The gateway read it from the ECU.
    Gateway,
    /// The ECU signed it.
    Ecu,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_twelve_codes_are_also_their_json() {
        for stage in Stage::ALL {
            assert_eq!(serde_json::to_string(&stage).unwrap(), format!("\"{}\"", stage.code()));
        }
    }

    #[test]
    fn trace_ids_of_another_shape_are_refused() {
        for bad in [
            "",
            "G0123456789abcd",
            "G0123456789abcdef",
            "g0123456789abcde",
            "10123456789abcde",
            "G0123456789abcdE",
            "G+123456789abcde",
            "Ä123456789abcde",
        ] {
            assert!(bad.parse::<TraceId>().is_err(), "{bad}");
        }
        for bad in ["", "000000000000000470123456789abcdeé", "000000000000000670123456789abcde", "47"] {
            assert!(TraceId::from_w3c(bad).is_err(), "{bad}");
        }
        assert_eq!(TraceId::new('g', 1), None);
    }

    #[test]
    fn traceparent_has_the_fields_of_the_standard() {
        let id = TraceId::new('V', u64::MAX).unwrap();
        assert_eq!(id.to_string(), "Vfffffffffffffff");
        assert_eq!(id.traceparent(0xab), "00-00000000000000056fffffffffffffff-00000000000000ab-01");
        assert_eq!(id.traceparent(0), id.traceparent(1));
    }

    #[test]
    fn an_event_is_flat_json_with_the_five_span_fields() {
        let event = StageEvent {
            vin: "WDB9066331S123456".parse().unwrap(),
            campaign: Some("spring".parse().unwrap()),
            ota_trace_id: TraceId::new('G', 7),
            stage_code: Stage::PreCheck,
            status: Status::Failed,
            span_duration_ms: 12,
            ecu_serial: Some("brake-1".parse().unwrap()),
            thread_name: "gateway".to_owned(),
            boot: "b1".to_owned(),
            seq: 3,
            at: 1_900_000_000_123,
            detail: Some(Detail {
                code: "speed".to_owned(),
                message: "moving".to_owned(),
                ..Detail::default()
            }),
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "vin": "WDB9066331S123456", "campaign": "spring", "ota_trace_id": "G000000000000007",
                "stage_code": "PRE_CHECK", "status": "failed", "span_duration_ms": 12, "ecu_serial": "brake-1",
                "thread_name": "gateway", "boot": "b1", "seq": 3, "at": 1_900_000_000_123_u64,
                "detail": { "code": "speed", "message": "moving" },
            })
        );
        assert_eq!(serde_json::from_value::<StageEvent>(json).unwrap(), event);
    }

    proptest! {
        #[test]
        fn both_spellings_of_a_trace_id_read_back(platform in b'A'..=b'Z', random in any::<u64>()) {
            let id = TraceId::new(char::from(platform), random).unwrap();
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(TraceId::from_w3c(&id.w3c()), Ok(id));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in any::<String>()) {
            let _ = text.parse::<TraceId>();
            let _ = TraceId::from_w3c(&text);
        }
    }
}
