//! The crypto queue on a thread of its own: jobs in, completions out.

mod engines;
mod report;
mod wait;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crypto_offload::job::{Completion, Job, JobError, JobId};
use crypto_offload::queue::{Clock, Queue};
use crypto_offload::software::KnownAnswerFailed;
use tokio::sync::mpsc;

use self::engines::MissingDevice;
use self::report::Reporter;
use self::wait::wait_readable;
use super::worker::Worker;
use crate::config::parts::CryptoPart;
use crate::control::CryptoStatus;
use crate::gateway::message::Input;
use crate::runtime::Pin;

/// Jobs between the event loop and the thread. The brain has one per installation outstanding.
const QUEUE: usize = 256;
/// How long a new job may wait while the thread waits for a coprocessor.
const LOOK: Duration = Duration::from_millis(1);

/// How often an idle coprocessor is looked at.
const IDLE_LOOK: Duration = Duration::from_secs(1);

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
    shared: Shared,
}

/// What the thread tells.
#[derive(Clone, Debug, Default)]
struct Shared {
    cpus: Arc<Mutex<String>>,
    status: Arc<Mutex<CryptoStatus>>,
}

impl CryptoWorker {
    /// Tests the CPU, opens the other engines and starts the thread. A coprocessor that is absent is reported, done without
    /// and looked for again.
    ///
    /// # Errors
    /// [`CryptoError`]. The daemon must not start without an engine that passes its test.
    pub fn start(config: &CryptoPart, pin: Pin, inputs: mpsc::Sender<Input>) -> Result<Self, CryptoError> {
        let engines = engines::open(config)?;
        let limits = engines::limits(config);
        let shared = Shared::default();
        let told = shared.clone();
        let worker = Worker::start("crypto-0", QUEUE, move |jobs| {
            let given = pin.apply();
            if let Ok(mut cpus) = told.cpus.lock() {
                *cpus = given;
            }
            let mut queue = Queue::new(limits, engines.present);
            let mut reporter = Reporter::new(told, engines.absent);
            work(&mut queue, &mut reporter, engines.missing, &jobs, &inputs);
        })?;
        Ok(Self { worker, shared })
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
        self.shared.cpus.lock().map(|it| it.clone()).unwrap_or_default()
    }

    /// The engines at a glance.
    pub fn status(&self) -> CryptoStatus {
        self.shared.status.lock().map(|it| it.clone()).unwrap_or_default()
    }
}

/// The completion of a job that no queue took.
fn refused(id: JobId) -> Completion {
    Completion { id, result: Err(JobError::Engine("the crypto queue is full")) }
}

fn work(
    queue: &mut Queue,
    reporter: &mut Reporter,
    mut missing: Option<MissingDevice>,
    jobs: &blocking::Receiver<Job>,
    inputs: &mpsc::Sender<Input>,
) {
    loop {
        while let Some(completion) = queue.poll_completion(Instant::now()) {
            if inputs.blocking_send(Input::Crypto(completion)).is_err() {
                return;
            }
        }
        if queue.is_idle() && missing.as_ref().is_some_and(|it| it.due() <= Instant::now()) {
            look_again(queue, reporter, &mut missing);
        }
        if queue.is_idle() && queue.wants_calibration() {
            calibrate(queue);
        }
        reporter.handle_turn(Instant::now(), queue);
        match next_job(queue, missing.as_ref(), jobs) {
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
    }
}

/// Looks for a coprocessor that was not there, and puts it in front where it is there now.
fn look_again(queue: &mut Queue, reporter: &mut Reporter, missing: &mut Option<MissingDevice>) {
    match missing.as_mut().map(MissingDevice::look) {
        Some(Ok(engine)) => {
            queue.add_engine(0, engine);
            reporter.handle_look("device", None);
            *missing = None;
        }
        Some(Err(status)) => reporter.handle_look("device", Some(*status)),
        None => {}
    }
}

/// Waits for a job, or until the queue has something to do, or a coprocessor is to be looked for.
fn next_job(
    queue: &Queue,
    missing: Option<&MissingDevice>,
    jobs: &blocking::Receiver<Job>,
) -> Result<Job, blocking::RecvTimeoutError> {
    if queue.is_idle() {
        let due = queue.poll_timeout().into_iter().chain(missing.map(MissingDevice::due)).min();
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        // A coprocessor that goes away while there is nothing to do is to be seen in the status.
        let look = queue.fds().next().map(|_| IDLE_LOOK);
        return match due.into_iter().chain(look).min() {
            Some(most) => jobs.recv_timeout(most),
            None => jobs.recv().map_err(|_| blocking::RecvTimeoutError::Disconnected),
        };
    }
    match jobs.try_recv() {
        Ok(job) => return Ok(job),
        Err(blocking::TryRecvError::Disconnected) => return Err(blocking::RecvTimeoutError::Disconnected),
        Err(blocking::TryRecvError::Empty) => {}
    }
    let due = queue.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
    wait_readable(queue.fds(), due.unwrap_or(LOOK).min(LOOK));
    jobs.try_recv().map_err(|error| match error {
        blocking::TryRecvError::Empty => blocking::RecvTimeoutError::Timeout,
        blocking::TryRecvError::Disconnected => blocking::RecvTimeoutError::Disconnected,
    })
}

/// Measures the engines as they work here: a coprocessor's answer counts when this thread has woken up for it.
fn calibrate(queue: &mut Queue) {
    let fds: Vec<OwnedFd> = queue.fds().filter_map(|(fd, _)| fd.try_clone_to_owned().ok()).collect();
    let start = Instant::now();
    let mut now = || start.elapsed();
    // Watching for room to write would not wait at all while there is some; requests larger than the room are rare.
    let mut pause = || wait_readable(fds.iter().map(|fd| (fd.as_fd(), false)), LOOK);
    queue.calibrate(start, &mut Clock { now: &mut now, pause: &mut pause });
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use crypto_offload::device::emulator::{Emulator, Model};
    use crypto_offload::job::{HashAlgorithm, Operation, Outcome};

    use super::*;
    use crate::config::parts::EngineName;
    use crate::config::units::Span;

    fn job(id: u64) -> Job {
        let operation = Operation::Digest { algorithm: HashAlgorithm::Sm3, data: b"abc".to_vec() };
        Job { id: JobId(id), deadline: Instant::now() + Duration::from_secs(20), operation }
    }

    fn config(device: String) -> CryptoPart {
        let engines = vec![EngineName::Device, EngineName::Software];
        CryptoPart { engines, device, ..CryptoPart::default() }
    }

    /// Until `enough` holds of the status.
    fn status(worker: &CryptoWorker, enough: impl Fn(&CryptoStatus) -> bool) -> CryptoStatus {
        let start = Instant::now();
        loop {
            let status = worker.status();
            if enough(&status) {
                return status;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{status:?}");
            std::thread::yield_now();
        }
    }

    fn complete(worker: &CryptoWorker, inputs: &mut mpsc::Receiver<Input>, id: u64) {
        worker.submit(job(id)).expect("room");
        let Some(Input::Crypto(completion)) = inputs.blocking_recv() else { panic!("no completion") };
        assert_eq!(completion.id, JobId(id));
        let Ok(Outcome::Digest(digest)) = completion.result else { panic!("{completion:?}") };
        assert!(digest.to_string().starts_with("66c7f0f4"));
    }

    #[test]
    fn an_absent_coprocessor_is_told_and_done_without() {
        let (sender, mut inputs) = mpsc::channel(4);
        let config = config("socket:/nonexistent/device".to_owned());
        let worker = CryptoWorker::start(&config, Pin::ANYWHERE, sender).expect("the CPU is there");
        complete(&worker, &mut inputs, 1);
        let status = status(&worker, |status| status.jobs == 1);
        let states: Vec<_> = status.engines.iter().map(|it| (it.name.as_str(), it.state.as_str())).collect();
        assert_eq!(states, [("software", "up"), ("device", "absent")]);
    }

    #[test]
    fn a_coprocessor_that_comes_later_is_found_and_stands_before_the_cpu() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("device");
        let (sender, mut inputs) = mpsc::channel(4);
        let probation = Span(Duration::from_millis(20));
        let config = CryptoPart { probation, ..config(format!("socket:{}", path.display())) };
        let worker = CryptoWorker::start(&config, Pin::ANYWHERE, sender).expect("the CPU is there");
        complete(&worker, &mut inputs, 1);
        assert_eq!(status(&worker, |status| status.jobs == 1).engines[1].state, "absent");
        let listener = UnixListener::bind(&path).expect("a socket");
        std::thread::spawn(move || {
            let mut emulator = Emulator::new(Model::default()).expect("a sound build");
            for stream in listener.incoming() {
                let _ = emulator.serve(&stream.expect("the worker connects"));
            }
        });
        let found =
            status(&worker, |status| status.engines[0].name == "device" && status.engines[0].state == "up");
        assert_eq!((found.engines.len(), found.engines[1].name.as_str()), (2, "software"));
        complete(&worker, &mut inputs, 2);
    }

    #[test]
    fn a_coprocessor_is_asked_measured_and_replaced_by_the_cpu_when_it_dies() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("device");
        let listener = UnixListener::bind(&path).expect("a socket");
        let (die, death) = blocking::channel::<()>();
        std::thread::spawn(move || {
            let mut emulator = Emulator::new(Model::default()).expect("a sound build");
            // The first connection ends when the test says so; there is no second.
            let (stream, _) = listener.accept().expect("the worker connects");
            let end = stream.try_clone().expect("a second handle");
            std::thread::spawn(move || {
                let _ = death.recv();
                let _ = end.shutdown(std::net::Shutdown::Both);
            });
            drop(listener);
            let _ = emulator.serve(&stream);
        });
        let (sender, mut inputs) = mpsc::channel(4);
        let config = config(format!("socket:{}", path.display()));
        let worker = CryptoWorker::start(&config, Pin::ANYWHERE, sender).expect("the CPU is there");
        let measured = status(&worker, |status| {
            status.engines.first().is_some_and(|it| it.state == "up" && !it.crossovers.is_empty())
        });
        assert_eq!(measured.engines[0].identity, "sm-crypto-emulator firmware 0x0");
        assert!(measured.engines[0].crossovers.contains_key("sm4-gcm"));
        complete(&worker, &mut inputs, 1);
        die.send(()).expect("the emulator listens");
        complete(&worker, &mut inputs, 2);
        let status = status(&worker, |status| status.engines.first().is_some_and(|it| it.state == "down"));
        assert!(status.engines[0].reason.is_some());
    }
}
