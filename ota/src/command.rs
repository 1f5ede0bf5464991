//! What a backend may tell a vehicle over MQTT, under `ota/command`. Only a hint to look: authority has the Director's
//! metadata alone.

use serde::Deserialize;

use crate::stage::TraceId;

/// Longest command that is read, in bytes.
pub const MAX_COMMAND_LEN: usize = 4096;

/// Why a payload is no command. Its sender's fault.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Not JSON of a command's form.
    #[error("not a command: {0}")]
    Form(#[from] serde_json::Error),
    /// Longer than any command.
    #[error("command of {0} bytes, at most {MAX_COMMAND_LEN} are read")]
    TooLong(usize),
    /// A command that this version does not know.
    #[error("unknown command {0:?}")]
    Unknown(String),
}

/// Look at the Director: `{"command": "check"}`, or `"campaign"`, with the campaign's trace id where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The trace that is named until metadata, which is signed, confirms it.
    pub trace: Option<TraceId>,
}

#[derive(Deserialize)]
struct Raw {
    command: String,
    #[serde(default)]
    ota_trace_id: Option<TraceId>,
}

impl Look {
    /// Reads the payload of a command. Keys that are not known are passed over.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn parse(payload: &[u8]) -> Result<Self, CommandError> {
        if payload.len() > MAX_COMMAND_LEN {
            return Err(CommandError::TooLong(payload.len()));
        }
        let Raw { command, ota_trace_id } = serde_json::from_slice(payload)?;
        match command.as_str() {
            "campaign" | "check" => Ok(Self { trace: ota_trace_id }),
            _ => Err(CommandError::Unknown(command)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_commands_are_a_wish_to_look_and_anything_else_is_refused() {
        let trace = "V0123456789abcde".parse().ok();
        let named = br#"{"command":"campaign","ota_trace_id":"V0123456789abcde","later":1}"#;
        assert_eq!(Look::parse(named).ok(), Some(Look { trace }));
        assert!(trace.is_some());
        assert_eq!(Look::parse(br#"{"command":"check"}"#).ok(), Some(Look { trace: None }));
        assert!(matches!(Look::parse(br#"{"command":"erase"}"#), Err(CommandError::Unknown(_))));
        for bad in [&b""[..], b"{}", b"[]", b"\xFF", br#"{"command":"check","ota_trace_id":"v"}"#] {
            assert!(matches!(Look::parse(bad), Err(CommandError::Form(_))), "{bad:?}");
        }
    }

    #[test]
    fn the_longest_command_is_read_and_one_byte_more_is_not() {
        let mut payload = br#"{"command":"check"}"#.to_vec();
        payload.resize(MAX_COMMAND_LEN, b' ');
        assert!(Look::parse(&payload).is_ok());
        payload.push(b' ');
        assert!(matches!(Look::parse(&payload), Err(CommandError::TooLong(_))));
    }
}
