//! The cloud of a simulated vehicle: a directory with real signed repositories.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crypto_offload::job::{Cipher, HashAlgorithm, SecretKey};
use gateway_cloud::publish::{Campaign, Expiry, KeyRing, Published, TargetDescription, publish};
use gatewayd::gateway::KeyEncryptionKey;
use ota::uptane::verify::{TrustedMetadata, TrustedRepository};
use ota::uptane::{UtcTime, Vin};
use tempfile::TempDir;

/// When the simulation begins, in seconds since 1970.
pub const EPOCH: u64 = 1_900_000_000;
/// The simulated vehicle.
pub const VIN: &str = "WVWZZZ1JZXW000001";
/// Plain bytes of a chunk in simulated campaigns.
pub const CHUNK_SIZE: u32 = 4096;

/// One image for one ECU.
#[derive(Clone, Debug)]
pub struct Image {
    /// The ECU.
    pub serial: &'static str,
    /// Its hardware.
    pub hardware: &'static str,
    /// What the ECU shows afterwards.
    pub version: &'static str,
    /// Release counter.
    pub counter: u64,
    /// How it is sealed.
    pub cipher: Option<Cipher>,
    /// Hash function of file and tree.
    pub hash: HashAlgorithm,
    /// Install order.
    pub order: u32,
    /// The plain image.
    pub bytes: Vec<u8>,
}

/// A directory with both repositories, as a static file server would offer it.
#[derive(Debug)]
pub struct SimCloud {
    directory: TempDir,
}

impl Default for SimCloud {
    fn default() -> Self {
        Self::new()
    }
}

impl SimCloud {
    /// An empty one. All simulated clouds of a process sign with the same keys.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// What is served.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Publishes a campaign for the simulated vehicle.
    pub fn publish(&self, campaign: &str, images: &[Image]) -> Published {
        self.publish_for(VIN, campaign, images, &Expiry::default())
    }

    /// Publishes a campaign for any vehicle.
    pub fn publish_for(&self, vin: &str, campaign: &str, images: &[Image], expiry: &Expiry) -> Published {
        let targets = images.iter().map(|image| self.describe(image)).collect();
        let description = Campaign {
            vin: vin.parse().expect("a VIN"),
            campaign: campaign.parse().expect("a campaign id"),
            trace_id: trace_id(campaign).parse().expect("a trace id"),
            targets,
        };
        let now = UtcTime::from_unix(EPOCH);
        publish(&self.root(), key_ring(), &description, expiry, now, &mut |_| {}).expect("it is published")
    }

    /// A copy that goes its own way from here.
    pub fn branch(&self) -> Self {
        let branch = Self::new();
        copy(&self.root(), &branch.root());
        branch
    }

    /// What a vehicle trusts that left the factory when this cloud was made.
    pub fn factory(&self) -> TrustedMetadata {
        let read = |folder: &str| {
            let bytes = std::fs::read(self.root().join(folder).join("1.root.json"));
            TrustedRepository::new(bytes.expect("a campaign was published"))
        };
        TrustedMetadata { director: read(&format!("director/{VIN}")), image: read("image") }
    }

    fn describe(&self, image: &Image) -> TargetDescription {
        let name = format!("{}-{}.bin", image.serial.to_lowercase(), image.version);
        let file = self.directory.path().join(&name);
        std::fs::write(&file, &image.bytes).expect("a file in a temporary directory");
        TargetDescription {
            file,
            name: name.parse().expect("a target name"),
            ecu_serial: image.serial.parse().expect("a serial"),
            hardware_id: image.hardware.parse().expect("a hardware id"),
            version: image.version.parse().expect("a version"),
            release_counter: image.counter,
            cipher: image.cipher,
            hash: image.hash,
            chunk_size: CHUNK_SIZE,
            order: image.order,
            group: None,
            preconditions: Vec::new(),
        }
    }
}

/// The trace id of a campaign with that name.
pub fn trace_id(campaign: &str) -> String {
    let number = campaign.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(257) ^ u64::from(byte));
    format!("G{:015x}", number & ((1 << 60) - 1))
}

/// The keys that a simulated vehicle unwraps content keys with.
pub(super) fn key_encryption_keys() -> Vec<KeyEncryptionKey> {
    [Cipher::Aes256Gcm, Cipher::Sm4Gcm]
        .map(|cipher| {
            let (id, cipher, key) = key_ring().kek_for(cipher);
            let key = SecretKey::new(key.expose().to_vec());
            KeyEncryptionKey { id: id.parse().expect("a key id"), cipher, key }
        })
        .into()
}

/// The vehicle identification number.
pub(super) fn vin() -> Vin {
    VIN.parse().expect("a VIN")
}

/// Copies a folder and everything in it over what is there.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder in a temporary directory");
    for entry in std::fs::read_dir(from).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        let to = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("a readable file");
        }
    }
}

fn key_ring() -> &'static KeyRing {
    static KEYS: OnceLock<Arc<KeyRing>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Arc::new(KeyRing::create(directory.path()).expect("new keys"))
    })
}
