//! X.509 certificates (RFC 5280) signed with SM2 and SM3, for the publishing side: an authority, servers, clients.
//!
//! Leaves carry no BasicConstraints: an empty one, which means the same, is refused by some readers.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::job::der;
use crate::job::{HashAlgorithm, PublicKey, SignatureScheme, key_text, pem};
use crate::signing::{SigningError, SigningKey, random_bytes};
use crate::software::hash;

/// SM2 with SM3, 1.2.156.10197.1.501 (GM/T 0006).
const SM2_WITH_SM3: &[u8] = &[0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x83, 0x75];
/// `id-at-commonName`, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// `id-ce`, 2.5.29, before the last arc of each extension below.
const ID_CE: [u8; 2] = [0x55, 0x1d];
const SUBJECT_KEY_IDENTIFIER: u8 = 14;
const KEY_USAGE: u8 = 15;
const SUBJECT_ALT_NAME: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const AUTHORITY_KEY_IDENTIFIER: u8 = 35;
const EXT_KEY_USAGE: u8 = 37;
/// `id-kp`, 1.3.6.1.5.5.7.3, before the last arc: 1 for servers, 2 for clients.
const ID_KP: [u8; 7] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03];

const BOOLEAN_TRUE: &[u8] = &[0x01, 0x01, 0xff];
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SET: u8 = 0x31;
const OCTET_STRING: u8 = 0x04;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// Bytes of a serial number: random, positive, below the 20 octets of RFC 5280 clause 4.1.2.2.
const SERIAL_LEN: usize = 16;
/// Longest common name (RFC 5280 appendix A.1, ub-common-name).
const MAX_COMMON_NAME: usize = 64;

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Signs leaves, and nothing below them.
    Authority,
    /// A TLS server with these DNS names and addresses.
    Server(Vec<String>),
    /// A TLS client.
    Client,
    /// Either, as peers of one rank are.
    Both(Vec<String>),
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The subject's common name, at most 64 characters.
    pub common_name: String,
    /// From when on it is good. Full seconds.
    pub not_before: SystemTime,
    /// Until when, that second included. Full seconds.
    pub not_after: SystemTime,
    /// What it is for.
    pub usage: Usage,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The caller's fault: a name that is neither ASCII DNS name nor address, or a common name that is too long.
    #[error("{0:?} cannot be a name in a certificate")]
    Name(String),
    /// The caller's fault: a time before 1970 or after 9999.
    #[error("a certificate cannot be valid before 1970 or after 9999")]
    Time,
    /// The caller's fault: not an SM2 key.
    #[error("{} key in a certificate that is signed with SM2", .0.name())]
    Scheme(SignatureScheme),
    /// The machine's fault.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// The name and the key that sign.
#[derive(Debug)]
pub struct Issuer<'a> {
    /// The issuer's common name.
    pub common_name: &'a str,
    /// Its key; an SM2 one.
    pub key: &'a SigningKey,
}

/// A certificate for `subject`, in DER. An authority that signs itself is its own issuer.
///
/// # Errors
/// [`CertificateError`].
pub fn issue(
    template: &Template,
    subject: &PublicKey,
    issuer: &Issuer<'_>,
) -> Result<Vec<u8>, CertificateError> {
    let issuer_key = issuer.key.public()?;
    for key in [subject, &issuer_key] {
        if key.scheme != SignatureScheme::Sm2Sm3 {
            return Err(CertificateError::Scheme(key.scheme));
        }
    }
    let algorithm = der::sequence(&der::object_identifier(SM2_WITH_SM3));
    let validity = [time(template.not_before)?, time(template.not_after)?].concat();
    let body = der::sequence(
        &[
            // Version 3.
            der::write(0xa0, &der::write(INTEGER, &[2])),
            der::write(INTEGER, &serial()?),
            algorithm.clone(),
            name(issuer.common_name)?,
            der::sequence(&validity),
            name(&template.common_name)?,
            key_text::write_point(key_text::SM2, &subject.bytes),
            der::write(0xa3, &der::sequence(&extensions(&template.usage, subject, &issuer_key)?)),
        ]
        .concat(),
    );
    let signature = issuer.key.sign(&body)?;
    Ok(der::sequence(&[body, algorithm, der::bit_string(&signature)].concat()))
}

/// A certificate as a PEM file.
pub fn to_pem(der: &[u8]) -> String {
    pem::encode("CERTIFICATE", der)
}

fn extensions(usage: &Usage, subject: &PublicKey, issuer: &PublicKey) -> Result<Vec<u8>, CertificateError> {
    let mut list = vec![
        extension(SUBJECT_KEY_IDENTIFIER, false, &der::write(OCTET_STRING, &key_identifier(subject))),
        extension(
            AUTHORITY_KEY_IDENTIFIER,
            false,
            &der::sequence(&der::write(0x80, &key_identifier(issuer))),
        ),
    ];
    let purpose = |last: u8| der::object_identifier(&[&ID_KP[..], &[last]].concat());
    match usage {
        Usage::Authority => {
            // An authority, with no other one below it.
            let constraints = [BOOLEAN_TRUE, &der::write(INTEGER, &[0])].concat();
            list.push(extension(BASIC_CONSTRAINTS, true, &der::sequence(&constraints)));
            // keyCertSign and cRLSign.
            list.push(extension(KEY_USAGE, true, &der::write(BIT_STRING, &[1, 0x06])));
        }
        Usage::Server(names) => list.extend(leaf(&purpose(1), names)?),
        Usage::Client => list.extend(leaf(&purpose(2), &[])?),
        Usage::Both(names) => list.extend(leaf(&[purpose(1), purpose(2)].concat(), names)?),
    }
    Ok(list.concat())
}

/// For digital signatures, which is all that TLS 1.3 does with a key.
fn leaf(purposes: &[u8], names: &[String]) -> Result<Vec<Vec<u8>>, CertificateError> {
    let mut list = vec![
        extension(KEY_USAGE, true, &der::write(BIT_STRING, &[7, 0x80])),
        extension(EXT_KEY_USAGE, false, &der::sequence(purposes)),
    ];
    if !names.is_empty() {
        let names: Result<Vec<_>, _> = names.iter().map(|name| alternative(name)).collect();
        list.push(extension(SUBJECT_ALT_NAME, false, &der::sequence(&names?.concat())));
    }
    Ok(list)
}

fn extension(arc: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let id = der::object_identifier(&[&ID_CE[..], &[arc]].concat());
    let critical = if critical { BOOLEAN_TRUE } else { &[] };
    der::sequence(&[&id, critical, &der::write(OCTET_STRING, value)].concat())
}

/// The first 20 bytes of the SM3 of the point: any short digest will do (RFC 5280 clause 4.2.1.2).
fn key_identifier(key: &PublicKey) -> Vec<u8> {
    hash::digest(HashAlgorithm::Sm3, &[&key.bytes]).as_bytes()[..20].to_vec()
}

fn name(common_name: &str) -> Result<Vec<u8>, CertificateError> {
    if common_name.is_empty() || common_name.chars().count() > MAX_COMMON_NAME {
        return Err(CertificateError::Name(common_name.to_owned()));
    }
    let value = der::write(UTF8_STRING, common_name.as_bytes());
    let attribute = der::sequence(&[der::object_identifier(COMMON_NAME), value].concat());
    Ok(der::sequence(&der::write(SET, &attribute)))
}

/// One entry of SubjectAltName: an address, or a DNS name of letters, digits, hyphens and dots.
fn alternative(name: &str) -> Result<Vec<u8>, CertificateError> {
    match name.parse() {
        Ok(IpAddr::V4(address)) => return Ok(der::write(0x87, &address.octets())),
        Ok(IpAddr::V6(address)) => return Ok(der::write(0x87, &address.octets())),
        Err(_) => {}
    }
    let legal = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.strip_prefix("*.").unwrap_or(name).split('.').all(legal) {
        return Err(CertificateError::Name(name.to_owned()));
    }
    Ok(der::write(0x82, name.as_bytes()))
}

fn serial() -> Result<Vec<u8>, SigningError> {
    let mut serial = random_bytes(SERIAL_LEN)?;
    // Positive, and not shorter than its octets.
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

/// UTCTime until 2049, GeneralizedTime from then on (RFC 5280 clause 4.1.2.5).
fn time(at: SystemTime) -> Result<Vec<u8>, CertificateError> {
    let seconds = at.duration_since(UNIX_EPOCH).map_err(|_| CertificateError::Time)?.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    match year {
        1970..=2049 => Ok(der::write(UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes())),
        2050..=9999 => Ok(der::write(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes())),
        _ => Err(CertificateError::Time),
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
const fn date(day: u64) -> (u64, u64, u64) {
    // Years that begin in March have their leap day at their end; an era is 400 of them.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, wrapped) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + wrapped, month, day)
}

/// A validity from one day back, for clocks that are behind, to `span` from now. Full seconds.
pub fn validity_from_now(span: Duration) -> (SystemTime, SystemTime) {
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    (now.checked_sub(day).unwrap_or(UNIX_EPOCH), now.checked_add(span).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days_and_centuries() {
        for (day, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (29_219, (2049, 12, 31)),
            (29_220, (2050, 1, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(day), expected, "{day}");
        }
    }

    #[test]
    fn times_change_their_form_in_2050() {
        let at = |seconds| time(UNIX_EPOCH + Duration::from_secs(seconds)).map_err(|it| it.to_string());
        assert_eq!(at(2_524_607_999), Ok([&[UTC_TIME, 13][..], b"491231235959Z"].concat()));
        assert_eq!(at(2_524_608_000), Ok([&[GENERALIZED_TIME, 15][..], b"20500101000000Z"].concat()));
        assert!(at(253_402_300_799).is_ok());
        assert!(at(253_402_300_800).is_err());
    }

    #[test]
    fn names_are_addresses_or_ascii_dns_names() {
        for good in ["localhost", "127.0.0.1", "::1", "a-b.example.com", "*.example.com"] {
            assert!(alternative(good).is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "b\u{fc}cher", "a..b", "-a", "a-", "a b", &long, ".a", "*"] {
            assert!(alternative(bad).is_err(), "{bad}");
        }
    }
}
