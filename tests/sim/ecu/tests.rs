//! A programmer and a simulated ECU on simulated time.

mod dialects;
mod faults;
mod node;
mod resume;
mod robustness;
mod sequence;

use super::{EcuConfig, Fault, Progress, SimEcu, drive};
use canfd::uds::message::Session;
use canfd::uds::profile::{Bank, ChecksumAlgorithm, Phase, Profile};
use canfd::uds::programming::{Cause, EcuState, Event, Plan, Programmer, ProgrammingError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than any bounded wait of a whole sequence.
const LIMIT: Duration = Duration::from_secs(600);

/// One bank, everything physical, seed and key, SHA-256, resumable.
const ONE_BANK: &str = r#"
    security = { seed_key = { level = 1, algorithm = "demonstration-xor-rotate" } }
    banks = [{ address = 0x0001_0000 }]
    resume = { reported_offset = { did = 0xFD01 } }
"#;

/// Two banks and everything else different: functional steps, another order, CRC-32, erase by index.
const TWO_BANKS: &str = r#"
    extended_session = "functional"
    dtc_setting = "functional"
    communication_control = "functional"
    security = { seed_key = { level = 0x11, algorithm = "demonstration-multiply-add" } }
    fingerprint = { did = 0xF199, value = "WORKSHOP", append_version = true }
    erase = { routine = 0xFF00, address_and_length = false }
    memory = { address_bytes = 5, length_bytes = 3, data_format = 0 }
    banks = [{ address = 0x0800_0000 }, { address = 0x1_0900_0000 }]
    active_bank_did = 0xFD02
    checksum = { routine = 0x0203, algorithm = "crc32" }
    activation = { switch_bank = { routine = 0x0301 } }
    version_did = 0xF189
    hardware_did = 0xF193
    resume = { reported_offset = { did = 0xFD01 } }
    [order]
    security_before_programming_session = false
    fingerprint_after_erase = true
"#;

/// An ECU, its image to come and what happened so far.
struct Bench {
    now: Instant,
    directory: TempDir,
    config: Arc<EcuConfig>,
    ecu: SimEcu,
    image: Vec<u8>,
    plan: Plan,
    events: Vec<Event>,
}

impl Bench {
    fn new(profile: &str) -> Self {
        Self::with(profile, 1000, |_| {})
    }

    fn with(profile: &str, image_len: usize, change: impl FnOnce(&mut EcuConfig)) -> Self {
        let profile: Profile = toml::from_str(profile).unwrap();
        let mut config =
            EcuConfig { profile, max_block_length: 102, bank_size: 1 << 20, ..EcuConfig::default() };
        change(&mut config);
        let image = random_bytes(image_len);
        let mut digest = super::digest::Digest::new(algorithm(&config.profile));
        digest.update(&image);
        let plan = Plan {
            image_len: image.len() as u64,
            version: b"2.0.0".to_vec(),
            checksum: digest.finish(),
            ..Plan::default()
        };
        let now = Instant::now();
        let directory = tempfile::tempdir().unwrap();
        let config = Arc::new(config);
        let ecu = SimEcu::open(now, directory.path(), Arc::clone(&config)).unwrap();
        Self { now, directory, config, ecu, image, plan, events: Vec::new() }
    }

    fn programmer(&self) -> Programmer {
        Programmer::new(self.now, Arc::new(self.config.profile.clone()), self.plan.clone()).unwrap()
    }

    /// A whole attempt with both gates open, until its last event.
    fn run(&mut self) -> Event {
        let mut programmer = self.programmer();
        programmer.begin_transfer(self.now);
        programmer.activate(self.now);
        match self.drive(&mut programmer, |_, _| true) {
            Progress::Ended(event) => event,
            other => panic!("the programmer did not end: {other:?}, phase {:?}", programmer.phase()),
        }
    }

    fn drive(
        &mut self,
        programmer: &mut Programmer,
        mut go_on: impl FnMut(&Event, &mut SimEcu) -> bool,
    ) -> Progress {
        let Self { now, ecu, image, events, .. } = self;
        drive(now, programmer, ecu, image, LIMIT, |event, ecu| {
            events.push(event.clone());
            go_on(event, ecu)
        })
    }

    fn fail(&mut self) -> ProgrammingError {
        match self.run() {
            Event::Failed(error) => error,
            other => panic!("the attempt succeeded: {other:?}"),
        }
    }

    fn succeed(&mut self) {
        let event = self.run();
        assert!(matches!(event, Event::Finished { restored: true, .. }), "{event:?}");
        self.assert_updated();
    }

    /// RAM is lost, flash is kept, and time passes.
    fn power_cut(&mut self) {
        self.now += Duration::from_secs(60);
        self.ecu = SimEcu::open(self.now, self.directory.path(), Arc::clone(&self.config)).unwrap();
        self.events.clear();
    }

    fn assert_updated(&self) {
        assert_eq!(self.ecu.running_version(), Some(&b"2.0.0"[..]));
        assert!(
            self.ecu.running_image().unwrap().unwrap() == self.image,
            "the image differs from its source"
        );
        assert!(self.ecu.storage_error().is_none());
    }

    fn assert_untouched(&self) {
        assert_eq!(self.ecu.running_version(), Some(&b"1.0.0"[..]));
        assert_eq!(self.ecu.running_image().unwrap().unwrap(), b"factory image");
        assert_eq!((self.ecu.session(), self.ecu.is_restored()), (Session::Default, true));
    }

    fn phases(&self) -> Vec<Phase> {
        let phase = |event: &Event| match event {
            Event::PhaseEntered(phase) => Some(*phase),
            _ => None,
        };
        self.events.iter().filter_map(phase).collect()
    }

    fn acknowledged(&self) -> Option<u64> {
        let offset = |event: &Event| match event {
            Event::Acknowledged { offset } => Some(*offset),
            _ => None,
        };
        self.events.iter().rev().find_map(offset)
    }

    fn has_erased(&self) -> bool {
        self.events.contains(&Event::Erased)
    }
}

/// As an encrypted or compressed image looks; the same ones every time.
fn random_bytes(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}

fn algorithm(profile: &Profile) -> ChecksumAlgorithm {
    profile.checksum.map_or(ChecksumAlgorithm::Sha256, |checksum| checksum.algorithm)
}
