//! One engine as the queue sees it: what is at it, and whether it is in use.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::calibrate::{Bench, Clock};
use super::cost::{Class, Costs};
use super::report::{EngineReport, EngineState};
use crate::engine::{Engine, Health, Kind, Refused};
use crate::job::{Job, JobError, JobId, Operation, Outcome};
use crate::known_answer::{KnownAnswer, known_answers};

/// Doublings of the wait before a failed device is tried again.
const MAX_DOUBLINGS: u32 = 6;
/// Good answers in a row until a device that had failed is trusted again.
const GOOD_ANSWERS: u32 = 8;

#[derive(Debug)]
pub(super) struct Lane {
    engine: Box<dyn Engine>,
    state: State,
    /// By ticket.
    in_flight: BTreeMap<u64, InFlight>,
    failures_in_a_row: u32,
    /// Answers that the device still owes until it is trusted; while there are any, it gets one job at a time and the
    /// CPU does each of them again.
    on_trial: u32,
    /// As measured since the engine last came into use.
    costs: Option<Costs>,
    /// Against the CPU, from the same measurement.
    crossovers: Vec<(Class, Option<usize>)>,
    /// Why the device is, or was last, out of use.
    reason: Option<JobError>,
    jobs: u64,
    fallbacks: u64,
}

#[derive(Debug)]
struct InFlight {
    /// The queue's key of the job.
    key: u64,
    /// When the engine must have answered.
    due: Instant,
    /// What the job was expected to cost; zero where nothing was measured.
    cost: Duration,
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
        Self {
            engine,
            state,
            in_flight: BTreeMap::new(),
            failures_in_a_row: 0,
            on_trial: 0,
            costs: None,
            crossovers: Vec::new(),
            reason: None,
            jobs: 0,
            fallbacks: 0,
        }
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
        let depth = if self.is_on_trial() { 1 } else { self.engine.capabilities().depth };
        self.in_flight.len() < depth
    }

    /// Whether the engine is in use and not to be trusted alone.
    pub(super) fn is_on_trial(&self) -> bool {
        self.on_trial > 0 || matches!(self.engine.health(), Health::Degraded(_))
    }

    /// When the engine would have done `operation` besides what it has; `None` where that was not measured.
    pub(super) fn finish_time(&self, operation: &Operation) -> Option<Duration> {
        let backlog: Duration = self.in_flight.values().map(|it| it.cost).sum();
        Some(backlog + self.costs.as_ref()?.of(operation)?)
    }

    pub(super) const fn costs(&self) -> Option<&Costs> {
        self.costs.as_ref()
    }

    /// Whether the engine is in use, idle, and not measured since it came into use.
    pub(super) fn wants_calibration(&self) -> bool {
        self.is_in_use() && self.costs.is_none() && self.in_flight.is_empty()
    }

    /// Measures the engine. Gives the number of late answers that were found on the way.
    pub(super) fn calibrate(
        &mut self,
        now: Instant,
        patience: Duration,
        clock: &mut Clock<'_>,
        next_id: &mut dyn FnMut() -> JobId,
    ) -> (u64, Result<(), JobError>) {
        let engine = &mut *self.engine;
        let mut bench = Bench { engine, clock, next_id, patience, deadline: now + patience, late: 0 };
        let costs = bench.costs();
        let late = bench.late;
        (late, costs.map(|costs| self.costs = Some(costs)))
    }

    /// Whether the engine is in use and says of itself that it should not be.
    pub(super) fn has_failed(&self) -> bool {
        self.is_in_use() && self.kind() == Kind::Device && matches!(self.engine.health(), Health::Down(_))
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
        let cost = self.costs.as_ref().and_then(|costs| costs.of(&job.operation)).unwrap_or_default();
        self.engine.submit(job)?;
        self.in_flight.insert(ticket, InFlight { key, due, cost });
        self.jobs += 1;
        Ok(())
    }

    /// Takes one completion from the engine, whatever state it is in: a late one frees its buffer.
    pub(super) fn poll_answer(&mut self) -> Option<Answer> {
        let completion = self.engine.poll_completion()?;
        let JobId(ticket) = completion.id;
        if let Some(InFlight { key, .. }) = self.in_flight.remove(&ticket) {
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
            self.costs = None;
            self.crossovers.clear();
            self.on_trial = if self.failures_in_a_row > 0 { GOOD_ANSWERS } else { 0 };
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
            self.engine.recover();
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

    /// Counts an answer that was good, as far as anyone can tell.
    pub(super) const fn handle_good_answer(&mut self) {
        self.on_trial = self.on_trial.saturating_sub(1);
        if self.on_trial == 0 {
            self.failures_in_a_row = 0;
        }
    }

    /// Takes a device out of use and gives up its jobs. The CPU stays in use and keeps its jobs.
    pub(super) fn retire(&mut self, now: Instant, probation: Duration, reason: &JobError) -> Vec<u64> {
        if self.kind() == Kind::Software {
            return Vec::new();
        }
        let wait = probation.saturating_mul(1 << self.failures_in_a_row.min(MAX_DOUBLINGS));
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.state = State::Down { until: Some(now + wait) };
        self.reason = Some(reason.clone());
        std::mem::take(&mut self.in_flight).into_values().map(|it| it.key).collect()
    }

    /// Counts a job that another engine has to do after all.
    pub(super) const fn count_fallback(&mut self) {
        self.fallbacks += 1;
    }

    /// Compares with the CPU, whose costs are `reference`.
    pub(super) fn compare(&mut self, reference: &Costs) {
        if self.kind() == Kind::Device {
            self.crossovers = self.costs.as_ref().map_or_else(Vec::new, |costs| costs.crossovers(reference));
        }
    }

    /// Whether nothing is at the engine that it could answer.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && !matches!(self.state, State::Probation { .. })
    }

    pub(super) fn report(&self) -> EngineReport {
        let state = match self.state {
            State::InUse if self.is_on_trial() => EngineState::Degraded,
            State::InUse => EngineState::Up,
            State::Down { .. } => EngineState::Down,
            State::Probation { .. } => EngineState::Probation,
        };
        EngineReport {
            name: self.engine.capabilities().name,
            identity: self.engine.identity(),
            capabilities: self.engine.capabilities().clone(),
            in_use: self.is_in_use(),
            state,
            reason: self.reason.clone(),
            in_flight: self.in_flight.len(),
            jobs: self.jobs,
            fallbacks: self.fallbacks,
            crossovers: self.crossovers.clone(),
        }
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    fn answer_due(&self) -> Option<Instant> {
        match &self.state {
            State::InUse => self.in_flight.values().map(|it| it.due).min(),
            State::Probation { overdue, .. } => Some(*overdue),
            State::Down { .. } => None,
        }
    }
}
