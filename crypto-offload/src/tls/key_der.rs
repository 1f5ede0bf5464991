//! Private SM2 keys in PKCS#8 (RFC 5958) and SEC 1 (RFC 5915), read strictly.

use zeroize::Zeroizing;

use crate::job::der::Reader;
use crate::job::key_text::{EC_PUBLIC_KEY, SM2};

/// What a file holds: the scalar, and the public point where it is written beside it.
pub(super) struct KeyDer<'a> {
    pub(super) scalar: Zeroizing<[u8; 32]>,
    pub(super) point: Option<&'a [u8]>,
}

/// Whether these bytes are PKCS#8 of an elliptic curve key on the SM2 curve, however damaged the key inside may be.
pub(super) fn is_sm2_pkcs8(der: &[u8]) -> bool {
    pkcs8_key(der).is_some()
}

/// Whether these bytes are a SEC 1 key that names the SM2 curve.
pub(super) fn is_sm2_sec1(der: &[u8]) -> bool {
    read_ec(der).is_some_and(|(_, curve)| curve == Some(SM2))
}

/// The key in a PKCS#8 structure of version 1 or 2.
pub(super) fn read_pkcs8(der: &[u8]) -> Option<KeyDer<'_>> {
    let (key, curve) = read_ec(pkcs8_key(der)?)?;
    // Where the inner structure names a curve too, it is the same one.
    curve.is_none_or(|curve| curve == SM2).then_some(key)
}

/// The key in an `ECPrivateKey` that names its curve.
pub(super) fn read_sec1(der: &[u8]) -> Option<KeyDer<'_>> {
    let (key, curve) = read_ec(der)?;
    (curve == Some(SM2)).then_some(key)
}

/// The `ECPrivateKey` inside.
fn pkcs8_key(der: &[u8]) -> Option<&[u8]> {
    let mut outer = Reader::new(der);
    let mut info = outer.sequence()?;
    outer.end()?;
    let version = info.unsigned_integer()?;
    let mut algorithm = info.sequence()?;
    let expected = algorithm.object_identifier()? == EC_PUBLIC_KEY && algorithm.object_identifier()? == SM2;
    algorithm.end()?;
    let key = info.octet_string()?;
    // Attributes say nothing about the key itself; the public key of version 2 stands in the inner structure too.
    info.skip_context(0);
    info.skip_context(1);
    info.end()?;
    (expected && matches!(version, [0 | 1])).then_some(key)
}

/// The key, and the curve where one is named.
fn read_ec(der: &[u8]) -> Option<(KeyDer<'_>, Option<&[u8]>)> {
    let mut outer = Reader::new(der);
    let mut key = outer.sequence()?;
    outer.end()?;
    if key.unsigned_integer()? != [1] {
        return None;
    }
    let mut scalar = Zeroizing::new([0; 32]);
    let octets = key.octet_string()?;
    if octets.len() != scalar.len() {
        return None;
    }
    scalar.copy_from_slice(octets);
    let curve = match key.context(0) {
        Some(mut parameters) => {
            let curve = parameters.object_identifier()?;
            parameters.end()?;
            Some(curve)
        }
        None => None,
    };
    let point = match key.context(1) {
        Some(mut public) => {
            let point = public.bit_string()?;
            public.end()?;
            Some(point)
        }
        None => None,
    };
    key.end()?;
    Some((KeyDer { scalar, point }, curve))
}
