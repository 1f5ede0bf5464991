//! Agreement with python-tuf on canonical JSON, key ids, signatures and thresholds.
//!
//! Needs a Python with the packages `tuf` and `securesystemslib[crypto]`: `python3`, or what `GATEWAY_PYTHON` names.
//! Where there is none, the tests say `not checked`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use crypto_offload::job::{HashAlgorithm, SignatureScheme, Verifier};
use crypto_offload::software::SoftwareVerifier;
use ota::uptane::canonical::Bounds;
use ota::uptane::{Role, RoleMetadata, Root, Signed, Snapshot, Targets, Timestamp};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python_tuf.py");
const BOUNDS: Bounds = Bounds::metadata(1 << 20);

fn python() -> Option<String> {
    let python = std::env::var("GATEWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = "import tuf.api.metadata, securesystemslib.signer, cryptography";
    let found =
        Command::new(&python).args(["-c", import]).output().is_ok_and(|output| output.status.success());
    if !found {
        println!("not checked: no Python with the packages tuf and securesystemslib[crypto]");
    }
    found.then_some(python)
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// What the script prints: role and SHA-256 of the canonical form, by role.
fn run(python: &str, verb: &str, folder: &Path) -> Vec<(String, String)> {
    let output = Command::new(python).args([SCRIPT, verb]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut lines: Vec<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(role, hash)| (role.to_owned(), hash.to_owned()))
        .collect();
    lines.sort();
    lines
}

fn canonical_hash<T: RoleMetadata>(signed: &Signed<T>) -> (String, String) {
    let digest = SoftwareVerifier.digest(HashAlgorithm::Sha256, &[signed.signed_bytes()]);
    (T::ROLE.name().to_owned(), digest.to_string())
}

#[test]
fn python_tuf_believes_what_we_sign() {
    let Some(python) = python() else { return };
    for scheme in
        [SignatureScheme::Ed25519, SignatureScheme::EcdsaSha2Nistp256, SignatureScheme::RsaPssSha256]
    {
        let world = World::with_scheme(scheme);
        let folder = folder(&format!("ours-{}", scheme.name()));
        let file = |role: Role| &world.director.files[&world.director.path(role, 1)];
        for role in Role::ALL {
            std::fs::write(folder.join(role.listed_name()), file(role)).unwrap();
        }
        let theirs = run(&python, "read", &folder);
        let ours = [
            canonical_hash(&Signed::<Root>::parse(file(Role::Root), BOUNDS, &SoftwareVerifier).unwrap()),
            canonical_hash(
                &Signed::<Snapshot>::parse(file(Role::Snapshot), BOUNDS, &SoftwareVerifier).unwrap(),
            ),
            canonical_hash(
                &Signed::<Targets>::parse(file(Role::Targets), BOUNDS, &SoftwareVerifier).unwrap(),
            ),
            canonical_hash(
                &Signed::<Timestamp>::parse(file(Role::Timestamp), BOUNDS, &SoftwareVerifier).unwrap(),
            ),
        ];
        assert_eq!(theirs, ours);
    }
}

#[test]
fn we_believe_what_python_tuf_signs_with_three_schemes_at_once() {
    fn check<T: RoleMetadata>(folder: &Path, root: &Root) -> (String, String) {
        let bytes = std::fs::read(folder.join(T::ROLE.listed_name())).unwrap();
        let signed = Signed::<T>::parse(&bytes, BOUNDS, &SoftwareVerifier).unwrap();
        assert_eq!(root.role(T::ROLE).threshold, 3);
        root.verify(&signed, &SoftwareVerifier).unwrap();
        // Our spelling of the same file means the same.
        let again = Signed::<T>::parse(&signed.to_bytes().unwrap(), BOUNDS, &SoftwareVerifier).unwrap();
        assert_eq!(again.signed_bytes(), signed.signed_bytes());
        canonical_hash(&signed)
    }
    let Some(python) = python() else { return };
    let folder = folder("theirs");
    let theirs = run(&python, "write", &folder);
    let bytes = std::fs::read(folder.join("root.json")).unwrap();
    let root = Signed::<Root>::parse(&bytes, BOUNDS, &SoftwareVerifier).unwrap();
    let root = root.body();
    let ours = [
        check::<Root>(&folder, root),
        check::<Snapshot>(&folder, root),
        check::<Targets>(&folder, root),
        check::<Timestamp>(&folder, root),
    ];
    assert_eq!(theirs, ours);
}
