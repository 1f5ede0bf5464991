//! Certificates for the way between vehicle and cloud: a certificate authority, the origin's certificate and the
//! gateway's, for TLS 1.3 with mutual authentication.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crypto_offload::certificate::{self, CertificateError, Issuer as SmIssuer, Template, Usage};
use crypto_offload::job::SignatureScheme;
use crypto_offload::signing::{SigningError, SigningKey};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::fsio::{self, Access, FileError};

/// How long the certificates are good for unless said otherwise: two years.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(730 * 86_400);

/// The longest validity accepted: ten years.
pub const MAX_VALIDITY: Duration = Duration::from_secs(3_650 * 86_400);

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// The caller's fault: no name for the origin.
    #[error("the server certificate needs at least one name or address")]
    NoNames,
    /// The caller's fault: not a DNS name or IP address.
    #[error("{name:?} cannot be a name in the server certificate: {source}")]
    Name {
        /// The name given.
        name: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// The caller's fault: certificates that are valid for no time, or for more than ten years.
    #[error("validity of {} days is outside of 1 to {}", found.as_secs() / 86_400, MAX_VALIDITY.as_secs() / 86_400)]
    Validity {
        /// What was asked for.
        found: Duration,
    },
    /// The caller's fault: certificates are there already.
    #[error("{} exists; vehicles trust it, so it is not replaced (choose another directory, or remove it)", .0.display())]
    Exists(PathBuf),
    /// The cryptographic library failed.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// Our own certificates could not be made.
    #[error("cannot make an SM2 certificate: {0}")]
    Sm(#[from] CertificateError),
    /// Our own keys could not be made.
    #[error("cannot make an SM2 key: {0}")]
    SmKey(#[from] SigningError),
    /// The file system's.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where the PEM files lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Certificate authority: both sides trust it.
    pub ca: PathBuf,
    /// Its key; needed only to make more certificates.
    pub ca_key: PathBuf,
    /// The origin's certificate.
    pub server: PathBuf,
    /// The origin's key.
    pub server_key: PathBuf,
    /// The gateway's certificate.
    pub gateway: PathBuf,
    /// The gateway's key.
    pub gateway_key: PathBuf,
}

impl CertificateFiles {
    /// The names the files have below `dir`.
    pub fn below(dir: &Path) -> Self {
        Self {
            ca: dir.join("ca.pem"),
            ca_key: dir.join("ca.key"),
            server: dir.join("server.pem"),
            server_key: dir.join("server.key"),
            gateway: dir.join("gateway.pem"),
            gateway_key: dir.join("gateway.key"),
        }
    }

    /// The names of the files with SM2 keys.
    pub fn sm_below(dir: &Path) -> Self {
        Self {
            ca: dir.join("sm-ca.pem"),
            ca_key: dir.join("sm-ca.key"),
            server: dir.join("sm-server.pem"),
            server_key: dir.join("sm-server.key"),
            gateway: dir.join("sm-gateway.pem"),
            gateway_key: dir.join("sm-gateway.key"),
        }
    }

    fn all(&self) -> [&PathBuf; 6] {
        [&self.ca, &self.ca_key, &self.server, &self.server_key, &self.gateway, &self.gateway_key]
    }
}

/// Makes a certificate authority, a server certificate for `names` (DNS names or IP addresses) and a client
/// certificate for one gateway below `dir`. Keys are ECDSA on P-256, mode 0600.
///
/// # Errors
/// [`CertsError`]; nothing that exists is replaced.
pub fn issue(dir: &Path, names: &[String], validity: Duration) -> Result<CertificateFiles, CertsError> {
    let files = CertificateFiles::below(dir);
    check(dir, &files, names, validity)?;
    let ca_key = KeyPair::generate()?;
    let mut ca = parameters(&[], "gatewayd development CA", validity)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca.self_signed(&ca_key)?;
    fsio::write_atomically(&files.ca, ca_certificate.pem().as_bytes(), Access::Public)?;
    fsio::write_atomically(&files.ca_key, ca_key.serialize_pem().as_bytes(), Access::Owner)?;
    let issuer = Issuer::new(ca, ca_key);

    let leaf = |names: &[String], common: &str, usage, path: &Path, key_path: &Path| {
        let mut params = parameters(names, common, validity)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        fsio::write_atomically(path, certificate.pem().as_bytes(), Access::Public)?;
        fsio::write_atomically(key_path, key.serialize_pem().as_bytes(), Access::Owner)?;
        Ok::<_, CertsError>(())
    };
    leaf(
        names,
        "gateway-cloud origin",
        ExtendedKeyUsagePurpose::ServerAuth,
        &files.server,
        &files.server_key,
    )?;
    leaf(&[], "gateway", ExtendedKeyUsagePurpose::ClientAuth, &files.gateway, &files.gateway_key)?;
    Ok(files)
}

/// [`issue`] with SM2 keys and signatures, for suites of RFC 8998: the files of [`CertificateFiles::sm_below`].
///
/// # Errors
/// [`CertsError`]; nothing that exists is replaced.
pub fn issue_sm(dir: &Path, names: &[String], validity: Duration) -> Result<CertificateFiles, CertsError> {
    let files = CertificateFiles::sm_below(dir);
    check(dir, &files, names, validity)?;
    let (not_before, not_after) = certificate::validity_from_now(validity);
    let ca_key = SigningKey::generate(SignatureScheme::Sm2Sm3)?;
    let issuer = SmIssuer { common_name: "gatewayd development SM CA", key: &ca_key };
    let write = |common: &str, usage, key: &SigningKey, path: &Path, key_path: &Path| {
        let template = Template { common_name: common.to_owned(), not_before, not_after, usage };
        let der = certificate::issue(&template, &key.public()?, &issuer)?;
        fsio::write_atomically(path, certificate::to_pem(&der).as_bytes(), Access::Public)?;
        fsio::write_atomically(key_path, key.to_pkcs8_pem()?.as_bytes(), Access::Owner)?;
        Ok::<_, CertsError>(())
    };
    write(issuer.common_name, Usage::Authority, &ca_key, &files.ca, &files.ca_key)?;
    let key = SigningKey::generate(SignatureScheme::Sm2Sm3)?;
    let usage = Usage::Server(names.to_vec());
    write("gateway-cloud origin", usage, &key, &files.server, &files.server_key)?;
    let key = SigningKey::generate(SignatureScheme::Sm2Sm3)?;
    write("gateway", Usage::Client, &key, &files.gateway, &files.gateway_key)?;
    Ok(files)
}

fn check(
    dir: &Path,
    files: &CertificateFiles,
    names: &[String],
    validity: Duration,
) -> Result<(), CertsError> {
    if names.is_empty() {
        return Err(CertsError::NoNames);
    }
    if validity < Duration::from_secs(86_400) || validity > MAX_VALIDITY {
        return Err(CertsError::Validity { found: validity });
    }
    if let Some(existing) = files.all().into_iter().find(|it| it.exists()) {
        return Err(CertsError::Exists(existing.clone()));
    }
    for name in names {
        CertificateParams::new(vec![name.clone()])
            .map_err(|source| CertsError::Name { name: name.clone(), source })?;
    }
    fsio::create_dir(dir)?;
    Ok(())
}

fn parameters(names: &[String], common: &str, validity: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(DnType::CommonName, common);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // One day back: the clock of a vehicle that has just woken up may be behind ours.
    params.not_before = date_time_ymd(1970, 1, 1) + now.saturating_sub(Duration::from_secs(86_400));
    params.not_after = date_time_ymd(1970, 1, 1) + now + validity;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&it| it.to_owned()).collect()
    }

    #[test]
    fn keys_are_private_and_certificates_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = issue(dir.path(), &names(&["localhost", "127.0.0.1"]), DEFAULT_VALIDITY).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for key in [&files.ca_key, &files.server_key, &files.gateway_key] {
            assert_eq!(mode(key), 0o600, "{}", key.display());
        }
        assert_eq!(mode(&files.server), 0o644);
    }

    #[test]
    fn both_hierarchies_fit_into_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        issue(dir.path(), &names(&["localhost"]), DEFAULT_VALIDITY).unwrap();
        let files = issue_sm(dir.path(), &names(&["localhost", "::1"]), DEFAULT_VALIDITY).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for key in [&files.ca_key, &files.server_key, &files.gateway_key] {
            assert_eq!(mode(key), 0o600, "{}", key.display());
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 12);
        let error = issue_sm(dir.path(), &names(&["localhost"]), DEFAULT_VALIDITY).unwrap_err();
        assert!(matches!(error, CertsError::Exists(_)), "{error}");
    }

    #[test]
    fn a_second_run_refuses_to_replace_what_vehicles_trust() {
        let dir = tempfile::tempdir().unwrap();
        let files = issue(dir.path(), &names(&["localhost"]), DEFAULT_VALIDITY).unwrap();
        let before = std::fs::read(&files.ca).unwrap();
        let error = issue(dir.path(), &names(&["localhost"]), DEFAULT_VALIDITY).unwrap_err();
        assert!(matches!(error, CertsError::Exists(_)), "{error}");
        assert_eq!(std::fs::read(&files.ca).unwrap(), before);
    }

    #[test]
    fn bad_names_and_validities_leave_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let bad = |names: &[String], validity| issue(dir.path(), names, validity).unwrap_err();
        assert!(matches!(bad(&[], DEFAULT_VALIDITY), CertsError::NoNames));
        assert!(matches!(bad(&names(&["bücher"]), DEFAULT_VALIDITY), CertsError::Name { .. }));
        assert!(matches!(bad(&names(&["a"]), Duration::from_secs(86_399)), CertsError::Validity { .. }));
        let past_the_end = MAX_VALIDITY + Duration::from_secs(1);
        assert!(matches!(bad(&names(&["a"]), past_the_end), CertsError::Validity { .. }));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
