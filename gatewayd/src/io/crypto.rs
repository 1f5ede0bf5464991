//! The crypto queue on a thread of its own: jobs in, completions out.

use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crypto_offload::job::{Completion, Job, JobError, JobId};
use crypto_offload::queue::{Limits, Queue};
use crypto_offload::software::{KnownAnswerFailed, SoftwareEngine};
use tokio::sync::mpsc;

use super::worker::Worker;
use crate::gateway::message::Input;
use crate::runtime::Pin;

/// Jobs between the event loop and the thread. The brain has one per installation outstanding.
const QUEUE: usize = 256;
/// How often a device that answers by itself is looked at while jobs are out.
const LOOK: Duration = Duration::from_millis(1);

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// The software engine does not compute what it must: the build or the machine is broken.
    #[error("the software engine fails its known-answer test: {0}")]
    KnownAnswer(#[from] KnownAnswerFailed),
    /// No thread.
    #[error("cannot start the crypto thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A handle on the crypto thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct CryptoWorker {
    worker: Worker<Job>,
    cpus: Arc<Mutex<String>>,
}

impl CryptoWorker {
    /// Tests the engine and starts the thread.
    ///
    /// # Errors
    /// [`CryptoError`]. The daemon must not start without an engine that passes its test.
    pub fn start(pin: Pin, inputs: mpsc::Sender<Input>) -> Result<Self, CryptoError> {
        let engine = SoftwareEngine::new()?;
        let cpus = Arc::new(Mutex::new(String::new()));
        let told = Arc::clone(&cpus);
        let worker = Worker::start("crypto-0", QUEUE, move |jobs| {
            let given = pin.apply();
            if let Ok(mut told) = told.lock() {
                *told = given;
            }
            let mut queue = Queue::new(Limits::default(), vec![Box::new(engine)]);
            work(&mut queue, &jobs, &inputs);
        })?;
        Ok(Self { worker, cpus })
    }

    /// Hands a job to the thread.
    ///
    /// # Errors
    /// The completion of a job that was not taken, because the queue is full or the thread gone.
    pub fn submit(&self, job: Job) -> Result<(), Box<Completion>> {
        let id = job.id;
        // Only the id of a job that was not taken is of use.
        self.worker.order(job).map_err(|_| Box::new(refused(id)))
    }

    /// The CPUs the kernel gave the thread, as a cpulist.
    pub fn cpus(&self) -> String {
        self.cpus.lock().map(|it| it.clone()).unwrap_or_default()
    }
}

/// The completion of a job that no queue took.
fn refused(id: JobId) -> Completion {
    Completion { id, result: Err(JobError::Engine("the crypto queue is full")) }
}

fn work(queue: &mut Queue, jobs: &blocking::Receiver<Job>, inputs: &mpsc::Sender<Input>) {
    loop {
        let next = if queue.is_empty() {
            jobs.recv().map_err(|_| blocking::RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(LOOK)
        };
        match next {
            Ok(job) => {
                if let Err(refusal) = queue.submit(Instant::now(), job) {
                    let completion = refused(refusal.job.id);
                    if inputs.blocking_send(Input::Crypto(completion)).is_err() {
                        return;
                    }
                }
            }
            Err(blocking::RecvTimeoutError::Timeout) => {}
            Err(blocking::RecvTimeoutError::Disconnected) => return,
        }
        while let Some(completion) = queue.poll_completion(Instant::now()) {
            if inputs.blocking_send(Input::Crypto(completion)).is_err() {
                return;
            }
        }
    }
}
