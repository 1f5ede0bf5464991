//! The keys of both repositories and the key-encryption keys of the vehicles, as files that only their owner reads.

use std::path::{Path, PathBuf};

use crypto_offload::job::{Cipher, PublicKey, SecretKey, SignatureScheme};
use crypto_offload::signing::{SigningError, SigningKey};
use crypto_offload::software::SoftwareVerifier;
use ota::uptane::{Key, KeyId, Repository, Role};

use crate::fsio::{self, Access, FileError};

/// Id of the key-encryption key for content keys of AES images: 32 bytes, wraps with AES-256-GCM.
pub const KEK_AES: &str = "kek-aes";
/// Id of the key-encryption key for content keys of SM4 images: 16 bytes, wraps with SM4-GCM.
pub const KEK_SM4: &str = "kek-sm4";

/// Which schemes sign for which role; as many signatures as there are schemes are needed.
const ROLES: [(Role, &[SignatureScheme]); 4] = [
    (Role::Root, &[SignatureScheme::Ed25519, SignatureScheme::EcdsaSha2Nistp256]),
    (Role::Timestamp, &[SignatureScheme::Ed25519]),
    (Role::Snapshot, &[SignatureScheme::Ed25519]),
    (Role::Targets, &[SignatureScheme::Ed25519, SignatureScheme::Sm2Sm3]),
];

/// Why keys could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The caller's fault: keys are there already.
    #[error("{} exists; what it signed would be orphaned, so it is not replaced (choose another directory, or remove it)", .0.display())]
    Exists(PathBuf),
    /// The file's fault: not a private key.
    #[error("{} is not a usable private key: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: SigningError,
    },
    /// The file's fault: a key of another scheme than its name says.
    #[error("{} holds a {} key, expected {}", path.display(), found.name(), expected.name())]
    Scheme {
        /// The file.
        path: PathBuf,
        /// What the file's name says.
        expected: SignatureScheme,
        /// What is in it.
        found: SignatureScheme,
    },
    /// The file's fault: a key-encryption key of the wrong length.
    #[error("{} holds {found} bytes, expected {expected}", path.display())]
    KekLength {
        /// The file.
        path: PathBuf,
        /// Bytes it must have.
        expected: usize,
        /// Bytes it has.
        found: usize,
    },
    /// The machine's fault.
    #[error("cannot make a key: {0}")]
    Generate(#[source] SigningError),
    /// The file system's.
    #[error("{0} (gateway-cloud publish keys makes the keys)")]
    File(#[from] FileError),
}

/// All keys of a publisher. Development keeps them in one directory; a fleet keeps root and targets keys offline.
#[derive(Debug)]
pub struct KeyRing {
    director: RepositoryKeys,
    image: RepositoryKeys,
    kek_aes: SecretKey,
    kek_sm4: SecretKey,
}

/// The keys of one repository.
#[derive(Debug)]
pub struct RepositoryKeys {
    roles: Vec<(Role, Vec<NamedKey>)>,
}

#[derive(Debug)]
pub(crate) struct NamedKey {
    pub(crate) id: KeyId,
    pub(crate) public: PublicKey,
    pub(crate) secret: SigningKey,
}

impl KeyRing {
    /// Makes all keys below `dir`: `director/<role>.<scheme>.pem` and `image/<role>.<scheme>.pem` (PKCS#8),
    /// `kek-aes.key` and `kek-sm4.key` (raw bytes). All have mode 0600.
    ///
    /// # Errors
    /// [`KeysError`]; keys that exist are not replaced.
    pub fn create(dir: &Path) -> Result<Self, KeysError> {
        let files = key_files(dir);
        let keks = [kek_path(dir, KEK_AES), kek_path(dir, KEK_SM4)];
        if let Some(existing) = files.iter().map(|it| &it.path).chain(&keks).find(|it| it.exists()) {
            return Err(KeysError::Exists(existing.clone()));
        }
        for repository in [Repository::Director, Repository::Image] {
            fsio::create_dir(&dir.join(repository.to_string()))?;
        }
        for KeyFile { scheme, path, .. } in files {
            let pem = SigningKey::generate(scheme)
                .and_then(|key| key.to_pkcs8_pem())
                .map_err(KeysError::Generate)?;
            fsio::write_atomically(&path, pem.as_bytes(), Access::Owner)?;
        }
        for (path, cipher) in keks.iter().zip([Cipher::Aes256Gcm, Cipher::Sm4Gcm]) {
            let key = SecretKey::generate(cipher).map_err(KeysError::Generate)?;
            fsio::write_atomically(path, key.expose(), Access::Owner)?;
        }
        Self::load(dir)
    }

    /// Reads the keys that [`KeyRing::create`] made.
    ///
    /// # Errors
    /// [`KeysError`] names the file that is missing, unreadable or not what its name says.
    pub fn load(dir: &Path) -> Result<Self, KeysError> {
        let mut director = RepositoryKeys { roles: Vec::new() };
        let mut image = RepositoryKeys { roles: Vec::new() };
        for KeyFile { repository, role, scheme, path } in key_files(dir) {
            let keys = match repository {
                Repository::Director => &mut director,
                Repository::Image => &mut image,
            };
            keys.add(role, read_key(&path, scheme)?);
        }
        Ok(Self {
            director,
            image,
            kek_aes: read_kek(&kek_path(dir, KEK_AES), Cipher::Aes256Gcm)?,
            kek_sm4: read_kek(&kek_path(dir, KEK_SM4), Cipher::Sm4Gcm)?,
        })
    }

    /// The keys of a repository.
    pub const fn repository(&self, repository: Repository) -> &RepositoryKeys {
        match repository {
            Repository::Director => &self.director,
            Repository::Image => &self.image,
        }
    }

    /// The key-encryption key for images sealed with `cipher`: its id, the cipher it wraps with, the key.
    pub const fn kek_for(&self, cipher: Cipher) -> (&'static str, Cipher, &SecretKey) {
        match cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => (KEK_AES, Cipher::Aes256Gcm, &self.kek_aes),
            Cipher::Sm4Gcm => (KEK_SM4, Cipher::Sm4Gcm, &self.kek_sm4),
        }
    }
}

impl RepositoryKeys {
    /// The keys that sign for a role, all of them needed.
    pub(crate) fn of(&self, role: Role) -> &[NamedKey] {
        self.roles.iter().find(|it| it.0 == role).map_or(&[], |it| it.1.as_slice())
    }

    fn add(&mut self, role: Role, key: NamedKey) {
        match self.roles.iter_mut().find(|it| it.0 == role) {
            Some((_, keys)) => keys.push(key),
            None => self.roles.push((role, vec![key])),
        }
    }
}

struct KeyFile {
    repository: Repository,
    role: Role,
    scheme: SignatureScheme,
    path: PathBuf,
}

fn key_files(dir: &Path) -> Vec<KeyFile> {
    let mut files = Vec::new();
    for repository in [Repository::Director, Repository::Image] {
        for (role, schemes) in ROLES {
            for &scheme in schemes {
                let name = format!("{role}.{}.pem", scheme.name());
                let path = dir.join(repository.to_string()).join(name);
                files.push(KeyFile { repository, role, scheme, path });
            }
        }
    }
    files
}

fn kek_path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}.key"))
}

fn read_key(path: &Path, expected: SignatureScheme) -> Result<NamedKey, KeysError> {
    let unusable = |source| KeysError::Key { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(FileError::new("read", path))?;
    let secret = SigningKey::from_pkcs8_pem(&text).map_err(unusable)?;
    if secret.scheme() != expected {
        return Err(KeysError::Scheme { path: path.to_owned(), expected, found: secret.scheme() });
    }
    let public = secret.public().map_err(unusable)?;
    let id = Key::from_public(&public).id(&SoftwareVerifier);
    Ok(NamedKey { id, public, secret })
}

fn read_kek(path: &Path, cipher: Cipher) -> Result<SecretKey, KeysError> {
    let bytes = std::fs::read(path).map_err(FileError::new("read", path))?;
    if bytes.len() != cipher.key_len() {
        let (expected, found) = (cipher.key_len(), bytes.len());
        return Err(KeysError::KekLength { path: path.to_owned(), expected, found });
    }
    Ok(SecretKey::new(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_come_back_as_they_were_made_and_only_for_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        let made = KeyRing::create(dir.path()).unwrap();
        let read = KeyRing::load(dir.path()).unwrap();
        for repository in [Repository::Director, Repository::Image] {
            for (role, schemes) in ROLES {
                let ids = |ring: &KeyRing| -> Vec<_> {
                    ring.repository(repository).of(role).iter().map(|it| it.id).collect()
                };
                assert_eq!(ids(&made), ids(&read));
                assert_eq!(ids(&made).len(), schemes.len());
            }
        }
        assert_ne!(made.director.of(Role::Root)[0].id, made.image.of(Role::Root)[0].id);
        for file in key_files(dir.path()) {
            let mode = std::fs::metadata(&file.path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.path.display());
        }
        assert!(matches!(KeyRing::create(dir.path()), Err(KeysError::Exists(_))));
    }

    #[test]
    fn a_key_that_is_not_what_its_name_says_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        KeyRing::create(dir.path()).unwrap();
        let sm2 = dir.path().join("image/targets.sm2-sm3.pem");
        std::fs::copy(dir.path().join("image/targets.ed25519.pem"), &sm2).unwrap();
        let error = KeyRing::load(dir.path()).unwrap_err();
        assert!(matches!(&error, KeysError::Scheme { path, .. } if *path == sm2), "{error}");
        std::fs::write(&sm2, "junk").unwrap();
        assert!(matches!(KeyRing::load(dir.path()), Err(KeysError::Key { .. })));
        std::fs::remove_file(&sm2).unwrap();
        assert!(KeyRing::load(dir.path()).unwrap_err().to_string().contains("publish keys"));
    }

    #[test]
    fn a_kek_one_byte_short_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        KeyRing::create(dir.path()).unwrap();
        std::fs::write(dir.path().join("kek-aes.key"), [0; 31]).unwrap();
        let error = KeyRing::load(dir.path()).unwrap_err();
        assert!(matches!(error, KeysError::KekLength { expected: 32, found: 31, .. }), "{error}");
    }
}
