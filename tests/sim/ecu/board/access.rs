//! Who may do what, and whether a block arrived as it was sent.

use super::Board;
use canfd::uds::message::{Nrc, ServerChallenge, crc16_x25};
use canfd::uds::profile::{BlockCheck, Security};
use canfd::uds::security::DemonstrationCertificate;

impl Board {
    /// 0x29: a challenge for the owner of the one certificate that is trusted.
    pub(super) fn challenge_for(
        &mut self,
        certificate: &[u8],
        challenge: Option<&[u8]>,
    ) -> Result<ServerChallenge, Nrc> {
        let Security::Certificate { bidirectional, .. } = self.profile().security else {
            return Err(Nrc::ServiceNotSupported);
        };
        if bidirectional != challenge.is_some() {
            return Err(Nrc::SubFunctionNotSupported);
        }
        if certificate != DemonstrationCertificate::TESTER {
            return Err(Nrc::CertificateInvalidSignature);
        }
        let server = challenge.map(|challenge| {
            let own = DemonstrationCertificate::SERVER;
            (own.to_vec(), DemonstrationCertificate::proof(own, challenge))
        });
        Ok(ServerChallenge { challenge: self.next_seed().to_vec(), server, ephemeral_key: Vec::new() })
    }

    /// What of a 0x36 is not its checksum.
    pub(super) fn without_check<'a>(&self, request: &'a [u8]) -> Result<&'a [u8], Nrc> {
        match self.profile().block_check {
            BlockCheck::None => Ok(request),
            BlockCheck::Crc16X25 => {
                let wrong = Nrc::IncorrectMessageLengthOrInvalidFormat;
                let (block, crc) = request.split_last_chunk::<2>().ok_or(wrong)?;
                if crc16_x25(block) == u16::from_be_bytes(*crc) { Ok(block) } else { Err(wrong) }
            }
        }
    }

    /// Never zero, which would say "unlocked".
    pub(super) fn next_seed(&mut self) -> [u8; 4] {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) | 1;
        self.seed.to_be_bytes()
    }
}
