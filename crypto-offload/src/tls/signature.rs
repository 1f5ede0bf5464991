//! Checking sm2sig_sm3 signatures (RFC 8998 clause 3.2): over certificates and over the handshake, which differ in the
//! user id only.

use rustls::SignatureScheme;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

use crate::job::Verdict;
use crate::sm2::{PublicKey, Signature, UserId};

/// `sm2sig_sm3` in the registry of TLS signature schemes.
pub const SM2SIG_SM3: SignatureScheme = SignatureScheme::Unknown(0x0708);

/// Contents of the AlgorithmIdentifier of an SM2 key: id-ecPublicKey, then the curve (GM/T 0006).
pub(super) const SM2_KEY: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01,
    0x82, 0x2d,
]);
/// Contents of the AlgorithmIdentifier of an SM2 signature with SM3, 1.2.156.10197.1.501, without parameters.
const SM2_WITH_SM3: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x83, 0x75]);
/// The same with NULL parameters, which some authorities write.
const SM2_WITH_SM3_NULL: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x83, 0x75, 0x05, 0x00,
]);

/// Signatures over certificates.
pub(super) static CERTIFICATE: Sm2Signature =
    Sm2Signature { user_id: UserId::DEFAULT, algorithm: SM2_WITH_SM3 };
/// Signatures over certificates, with NULL parameters.
pub(super) static CERTIFICATE_NULL: Sm2Signature =
    Sm2Signature { user_id: UserId::DEFAULT, algorithm: SM2_WITH_SM3_NULL };
/// Signatures over the handshake.
pub(super) static HANDSHAKE: Sm2Signature = Sm2Signature { user_id: UserId::TLS13, algorithm: SM2_WITH_SM3 };

/// SM2 with SM3 under one user id.
#[derive(Debug)]
pub(super) struct Sm2Signature {
    user_id: UserId<'static>,
    algorithm: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for Sm2Signature {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = PublicKey::from_uncompressed(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        let genuine = key.verify(self.user_id, &[message], &signature) == Verdict::Valid;
        if genuine { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        SM2_KEY
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm
    }
}
