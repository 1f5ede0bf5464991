//! From the journal back to where the last run stopped.

use std::time::Duration;

use crypto_offload::job::Verifier;
use ota::journal::{CampaignRecord, EcuRecord};
use ota::uptane::verify::{EcuIdentity, VehicleIdentity};

use super::context::{Core, Desk, Now, Owner};
use super::journal::{JournalKey, JournalWrite};
use super::report::{CampaignName, Reporter};
use super::setup::Setup;
use super::{Gateway, metadata};

/// Why the journal cannot be used. The daemon must not start: it could harm an ECU by not knowing what it did.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A record is damaged or of another version.
    #[error("journal record `{key}` cannot be used")]
    Record {
        /// Its key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: ota::journal::JournalError,
    },
}

/// What the journal holds, sorted.
#[derive(Default)]
struct Recovered {
    boot: u64,
    looked: Option<u64>,
    campaign: Option<CampaignRecord>,
    ecus: Vec<EcuRecord>,
}

impl Gateway {
    /// The brain as the journal left it. A campaign that was under way goes on at once, without the cloud's metadata.
    ///
    /// # Errors
    /// [`RecoveryError`] where a record that matters cannot be read.
    pub fn new(
        setup: Setup,
        verifier: Box<dyn Verifier + Send>,
        records: Vec<(JournalKey, Vec<u8>)>,
        now: Now,
    ) -> Result<Self, RecoveryError> {
        let ecus = setup.ecus.iter().map(|it| EcuIdentity {
            serial: it.serial.clone(),
            hardware_id: it.hardware_id.clone(),
            release_counter: 0,
            installed: None,
        });
        let vehicle = VehicleIdentity { vin: setup.vin.clone(), ecus: ecus.collect() };
        let mut gateway = Self {
            trusted: setup.factory.clone(),
            versions: vec![None; setup.ecus.len()],
            reporter: Reporter::new(setup.vin.clone(), String::new()),
            vehicle,
            core: Core { verifier, desk: Desk::default(), traceparent: None },
            check: None,
            check_wanted: None,
            told: false,
            failed_looks: 0,
            next_poll: now.monotonic + setup.poll_interval,
            campaign: None,
            boot: 1,
            setup,
        };
        let recovered = gateway.sort(records)?;
        gateway.boot = recovered.boot + 1;
        gateway.next_poll = now.monotonic + gateway.first_look(now, recovered.looked);
        gateway.reporter = Reporter::new(gateway.setup.vin.clone(), gateway.boot.to_string());
        let write = JournalWrite::put(JournalKey::Boot, gateway.boot.to_string().into_bytes());
        gateway.core.context(now, Owner::Nobody).journal_progress(write);
        if let Some(campaign) = recovered.campaign {
            gateway.resume(now, campaign, recovered.ecus);
        }
        Ok(gateway)
    }

    /// How often the daemon has been started on this journal, this time included.
    pub const fn boot(&self) -> u64 {
        self.boot
    }

    fn sort(&mut self, records: Vec<(JournalKey, Vec<u8>)>) -> Result<Recovered, RecoveryError> {
        let mut recovered = Recovered::default();
        for (key, bytes) in records {
            let damaged = |source| RecoveryError::Record { key: key.to_string(), source };
            match &key {
                JournalKey::Boot => {
                    recovered.boot =
                        std::str::from_utf8(&bytes).ok().and_then(|it| it.parse().ok()).unwrap_or(0);
                }
                JournalKey::Looked => {
                    recovered.looked = std::str::from_utf8(&bytes).ok().and_then(|it| it.parse().ok());
                }
                JournalKey::Campaign => {
                    recovered.campaign = Some(ota::journal::decode(&bytes).map_err(damaged)?)
                }
                JournalKey::Ecu(_) => recovered.ecus.push(ota::journal::decode(&bytes).map_err(damaged)?),
                JournalKey::Metadata(name) => metadata::restore(&mut self.trusted, name, bytes),
                JournalKey::Installed(_) => {
                    if let Some(installed) = metadata::installed(&bytes) {
                        self.note_recovered(&installed);
                    }
                }
            }
        }
        Ok(recovered)
    }

    /// How long until the first look. A date in the future, from a clock that was wrong then or is now, says nothing.
    fn first_look(&self, now: Now, looked: Option<u64>) -> Duration {
        let age = looked.and_then(|at| now.utc_ms.checked_sub(at)).map(Duration::from_millis);
        let interval = self.setup.poll_interval;
        let rest = age.map_or(Duration::ZERO, |it| interval.saturating_sub(it));
        rest.max(self.setup.first_look).min(interval)
    }

    fn note_recovered(&mut self, installed: &ota::journal::InstalledRecord) {
        if let Some(known) = self.vehicle.ecus.iter_mut().find(|it| it.serial == installed.serial) {
            *known = installed.identity(known.hardware_id.clone());
        }
        if let Some(slot) = self.setup.ecu(&installed.serial).and_then(|it| self.versions.get_mut(it.0)) {
            *slot = Some(installed.version.to_string());
        }
    }

    fn resume(&mut self, now: Now, record: CampaignRecord, mut ecus: Vec<EcuRecord>) {
        let info = &record.verified.campaign;
        self.reporter.name =
            CampaignName { campaign: Some(info.campaign.clone()), trace: Some(info.ota_trace_id) };
        self.core.traceparent = Some(info.ota_trace_id.traceparent(self.boot));
        let mut found = Vec::new();
        for assignment in &record.verified.assignments {
            let Some(ecu) = self.setup.ecu(&assignment.serial) else {
                tracing::warn!(ecu = %assignment.serial, "the journal names an ECU that is no longer configured");
                continue;
            };
            let at =
                ecus.iter().position(|it| it.serial == assignment.serial && it.campaign == info.campaign);
            let ecu_record = at.map_or_else(
                || {
                    let banks = self.setup.banks(ecu);
                    EcuRecord::new(
                        info.campaign.clone(),
                        assignment.serial.clone(),
                        assignment.name.clone(),
                        banks,
                    )
                },
                |at| ecus.swap_remove(at),
            );
            found.push((ecu, assignment.clone(), ecu_record));
        }
        tracing::info!(campaign = %info.campaign, state = ?record.state, "campaign found in the journal");
        self.run(now, record, found);
    }
}
