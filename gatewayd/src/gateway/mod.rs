//! The brain of the daemon: what to fetch, verify, store, program and report, and in which order. Sans-io.
//!
//! Every call of [`Gateway::handle_input`] or [`Gateway::handle_timeout`] is followed by a full drain of
//! [`Gateway::poll_output`]; [`Gateway::poll_timeout`] says when to come back at the latest:
//!
//! ```no_run
//! # use gatewayd::gateway::{Gateway, Now, message::{Input, Output}};
//! # fn drive(mut gateway: Gateway, mut now: impl FnMut() -> Now, mut next: impl FnMut(Option<std::time::Instant>) -> Option<Input>, mut carry_out: impl FnMut(Output)) {
//! loop {
//!     while let Some(output) = gateway.poll_output() {
//!         carry_out(output);
//!     }
//!     match next(gateway.poll_timeout()) {
//!         Some(input) => gateway.handle_input(now(), input),
//!         None => gateway.handle_timeout(now()),
//!     }
//! }
//! # }
//! ```

mod campaign;
mod carry;
mod context;
mod installation;
pub mod journal;
pub mod message;
mod metadata;
mod pipeline;
mod recovery;
mod report;
mod setup;
mod status;

use std::time::Instant;

use ota::command;
use ota::journal::{CampaignRecord, EcuRecord, Phase};
use ota::stage::{Stage, Status, TraceId};
use ota::uptane::verify::{Assignment, TrustedMetadata, VehicleIdentity, Verified};

use self::campaign::Campaign;
pub use self::carry::{Limits, Wish};
pub use self::context::Now;
use self::context::{Context, Core, Owner};
use self::installation::Installation;
use self::journal::{JournalKey, JournalWrite};
use self::message::{EcuIndex, Input, Output};
use self::metadata::{MetadataCheck, Outcome};
pub use self::recovery::RecoveryError;
use self::report::{CampaignName, Reporter, Subject, reason};
pub use self::setup::{EcuSetup, KeyEncryptionKey, Setup};

/// See the module's documentation.
pub struct Gateway {
    setup: Setup,
    core: Core,
    reporter: Reporter,
    trusted: TrustedMetadata,
    vehicle: VehicleIdentity,
    versions: Vec<Option<String>>,
    check: Option<MetadataCheck>,
    /// Somebody asked for a look while one, or a campaign, was under way.
    check_wanted: Option<Look>,
    /// Whether the look under way was asked for by somebody.
    told: bool,
    next_poll: Instant,
    /// Looks without an answer since the last one with.
    failed_looks: u32,
    campaign: Option<Campaign>,
    boot: u64,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("vin", &self.setup.vin)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

/// A look at the Director that is still to come.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    /// What to call it until metadata says.
    trace: Option<TraceId>,
    /// Whether somebody asked for it; otherwise the time has come.
    told: bool,
}

impl Gateway {
    /// Something happened outside.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        match input {
            Input::Command(payload) => self.handle_command(now, &payload),
            Input::FetchPart { id, data } => match self.core.desk.owner(id.0) {
                Some(Owner::Ecu(ecu)) => {
                    self.with_installation(now, ecu, |it, context, reporter| {
                        it.handle_part(context, reporter, id, data)
                    });
                }
                Some(Owner::Metadata) => {
                    if let Some(check) = &mut self.check {
                        check.handle_part(id, data);
                    }
                }
                Some(Owner::Nobody) | None => {}
            },
            Input::FetchEnd { id, result } => match self.core.desk.close(id.0) {
                Some(Owner::Ecu(ecu)) => self.with_installation(now, ecu, |it, context, reporter| {
                    it.handle_fetch_end(context, reporter, id, result);
                }),
                Some(Owner::Metadata) => self.handle_metadata_end(now, id, result),
                Some(Owner::Nobody) | None => {}
            },
            Input::Crypto(completion) => {
                if let Some(Owner::Ecu(ecu)) = self.core.desk.close(completion.id.0) {
                    self.with_installation(now, ecu, |it, context, reporter| {
                        it.handle_completion(context, reporter, completion.id, completion.result);
                    });
                }
            }
            Input::Stored { id, result } => {
                if let Some(Owner::Ecu(ecu)) = self.core.desk.close(id.0) {
                    self.with_installation(now, ecu, |it, context, reporter| {
                        it.handle_stored(context, reporter, id, result);
                    });
                }
            }
            Input::Journaled { id, result } => {
                if let Some(Owner::Ecu(ecu)) = self.core.desk.close(id.0) {
                    self.with_installation(now, ecu, |it, context, reporter| {
                        it.handle_journaled(context, reporter, id, result);
                    });
                }
            }
            Input::Ecu { ecu, report } => {
                self.with_installation(now, ecu, |it, context, reporter| {
                    it.handle_report(context, reporter, report)
                });
            }
        }
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        if let Some(check) = &mut self.check {
            check.handle_timeout(&mut self.core.context(now, Owner::Metadata));
        }
        let due = |it: &Installation| it.poll_timeout().is_some_and(|at| at <= now.monotonic);
        let ecus: Vec<_> = self.installations().filter(|it| due(it)).map(|it| it.around.ecu).collect();
        for ecu in ecus {
            self.with_installation(now, ecu, Installation::handle_timeout);
        }
        if self.next_poll <= now.monotonic {
            self.next_poll = now.monotonic + self.setup.poll_interval;
            self.check_wanted.get_or_insert_default();
        }
        self.settle(now);
    }

    /// Asks the Director now, or as soon as what is under way is over.
    pub fn look(&mut self, now: Now) {
        self.check_wanted.get_or_insert_default().told = true;
        self.settle(now);
    }

    /// The next thing to be done outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.desk.outputs.pop_front()
    }

    /// When to call [`Gateway::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let check = self.check.as_ref().and_then(MetadataCheck::poll_timeout);
        self.installations().filter_map(Installation::poll_timeout).chain(check).chain([self.next_poll]).min()
    }

    fn handle_command(&mut self, now: Now, payload: &[u8]) {
        let trace = match command::Look::parse(payload) {
            Ok(command) => command.trace,
            Err(error) => return tracing::warn!(%error, "a command is refused"),
        };
        // The command names the trace until metadata, which is signed, confirms it.
        let idle = self.check.is_none() && !self.campaign.as_ref().is_some_and(Campaign::is_running);
        if idle {
            self.reporter.name = CampaignName { campaign: None, trace };
            let detail = reason("COMMAND", "told over MQTT to look at the Director");
            self.report(now, Stage::Announce, Status::Ok, Some(detail));
        }
        self.check_wanted = Some(Look { trace, told: true });
    }

    /// Whatever has become possible happens.
    fn settle(&mut self, now: Now) {
        if let Some(campaign) = self.campaign.as_mut().filter(|it| it.is_running()) {
            campaign.schedule(&mut self.core.context(now, Owner::Nobody), &mut self.reporter);
            self.note_versions();
        }
        let idle = self.check.is_none() && !self.campaign.as_ref().is_some_and(Campaign::is_running);
        if idle && let Some(Look { trace, told }) = self.check_wanted.take() {
            self.told = told;
            self.begin_check(now, trace);
        }
    }

    fn begin_check(&mut self, now: Now, trace: Option<TraceId>) {
        self.reporter.name = CampaignName { campaign: None, trace };
        self.core.traceparent = trace.map(|it| it.traceparent(self.boot));
        self.next_poll = now.monotonic + self.setup.poll_interval;
        self.report_start(now, Stage::Metadata);
        let (vehicle, trusted, attempts) = (self.vehicle.clone(), self.trusted.clone(), self.setup.attempts);
        let check =
            MetadataCheck::new(&mut self.core.context(now, Owner::Metadata), vehicle, trusted, attempts);
        match check {
            Ok(check) => self.check = Some(check),
            Err(error) => {
                let message =
                    format!("the trusted metadata in the journal is damaged: {}", crate::bus::chain(&error));
                self.report(now, Stage::Metadata, Status::Failed, Some(reason("TRUST_DAMAGED", message)));
            }
        }
    }

    fn handle_metadata_end(
        &mut self,
        now: Now,
        id: message::FetchId,
        result: Result<(), message::FetchError>,
    ) {
        let Some(check) = &mut self.check else { return };
        let mut context = self.core.context(now, Owner::Metadata);
        let Some(outcome) = check.handle_fetch_end(&mut context, &mut self.trusted, id, result) else {
            return;
        };
        self.check = None;
        self.note_look(now, !matches!(outcome, Outcome::Failed { .. }));
        match outcome {
            Outcome::NothingNew { director_version } => {
                let text = format!("Director targets version {director_version}: nothing to install");
                self.report(now, Stage::Metadata, Status::Skipped, Some(reason("NOTHING_NEW", text)));
            }
            Outcome::Failed { code, message } => {
                self.report(now, Stage::Metadata, Status::Failed, Some(reason(&code, message)));
            }
            Outcome::Verified(verified) => self.accept(now, *verified),
        }
    }

    /// Writes down when the Director answered, or asks again sooner than otherwise where there was no valid answer.
    fn note_look(&mut self, now: Now, answered: bool) {
        if answered {
            self.failed_looks = 0;
            let write = JournalWrite::put(JournalKey::Looked, now.utc_ms.to_string().into_bytes());
            self.core.context(now, Owner::Nobody).journal_progress(write);
        } else {
            self.failed_looks = self.failed_looks.saturating_add(1);
            let pause = self.setup.first_look.saturating_mul(1 << self.failed_looks.min(16));
            self.next_poll = now.monotonic + pause.min(self.setup.poll_interval);
        }
    }

    /// A campaign, signed by everybody who has to. One that was carried out already is carried out again only for ECUs
    /// that failed, and only if somebody asks for it or one of them was left without its software.
    fn accept(&mut self, now: Now, verified: Verified) {
        let info = &verified.campaign;
        self.reporter.name =
            CampaignName { campaign: Some(info.campaign.clone()), trace: Some(info.ota_trace_id) };
        self.core.traceparent = Some(info.ota_trace_id.traceparent(self.boot));
        let text = format!("Director targets version {}, both repositories agree", verified.director_version);
        let earlier =
            self.campaign.as_ref().filter(|it| is_same(&it.record.verified, &verified)).map(Campaign::failed);
        let again = self.told || self.installations().any(Installation::is_lost);
        if earlier.is_some() && !again {
            let detail = reason("CARRIED_OUT", format!("{text}; this campaign was carried out already"));
            self.report(now, Stage::Metadata, Status::Skipped, Some(detail));
            return;
        }
        self.report(now, Stage::Metadata, Status::Ok, Some(reason("VERIFIED", text)));
        self.report_start(now, Stage::Consent);
        self.report(
            now,
            Stage::Consent,
            Status::Ok,
            Some(reason("AUTOMATIC", "no consent is configured to be asked")),
        );
        self.open(now, CampaignRecord::new(verified), &earlier.unwrap_or_default());
    }

    /// Writes a campaign down and starts it. ECUs that failed in it before are tried again from the beginning, and what
    /// may have become of them then is not forgotten.
    fn open(&mut self, now: Now, record: CampaignRecord, failed: &[EcuRecord]) {
        let mut write = JournalWrite::default();
        let mut records = Vec::new();
        for assignment in &record.verified.assignments {
            let Some(ecu) = self.setup.ecu(&assignment.serial) else { continue };
            let campaign = record.verified.campaign.campaign.clone();
            let banks = self.setup.banks(ecu);
            let again = failed.iter().find(|it| it.serial == assignment.serial && it.name == assignment.name);
            let ecu_record = again.and_then(|it| it.advance(Phase::Pending).ok()).unwrap_or_else(|| {
                EcuRecord::new(campaign, assignment.serial.clone(), assignment.name.clone(), banks)
            });
            if let Ok(bytes) = ota::journal::encode(&ecu_record) {
                write = write.and_put(JournalKey::Ecu(assignment.serial.to_string()), bytes);
            }
            records.push((ecu, assignment.clone(), ecu_record));
        }
        if let Ok(bytes) = ota::journal::encode(&record) {
            write = write.and_put(JournalKey::Campaign, bytes);
        }
        self.core.context(now, Owner::Nobody).journal_progress(write);
        self.run(now, record, records);
    }

    /// Starts a campaign, new or taken up again.
    fn run(&mut self, now: Now, record: CampaignRecord, ecus: Vec<(EcuIndex, Assignment, EcuRecord)>) {
        let mut installations = Vec::new();
        for (ecu, assignment, ecu_record) in ecus {
            let unwrapped = self.setup.content_key(&assignment);
            let (key, problem) = match unwrapped {
                Ok(key) => (key, None),
                Err(problem) => (None, Some(problem)),
            };
            installations.push(Installation::new(
                self.setup.surroundings(ecu),
                assignment,
                ecu_record,
                key,
                problem,
            ));
        }
        let mut campaign = Campaign::new(record, installations);
        campaign.start(&mut self.core.context(now, Owner::Nobody), &mut self.reporter);
        self.campaign = Some(campaign);
    }

    fn with_installation(
        &mut self,
        now: Now,
        ecu: EcuIndex,
        act: impl FnOnce(&mut Installation, &mut Context<'_>, &mut Reporter),
    ) {
        if let Some(installation) = self.campaign.as_mut().and_then(|it| it.installation(ecu)) {
            act(installation, &mut self.core.context(now, Owner::Ecu(ecu)), &mut self.reporter);
        }
    }

    fn report_start(&mut self, now: Now, stage: Stage) {
        self.reporter.start(&mut self.core.context(now, Owner::Nobody), Subject::CAMPAIGN, stage);
    }

    fn report(&mut self, now: Now, stage: Stage, status: Status, detail: Option<ota::stage::Detail>) {
        self.reporter.end(
            &mut self.core.context(now, Owner::Nobody),
            Subject::CAMPAIGN,
            stage,
            status,
            detail,
        );
    }

    fn installations(&self) -> impl Iterator<Item = &Installation> {
        self.campaign.iter().flat_map(|it| &it.installations)
    }

    /// What the ECUs report now is what `gatewayctl` shows and what verification must know the next time.
    fn note_versions(&mut self) {
        for installation in self.campaign.iter().flat_map(|it| &it.installations) {
            if let (Some(slot), Some(version)) =
                (self.versions.get_mut(installation.around.ecu.0), &installation.version)
            {
                slot.clone_from(&Some(version.clone()));
            }
            if let Some(identity) = installation.identity()
                && let Some(known) = self.vehicle.ecus.iter_mut().find(|it| it.serial == identity.serial)
            {
                *known = identity;
            }
        }
    }
}

fn is_same(one: &Verified, other: &Verified) -> bool {
    one.campaign == other.campaign && one.director_version == other.director_version
}
