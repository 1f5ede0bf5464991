//! How long who waits for whom.

use std::time::Duration;

/// The timers of ISO 13400-2:2019, clause 12 (2012: clause 7), under the names there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// A_DoIP_Ctrl: from a request of the tester to its response, diagnostic messages left out.
    pub control: Duration,
    /// A_DoIP_Diagnostic_Message: from a diagnostic message to its acknowledgement.
    pub diagnostic_message: Duration,
    /// T_TCP_Initial_Inactivity: from the connection to the routing activation request.
    pub initial_inactivity: Duration,
    /// T_TCP_General_Inactivity: silence in both directions after which a connection is closed.
    pub general_inactivity: Duration,
    /// T_TCP_Alive_Check: from an alive check request to its response.
    pub alive_check: Duration,
    /// How long a tester waits for the confirmation that an activation of code 0x11 asks for. Not in the standard, which
    /// lets a person take any time.
    pub confirmation: Duration,
}

impl Default for Timings {
    /// The standard's values; 10 s for a confirmation.
    fn default() -> Self {
        Self {
            control: Duration::from_secs(2),
            diagnostic_message: Duration::from_secs(2),
            initial_inactivity: Duration::from_secs(2),
            general_inactivity: Duration::from_secs(300),
            alive_check: Duration::from_millis(500),
            confirmation: Duration::from_secs(10),
        }
    }
}
