//! Service 0x29 with certificates.

use super::services::LENGTH;
use super::{Answer, Application, Nrc, SUPPRESS_POSITIVE_RESPONSE, Server};
use crate::uds::message::{
    AUTHENTICATION_COMPLETE, AuthenticationRequest, DEAUTHENTICATION_SUCCESSFUL,
    OWNERSHIP_VERIFICATION_NECESSARY, RecordError,
};
use std::time::Instant;

impl<A: Application> Server<A> {
    pub(super) fn authentication(&mut self, now: Instant, parameters: &[u8]) -> Result<Answer, Nrc> {
        let mut parameters = parameters.to_vec();
        let sub_function = parameters.first_mut().ok_or(LENGTH)?;
        *sub_function &= !SUPPRESS_POSITIVE_RESPONSE;
        let sub_function = *sub_function;
        let request = AuthenticationRequest::parse(&parameters).map_err(|error| match error {
            RecordError::Value { .. } => Nrc::SubFunctionNotSupported,
            _ => LENGTH,
        })?;
        let challenge = self.challenge.take();
        let record = match request {
            AuthenticationRequest::DeAuthenticate => {
                self.authenticated = false;
                vec![DEAUTHENTICATION_SUCCESSFUL]
            }
            AuthenticationRequest::VerifyCertificate { bidirectional, certificate, challenge, .. } => {
                self.authenticated = false;
                let context = self.context(now);
                let own = bidirectional.then_some(challenge.as_slice());
                let server = self.application.verify_certificate(context, &certificate, own)?;
                let record = [&[OWNERSHIP_VERIFICATION_NECESSARY][..], &server.to_bytes()].concat();
                self.challenge = Some(server);
                record
            }
            AuthenticationRequest::ProofOfOwnership { proof, .. } => {
                let challenge = challenge.ok_or(Nrc::RequestSequenceError)?;
                if !self.application.accepts_proof(&challenge, &proof) {
                    return Err(Nrc::OwnershipVerificationFailed);
                }
                self.authenticated = true;
                // No session key information.
                vec![AUTHENTICATION_COMPLETE, 0, 0]
            }
        };
        Ok(Answer::Positive([&[sub_function][..], &record].concat()))
    }
}
