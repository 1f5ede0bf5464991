//! SM2 keys and signatures that OpenSSL makes are taken here, and the reverse, where an `openssl` that knows SM2 is
//! installed.
#![cfg(feature = "software")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crypto_offload::job::Verdict;
use crypto_offload::sm2::{PublicKey, SecretKey, Signature, SigningKey, UserId};

const ROUNDS: usize = 8;

struct OpenSsl {
    folder: tempfile::TempDir,
}

impl OpenSsl {
    /// `None`, said aloud, where there is none with SM2.
    fn find() -> Option<Self> {
        let openssl = Self { folder: tempfile::tempdir().expect("a folder for files") };
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "SM2", "-out"])
            .arg(openssl.path("probe"))
            .output();
        if made.is_ok_and(|output| output.status.success()) {
            return Some(openssl);
        }
        println!("not checked: no openssl that makes SM2 keys");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).expect("room for a file");
        self.path(name)
    }

    /// Whether the command succeeded. `{name}` arguments are files in the folder.
    fn run(&self, arguments: &[&str]) -> bool {
        let arguments = arguments.iter().map(|argument| {
            let name = argument.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            name.map_or_else(|| PathBuf::from(argument), |name| self.path(name))
        });
        Command::new("openssl").args(arguments).output().expect("openssl was there before").status.success()
    }
}

fn message(round: usize) -> Vec<u8> {
    vec![0x6d; round * 37]
}

fn secret(path: &Path) -> SecretKey {
    SecretKey::from_pem(&fs::read_to_string(path).expect("openssl wrote it")).expect("a key file")
}

#[test]
fn openssl_s_keys_and_signatures_are_taken_here() {
    let Some(openssl) = OpenSsl::find() else { return };
    for round in 0..ROUNDS {
        openssl.write("message", message(round));
        assert!(openssl.run(&["genpkey", "-algorithm", "SM2", "-out", "{key}"]));
        assert!(openssl.run(&["pkey", "-in", "{key}", "-pubout", "-outform", "DER", "-out", "{public}"]));
        let key = secret(&openssl.path("key"));
        let public = PublicKey::from_spki_der(&fs::read(openssl.path("public")).unwrap()).unwrap();
        assert_eq!(key.public_key(), public);

        for (id, user_id) in
            [("1234567812345678", UserId::DEFAULT), ("TLSv1.3+GM+Cipher+Suite", UserId::TLS13)]
        {
            let distid = format!("distid:{id}");
            assert!(openssl.run(&[
                "pkeyutl",
                "-sign",
                "-rawin",
                "-digest",
                "sm3",
                "-inkey",
                "{key}",
                "-in",
                "{message}",
                "-out",
                "{signature}",
                "-pkeyopt",
                &distid,
            ]));
            let signature = Signature::from_der(&fs::read(openssl.path("signature")).unwrap()).unwrap();
            assert_eq!(public.verify(user_id, &[&message(round)], &signature), Verdict::Valid);
            assert_eq!(public.verify(user_id, &[&message(round), b"x"], &signature), Verdict::Invalid);
        }
    }
}

#[test]
fn keys_and_signatures_made_here_are_taken_by_openssl() {
    let Some(openssl) = OpenSsl::find() else { return };
    for round in 0..ROUNDS {
        let seed = u8::try_from(round).unwrap() + 1;
        let key = SigningKey::new(SecretKey::from_be_bytes(&[seed; 32]).unwrap());
        openssl.write("message", message(round));
        openssl.write("key", key.secret().to_pkcs8_pem().as_bytes());
        openssl.write("public", key.secret().public_key().to_spki_der());
        assert!(openssl.run(&["pkey", "-in", "{key}", "-check", "-noout"]));
        assert!(openssl.run(&["pkey", "-in", "{key}", "-pubout", "-outform", "DER", "-out", "{derived}"]));
        assert_eq!(fs::read(openssl.path("derived")).unwrap(), key.secret().public_key().to_spki_der());

        let verify = [
            "pkeyutl",
            "-verify",
            "-rawin",
            "-digest",
            "sm3",
            "-pubin",
            "-keyform",
            "DER",
            "-inkey",
            "{public}",
            "-in",
            "{message}",
            "-sigfile",
            "{signature}",
            "-pkeyopt",
            "distid:1234567812345678",
        ];
        for (user_id, genuine) in [(UserId::DEFAULT, true), (UserId::TLS13, false)] {
            openssl.write("signature", key.sign(user_id, &[&message(round)]).to_der());
            assert_eq!(openssl.run(&verify), genuine);
        }
    }
}

#[test]
fn openssl_s_traditional_key_files_are_taken_here() {
    let Some(openssl) = OpenSsl::find() else { return };
    assert!(openssl.run(&["ec", "-in", "{probe}", "-out", "{traditional}"]));
    let text = fs::read_to_string(openssl.path("traditional")).unwrap();
    assert!(!text.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(
        secret(&openssl.path("traditional")).public_key(),
        secret(&openssl.path("probe")).public_key()
    );
}
