//! What `gatewayctl status` says about the engines.

use std::time::{Duration, Instant};

use crypto_offload::queue::{EngineReport, Queue};

use super::Shared;
use crate::control::{CryptoStatus, EngineStatus};

/// The report may be that old while jobs run.
const AGE: Duration = Duration::from_millis(200);

/// Keeps the report fresh, and says in the log what has changed.
#[derive(Debug)]
pub(super) struct Reporter {
    shared: Shared,
    absent: Vec<EngineStatus>,
    states: Vec<&'static str>,
    last: Option<Instant>,
}

impl Reporter {
    pub(super) const fn new(shared: Shared, absent: Vec<EngineStatus>) -> Self {
        Self { shared, absent, states: Vec::new(), last: None }
    }

    /// An engine was looked for: what is to be said where it is not there, or `None` where the queue has it now.
    pub(super) fn handle_look(&mut self, name: &str, still_absent: Option<EngineStatus>) {
        let at = self.absent.iter().position(|it| it.name == name);
        match (at, still_absent) {
            (Some(at), Some(status)) => self.absent[at] = status,
            (Some(at), None) => drop(self.absent.remove(at)),
            (None, _) => {}
        }
        // The engines have other places now.
        self.states.clear();
        self.last = None;
    }

    /// Reports, unless that was done a moment ago and there is work to do.
    pub(super) fn handle_turn(&mut self, now: Instant, queue: &Queue) {
        let recent = self.last.is_some_and(|last| now.duration_since(last) < AGE);
        if recent && !queue.is_idle() {
            return;
        }
        self.last = Some(now);
        let reports: Vec<EngineReport> = queue.engines().collect();
        self.log_changes(&reports);
        let counters = queue.counters();
        let status = CryptoStatus {
            engines: reports.iter().map(status).chain(self.absent.iter().cloned()).collect(),
            jobs: counters.submitted,
            redone: counters.redone,
            failures: counters.failures,
            hangs: counters.hangs,
            shadows: counters.shadows,
            wrong_answers: counters.wrong_answers,
        };
        if let Ok(mut shared) = self.shared.status.lock() {
            *shared = status;
        }
    }

    fn log_changes(&mut self, reports: &[EngineReport]) {
        let states: Vec<&'static str> = reports.iter().map(|report| report.state.name()).collect();
        for (at, report) in reports.iter().enumerate() {
            let (state, before) = (report.state.name(), self.states.get(at).copied());
            if before.is_some_and(|before| before != state) {
                let reason = report.reason.as_ref().map(ToString::to_string);
                tracing::info!(engine = report.name, state, before, reason, "crypto engine");
            }
        }
        self.states = states;
    }
}

fn status(report: &EngineReport) -> EngineStatus {
    let capabilities = &report.capabilities;
    let hashes = capabilities.hashes.iter().map(|it| it.name());
    let ciphers = capabilities.ciphers.iter().map(|it| it.name());
    let schemes = capabilities.schemes.iter().map(|it| it.name());
    EngineStatus {
        name: report.name.to_owned(),
        identity: report.identity.clone(),
        state: report.state.name().to_owned(),
        reason: report.reason.as_ref().map(ToString::to_string),
        capabilities: hashes.chain(ciphers).chain(schemes).map(str::to_owned).collect(),
        crossovers: report
            .crossovers
            .iter()
            .map(|(class, bytes)| (class.name().to_owned(), bytes.map(|bytes| bytes as u64)))
            .collect(),
        in_flight: report.in_flight as u64,
        jobs: report.jobs,
        fallbacks: report.fallbacks,
    }
}
