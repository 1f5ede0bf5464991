//! Published examples that an engine must get right before anything is believed of it.

use std::sync::Arc;

use crate::engine::Capabilities;
use crate::job::{
    ChunkOperation, Cipher, Digest, HashAlgorithm, HashState, JobError, Operation, Outcome, PublicKey, Seal,
    SecretKey, SignatureScheme, Verdict, key_text,
};
use crate::software::hash;

/// A question and the only right answer.
#[derive(Clone, Debug)]
pub struct KnownAnswer {
    /// What is asked, for messages.
    pub name: &'static str,
    /// The question.
    pub operation: Operation,
    /// The answer. Some are refusals: an engine that accepts everything fails too.
    pub expected: Result<Outcome, JobError>,
}

/// The questions for everything that `capabilities` claims.
pub fn known_answers(capabilities: &Capabilities) -> Vec<KnownAnswer> {
    let all = digests().into_iter().chain(opened()).chain(signatures()).chain(chunks(capabilities));
    all.filter(|answer| capabilities.supports(&answer.operation)).collect()
}

const ABC: &[u8] = b"abc";
/// FIPS 180-4, the examples NIST publishes with it.
const SHA256_ABC: [u8; 32] = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
/// FIPS 180-4, the examples NIST publishes with it.
const SHA512_ABC: [u8; 64] = hex("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
     2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
/// GB/T 32905-2016 appendix A.1.
const SM3_ABC: [u8; 32] = hex("66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0");

/// The nonce, plain bytes and additional data of test cases 4 and 16 of the GCM submission to NIST.
const AES_NONCE: [u8; 12] = hex("cafebabefacedbaddecaf888");
const AES_PLAIN: [u8; 60] = hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
     1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
const AES_AAD: [u8; 20] = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
const AES_128_KEY: [u8; 16] = hex("feffe9928665731c6d6a8f9467308308");
const AES_128_SEALED: [u8; 76] = hex("42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
     21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091\
     5bc94fbc3221a5db94fae95ae7121a47");
const AES_256_KEY: [u8; 32] = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
const AES_256_SEALED: [u8; 76] = hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
     8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
     76fc6ece0f4e1768cddf8853bb2d551b");

/// RFC 8998 appendix A.1.
const SM4_NONCE: [u8; 12] = hex("00001234567800000000abcd");
const SM4_KEY: [u8; 16] = hex("0123456789abcdeffedcba9876543210");
const SM4_PLAIN: [u8; 64] = hex("aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd\
     eeeeeeeeeeeeeeeeffffffffffffffffeeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa");
const SM4_SEALED: [u8; 80] = hex("17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735\
     d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d\
     83de3541e4c2b58177e065a9bf7b62ec");

/// RFC 8032 clause 7.1, test 2.
const ED25519_KEY: [u8; 32] = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
const ED25519_SIGNATURE: [u8; 64] = hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
     085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");

/// RFC 6979 appendix A.2.5, SHA-256 over `sample`.
pub(crate) const P256_POINT: [u8; 65] =
    hex("0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
     7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299");
pub(crate) const P256_SIGNATURE: [u8; 72] = hex("3046\
     022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
     022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8");

/// GB/T 32918.5-2017 appendix A.2, over `message digest`.
pub(crate) const SM2_POINT: [u8; 65] =
    hex("0409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020\
     ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13");
pub(crate) const SM2_SIGNATURE: [u8; 72] = hex("3046\
     022100f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3\
     022100b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa");

/// A SubjectPublicKeyInfo and its signature over `abc`, both made with OpenSSL 3.0.
const RSA_KEY: [u8; 294] =
    hex("30820122300d06092a864886f70d01010105000382010f003082010a02820101009f3efa3da6726becc19bbd51815598\
     6fabf56be7356599e1903a2f6a091a085296833259aab3242bb708d75fe18e2921ec997aedd215c682fd405bf5a70279\
     c517ca755e422b245ecbb36d9352d7b16b61c09cfece51b0476804b4d46a96a39fc2351de2b1c022c915c310860fc8d0\
     47bf632977cdd2444129a292e1a945e4ec976750dba6a1e2b8cfd4c14cc3c01d0a4ac25071da5413f76dc04f1664b328\
     f97e7719a8f299940337b4550ae9ca15caade29996544da391cdbb6bca184cafc14837e0f8943e3a5f30153983cf7b32\
     6b3d2cf16ea0026a01fb06b3f9f3fffdddaa3ccfa0213a1653dc0d270cc919bd5ce61a0d713042a09f896ce7b683658b\
     0d0203010001");
const RSA_SIGNATURE: [u8; 256] =
    hex("71a686d507f4d58536c0cce4ab5e274acafd78b1b001f8d02c8da9164dc1560448543489756daa81b75f75affeca7335\
     fadbc4a93d13375b4670cc9aad43dc3391e0a3489e7e4ae65b4d698de8148caf03acd6f2cc8038573540bbd2dde43a0d\
     9bf2cf3a80b937c671b627cd9f40ccab1062850c032b127f9c8bf5876f790c1a23a8f332d7461b606479debe8da4c407\
     ea142ef398cce1551aef5f0771210c23056499c5ae41ebeb68ea1d9bf94becca1a84bc49393f480826d761e7273701d7\
     30e8685cdde4b90f1517f3b439a7c2fa4fc465d7f809d5a15d06be2b37918d649ecb80c25fa18fd332aeaa5d97390d39\
     10ab449e15cf8c4c4cd29a5f699a3bae");

fn digests() -> Vec<KnownAnswer> {
    [
        ("SHA-256 of abc", HashAlgorithm::Sha256, Digest::new(&SHA256_ABC)),
        ("SHA-512 of abc", HashAlgorithm::Sha512, Digest::new(&SHA512_ABC)),
        ("SM3 of abc", HashAlgorithm::Sm3, Digest::new(&SM3_ABC)),
    ]
    .into_iter()
    .filter_map(|(name, algorithm, digest)| {
        let operation = Operation::Digest { algorithm, data: ABC.to_vec() };
        Some(KnownAnswer { name, operation, expected: Ok(Outcome::Digest(digest?)) })
    })
    .collect()
}

/// A seal, its plain bytes and its sealed bytes, for each cipher.
fn seals() -> [(Seal, &'static [u8], &'static [u8]); 3] {
    let seal = |cipher, key: &[u8], nonce| Seal {
        cipher,
        key: Arc::new(SecretKey::new(key.to_vec())),
        nonce,
        aad: AES_AAD.to_vec(),
    };
    [
        (seal(Cipher::Aes128Gcm, &AES_128_KEY, AES_NONCE), &AES_PLAIN, &AES_128_SEALED),
        (seal(Cipher::Aes256Gcm, &AES_256_KEY, AES_NONCE), &AES_PLAIN, &AES_256_SEALED),
        (seal(Cipher::Sm4Gcm, &SM4_KEY, SM4_NONCE), &SM4_PLAIN, &SM4_SEALED),
    ]
}

fn opened() -> Vec<KnownAnswer> {
    seals()
        .into_iter()
        .flat_map(|(seal, plain, sealed)| {
            let mut forged = sealed.to_vec();
            if let Some(last) = forged.last_mut() {
                *last ^= 1;
            }
            let refused = Err(JobError::TagMismatch(seal.cipher));
            let good = Operation::Open { seal: seal.clone(), data: sealed.to_vec() };
            let bad = Operation::Open { seal, data: forged };
            [
                KnownAnswer { name: "open", operation: good, expected: Ok(Outcome::Opened(plain.to_vec())) },
                KnownAnswer { name: "refuse a forged tag", operation: bad, expected: refused },
            ]
        })
        .collect()
}

fn signatures() -> Vec<KnownAnswer> {
    let p256 = key_text::write_point(key_text::P256, &P256_POINT);
    let key = |scheme, bytes: &[u8]| PublicKey { scheme, bytes: bytes.to_vec() };
    let cases: [(PublicKey, &[u8], &[u8]); 4] = [
        (key(SignatureScheme::Ed25519, &ED25519_KEY), &[0x72], &ED25519_SIGNATURE),
        (key(SignatureScheme::EcdsaSha2Nistp256, &p256), b"sample", &P256_SIGNATURE),
        (key(SignatureScheme::RsaPssSha256, &RSA_KEY), ABC, &RSA_SIGNATURE),
        (key(SignatureScheme::Sm2Sm3, &SM2_POINT), b"message digest", &SM2_SIGNATURE),
    ];
    let question = |key, message: &[u8], signature: &[u8]| Operation::VerifySignature {
        key,
        message: message.to_vec(),
        signature: signature.to_vec(),
    };
    cases
        .into_iter()
        .flat_map(|(key, message, signature)| {
            [
                KnownAnswer {
                    name: "accept a signature",
                    operation: question(key.clone(), message, signature),
                    expected: Ok(Outcome::Signature(Verdict::Valid)),
                },
                KnownAnswer {
                    name: "refuse a signature over another message",
                    operation: question(key, b"another", signature),
                    expected: Ok(Outcome::Signature(Verdict::Invalid)),
                },
            ]
        })
        .collect()
}

/// For each hash function and cipher: a genuine chunk, and one whose leaf is another's.
fn chunks(capabilities: &Capabilities) -> Vec<KnownAnswer> {
    let mut answers = Vec::new();
    for &tree_algorithm in &capabilities.hashes {
        for (seal, plain, sealed) in seals() {
            let state = HashState::new(tree_algorithm);
            let running = if capabilities.midstates { vec![state] } else { Vec::new() };
            let leaf = hash::digest(tree_algorithm, &[&[0], sealed]);
            let other = hash::digest(tree_algorithm, &[&[1], sealed]);
            let advanced = running.iter().filter_map(|state| hash::advance(state, sealed).ok()).collect();
            let genuine = ChunkOperation {
                tree_algorithm,
                leaf_prefix: vec![0],
                expected_leaf: leaf,
                running,
                seal: Some(seal),
                data: sealed.to_vec(),
            };
            let foreign = ChunkOperation { expected_leaf: other, ..genuine.clone() };
            answers.push(KnownAnswer {
                name: "open a genuine chunk",
                operation: Operation::Chunk(genuine),
                expected: Ok(Outcome::Chunk { data: plain.to_vec(), running: advanced }),
            });
            answers.push(KnownAnswer {
                name: "refuse a chunk that is another",
                operation: Operation::Chunk(foreign),
                expected: Err(JobError::LeafMismatch { expected: other, found: leaf }),
            });
        }
    }
    answers
}

/// Reads the constants above when the crate is compiled; a wrong one does not compile.
const fn hex<const N: usize>(text: &str) -> [u8; N] {
    const fn digit(character: u8) -> u8 {
        match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            _ => panic!("not a hex digit"),
        }
    }
    let text = text.as_bytes();
    assert!(text.len() == 2 * N, "wrong number of hex digits");
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = digit(text[2 * at]) << 4 | digit(text[2 * at + 1]);
        at += 1;
    }
    bytes
}
