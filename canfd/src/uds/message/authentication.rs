//! Parameters of service 0x29 with certificates (clause 10.6, authentication with PKI certificate exchange).

use super::fields::{Fields, push_counted};
use super::{RecordError, Request, ServiceId};

/// authenticationReturnParameter (table B.5): the certificate is good, ownership of its key is to be proven.
pub const OWNERSHIP_VERIFICATION_NECESSARY: u8 = 0x11;
/// authenticationReturnParameter: ownership is proven.
pub const AUTHENTICATION_COMPLETE: u8 = 0x12;
/// authenticationReturnParameter: the authenticated state is left.
pub const DEAUTHENTICATION_SUCCESSFUL: u8 = 0x10;

/// A request of 0x29.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthenticationRequest {
    /// 0x00: leave the authenticated state
    DeAuthenticate,
    /// 0x01 or 0x02: here is who I am
    VerifyCertificate {
        /// Whether the ECU is to prove itself too
        bidirectional: bool,
        /// communicationConfiguration
        configuration: u8,
        /// Of the tester
        certificate: Vec<u8>,
        /// For the ECU; empty where it proves nothing
        challenge: Vec<u8>,
    },
    /// 0x03: the key of that certificate is mine
    ProofOfOwnership {
        /// Over the ECU's challenge
        proof: Vec<u8>,
        /// For a session key; empty where none is agreed on
        ephemeral_key: Vec<u8>,
    },
}

impl AuthenticationRequest {
    /// The request.
    pub fn to_request(&self) -> Request {
        let mut parameters = Vec::new();
        match self {
            Self::DeAuthenticate => parameters.push(0x00),
            Self::VerifyCertificate { bidirectional, configuration, certificate, challenge } => {
                parameters.extend_from_slice(&[if *bidirectional { 0x02 } else { 0x01 }, *configuration]);
                push_counted(&mut parameters, certificate);
                push_counted(&mut parameters, challenge);
            }
            Self::ProofOfOwnership { proof, ephemeral_key } => {
                parameters.push(0x03);
                push_counted(&mut parameters, proof);
                push_counted(&mut parameters, ephemeral_key);
            }
        }
        Request::new(ServiceId::Authentication, &parameters)
    }

    /// Reads what follows the service identifier, the sub-function without its suppress bit.
    ///
    /// # Errors
    /// Another sub-function, too few or too many bytes.
    pub fn parse(parameters: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields(parameters);
        let byte = fields.byte()?;
        let request = match byte {
            0x00 => Self::DeAuthenticate,
            0x01 | 0x02 => Self::VerifyCertificate {
                bidirectional: byte == 0x02,
                configuration: fields.byte()?,
                certificate: fields.counted()?,
                challenge: fields.counted()?,
            },
            0x03 => Self::ProofOfOwnership { proof: fields.counted()?, ephemeral_key: fields.counted()? },
            byte => return Err(RecordError::Value { byte }),
        };
        fields.end()?;
        Ok(request)
    }
}

/// The ECU's answer to a certificate, after the return parameter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerChallenge {
    /// What the tester signs
    pub challenge: Vec<u8>,
    /// Certificate and proof over the tester's challenge, where the ECU proves itself too
    pub server: Option<(Vec<u8>, Vec<u8>)>,
    /// For a session key; empty where none is agreed on
    pub ephemeral_key: Vec<u8>,
}

impl ServerChallenge {
    /// What follows the return parameter.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut record = Vec::new();
        push_counted(&mut record, &self.challenge);
        if let Some((certificate, proof)) = &self.server {
            push_counted(&mut record, certificate);
            push_counted(&mut record, proof);
        }
        push_counted(&mut record, &self.ephemeral_key);
        record
    }

    /// Reads what follows the sub-function: the return parameter and the rest.
    ///
    /// # Errors
    /// Another return parameter than that ownership is to be proven, too few or too many bytes.
    pub fn parse(bidirectional: bool, record: &[u8]) -> Result<Self, RecordError> {
        let mut fields = Fields(record);
        let byte = fields.byte()?;
        if byte != OWNERSHIP_VERIFICATION_NECESSARY {
            return Err(RecordError::Value { byte });
        }
        let challenge = fields.counted()?;
        let server = if bidirectional { Some((fields.counted()?, fields.counted()?)) } else { None };
        let ephemeral_key = fields.counted()?;
        fields.end()?;
        Ok(Self { challenge, server, ephemeral_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_certificate_stands_as_the_clause_has_it() {
        let request = AuthenticationRequest::VerifyCertificate {
            bidirectional: false,
            configuration: 0,
            certificate: vec![0xAA, 0xBB],
            challenge: Vec::new(),
        };
        assert_eq!(request.to_request().pdu(), [0x29, 0x01, 0x00, 0, 2, 0xAA, 0xBB, 0, 0]);
        let answer = [0x11, 0, 1, 0xCC, 0, 0];
        let parsed = ServerChallenge::parse(false, &answer).unwrap();
        assert_eq!((parsed.challenge.as_slice(), parsed.server), (&[0xCC][..], None));
        assert_eq!(ServerChallenge::parse(true, &answer), Err(RecordError::Short));
        assert_eq!(ServerChallenge::parse(false, &[0x13]), Err(RecordError::Value { byte: 0x13 }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            bidirectional in any::<bool>(),
            a in proptest::collection::vec(any::<u8>(), 0..30),
            b in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            let proof = AuthenticationRequest::ProofOfOwnership { proof: a.clone(), ephemeral_key: b.clone() };
            prop_assert_eq!(AuthenticationRequest::parse(&proof.to_request().pdu()[1..]), Ok(proof));
            let server = bidirectional.then(|| (b.clone(), a.clone()));
            let challenge = ServerChallenge { challenge: a, server, ephemeral_key: b };
            let record = [vec![OWNERSHIP_VERIFICATION_NECESSARY], challenge.to_bytes()].concat();
            prop_assert_eq!(ServerChallenge::parse(bidirectional, &record), Ok(challenge));
        }

        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(request) = AuthenticationRequest::parse(&bytes) {
                let written = request.to_request();
                prop_assert_eq!(&written.pdu()[1..], &bytes[..]);
            }
            let _ = ServerChallenge::parse(true, &bytes);
        }
    }
}
