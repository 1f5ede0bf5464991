//! Certificates in PEM files.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use super::{CertificateFact, Facts, Unseen, files};

/// Takes down the certificates in the file of a key.
pub(super) fn look(facts: &mut Facts, key: &str) {
    let Some(text) = files::content(facts, key) else { return };
    match parse(&text) {
        Ok(list) => {
            facts.certificates.insert(key.to_owned(), list);
        }
        Err(reason) => {
            let what = facts.files.get(key).map_or_else(String::new, |it| it.path.display().to_string());
            facts.unseen.push(Unseen { key: key.to_owned(), what, reason });
        }
    }
}

fn parse(text: &[u8]) -> Result<Vec<CertificateFact>, String> {
    let lines = begin_lines(text);
    let mut list = Vec::new();
    for (at, der) in CertificateDer::pem_slice_iter(text).enumerate() {
        let der = der.map_err(|error| error.to_string())?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| error.to_string())?;
        list.push(CertificateFact { line: lines.get(at).copied().unwrap_or(1), ..fact(&certificate) });
    }
    Ok(list)
}

fn begin_lines(text: &[u8]) -> Vec<usize> {
    let lines = text.split(|&byte| byte == b'\n').enumerate();
    lines.filter(|(_, it)| it.starts_with(b"-----BEGIN CERTIFICATE")).map(|(at, _)| at + 1).collect()
}

fn fact(certificate: &X509Certificate<'_>) -> CertificateFact {
    let key = certificate.public_key();
    let (key_type, bits) = match key.parsed() {
        Ok(PublicKey::RSA(it)) => ("rsa".to_owned(), it.key_size()),
        Ok(PublicKey::EC(it)) => ("ec".to_owned(), it.key_size()),
        _ if key.algorithm.algorithm.to_id_string() == "1.3.101.112" => ("ed25519".to_owned(), 256),
        _ => (key.algorithm.algorithm.to_id_string(), 0),
    };
    let usage = certificate.extended_key_usage().ok().flatten();
    CertificateFact {
        line: 1,
        subject: certificate.subject().to_string(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        key_type,
        key_bits: u32::try_from(bits).unwrap_or(u32::MAX),
        signature_hash: hash_of(&certificate.signature_algorithm.algorithm.to_id_string()),
        authority: certificate.is_ca(),
        client_auth: usage.map(|it| it.value.any || it.value.client_auth),
    }
}

/// The hash of a signature algorithm (RFC 3279, 4055, 5758, 8410, GM/T 0006); the identifier itself where unknown.
fn hash_of(identifier: &str) -> String {
    let name = match identifier {
        "1.2.840.113549.1.1.4" => "md5",
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => "sha1",
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => "sha256",
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => "sha384",
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => "sha512",
        "1.2.156.10197.1.501" => "sm3",
        "1.3.101.112" => "none",
        other => other,
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(directory: &std::path::Path) -> gateway_cloud::certs::CertificateFiles {
        let ten_days = std::time::Duration::from_secs(864_000);
        gateway_cloud::certs::issue(directory, &["localhost".to_owned()], ten_days).unwrap()
    }

    #[test]
    fn what_the_cloud_tool_makes_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = issue(dir.path());
        let authority = parse(&std::fs::read(&files.ca).unwrap()).unwrap();
        let gateway = parse(&std::fs::read(&files.gateway).unwrap()).unwrap();
        assert!(authority[0].authority && !gateway[0].authority);
        assert_eq!((gateway[0].key_type.as_str(), gateway[0].key_bits), ("ec", 256));
        assert_eq!(gateway[0].signature_hash, "sha256");
        assert_eq!(gateway[0].client_auth, Some(true));
        assert!(gateway[0].not_before < gateway[0].not_after);
    }

    #[test]
    fn every_certificate_of_a_bundle_has_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let files = issue(dir.path());
        let one = std::fs::read_to_string(&files.ca).unwrap();
        let lines = one.lines().count();
        let list = parse(format!("{one}{one}").as_bytes()).unwrap();
        assert_eq!(list.iter().map(|it| it.line).collect::<Vec<_>>(), [1, lines + 1]);
    }

    #[test]
    fn what_is_no_certificate_is_said_so() {
        let text = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(parse(text).is_err());
        assert_eq!(parse(b"").unwrap(), []);
    }
}
