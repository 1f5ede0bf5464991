//! What one seed draws.

use crate::ecu::digest::Digest;
use crate::ecu::{EcuConfig, EcuPort, Fault, WireDirection, WireFault, WireFaultKind};
use crate::random::Random;
use canfd::bit_timing::BitTiming;
use canfd::frame::{CanId, CanIds, StandardId};
use canfd::isotp::{LinkConfig, LinkLayer, StMin, TxDl};
use canfd::uds::message::{Nrc, ServiceId};
use canfd::uds::profile::{ChecksumAlgorithm, Profile};
use canfd::virtual_bus;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) const FUNCTIONAL_ID: CanId = standard(0x7DF);
const IDS: CanIds = CanIds { request: standard(0x7A0), response: standard(0x7A8) };
pub(super) const OLD_VERSION: &[u8] = b"1.0.0";
pub(super) const NEW_VERSION: &[u8] = b"2.0.0";

/// The dialects that take turns: `(name, profile)`.
const DIALECTS: &[(&str, &str)] = &[
    ("plain", include_str!("dialects/plain.toml")),
    ("resuming", include_str!("dialects/resuming.toml")),
    ("two-banks", include_str!("dialects/two-banks.toml")),
    ("polled", include_str!("dialects/polled.toml")),
    ("segments", include_str!("dialects/segments.toml")),
    ("file", include_str!("dialects/file.toml")),
];

const SERVICES: [ServiceId; 10] = [
    ServiceId::Authentication,
    ServiceId::RequestFileTransfer,
    ServiceId::DiagnosticSessionControl,
    ServiceId::ReadDataByIdentifier,
    ServiceId::WriteDataByIdentifier,
    ServiceId::RoutineControl,
    ServiceId::RequestDownload,
    ServiceId::TransferData,
    ServiceId::RequestTransferExit,
    ServiceId::EcuReset,
];

const REFUSALS: [Nrc; 16] = [
    Nrc::SubFunctionNotSupported,
    Nrc::IncorrectMessageLengthOrInvalidFormat,
    Nrc::ResponseTooLong,
    Nrc::BusyRepeatRequest,
    Nrc::ConditionsNotCorrect,
    Nrc::RequestSequenceError,
    Nrc::RequestOutOfRange,
    Nrc::SecurityAccessDenied,
    Nrc::InvalidKey,
    Nrc::ExceededNumberOfAttempts,
    Nrc::RequiredTimeDelayNotExpired,
    Nrc::UploadDownloadNotAccepted,
    Nrc::TransferDataSuspended,
    Nrc::GeneralProgrammingFailure,
    Nrc::WrongBlockSequenceCounter,
    Nrc::ResourceTemporarilyNotAvailable,
];

/// One run, wholly decided by its seed.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What decides it.
    pub seed: u64,
    /// Name of the dialect.
    pub dialect: &'static str,
    /// The ECU.
    pub ecu: Arc<EcuConfig>,
    /// What it is to hold.
    pub image: Vec<u8>,
    /// Its checksum, as the dialect wants it.
    pub checksum: Vec<u8>,
    /// Bit rates of the bus; `None`: frames take no time.
    pub timing: Option<BitTiming>,
    link_layer: LinkLayer,
    block_size: u8,
    st_min: StMin,
}

impl Scenario {
    /// The run of that seed.
    ///
    /// # Errors
    /// A dialect of this program that is none.
    pub fn new(seed: u64) -> Result<Self, toml::de::Error> {
        let mut random = Random::new(seed);
        let (dialect, text) = pick(&mut random, DIALECTS);
        let profile: Profile = toml::from_str(text)?;
        // Small blocks for the wrap of their counter, large ones for long messages.
        let block = pick(&mut random, &[12, 34, 130, 514, 1_026, 4_095]);
        let len = 1 + usize::try_from(random.below(u64::from(block) * 40 + 2_000)).unwrap_or(0);
        let least = profile.flash_driver.map_or(0, |driver| driver.length)
            + profile.segments.iter().filter_map(|segment| segment.length).sum::<u64>();
        let image = random.bytes(len.min(60_000) + usize::try_from(least).unwrap_or(0));
        let algorithm = profile.checksum.map_or(ChecksumAlgorithm::Sha256, |checksum| checksum.algorithm);
        let mut digest = Digest::new(algorithm);
        digest.update(&image);
        let micros = |random: &mut Random, most| Duration::from_micros(random.below(most));
        let ecu = EcuConfig {
            factory_version: OLD_VERSION.to_vec(),
            factory_image: b"factory image".to_vec(),
            bank_size: 1 << 20,
            max_block_length: block,
            erase_time: micros(&mut random, 12_000_000),
            program_time_per_kib: if random.coin() { Duration::ZERO } else { micros(&mut random, 200_000) },
            boot_time: micros(&mut random, 3_000_000),
            profile,
            ..EcuConfig::default()
        };
        let timings = [None, Some(BitTiming::FD_500K_2M), Some(BitTiming::FD_500K_5M)];
        let fd = |len| TxDl::new(len).map_or(LinkLayer::FD, |tx_dl| LinkLayer::Fd { tx_dl, brs: true });
        Ok(Self {
            seed,
            dialect,
            checksum: if ecu.profile.checksum.is_some() { digest.finish() } else { Vec::new() },
            ecu: Arc::new(ecu),
            image,
            timing: pick(&mut random, &timings),
            link_layer: pick(&mut random, &[fd(64), fd(64), fd(32), fd(8), LinkLayer::Classical]),
            block_size: pick(&mut random, &[0, 0, 1, 8, 15]),
            st_min: pick(
                &mut random,
                &[StMin::ZERO, StMin::ZERO, StMin::from_code(0xF3), StMin::from_code(1)],
            ),
        })
    }

    /// The choices of one attempt, apart from those of all others.
    fn random(&self, attempt: usize, what: u64) -> Random {
        let mut mixed = Random::new(self.seed ^ (attempt as u64) << 48 ^ what << 56);
        Random::new(mixed.bits())
    }

    pub(super) fn ecu_link(&self) -> LinkConfig {
        let Self { link_layer, block_size, st_min, .. } = *self;
        LinkConfig { link_layer, block_size, st_min, ..LinkConfig::ecu(IDS) }
    }

    pub(super) fn tester_link(&self) -> LinkConfig {
        LinkConfig { link_layer: self.link_layer, ..LinkConfig::tester(IDS) }
    }

    /// When the tester's power is cut.
    pub(super) fn cut_after(&self, attempt: usize) -> Option<Duration> {
        let mut random = self.random(attempt, 1);
        let most = 1 << random.below(25);
        (random.below(8) == 0).then(|| Duration::from_micros(random.below(most)))
    }

    /// What the bank holds once it is programmed: the image without the flash driver.
    pub(super) fn placed(&self) -> &[u8] {
        let driver = self.ecu.profile.flash_driver.map_or(0, |driver| driver.length);
        self.image.get(usize::try_from(driver).unwrap_or(usize::MAX)..).unwrap_or_default()
    }

    /// What becomes of each frame on the bus.
    pub(super) fn bus_faults(&self, attempt: usize) -> impl FnMut() -> virtual_bus::Fault + Send + 'static {
        let mut random = self.random(attempt, 2);
        let rate = pick(&mut random, &[0, 0, 0, 300, 3_000, 30_000]);
        move || {
            if random.below(1_000_000) >= rate {
                return virtual_bus::Fault::None;
            }
            use virtual_bus::Fault::{Drop, DropAll, Duplicate};
            pick(&mut random, &[Drop, Drop, DropAll, Duplicate])
        }
    }

    /// What goes wrong with the ECU and its frames.
    pub(super) fn inject(&self, attempt: usize, now: Instant, port: &mut EcuPort) {
        let mut random = self.random(attempt, 3);
        for _ in 0..pick(&mut random, &[0, 1, 1, 2]) {
            port.ecu_mut().inject(self.ecu_fault(now, &mut random));
        }
        for _ in 0..pick(&mut random, &[0, 1, 1, 3]) {
            use WireFaultKind::{Drop, Duplicate, Reorder, WrongSn};
            let kind = pick(&mut random, &[Drop, Duplicate, Reorder, WrongSn]);
            let direction = if random.coin() { WireDirection::In } else { WireDirection::Out };
            let most = 1 << random.below(11);
            let after = random.below(most);
            port.inject_wire(WireFault { direction, kind, after });
        }
        if random.below(4) == 0 {
            port.set_noise(pick(&mut random, &[200, 2_000, 20_000]), random.bits());
        }
    }

    fn ecu_fault(&self, now: Instant, random: &mut Random) -> Fault {
        let most = self.image.len() as u64 / u64::from(self.ecu.max_block_length) + 2;
        let after_blocks = u32::try_from(random.below(most)).unwrap_or(0);
        match random.below(16) {
            0 => Fault::Silent,
            1 => Fault::EndlessPending { service: pick(random, &SERVICES) },
            2..=4 => Fault::ResetDuringTransfer { after_blocks },
            5 | 6 => Fault::LoseBlockAnswer { after_blocks },
            7 => Fault::FlashFailure { offset: random.below(self.image.len() as u64) },
            8 => Fault::SlowErase { time: Duration::from_millis(random.below(150_000)) },
            9 => Fault::WrongChecksum,
            10 => Fault::WrongDependencies,
            11 => Fault::SeedLockout { until: now + Duration::from_millis(random.below(30_000)) },
            12 => Fault::WrongVersion { version: b"9.9.9".to_vec() },
            13 | 14 => {
                let times = u32::try_from(random.below(14)).unwrap_or(0);
                Fault::Refuse { service: pick(random, &SERVICES), nrc: pick(random, &REFUSALS), times }
            }
            _ if random.coin() => Fault::IgnoreSwitch,
            _ => Fault::DeadAfterReset,
        }
    }
}

/// Evaluated at compile time only.
const fn standard(raw: u16) -> CanId {
    match StandardId::new(raw) {
        Some(id) => CanId::Standard(id),
        None => panic!("more than 11 bits"),
    }
}

fn pick<T: Clone>(random: &mut Random, choices: &[T]) -> T {
    let index = usize::try_from(random.below(choices.len() as u64)).unwrap_or(0);
    choices[index].clone()
}
