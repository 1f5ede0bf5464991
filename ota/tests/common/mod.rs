//! A cloud and a vehicle in memory: two repositories whose every file a test can bend before the vehicle sees it.
#![allow(dead_code, reason = "every test file uses another part of it")]

use std::collections::BTreeMap;

use crypto_offload::job::{Digest, HashAlgorithm, SignatureScheme, Verifier};
use crypto_offload::signing::SigningKey;
use crypto_offload::software::SoftwareVerifier;
use ota::image::ChunkLayout;
use ota::uptane::verify::{
    EcuIdentity, Event, FetchFailure, Limits, NothingNew, TrustedMetadata, TrustedRepository,
    VehicleIdentity, Verification, Verified, VerifyError,
};
use ota::uptane::{
    CampaignInfo, Chunks, EcuAssignment, EcuSerial, Hashes, Key, KeyId, MetaFile, Role, RoleKeys,
    RoleMetadata, Root, RootRoles, Signed, Snapshot, Target, TargetCustom, TargetName, Targets, Timestamp,
    TreeRoot, UtcTime,
};

pub(crate) const NOW: u64 = 1_900_000_000;
pub(crate) const EXPIRES: u64 = NOW + 1000;
pub(crate) const VIN: &str = "WDB9066331S123456";

pub(crate) fn utc(unix: u64) -> UtcTime {
    UtcTime::from_unix(unix)
}

/// One key and its id.
pub(crate) struct Signer {
    pub(crate) key: SigningKey,
    pub(crate) id: KeyId,
}

impl Signer {
    pub(crate) fn new(scheme: SignatureScheme) -> Self {
        let key = SigningKey::generate(scheme).unwrap();
        let id = Key::from_public(&key.public().unwrap()).id(&SoftwareVerifier);
        Self { key, id }
    }

    pub(crate) fn sign<T: RoleMetadata>(&self, metadata: &mut Signed<T>) {
        metadata.sign_with(|bytes| (self.id, self.key.sign(bytes).unwrap()));
    }
}

/// One repository: its keys, and its files by path.
pub(crate) struct Repo {
    pub(crate) base: String,
    pub(crate) keys: BTreeMap<Role, Vec<Signer>>,
    pub(crate) thresholds: BTreeMap<Role, u32>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) expires: BTreeMap<Role, u64>,
    pub(crate) root_version: u64,
    /// Roots signed before, whose keys must also sign the next one.
    pub(crate) former_root_keys: Vec<Signer>,
}

impl Repo {
    pub(crate) fn new(base: &str, scheme: SignatureScheme) -> Self {
        let keys = Role::ALL.into_iter().map(|role| (role, vec![Signer::new(scheme)])).collect();
        let thresholds = Role::ALL.into_iter().map(|role| (role, 1)).collect();
        let expires = Role::ALL.into_iter().map(|role| (role, EXPIRES)).collect();
        let mut repo = Self {
            base: base.to_owned(),
            keys,
            thresholds,
            files: BTreeMap::new(),
            expires,
            root_version: 0,
            former_root_keys: Vec::new(),
        };
        repo.publish_root();
        repo
    }

    pub(crate) fn path(&self, role: Role, version: u64) -> String {
        format!("{}/{}", self.base, role.file_name(version))
    }

    /// The root as it stands, unsigned, with the next version.
    pub(crate) fn next_root(&self, version: u64) -> Signed<Root> {
        let role = |role: Role| RoleKeys {
            keyids: self.keys[&role].iter().map(|signer| signer.id).collect(),
            threshold: self.thresholds[&role],
        };
        let keys = self
            .keys
            .values()
            .flatten()
            .map(|signer| (signer.id, Key::from_public(&signer.key.public().unwrap())))
            .collect();
        let roles = RootRoles {
            root: role(Role::Root),
            timestamp: role(Role::Timestamp),
            snapshot: role(Role::Snapshot),
            targets: role(Role::Targets),
        };
        let root = Root { consistent_snapshot: true, keys, roles };
        Signed::new(version, utc(self.expires[&Role::Root]), root, &SoftwareVerifier).unwrap()
    }

    /// Publishes the next root, signed by the current keys and by those of the root before.
    pub(crate) fn publish_root(&mut self) {
        self.root_version += 1;
        let mut root = self.next_root(self.root_version);
        for signer in self.keys[&Role::Root].iter().chain(&self.former_root_keys) {
            signer.sign(&mut root);
        }
        self.files.insert(self.path(Role::Root, self.root_version), root.to_bytes().unwrap());
        self.former_root_keys.clear();
    }

    /// Puts a new key in the place of a role's keys.
    pub(crate) fn rotate(&mut self, role: Role) {
        let old = self.keys.insert(role, vec![Signer::new(SignatureScheme::Ed25519)]).unwrap();
        if role == Role::Root {
            self.former_root_keys = old;
        }
    }

    pub(crate) fn sign<T: RoleMetadata>(&self, version: u64, body: T) -> Vec<u8> {
        let mut signed = Signed::new(version, utc(self.expires[&T::ROLE]), body, &SoftwareVerifier).unwrap();
        for signer in &self.keys[&T::ROLE] {
            signer.sign(&mut signed);
        }
        signed.to_bytes().unwrap()
    }

    /// Publishes targets and everything above, all with this version.
    pub(crate) fn publish(&mut self, version: u64, targets: Targets) {
        let targets = self.sign(version, targets);
        self.publish_targets_file(version, targets);
    }

    pub(crate) fn publish_targets_file(&mut self, version: u64, targets: Vec<u8>) {
        let listed = listed(version, &targets);
        self.files.insert(self.path(Role::Targets, version), targets);
        self.publish_snapshot(version, Snapshot { targets: listed, others: BTreeMap::new() });
    }

    pub(crate) fn publish_snapshot(&mut self, version: u64, snapshot: Snapshot) {
        let snapshot = self.sign(version, snapshot);
        let listed = listed(version, &snapshot);
        self.files.insert(self.path(Role::Snapshot, version), snapshot);
        self.publish_timestamp(version, listed);
    }

    pub(crate) fn publish_timestamp(&mut self, version: u64, snapshot: MetaFile) {
        let timestamp = self.sign(version, Timestamp { snapshot });
        self.files.insert(self.path(Role::Timestamp, version), timestamp);
    }

    pub(crate) fn trusted(&self) -> TrustedRepository {
        TrustedRepository::new(self.files[&self.path(Role::Root, 1)].clone())
    }
}

pub(crate) fn listed(version: u64, bytes: &[u8]) -> MetaFile {
    MetaFile { version, length: Some(bytes.len() as u64), hashes: hashes(bytes) }
}

pub(crate) fn hashes(bytes: &[u8]) -> Hashes {
    Hashes::new(
        [HashAlgorithm::Sha256, HashAlgorithm::Sm3].map(|it| (it, SoftwareVerifier.digest(it, &[bytes]))),
    )
}

/// Both repositories, and a vehicle with two ECUs.
pub(crate) struct World {
    pub(crate) director: Repo,
    pub(crate) image: Repo,
    pub(crate) trusted: TrustedMetadata,
    pub(crate) vehicle: VehicleIdentity,
    pub(crate) limits: Limits,
    pub(crate) now: u64,
    /// What the network does to a path, instead of serving it.
    pub(crate) faults: BTreeMap<String, Result<Vec<u8>, FetchFailure>>,
    /// Every path asked for in the last cycle.
    pub(crate) asked: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Verified(Verified),
    NothingNew(NothingNew),
}

impl World {
    /// A campaign of version 1 that updates both ECUs, published and not yet seen by the vehicle.
    pub(crate) fn new() -> Self {
        Self::with_scheme(SignatureScheme::Ed25519)
    }

    pub(crate) fn with_scheme(scheme: SignatureScheme) -> Self {
        let director = Repo::new(&format!("director/{VIN}"), scheme);
        let image = Repo::new("image", scheme);
        let trusted = TrustedMetadata { director: director.trusted(), image: image.trusted() };
        let vehicle = VehicleIdentity {
            vin: VIN.parse().unwrap(),
            ecus: [("brake-1", "brake-s32k3"), ("body-1", "body-rh850")]
                .map(|(serial, hardware)| EcuIdentity {
                    serial: serial.parse().unwrap(),
                    hardware_id: hardware.parse().unwrap(),
                    release_counter: 7,
                    installed: None,
                })
                .to_vec(),
        };
        let mut world = Self {
            director,
            image,
            trusted,
            vehicle,
            limits: Limits::default(),
            now: NOW,
            faults: BTreeMap::new(),
            asked: Vec::new(),
        };
        world.publish(1, &campaign());
        world
    }

    /// Publishes these targets, for the ECUs they name, in both repositories.
    pub(crate) fn publish(&mut self, version: u64, targets: &BTreeMap<TargetName, Target>) {
        self.director.publish(version, Targets::new(targets.clone(), Some(info())));
        self.image.publish(version, Targets::new(for_image_repository(targets), None));
    }

    /// One cycle, with a store that keeps what it is told to.
    pub(crate) fn cycle(&mut self) -> Result<Outcome, VerifyError> {
        self.asked.clear();
        let mut verification =
            Verification::new(self.vehicle.clone(), self.trusted.clone(), self.limits, &SoftwareVerifier)?;
        let mut outcome = None;
        let mut result = Ok(());
        while let (Ok(()), Some(request)) = (&result, verification.poll_request()) {
            assert!(verification.poll_request().is_none(), "one request at a time");
            self.asked.push(request.path.clone());
            let response = self.faults.get(&request.path).cloned().unwrap_or_else(|| {
                let mut files = self.director.files.iter().chain(&self.image.files);
                files
                    .find(|(path, _)| **path == request.path)
                    .map(|(_, bytes)| bytes.clone())
                    .ok_or(FetchFailure::NotFound)
            });
            result = verification.handle_response(utc(self.now), response, &SoftwareVerifier);
            while let Some(event) = verification.poll_event() {
                match event {
                    Event::Persist(persist) => self.trusted.persist(&persist),
                    Event::Verified(verified) => outcome = Some(Outcome::Verified(verified)),
                    Event::NothingNew(nothing) => outcome = Some(Outcome::NothingNew(nothing)),
                }
            }
        }
        result.map(|()| outcome.expect("a cycle without an error ends with an outcome"))
    }

    pub(crate) fn verified(&mut self) -> Verified {
        match self.cycle().expect("the cycle passes") {
            Outcome::Verified(verified) => verified,
            Outcome::NothingNew(nothing) => panic!("nothing new: {nothing:?}"),
        }
    }

    pub(crate) fn error(&mut self) -> VerifyError {
        self.cycle().expect_err("the cycle fails")
    }
}

pub(crate) fn info() -> CampaignInfo {
    CampaignInfo {
        vin: VIN.parse().unwrap(),
        campaign: "spring".parse().unwrap(),
        ota_trace_id: "G0123456789abcde".parse().unwrap(),
    }
}

pub(crate) fn name(text: &str) -> TargetName {
    text.parse().unwrap()
}

pub(crate) fn serial(text: &str) -> EcuSerial {
    text.parse().unwrap()
}

/// Two images, one for each ECU of the vehicle.
pub(crate) fn campaign() -> BTreeMap<TargetName, Target> {
    BTreeMap::from([
        (name("brake.bin"), target("brake-1", "brake-s32k3")),
        (name("body.bin"), target("body-1", "body-rh850")),
    ])
}

pub(crate) fn target(ecu: &str, hardware: &str) -> Target {
    let layout = ChunkLayout::new(10_000, 4096, None).unwrap();
    Target {
        length: layout.stored_size(),
        hashes: hashes(ecu.as_bytes()),
        custom: Some(TargetCustom {
            hardware_ids: vec![hardware.parse().unwrap()],
            release_counter: 8,
            version: "2.1.0".parse().unwrap(),
            chunks: Chunks {
                layout,
                tree: TreeRoot { algorithm: HashAlgorithm::Sm3, root: Digest::new(&[7; 32]).unwrap() },
            },
            ecu_identifiers: BTreeMap::from([(
                serial(ecu),
                EcuAssignment { hardware_id: hardware.parse().unwrap() },
            )]),
            content_key: None,
            install: None,
        }),
    }
}

/// The same targets without what only the Director says.
pub(crate) fn for_image_repository(targets: &BTreeMap<TargetName, Target>) -> BTreeMap<TargetName, Target> {
    let mut targets = targets.clone();
    for target in targets.values_mut() {
        let custom = target.custom.as_mut().unwrap();
        custom.ecu_identifiers.clear();
        custom.content_key = None;
        custom.install = None;
    }
    targets
}

/// Changes a target's `custom`.
pub(crate) fn bend(
    targets: &mut BTreeMap<TargetName, Target>,
    target: &str,
    change: impl FnOnce(&mut TargetCustom),
) {
    change(targets.get_mut(&name(target)).unwrap().custom.as_mut().unwrap());
}
