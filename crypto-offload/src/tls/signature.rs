//! Checking sm2sig_sm3 signatures (RFC 8998 clause 3.2): over certificates and over the handshake, which differ in the
//! user id only.

use rustls::SignatureScheme;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

use super::primitives::{POINT_LEN, sm2_verify};
use crate::job::der;
use crate::software::signature::SM2_USER_ID;

/// `sm2sig_sm3` in the registry of TLS signature schemes.
pub const SM2SIG_SM3: SignatureScheme = SignatureScheme::Unknown(0x0708);

/// The user id of CertificateVerify (RFC 8998 clause 3.2.1). Certificates have [`SM2_USER_ID`].
pub const HANDSHAKE_USER_ID: &str = "TLSv1.3+GM+Cipher+Suite";

/// Contents of the AlgorithmIdentifier of an SM2 key: id-ecPublicKey, then the curve (GM/T 0006).
pub(super) const SM2_KEY: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82,
    0x2d,
]);
/// Contents of the AlgorithmIdentifier of an SM2 signature with SM3, 1.2.156.10197.1.501, without parameters.
const SM2_WITH_SM3: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x83, 0x75]);
/// The same with NULL parameters, which some authorities write.
const SM2_WITH_SM3_NULL: AlgorithmIdentifier =
    AlgorithmIdentifier::from_slice(&[0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x83, 0x75, 0x05, 0x00]);

/// Signatures over certificates.
pub(super) static CERTIFICATE: Sm2Signature =
    Sm2Signature { user_id: SM2_USER_ID, algorithm: SM2_WITH_SM3 };
/// Signatures over certificates, with NULL parameters.
pub(super) static CERTIFICATE_NULL: Sm2Signature =
    Sm2Signature { user_id: SM2_USER_ID, algorithm: SM2_WITH_SM3_NULL };
/// Signatures over the handshake.
pub(super) static HANDSHAKE: Sm2Signature =
    Sm2Signature { user_id: HANDSHAKE_USER_ID, algorithm: SM2_WITH_SM3 };

/// SM2 with SM3 under one user id.
#[derive(Debug)]
pub(super) struct Sm2Signature {
    user_id: &'static str,
    algorithm: AlgorithmIdentifier,
}

impl SignatureVerificationAlgorithm for Sm2Signature {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let point: &[u8; POINT_LEN] = public_key.try_into().map_err(|_| InvalidSignature)?;
        let signature = der::read_signature(signature).ok_or(InvalidSignature)?;
        let genuine = point[0] == 4 && sm2_verify(self.user_id, point, message, &signature);
        if genuine { Ok(()) } else { Err(InvalidSignature) }
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        SM2_KEY
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm
    }
}
