//! The queue in front of the engines: bounds, routes, watches deadlines, and does a job again where an engine failed.
//!
//! Engines stand in order of preference with the CPU last. A device that fails, hangs or contradicts the CPU is taken
//! out of use, its jobs are done by the next engine, and it comes back only after it has answered the questions of
//! [`crate::known_answer`]. What a device says *against* data is never final: the CPU confirms it first, so a broken
//! device can cost time but no update. What a device says *for* data is believed, except that one answer in
//! [`Limits::shadow`] is computed again by the CPU, and all of them while the device is [`EngineState::Degraded`]; a
//! device that has passed its questions and then lets forged data through is not caught otherwise.
//!
//! Once all engines that may have a job are measured ([`Queue::calibrate`]), it goes to the one that would finish it
//! first, with what that engine already has; before, to the first in order that has room.

mod calibrate;
mod cost;
mod entry;
mod lane;
mod report;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use crate::engine::{Engine, Kind, Refused, RefusedReason};
use crate::job::{Completion, Job, JobError, JobId, Outcome, Verdict};
pub use calibrate::Clock;
pub use cost::Class;
use entry::{Claim, Entry};
use lane::{Answer, Lane};
pub use report::{EngineReport, EngineState};

/// Bounds and waits of a [`Queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Jobs in the queue, from submission until their completion was handed out.
    pub max_jobs: usize,
    /// Bytes of data in those jobs ([`crate::job::Operation::len`]). A job that is at a device is held twice, since a device that
    /// hangs does not give its buffer back; so memory is at most twice this.
    pub max_bytes: usize,
    /// How long a device may take over one job before it counts as hung. It gets no more than half of the time that
    /// the job has left, so that the next engine has the other half; all of it when there is no other engine.
    pub patience: Duration,
    /// How long a failed device is left alone before it is tried again; doubles with each failure in a row, 64 times
    /// at most.
    pub probation: Duration,
    /// Of so many good answers of a device, the CPU computes one again and compares; none where absent.
    pub shadow: Option<NonZeroU32>,
}

impl Default for Limits {
    /// 64 jobs, 16 MiB, 500 ms, 1 s, no shadows.
    fn default() -> Self {
        Self {
            max_jobs: 64,
            max_bytes: 16 * 1024 * 1024,
            patience: Duration::from_millis(500),
            probation: Duration::from_secs(1),
            shadow: None,
        }
    }
}

/// What has happened since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Jobs taken in.
    pub submitted: u64,
    /// Jobs not taken in.
    pub refused: u64,
    /// Completions handed out, with whatever result.
    pub completed: u64,
    /// Jobs that ended because their own deadline passed.
    pub expired: u64,
    /// Jobs given to a further engine because one failed.
    pub redone: u64,
    /// Times a device reported a failure of its own, or answered something that is no answer to the question.
    pub failures: u64,
    /// Times a device did not answer in time.
    pub hangs: u64,
    /// Negative answers of devices that the CPU looked into.
    pub confirmations: u64,
    /// Positive answers of devices that the CPU computed again.
    pub shadows: u64,
    /// Answers of either kind that were wrong.
    pub wrong_answers: u64,
    /// Answers that came after the queue had stopped waiting.
    pub late: u64,
    /// Times a device passed its questions and came into use.
    pub admitted: u64,
}

/// Takes jobs in and gives completions out; see the [module](self).
///
/// Holds no clock: `now` is passed in and must not run backwards. After [`Queue::submit`], and whenever a device
/// signals or [`Queue::poll_timeout`] falls due, call [`Queue::poll_completion`] until it gives `None`.
#[derive(Debug)]
pub struct Queue {
    limits: Limits,
    lanes: Vec<Lane>,
    entries: BTreeMap<u64, Entry>,
    /// Keys of entries that are at no engine, oldest first.
    waiting: VecDeque<u64>,
    /// With the bytes that each holds.
    done: VecDeque<(usize, Completion)>,
    bytes: usize,
    next_ticket: u64,
    /// Good answers of devices so far.
    shadow_turn: u64,
    counters: Counters,
}

impl Queue {
    /// A queue over `engines`, the preferred one first, the CPU last.
    pub fn new(limits: Limits, engines: Vec<Box<dyn Engine>>) -> Self {
        Self {
            limits,
            lanes: engines.into_iter().map(Lane::new).collect(),
            entries: BTreeMap::new(),
            waiting: VecDeque::new(),
            done: VecDeque::new(),
            bytes: 0,
            next_ticket: 0,
            shadow_turn: 0,
            counters: Counters::default(),
        }
    }

    /// Puts an engine that has appeared in front of engine number `at` in order of preference; jobs that wait may go to
    /// it. A device has its questions to answer first, as at the start.
    pub fn add_engine(&mut self, at: usize, engine: Box<dyn Engine>) {
        let at = at.min(self.lanes.len());
        self.lanes.insert(at, Lane::new(engine));
        self.entries.values_mut().for_each(|entry| entry.handle_added_lane(at));
    }

    /// Takes a job in.
    ///
    /// # Errors
    /// Gives the job back: [`RefusedReason::Full`] at a bound of [`Limits`], [`RefusedReason::Unsupported`] when no
    /// engine can do it at all.
    pub fn submit(&mut self, now: Instant, job: Job) -> Result<(), Refused> {
        let bytes = job.operation.len();
        let room = self.entries.len() + self.done.len() < self.limits.max_jobs
            && self.bytes.checked_add(bytes).is_some_and(|sum| sum <= self.limits.max_bytes);
        let supported = self.lanes.iter().any(|lane| lane.supports(&job.operation));
        if !room || !supported {
            self.counters.refused += 1;
            let reason = if supported { RefusedReason::Full } else { RefusedReason::Unsupported };
            return Err(Refused::new(job, reason));
        }
        self.counters.submitted += 1;
        self.bytes += bytes;
        let entry = Entry::new(job, self.lanes.len());
        let key = self.ticket();
        self.entries.insert(key, entry);
        self.waiting.push_back(key);
        self.handle_timeout(now);
        Ok(())
    }

    /// Gives out one finished job, or `None` when none is finished at `now`. The CPU does its work in this call.
    pub fn poll_completion(&mut self, now: Instant) -> Option<Completion> {
        self.handle_timeout(now);
        loop {
            if let Some((bytes, completion)) = self.done.pop_front() {
                self.bytes -= bytes;
                self.counters.completed += 1;
                return Some(completion);
            }
            let answer =
                self.lanes.iter_mut().enumerate().find_map(|(at, lane)| Some((at, lane.poll_answer()?)));
            match answer {
                Some((lane, answer)) => self.handle_answer(now, lane, answer),
                // Asking has shown that an engine is gone: its jobs go elsewhere now, not at the next call.
                None if self.lanes.iter().any(Lane::has_failed) => self.handle_timeout(now),
                None => return None,
            }
            self.handle_timeout(now);
        }
    }

    /// When [`Queue::handle_timeout`] has something to do, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let jobs = self.entries.values().map(|entry| entry.deadline);
        jobs.chain(self.lanes.iter().filter_map(Lane::poll_timeout)).min()
    }

    /// Ends what has waited too long by `now`, brings devices back for their questions, and hands out what waits.
    pub fn handle_timeout(&mut self, now: Instant) {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].is_overdue(now) {
                self.counters.hangs += 1;
                self.retire(now, lane, &JobError::Deadline);
            } else if self.lanes[lane].has_failed() {
                self.counters.failures += 1;
                self.retire(now, lane, &JobError::Engine("engine reports that it is down"));
            }
            let ticket = self.ticket();
            self.lanes[lane].handle_probation(now, ticket, self.limits.patience);
        }
        let expired: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| entry.deadline <= now).map(|(&key, _)| key).collect();
        for key in expired {
            self.counters.expired += 1;
            self.finish(key, Err(JobError::Deadline));
        }
        self.dispatch(now);
    }

    /// What has happened so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The engines, in order of preference.
    pub fn engines(&self) -> impl Iterator<Item = EngineReport> {
        self.lanes.iter().map(Lane::report)
    }

    /// Whether nothing is at any engine, so that only [`Queue::poll_timeout`] brings something new.
    pub fn is_idle(&self) -> bool {
        self.is_empty() && self.lanes.iter().all(Lane::is_idle)
    }

    /// What becomes readable, or writable where that is `true`, when a device may have an answer.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, bool)> {
        let engines = self.lanes.iter().map(Lane::engine);
        engines.filter_map(|engine| Some((engine.fd()?, engine.wants_write())))
    }

    /// Whether there is a choice between engines, and one that could be measured now is not.
    pub fn wants_calibration(&self) -> bool {
        self.lanes.len() > 1 && self.lanes.iter().any(Lane::wants_calibration)
    }

    /// Measures the engines that are idle and were not measured since they came into use, so that jobs go where they
    /// are done first. Takes some 20 ms of CPU time for each, and up to [`Limits::patience`] for a device that hangs.
    pub fn calibrate(&mut self, now: Instant, clock: &mut Clock<'_>) {
        let next_ticket = &mut self.next_ticket;
        let mut next_id = || {
            *next_ticket += 1;
            JobId(*next_ticket)
        };
        let mut failures = Vec::new();
        for (at, lane) in self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.wants_calibration()) {
            let (late, measured) = lane.calibrate(now, self.limits.patience, clock, &mut next_id);
            self.counters.late += late;
            failures.extend(measured.err().map(|failure| (at, failure)));
        }
        for (lane, failure) in failures {
            let hung = failure == JobError::Deadline;
            *(if hung { &mut self.counters.hangs } else { &mut self.counters.failures }) += 1;
            self.retire(now, lane, &failure);
        }
        let cpu = self.lanes.iter().find(|lane| lane.kind() == Kind::Software);
        if let Some(reference) = cpu.and_then(Lane::costs).cloned() {
            self.lanes.iter_mut().for_each(|lane| lane.compare(&reference));
        }
    }

    /// Jobs taken in whose completions have not been handed out.
    pub fn len(&self) -> usize {
        self.entries.len() + self.done.len()
    }

    /// Whether every completion has been handed out.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Hands each waiting job to the first engine that may have it and has room.
    fn dispatch(&mut self, now: Instant) {
        loop {
            let redone = self.counters.redone;
            for key in std::mem::take(&mut self.waiting) {
                self.place(now, key);
            }
            // An engine that turns out to be down gives its jobs back, and they need not wait for the next call. Each
            // engine has each job once, so this ends.
            if self.counters.redone == redone {
                return;
            }
        }
    }

    fn place(&mut self, now: Instant, key: u64) {
        let Some(entry) = self.entries.get(&key) else { return };
        let candidates = entry.candidates(&self.lanes);
        let mut in_use = candidates.iter().copied().filter(|&at| self.lanes[at].is_in_use()).peekable();
        if in_use.peek().is_none() {
            // A device that is out of use may be the only one: the job waits for it unless engines have failed it
            // already.
            if candidates.is_empty() {
                let failure = entry.failure.clone();
                self.finish(key, Err(failure));
            } else {
                self.waiting.push_back(key);
            }
            return;
        }
        let with_room: Vec<usize> = in_use.filter(|&at| self.lanes[at].has_room()).collect();
        let Some(at) = self.choose(entry, &with_room) else {
            self.waiting.push_back(key);
            return;
        };
        let others = candidates.len() > 1;
        self.hand_over(now, key, at, others);
    }

    /// The engine that would finish the job first if all of them are measured, else the first.
    fn choose(&self, entry: &Entry, lanes: &[usize]) -> Option<usize> {
        let operation = entry.operation.as_ref()?;
        let times: Option<Vec<(Duration, usize)>> =
            lanes.iter().map(|&at| Some((self.lanes[at].finish_time(operation)?, at))).collect();
        match times {
            Some(times) => times.into_iter().min().map(|(_, at)| at),
            None => lanes.first().copied(),
        }
    }

    /// Gives the job to engine `at`, keeping a copy where another engine could do it too.
    fn hand_over(&mut self, now: Instant, key: u64, at: usize, others: bool) {
        let ticket = self.ticket();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let Some(operation) = entry.operation.take() else { return };
        let device = self.lanes[at].kind() == Kind::Device;
        if device && others {
            entry.operation = Some(operation.clone());
        }
        let left = entry.deadline.saturating_duration_since(now);
        let deadline = match (device, others) {
            (true, true) => now + self.limits.patience.min(left / 2),
            (true, false) => now + self.limits.patience.min(left),
            (false, _) => entry.deadline,
        };
        let Err(Refused { job, reason }) =
            self.lanes[at].submit(key, Job { id: JobId(ticket), deadline, operation })
        else {
            entry.tried[at] = true;
            return;
        };
        entry.operation = Some(job.operation);
        if reason == RefusedReason::Full {
            // Full without our doing: it will have room again.
            self.waiting.push_back(key);
            return;
        }
        entry.tried[at] = true;
        self.redo(key);
        if device {
            self.counters.failures += 1;
            self.retire(now, at, &JobError::Engine("engine refuses what it claims to support"));
        }
    }

    fn handle_answer(&mut self, now: Instant, lane: usize, answer: Answer) {
        match answer {
            Answer::Late => self.counters.late += 1,
            Answer::Probation { passed: None } => {}
            Answer::Probation { passed: Some(true) } => self.counters.admitted += 1,
            Answer::Probation { passed: Some(false) } => {
                self.counters.failures += 1;
                self.retire(now, lane, &JobError::Engine("engine answers known questions wrongly"));
            }
            Answer::Job { key, result } => self.handle_result(now, lane, key, result),
        }
    }

    fn handle_result(&mut self, now: Instant, lane: usize, key: u64, result: Result<Outcome, JobError>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            self.counters.late += 1;
            return;
        };
        let device = self.lanes[lane].kind() == Kind::Device;
        let failure = match &result {
            Err(error @ (JobError::Engine(_) | JobError::Deadline)) => Some(error.clone()),
            Ok(outcome) if !entry.is_answered_by(outcome) => {
                Some(JobError::Engine("engine gave no answer to the question"))
            }
            _ => None,
        };
        if let Some(failure) = failure {
            entry.failure = failure.clone();
            self.redo(key);
            if device {
                self.lanes[lane].count_fallback();
                self.counters.failures += 1;
                self.retire(now, lane, &failure);
            }
            return;
        }
        if device && self.is_to_be_confirmed(lane, key, &result) {
            self.waiting.push_back(key);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.claim = Some(Claim { lane, result });
            }
            return;
        }
        let claim = self.entries.get_mut(&key).and_then(|entry| entry.claim.take());
        let Some(claim) = claim else {
            self.lanes[lane].handle_good_answer();
            self.finish(key, result);
            return;
        };
        let agrees = claim.result == result || (is_negative(&claim.result) && is_negative(&result));
        self.finish(key, result);
        if agrees {
            self.lanes[claim.lane].handle_good_answer();
            return;
        }
        self.counters.wrong_answers += 1;
        self.lanes[claim.lane].count_fallback();
        let what = if is_negative(&claim.result) {
            "engine rejected genuine data"
        } else {
            "engine answers wrongly"
        };
        self.retire(now, claim.lane, &JobError::Engine(what));
    }

    /// Whether the CPU is to do again what a device has answered, and can.
    fn is_to_be_confirmed(&mut self, lane: usize, key: u64, result: &Result<Outcome, JobError>) -> bool {
        let Some(entry) = self.entries.get(&key) else { return false };
        // Where there is no CPU behind the devices, their word is all there is.
        let mut others = self.lanes.iter().zip(&entry.tried).filter(|(_, tried)| !**tried);
        let able = entry.operation.as_ref().is_some_and(|operation| {
            others.any(|(other, _)| other.kind() == Kind::Software && other.supports(operation))
        });
        if !able {
            return false;
        }
        if is_negative(result) {
            self.counters.confirmations += 1;
            return true;
        }
        self.shadow_turn += 1;
        let chosen =
            self.limits.shadow.is_some_and(|one_in| self.shadow_turn.is_multiple_of(one_in.get().into()));
        let shadowed = chosen || self.lanes[lane].is_on_trial();
        self.counters.shadows += u64::from(shadowed);
        shadowed
    }

    /// Takes a device out of use and has its jobs done elsewhere. The CPU stays: there is nothing behind it.
    fn retire(&mut self, now: Instant, lane: usize, failure: &JobError) {
        for key in self.lanes[lane].retire(now, self.limits.probation, failure) {
            if let Some(entry) = self.entries.get_mut(&key) {
                self.lanes[lane].count_fallback();
                entry.failure = failure.clone();
                self.redo(key);
            }
        }
    }

    /// Has another engine do the job, or ends it where no copy was kept because there is no other engine.
    fn redo(&mut self, key: u64) {
        let Some(entry) = self.entries.get(&key) else { return };
        if entry.operation.is_some() {
            self.counters.redone += 1;
            self.waiting.push_back(key);
        } else {
            let failure = entry.failure.clone();
            self.finish(key, Err(failure));
        }
    }

    fn finish(&mut self, key: u64, result: Result<Outcome, JobError>) {
        if let Some(entry) = self.entries.remove(&key) {
            self.done.push_back((entry.bytes, Completion { id: entry.id, result }));
        }
    }
}

/// Whether a result speaks against the data.
const fn is_negative(result: &Result<Outcome, JobError>) -> bool {
    matches!(result, Err(_) | Ok(Outcome::Signature(Verdict::Invalid)))
}
