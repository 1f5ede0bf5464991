//! How an installation ends.

use ota::journal::{Failure, Phase};
use ota::stage::{Attestation, Detail, Stage, Status};

use super::{Installation, Step};
use crate::bus::EcuOrder;
use crate::gateway::context::Context;
use crate::gateway::message::StoreOperation;
use crate::gateway::pipeline::PipelineError;
use crate::gateway::report::{Reporter, reason};

impl Installation {
    /// The ECU says it runs the new version.
    pub(super) fn finish(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, version: String) {
        let detail = Detail {
            attested_by: Some(Attestation::Gateway),
            ..reason("ACTIVATED", format!("the ECU reports version {version}"))
        };
        self.version = Some(version);
        self.skip_open_stages(context, reporter);
        reporter.end(context, self.on_bus(), Stage::Activate, Status::Ok, Some(detail));
        self.close(context);
    }

    /// The ECU ran the new version before anything was done, or a restart came between activation and its record.
    pub(super) fn finish_current(&mut self, context: &mut Context<'_>, reporter: &mut Reporter) {
        let version = self.version.clone().unwrap_or_default();
        let detail = Detail {
            attested_by: Some(Attestation::Gateway),
            ..reason("CURRENT", format!("the ECU already runs version {version}"))
        };
        self.skip_open_stages(context, reporter);
        let status = if self.record.phase == Phase::Activated { Status::Ok } else { Status::Skipped };
        reporter.end(context, self.on_bus(), Stage::Activate, status, Some(detail));
        self.close(context);
    }

    /// An ECU that turned out to be current is finished from the middle of the sequence.
    fn skip_open_stages(&self, context: &mut Context<'_>, reporter: &mut Reporter) {
        for stage in reporter.open_stages(self.around.ecu) {
            if stage != Stage::Activate {
                reporter.end(context, self.on_bus(), stage, Status::Skipped, None);
            }
        }
    }

    fn close(&mut self, context: &mut Context<'_>) {
        let version = self.custom.version.clone();
        if !matches!(self.record.phase, Phase::Pending | Phase::Installed | Phase::Activated) {
            // The ECU is further than its record: what that says of a bank half written is void. Only the end is
            // written down.
            self.record.phase = Phase::Pending;
        }
        self.advance(context, Phase::Done { version });
        self.progress = (self.layout().plain_size(), self.layout().plain_size());
        self.release(context);
    }

    /// A pipeline gave up; nothing of this image goes any further.
    pub(super) fn fail_pipeline(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        error: &PipelineError,
    ) {
        let detail = Detail { chunk: error.chunk(), ..reason(error.code(), error.to_string()) };
        self.end_failed(context, reporter, detail);
    }

    /// The end of an installation whose ECU still runs what it ran before, or is told to give up.
    pub(super) fn end_failed(&mut self, context: &mut Context<'_>, reporter: &mut Reporter, detail: Detail) {
        let touched = self.holds_bus();
        if touched {
            context.order(self.around.ecu, EcuOrder::Cancel);
        }
        let lost = self.is_lost();
        self.end_failed_on_ecu(context, reporter, detail, lost);
    }

    /// Whether the ECU's only bank was erased and nothing has been seen to run on it since.
    pub(in crate::gateway) const fn is_lost(&self) -> bool {
        self.record.touched && !self.streams() && self.version.is_none()
    }

    /// The end of an installation; `lost` says whether the ECU is without its software.
    pub(super) fn end_failed_on_ecu(
        &mut self,
        context: &mut Context<'_>,
        reporter: &mut Reporter,
        detail: Detail,
        lost: bool,
    ) {
        let touched = self.record.touched;
        let message = detail.message.clone();
        let code = detail.code.clone();
        let mut open = reporter.open_stages(self.around.ecu);
        if open.is_empty() {
            // It fails between two stages: the one that cannot begin has failed.
            open.push(match self.step {
                Step::Intend(_) => Stage::Transfer,
                Step::IntendActivation(_) => Stage::Activate,
                _ => Stage::PreCheck,
            });
        }
        let stage = open.last().copied().unwrap_or(Stage::PreCheck);
        for stage in open {
            reporter.end(context, self.on_bus(), stage, Status::Failed, Some(detail.clone()));
        }
        if touched {
            reporter.start(context, self.on_bus(), Stage::Rollback);
            let (status, code, text) = if lost {
                let text = "the ECU is without its software and waits in its boot loader";
                (Status::Failed, "NO_SOFTWARE", text)
            } else {
                (Status::Ok, "OLD_SOFTWARE", "the ECU goes on running its old software")
            };
            reporter.end(context, self.on_bus(), Stage::Rollback, status, Some(reason(code, text)));
        }
        self.advance(context, Phase::Failed(Failure { stage, code, message }));
        self.release(context);
    }

    /// Gives back everything that is held: the pipeline, the store, the bus.
    fn release(&mut self, context: &mut Context<'_>) {
        if let Some(mut pipeline) = self.pipeline.take() {
            pipeline.cancel(context);
        }
        self.give_room_back(context);
        self.writes.clear();
        self.marks.clear();
        self.step = Step::Over;
    }

    pub(super) fn give_room_back(&self, context: &mut Context<'_>) {
        if !self.streams() {
            let (image, tree) = self.store_names();
            context.store(&image, StoreOperation::Remove);
            context.store(&tree, StoreOperation::Remove);
        }
    }
}
