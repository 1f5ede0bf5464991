//! A campaign: installations side by side, one at a time on each bus, lower orders first.

use ota::journal::{CampaignRecord, CampaignState, EcuRecord};
use ota::stage::{Stage, Status};

use super::context::Context;
use super::installation::{Installation, Step};
use super::journal::{JournalKey, JournalWrite};
use super::message::EcuIndex;
use super::report::{Reporter, Subject, reason};

/// The campaign under way, or the last one.
#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) record: CampaignRecord,
    pub(super) installations: Vec<Installation>,
}

impl Campaign {
    pub(super) const fn new(record: CampaignRecord, installations: Vec<Installation>) -> Self {
        Self { record, installations }
    }

    /// Whether there is still something to do.
    pub(super) const fn is_running(&self) -> bool {
        !matches!(self.record.state, CampaignState::Reported | CampaignState::Superseded)
    }

    /// The records of ECUs that failed.
    pub(super) fn failed(&self) -> Vec<EcuRecord> {
        self.installations.iter().filter(|it| it.has_failed()).map(|it| it.record.clone()).collect()
    }

    pub(super) fn installation(&mut self, ecu: EcuIndex) -> Option<&mut Installation> {
        self.installations.iter_mut().find(|it| it.around.ecu == ecu)
    }

    /// Gets all installations going, each from where its record says.
    pub(super) fn start(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        if self.record.state == CampaignState::Accepted {
            self.advance(context, CampaignState::Running);
        }
        for installation in &mut self.installations {
            context.owner = super::context::Owner::Ecu(installation.around.ecu);
            installation.start(context, reporter);
        }
    }

    /// Hands out buses that have become free, and closes the campaign when nothing is left to do.
    pub(super) fn schedule(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        while let Some(next) = self.next_for_bus() {
            if let Some(installation) = self.installations.get_mut(next) {
                context.owner = super::context::Owner::Ecu(installation.around.ecu);
                installation.take_bus(context);
                if installation.step == Step::AwaitBus {
                    // The journal forbids it; the reason is in the log.
                    return;
                }
            }
        }
        if self.is_running() && self.installations.iter().all(Installation::is_over) {
            self.close(context, reporter);
        }
    }

    /// The installation that may go to its bus now: of the lowest order that is not finished, on a bus that is free. An
    /// ECU that may be without its software goes before all others of its bus.
    fn next_for_bus(&self) -> Option<usize> {
        let lowest = self.installations.iter().filter(|it| !it.is_over()).map(Installation::order).min()?;
        self.installations.iter().position(|it| {
            let mut others = self.installations.iter().filter(|other| other.around.bus == it.around.bus);
            let taken = others.any(|other| other.holds_bus() || (other.comes_first() && !it.comes_first()));
            it.step == Step::AwaitBus && (it.order() == lowest || it.comes_first()) && !taken
        })
    }

    fn close(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        let failed = self.installations.iter().filter(|it| it.has_failed()).count();
        let total = self.installations.len();
        let state = if failed == 0 { CampaignState::Succeeded } else { CampaignState::Incomplete };
        reporter.start(context, Subject::CAMPAIGN, Stage::Report);
        if self.record.state == CampaignState::Running {
            self.advance(context, state);
        }
        self.advance(context, CampaignState::Reported);
        let code = if failed == 0 { "SUCCEEDED" } else { "INCOMPLETE" };
        let text = format!("{} of {total} ECUs run what the campaign wants", total - failed);
        let status = if failed == 0 { Status::Ok } else { Status::Failed };
        reporter.end(context, Subject::CAMPAIGN, Stage::Report, status, Some(reason(code, text)));
    }

    fn advance(&mut self, context: &mut Context<'_>, state: CampaignState) {
        match self.record.advance(state) {
            Ok(record) => {
                self.record = record;
                if let Ok(record) = ota::journal::encode(&self.record) {
                    context.journal_progress(JournalWrite::put(JournalKey::Campaign, record));
                }
            }
            Err(error) => tracing::error!(%error, "the journal forbids this step"),
        }
    }
}
