//! Reads what an ECU says of itself, without changing anything.

use std::time::Instant;

use canfd::uds::client::{Client, ClientError, Event};
use canfd::uds::message::{DataIdentifier, Request};
use canfd::uds::profile::{Phase, Profile};
use canfd::uds::programming::EcuState;

use super::message::{EcuError, EcuReport, chain};

/// Two reads, one after the other.
#[derive(Debug)]
pub(super) struct Identify {
    pub(super) client: Client,
    hardware_did: Option<DataIdentifier>,
    version: Option<Option<String>>,
}

impl Identify {
    /// Asks the first question.
    pub(super) fn new(now: Instant, profile: &Profile) -> Self {
        let mut client = Client::new(profile.timings.client());
        // A client that was just made has nothing outstanding.
        let _ = client.request(now, Request::read_data(profile.version_did));
        Self { client, hardware_did: profile.hardware_did, version: None }
    }

    /// The outcome, once there is one.
    pub(super) fn poll(&mut self, now: Instant) -> Option<EcuReport> {
        let value = match self.client.poll_event()? {
            Event::Answered { record, .. } => Some(text(&record)),
            // An ECU that refuses to tell, as a boot loader may, is there nonetheless.
            Event::Failed(ClientError::Refused { .. }) | Event::Unanswered { .. } => None,
            Event::Failed(error) => {
                let message =
                    format!("{}; check its power, its wiring and the ids in [[ecu]]", chain(&error));
                let state = EcuState::OldSoftware;
                return Some(EcuReport::Failed(EcuError::Session {
                    phase: Phase::Identification,
                    state,
                    message,
                }));
            }
        };
        let Some(version) = self.version.take() else {
            if let Some(did) = self.hardware_did {
                self.version = Some(value);
                // The client has just delivered its last event, so it takes the next request.
                let _ = self.client.request(now, Request::read_data(did));
                return None;
            }
            return Some(EcuReport::Identified { version: value, hardware: None });
        };
        Some(EcuReport::Identified { version, hardware: value })
    }
}

/// A record as text, without the bytes that ECUs pad with.
pub(super) fn text(record: &[u8]) -> String {
    let end = record.iter().rposition(|byte| !matches!(byte, 0x00 | 0x20 | 0xFF)).map_or(0, |at| at + 1);
    String::from_utf8_lossy(record.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_no_part_of_a_version() {
        assert_eq!(text(b"2.1.0\0\0\0"), "2.1.0");
        assert_eq!(text(b"2.1.0  \xFF"), "2.1.0");
        assert_eq!(text(b"\0\0"), "");
        assert_eq!(text(b""), "");
    }
}
