//! The order of steps that a dialect takes.

use super::{Activation, Profile, Resume, Security, SendTo};

/// A step of the programming sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// 0x22: version, hardware, running bank
    Identification,
    /// 0x10 03
    ExtendedSession,
    /// 0x85 02
    DtcSettingOff,
    /// 0x28 03
    CommunicationOff,
    /// 0x10 02
    ProgrammingSession,
    /// 0x27 or 0x29
    SecurityAccess,
    /// 0x2E
    Fingerprint,
    /// Waits for the caller's `begin_transfer`; nothing on the ECU has changed so far
    AwaitTransfer,
    /// 0x22: how far an earlier transfer got; entered only with a plan that resumes
    ResumeQuery,
    /// 0x31 FF00
    Erase,
    /// 0x34 or 0x38
    RequestDownload,
    /// 0x36
    TransferData,
    /// 0x37
    TransferExit,
    /// 0x31 0202
    Checksum,
    /// 0x31 FF01
    Dependencies,
    /// Waits for the caller's `activate`; the image is complete and, on an ECU with two banks, not yet chosen
    AwaitActivation,
    /// 0x31: choose the bank
    SwitchBank,
    /// 0x11
    Reset,
    /// 0x22 until the ECU is back and reports its version
    ReadBack,
    /// 0x10 03, 0x28 00, 0x85 01, 0x10 01
    Restore,
}

impl Profile {
    /// The steps of this dialect in the order in which they are taken.
    pub fn steps(&self) -> Vec<Phase> {
        let mut steps = vec![Phase::Identification];
        let mut push_if = |wanted: bool, phase| {
            if wanted {
                steps.push(phase);
            }
        };
        let unlocks = self.security != Security::None;
        let security_first = self.order.security_before_programming_session;
        let fingerprint_late = self.order.fingerprint_after_erase;
        push_if(self.extended_session != SendTo::Skip, Phase::ExtendedSession);
        push_if(self.dtc_setting != SendTo::Skip, Phase::DtcSettingOff);
        push_if(self.communication_control != SendTo::Skip, Phase::CommunicationOff);
        push_if(unlocks && security_first, Phase::SecurityAccess);
        push_if(true, Phase::ProgrammingSession);
        push_if(unlocks && !security_first, Phase::SecurityAccess);
        push_if(self.fingerprint.is_some() && !fingerprint_late, Phase::Fingerprint);
        push_if(true, Phase::AwaitTransfer);
        push_if(self.resume != Resume::None, Phase::ResumeQuery);
        push_if(self.file.is_none(), Phase::Erase);
        push_if(self.fingerprint.is_some() && fingerprint_late, Phase::Fingerprint);
        push_if(true, Phase::RequestDownload);
        push_if(true, Phase::TransferData);
        push_if(true, Phase::TransferExit);
        push_if(self.checksum.is_some(), Phase::Checksum);
        push_if(self.dependencies_routine.is_some(), Phase::Dependencies);
        push_if(true, Phase::AwaitActivation);
        push_if(self.activation != Activation::Reset, Phase::SwitchBank);
        push_if(true, Phase::Reset);
        push_if(true, Phase::ReadBack);
        push_if(true, Phase::Restore);
        steps
    }
}
