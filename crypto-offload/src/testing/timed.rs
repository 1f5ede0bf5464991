//! A coprocessor and a CPU whose work takes simulated time.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::device::emulator::{Control, Emulator, Loopback};
use crate::device::{DeviceEngine, OpenError};
use crate::engine::{Capabilities, Engine, Health, Refused};
use crate::job::{Completion, Job};
use crate::queue::{Clock, Queue};
use crate::software::{KnownAnswerFailed, SoftwareEngine};

/// Steps in which the simulated time passes while somebody waits.
const STEP: Duration = Duration::from_micros(1);

/// An engine over `emulator`, which may take `time` over one request, and the control over its time.
///
/// # Errors
/// [`OpenError`] when the emulator has orders to fail at once.
pub fn emulated_device(
    emulator: Emulator,
    time: Duration,
) -> Result<(DeviceEngine<Loopback>, Control), OpenError> {
    let (transport, control) = Loopback::new(emulator, Instant::now());
    let clock = control.clone();
    let engine = DeviceEngine::open(transport, time, |_| {
        clock.advance(STEP);
        true
    })?;
    Ok((engine, control))
}

/// Has `queue` measure its engines on the time of `control`.
pub fn calibrate(queue: &mut Queue, control: &Control) {
    let start = control.now();
    let mut now = || control.now().duration_since(start);
    let mut pause = || control.advance(STEP);
    queue.calibrate(start, &mut Clock { now: &mut now, pause: &mut pause });
}

/// The CPU, whose work takes as much of the simulated time as its cost says.
pub struct TimedSoftware {
    engine: SoftwareEngine,
    time: Control,
    cost: Box<dyn Fn(usize) -> Duration + Send>,
    sizes: VecDeque<usize>,
}

impl TimedSoftware {
    /// The CPU on the time of `time`; `cost` says what a job of so many bytes takes.
    ///
    /// # Errors
    /// [`KnownAnswerFailed`] when this build computes wrongly, so that no test can mean anything.
    pub fn new(
        time: Control,
        cost: impl Fn(usize) -> Duration + Send + 'static,
    ) -> Result<Self, KnownAnswerFailed> {
        let engine = SoftwareEngine::new()?;
        Ok(Self { engine, time, cost: Box::new(cost), sizes: VecDeque::new() })
    }
}

impl fmt::Debug for TimedSoftware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimedSoftware").finish_non_exhaustive()
    }
}

impl Engine for TimedSoftware {
    fn capabilities(&self) -> &Capabilities {
        self.engine.capabilities()
    }

    fn submit(&mut self, job: Job) -> Result<(), Refused> {
        let bytes = job.operation.len();
        self.engine.submit(job)?;
        self.sizes.push_back(bytes);
        Ok(())
    }

    fn poll_completion(&mut self) -> Option<Completion> {
        let completion = self.engine.poll_completion()?;
        let bytes = self.sizes.pop_front()?;
        self.time.advance_to(self.time.now() + (self.cost)(bytes));
        Some(completion)
    }

    fn health(&self) -> Health {
        self.engine.health()
    }
}
