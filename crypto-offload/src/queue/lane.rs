//! One engine as the queue sees it: what is at it, and whether it is in use.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::EngineReport;
use crate::engine::{Engine, Health, Kind, Refused};
use crate::job::{Job, JobError, JobId, Operation, Outcome};
use crate::known_answer::{KnownAnswer, known_answers};

/// Doublings of the wait before a failed device is tried again.
const MAX_DOUBLINGS: u32 = 6;

#[derive(Debug)]
pub(super) struct Lane {
    engine: Box<dyn Engine>,
    state: State,
    /// By ticket: the queue's key of the job, and when the engine must have answered.
    in_flight: BTreeMap<u64, (u64, Instant)>,
    failures_in_a_row: u32,
}

#[derive(Debug)]
enum State {
    InUse,
    /// Left alone; `None` when never tried yet.
    Down {
        until: Option<Instant>,
    },
    /// Being asked known questions, the last of the list next.
    Probation {
        asked: Option<Asked>,
        left: Vec<KnownAnswer>,
        overdue: Instant,
    },
}

#[derive(Debug)]
struct Asked {
    ticket: u64,
    expected: Result<Outcome, JobError>,
}

/// What an engine's completion means to the queue.
pub(super) enum Answer {
    /// The answer for the job of that key.
    Job { key: u64, result: Result<Outcome, JobError> },
    /// The answer to a known question; `passed` once the outcome of the probation is clear.
    Probation { passed: Option<bool> },
    /// Nobody waits for it any more.
    Late,
}

impl Lane {
    /// The CPU has passed its questions when it was made; a device has yet to.
    pub(super) fn new(engine: Box<dyn Engine>) -> Self {
        let state = match engine.capabilities().kind {
            Kind::Software => State::InUse,
            Kind::Device => State::Down { until: None },
        };
        Self { engine, state, in_flight: BTreeMap::new(), failures_in_a_row: 0 }
    }

    pub(super) fn kind(&self) -> Kind {
        self.engine.capabilities().kind
    }

    pub(super) fn supports(&self, operation: &Operation) -> bool {
        self.engine.capabilities().supports(operation)
    }

    pub(super) const fn is_in_use(&self) -> bool {
        matches!(self.state, State::InUse)
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < self.engine.capabilities().depth
    }

    /// Whether the engine is in use and says of itself that it should not be.
    pub(super) fn has_failed(&self) -> bool {
        self.is_in_use() && self.kind() == Kind::Device && self.engine.health() != Health::Up
    }

    /// Whether a device has let an answer wait until after `now`.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.kind() == Kind::Device && self.answer_due().is_some_and(|due| due <= now)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Down { until } => until,
            _ if self.kind() == Kind::Device => self.answer_due(),
            _ => None,
        }
    }

    pub(super) fn submit(&mut self, key: u64, job: Job) -> Result<(), Refused> {
        let (ticket, due) = (job.id.0, job.deadline);
        self.engine.submit(job)?;
        self.in_flight.insert(ticket, (key, due));
        Ok(())
    }

    /// Takes one completion from the engine, whatever state it is in: a late one frees its buffer.
    pub(super) fn poll_answer(&mut self) -> Option<Answer> {
        let completion = self.engine.poll_completion()?;
        let JobId(ticket) = completion.id;
        if let Some((key, _)) = self.in_flight.remove(&ticket) {
            if self.failures_in_a_row > 0 && completion.result.is_ok() {
                self.failures_in_a_row = 0;
            }
            return Some(Answer::Job { key, result: completion.result });
        }
        let State::Probation { asked, left, .. } = &mut self.state else { return Some(Answer::Late) };
        if asked.as_ref().is_none_or(|asked| asked.ticket != ticket) {
            return Some(Answer::Late);
        }
        let right = asked.take().is_some_and(|asked| asked.expected == completion.result);
        let passed = if right { left.is_empty().then_some(true) } else { Some(false) };
        if passed == Some(true) {
            self.state = State::InUse;
        }
        Some(Answer::Probation { passed })
    }

    /// Begins a probation that is due, and asks the next question of one that is under way. The whole of it may take
    /// `patience`.
    pub(super) fn handle_probation(&mut self, now: Instant, ticket: u64, patience: Duration) {
        if let State::Down { until } = self.state
            && until.is_none_or(|until| until <= now)
            && self.kind() == Kind::Device
        {
            let left = known_answers(self.engine.capabilities());
            self.state = State::Probation { asked: None, left, overdue: now + patience };
        }
        let State::Probation { asked: asked @ None, left, overdue } = &mut self.state else { return };
        let Some(KnownAnswer { name, operation, expected }) = left.pop() else { return };
        match self.engine.submit(Job { id: JobId(ticket), deadline: *overdue, operation }) {
            Ok(()) => *asked = Some(Asked { ticket, expected }),
            // Asked again at the next call; an engine that keeps refusing runs into `overdue`.
            Err(Refused { job, .. }) => left.push(KnownAnswer { name, operation: job.operation, expected }),
        }
    }

    /// Takes a device out of use and gives up its jobs. The CPU stays in use and keeps its jobs.
    pub(super) fn retire(&mut self, now: Instant, probation: Duration) -> Vec<u64> {
        if self.kind() == Kind::Software {
            return Vec::new();
        }
        let wait = probation.saturating_mul(1 << self.failures_in_a_row.min(MAX_DOUBLINGS));
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.state = State::Down { until: Some(now + wait) };
        std::mem::take(&mut self.in_flight).into_values().map(|(key, _)| key).collect()
    }

    pub(super) fn report(&self) -> EngineReport {
        EngineReport {
            name: self.engine.capabilities().name,
            in_use: self.is_in_use(),
            in_flight: self.in_flight.len(),
        }
    }

    fn answer_due(&self) -> Option<Instant> {
        match &self.state {
            State::InUse => self.in_flight.values().map(|&(_, due)| due).min(),
            State::Probation { overdue, .. } => Some(*overdue),
            State::Down { .. } => None,
        }
    }
}
