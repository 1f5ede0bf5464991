//! What is published is read back the way a vehicle does: from the roots down to the plain bytes.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]
#![allow(clippy::cast_possible_truncation, reason = "patterns of bytes, and sizes far below 4 GiB")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crypto_offload::job::{Cipher, HashAlgorithm, Seal, Verifier};
use crypto_offload::software::{SoftwareVerifier, aead, key_wrap};
use gateway_cloud::publish::{
    Campaign, Expiry, KeyRing, PackageError, PackageFault, PublishError, Published, RepositoryError, publish,
};
use ota::tree::{TreeCursor, leaf_digest};
use ota::uptane::canonical::Bounds;
use ota::uptane::verify::{
    EcuIdentity, Event, FetchFailure, Limits, TrustedMetadata, TrustedRepository, VehicleIdentity,
    Verification, VerifyError,
};
use ota::uptane::{
    Role, RoleMetadata, Root, Signed, Snapshot, Target, Targets, Timestamp, UtcTime, WrappedKey,
};

const NOW: u64 = 1_800_000_000;
const VIN: &str = "WVWZZZ1JZXW000001";

struct Fixture {
    dir: tempfile::TempDir,
    keys: KeyRing,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyRing::create(&dir.path().join("keys")).unwrap();
        Self { dir, keys }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("origin")
    }

    fn package(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// One SM image, one AES image, one in the clear, of lengths around the chunk size.
    fn campaign(&self) -> Campaign {
        let bytes = |len: usize| (0..len).map(|it| (it * 7 % 251) as u8).collect::<Vec<_>>();
        let lines = [
            ("brake", 4096 * 130 + 1, "cipher=sm4-gcm,hash=sm3"),
            ("body", 4096, "cipher=aes-256-gcm,hash=sha256"),
            ("radio", 1, "cipher=none"),
        ];
        let targets = lines.map(|(name, len, how)| {
            let file = self.package(name, &bytes(len));
            format!(
                "file={},name={name}.bin,ecu_serial={name}-1,hardware_id=hw-{name},version=2.0,\
                 release_counter=2,chunk_size=4096,{how}",
                file.display()
            )
            .parse()
            .unwrap()
        });
        Campaign {
            vin: VIN.parse().unwrap(),
            campaign: "spring".parse().unwrap(),
            trace_id: "G0123456789abcde".parse().unwrap(),
            targets: targets.into(),
        }
    }

    fn publish(&self, campaign: &Campaign) -> Result<Published, PublishError> {
        self.publish_with(campaign, &Expiry::default())
    }

    fn publish_with(&self, campaign: &Campaign, expiry: &Expiry) -> Result<Published, PublishError> {
        publish(&self.root(), &self.keys, campaign, expiry, UtcTime::from_unix(NOW), &mut |_| {})
    }
}

fn read<T: RoleMetadata>(root: Option<&Root>, path: &Path) -> Signed<T> {
    let bytes = std::fs::read(path).unwrap();
    let metadata = Signed::parse(&bytes, Bounds::metadata(1 << 20), &SoftwareVerifier).unwrap();
    if let Some(root) = root {
        root.verify(&metadata, &SoftwareVerifier).unwrap();
    }
    metadata
}

/// The current targets of the repository in `dir`, every signature, version, length and hash on the way checked.
fn targets(dir: &Path) -> Signed<Targets> {
    let root: Signed<Root> = read(None, &dir.join("1.root.json"));
    let root = root.body();
    root.verify(&read::<Root>(None, &dir.join("1.root.json")), &SoftwareVerifier).unwrap();
    assert_eq!((root.role(Role::Root).threshold, root.role(Role::Targets).threshold), (2, 2));
    let timestamp: Signed<Timestamp> = read(Some(root), &dir.join("timestamp.json"));
    let follow = |role: Role, listed: &ota::uptane::MetaFile| {
        let path = dir.join(role.file_name(listed.version));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(listed.length, Some(bytes.len() as u64));
        assert_eq!(listed.hashes.same_functions(&bytes, &SoftwareVerifier), listed.hashes);
        path
    };
    let snapshot: Signed<Snapshot> = read(Some(root), &follow(Role::Snapshot, &timestamp.body().snapshot));
    read(Some(root), &follow(Role::Targets, &snapshot.body().targets))
}

/// Opens a stored image; the chunk that does not match its tree, if there is one.
fn open(fixture: &Fixture, name: &str, path: &Path, target: &Target) -> Result<Vec<u8>, u64> {
    let custom = target.custom.as_ref().unwrap();
    let stored = std::fs::read(path).unwrap();
    let tree = std::fs::read(format!("{}.tree", path.display())).unwrap();
    let layout = custom.chunks.layout;
    let key = custom.content_key.as_ref().map(|wrapped| {
        let (id, wrapping, kek) = fixture.keys.kek_for(layout.cipher().unwrap());
        assert_eq!(wrapped.kek.as_str(), id);
        let aad = WrappedKey::aad(&VIN.parse().unwrap(), &name.parse().unwrap());
        Arc::new(key_wrap::unwrap(kek, wrapping, &aad, &wrapped.wrapped).unwrap())
    });
    assert_eq!(key.is_some(), layout.cipher().is_some());
    let mut cursor = TreeCursor::new(custom.chunks.shape().unwrap(), custom.chunks.tree.root);
    let mut plain = Vec::new();
    for index in 0..layout.chunk_count() {
        while let Some(node) = cursor.poll_node(index) {
            let start = node.offset as usize;
            cursor.handle_node(&tree[start..start + node.len], &SoftwareVerifier).unwrap();
        }
        let range = layout.stored_range(index).unwrap();
        let chunk = &stored[range.start as usize..range.end as usize];
        let leaf = leaf_digest(custom.chunks.tree.algorithm, index, chunk, &SoftwareVerifier);
        if cursor.leaf(index) != Some(leaf) {
            return Err(index);
        }
        plain.extend(match (layout.cipher(), &key) {
            (Some(cipher), Some(key)) => {
                let (nonce, aad) = (layout.nonce(index), layout.aad(index));
                aead::open(&Seal { cipher, key: key.clone(), nonce, aad }, chunk.to_vec()).unwrap()
            }
            _ => chunk.to_vec(),
        });
    }
    Ok(plain)
}

#[test]
fn a_vehicle_gets_from_the_roots_to_the_very_bytes_of_the_packages() {
    let fixture = Fixture::new();
    let campaign = fixture.campaign();
    let published = fixture.publish(&campaign).unwrap();
    let director = targets(&fixture.root().join("director").join(VIN));
    let image = targets(&fixture.root().join("image"));
    let info = director.body().custom.as_ref().unwrap();
    assert_eq!((info.vin.as_str(), info.campaign.as_str()), (VIN, "spring"));
    assert_eq!(director.expires().unix(), NOW + 30 * 86_400);
    assert_eq!(published.targets.len(), 3);
    for (description, published) in campaign.targets.iter().zip(&published.targets) {
        let target = &director.body().targets[&description.name];
        assert_eq!(*target, published.target);
        let listed = &image.body().targets[&description.name];
        assert_eq!((listed.length, listed.hashes), (target.length, target.hashes));
        let listed = listed.custom.as_ref().unwrap();
        assert!(listed.content_key.is_none() && listed.ecu_identifiers.is_empty());
        assert!(target.custom.as_ref().unwrap().ecu_identifiers.contains_key(&description.ecu_serial));

        let path = fixture.root().join(&published.path);
        assert_eq!(path, fixture.root().join("image").join(target.path(&description.name).unwrap()));
        let stored = std::fs::read(&path).unwrap();
        let digest = SoftwareVerifier.digest(description.hash, &[&stored]);
        assert_eq!(target.hashes.by(description.hash), Some(digest));
        let plain = open(&fixture, description.name.as_str(), &path, target).unwrap();
        assert!(plain == std::fs::read(&description.file).unwrap(), "{} differs", description.name);
        if description.cipher.is_some() {
            assert!(
                !stored.starts_with(&plain[..plain.len().min(64)]),
                "{} lies in the clear",
                description.name
            );
        }
    }
    assert_eq!(campaign.targets[0].hash, HashAlgorithm::Sm3);
    assert_eq!(campaign.targets[1].cipher, Some(Cipher::Aes256Gcm));
}

#[test]
fn one_flipped_bit_is_found_in_its_chunk() {
    let fixture = Fixture::new();
    let published = fixture.publish(&fixture.campaign()).unwrap();
    for (index, byte, chunk) in [(0, 4112 * 129 + 5, 129), (1, 4111, 0), (2, 0, 0)] {
        let it = &published.targets[index];
        let path = fixture.root().join(&it.path);
        let mut stored = std::fs::read(&path).unwrap();
        stored[byte] ^= 0x10;
        std::fs::write(&path, stored).unwrap();
        assert_eq!(open(&fixture, it.name.as_str(), &path, &it.target), Err(chunk), "{}", it.name);
    }
}

#[test]
fn a_later_publication_raises_versions_and_keeps_root_and_other_images() {
    let fixture = Fixture::new();
    let mut campaign = fixture.campaign();
    let first = fixture.publish(&campaign).unwrap();
    let root = std::fs::read(&first.director_root).unwrap();
    campaign.targets.truncate(1);
    let expired = Expiry { targets: 60, snapshot: -60, timestamp: -1, ..Expiry::default() };
    let second = fixture.publish_with(&campaign, &expired).unwrap();
    assert_eq!((second.director_version, second.image_version), (2, 2));
    assert_eq!(std::fs::read(&second.director_root).unwrap(), root);
    assert_ne!(first.targets[0].path, second.targets[0].path, "a content key was used twice");
    let dir = fixture.root().join("director").join(VIN);
    assert_eq!(targets(&dir).body().targets.len(), 1);
    assert_eq!(targets(&fixture.root().join("image")).body().targets.len(), 3);
    assert_eq!(read::<Timestamp>(None, &dir.join("timestamp.json")).expires().unix(), NOW - 1);
}

#[test]
fn bad_packages_are_named_and_leave_the_repository_as_it_was() {
    type Expected = fn(&PackageFault) -> bool;
    let fixture = Fixture::new();
    let good = fixture.campaign();
    fixture.publish(&good).unwrap();
    let timestamp = fixture.root().join("image/timestamp.json");
    let before = std::fs::read(&timestamp).unwrap();
    let empty = fixture.package("empty", b"");
    let cases: [(PathBuf, Expected); 3] = [
        (fixture.dir.path().join("absent"), |it| matches!(it, PackageFault::Missing)),
        (fixture.dir.path().to_owned(), |it| matches!(it, PackageFault::NotAFile)),
        (empty, |it| matches!(it, PackageFault::Empty)),
    ];
    for (file, expected) in cases {
        let mut campaign = good.clone();
        campaign.targets[1].file = file.clone();
        let error = fixture.publish(&campaign).unwrap_err();
        let PublishError::Package(PackageError { path, fault }) = &error else { panic!("{error}") };
        assert!(*path == file && expected(fault), "{error}");
        assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
    }
    let mut campaign = good;
    campaign.targets[0].chunk_size = 5000;
    assert!(fixture.publish(&campaign).unwrap_err().to_string().contains("power of two"));
    assert_eq!(std::fs::read(&timestamp).unwrap(), before);
}

#[test]
fn a_package_that_changes_while_it_is_read_is_refused() {
    let fixture = Fixture::new();
    let campaign = fixture.campaign();
    let file = campaign.targets[0].file.clone();
    for len in [10_000_000, 10] {
        let mut changed = false;
        let result = publish(
            &fixture.root(),
            &fixture.keys,
            &campaign,
            &Expiry::default(),
            UtcTime::from_unix(NOW),
            &mut |progress| {
                if !changed && progress.done > 4096 {
                    std::fs::File::options().write(true).open(&file).unwrap().set_len(len).unwrap();
                    changed = true;
                }
            },
        );
        let error = result.unwrap_err();
        let is_changed =
            matches!(&error, PublishError::Package(it) if matches!(it.fault, PackageFault::Changed));
        assert!(is_changed, "to {len} bytes: {error}");
    }
    let left: Vec<_> = std::fs::read_dir(fixture.root().join("image/targets")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn other_keys_than_the_repositorys_are_refused() {
    let fixture = Fixture::new();
    fixture.publish(&fixture.campaign()).unwrap();
    let other = KeyRing::create(&fixture.dir.path().join("other")).unwrap();
    let now = UtcTime::from_unix(NOW);
    let result = publish(&fixture.root(), &other, &fixture.campaign(), &Expiry::default(), now, &mut |_| {});
    assert!(matches!(result, Err(PublishError::Repository(RepositoryError::WrongKeys { .. }))));
}

/// One cycle of full verification by a vehicle that has the three ECUs and trusts the published roots.
fn verify(fixture: &Fixture, published: &Published, now: u64) -> Result<Event, VerifyError> {
    let ecus = ["brake", "body", "radio"].map(|name| EcuIdentity {
        serial: format!("{name}-1").parse().unwrap(),
        hardware_id: format!("hw-{name}").parse().unwrap(),
        release_counter: 1,
        installed: None,
    });
    let trusted = |path: &Path| TrustedRepository::new(std::fs::read(path).unwrap());
    let mut verification = Verification::new(
        VehicleIdentity { vin: VIN.parse().unwrap(), ecus: ecus.into() },
        TrustedMetadata {
            director: trusted(&published.director_root),
            image: trusted(&published.image_root),
        },
        Limits::default(),
        &SoftwareVerifier,
    )?;
    let mut last = None;
    while let Some(request) = verification.poll_request() {
        let bytes = std::fs::read(fixture.root().join(&request.path)).map_err(|_| FetchFailure::NotFound);
        verification.handle_response(UtcTime::from_unix(now), bytes, &SoftwareVerifier)?;
        while let Some(event) = verification.poll_event() {
            last = Some(event);
        }
    }
    Ok(last.unwrap())
}

#[test]
fn full_verification_accepts_what_was_published_until_it_expires() {
    let fixture = Fixture::new();
    let campaign = fixture.campaign();
    let published = fixture.publish(&campaign).unwrap();
    for now in [NOW, NOW + 86_399] {
        let Event::Verified(verified) = verify(&fixture, &published, now).unwrap() else {
            panic!("not verified at {now}")
        };
        assert_eq!(verified.assignments.len(), 3);
        assert_eq!(verified.campaign.ota_trace_id, campaign.trace_id);
    }
    // The timestamp lives for a day.
    assert!(verify(&fixture, &published, NOW + 86_400).is_err());

    // A later publication is followed from the same roots.
    let published = fixture.publish(&campaign).unwrap();
    let Event::Verified(verified) = verify(&fixture, &published, NOW).unwrap() else {
        panic!("not verified")
    };
    assert_eq!(verified.director_version, 2);
}
