//! The control protocol between `gatewayctl` and the daemon: one JSON object a line, over a Unix socket.

pub mod drift;
mod status;

use serde::{Deserialize, Serialize};

pub use self::drift::running::Running;
pub use self::status::{
    BrokerStatus, CampaignStatus, ConfigurationStatus, CryptoStatus, EcuStatus, EngineStatus, Status,
    WorkerStatus,
};

/// The longest request line in bytes.
pub const MAX_REQUEST: usize = 4096;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Everything at a glance.
    Status,
    /// Ask the Director now.
    Check,
    /// What the daemon runs with.
    Running,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Running`].
    Running(Box<Running>),
    /// Done.
    Ok,
    /// Not done.
    Error {
        /// What went wrong and what to do.
        message: String,
    },
}

impl Request {
    /// Parses one line.
    ///
    /// # Errors
    /// A message for the asker.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        if line.len() > MAX_REQUEST {
            return Err(format!("a request has at most {MAX_REQUEST} bytes"));
        }
        serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_their_command() {
        assert_eq!(Request::parse(br#"{"command":"status"}"#), Ok(Request::Status));
        assert!(Request::parse(br#"{"command":"format-disk"}"#).is_err());
        assert!(Request::parse(b"").is_err());
        assert!(Request::parse(&vec![b' '; MAX_REQUEST + 1]).is_err());
    }
}
