//! Moves bytes between the brain and the adapters, and decides nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use telemetry::request::Request as TelemetryRequest;
use telemetry::topics::{Stream, Topic, VinSegment};
use tokio::sync::mpsc;

use crate::bus::{EcuError, EcuReport, SourceBlock, TelemetryOrder};
use crate::control::drift::running::Baseline;
use crate::control::{Answer, BrokerStatus, Request, Status, WorkerStatus};
use crate::daemon::configuration::Configuration;
use crate::daemon::memory::Memory;
use crate::gateway::message::{EcuIndex, Input, Output, Publish, StoreError};
use crate::gateway::{Gateway, Now};
use crate::io::cloud::Cloud;
use crate::io::control::Question;
use crate::io::crypto::CryptoWorker;
use crate::io::journal::Journal;
use crate::io::link::LinkWorker;
use crate::io::mqtt::{Mqtt, Received};
use crate::io::profile::{Block, ProfileLink};
use crate::io::store::Store;
use crate::shutdown::{Signals, Wish};
use crate::systemd::ServiceManager;

/// Inputs handled before outputs, timers and signals are looked at again.
const TURN: usize = 64;
/// How long the loop sleeps at most, so that a clock that jumps is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// The adapters.
#[derive(Debug)]
pub struct Io {
    /// The origin.
    pub cloud: Cloud,
    /// The engines.
    pub crypto: CryptoWorker,
    /// The image store.
    pub store: Store,
    /// The journal.
    pub journal: Journal,
    /// The broker.
    pub mqtt: Mqtt,
    /// The profiling service's end of the socket.
    pub profile: ProfileLink,
    /// The buses, in the order of the configuration, with their names.
    pub buses: Vec<(String, LinkWorker)>,
    /// Which bus each ECU is on.
    pub routes: Vec<usize>,
}

/// What arrives from the adapters.
#[derive(Debug)]
pub struct Inbox {
    /// Inputs for the brain.
    pub inputs: mpsc::Receiver<Input>,
    /// Messages from the broker.
    pub received: mpsc::Receiver<Received>,
    /// Questions from `gatewayctl`.
    pub questions: mpsc::Receiver<Question>,
    /// Telemetry blocks from the profiling service.
    pub blocks: mpsc::Receiver<Block>,
    /// Telemetry blocks from others on the buses.
    pub bus_blocks: mpsc::Receiver<SourceBlock>,
}

/// Topics of this vehicle that the loop itself needs.
#[derive(Clone, Debug)]
pub struct Topics {
    /// The vehicle.
    pub vin: VinSegment,
    /// Commands come in here.
    pub command: String,
    /// Receivers ask for a keyframe here.
    pub rebirth: String,
    /// Profiles go out here.
    pub profile: String,
    /// Whether the gateway is there.
    pub presence: String,
}

/// The loop.
#[derive(Debug)]
pub struct EventLoop {
    /// The brain.
    pub gateway: Gateway,
    /// The adapters.
    pub io: Io,
    /// What they have to say.
    pub inbox: Inbox,
    /// Topics.
    pub topics: Topics,
    /// The service manager.
    pub service: ServiceManager,
    /// The configuration in force.
    pub configuration: Configuration,
    /// What the next process gets.
    pub memory: Memory,
    /// The CPUs of the loop itself, as a cpulist.
    pub cpus: String,
    /// What the daemon was started with.
    pub baseline: Baseline,
    /// When the daemon started.
    pub started: Instant,
}

/// Both clocks.
pub fn now() -> Now {
    let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { monotonic: Instant::now(), utc_ms: u64::try_from(utc.as_millis()).unwrap_or(u64::MAX) }
}

impl EventLoop {
    /// Turns until a signal says stop.
    pub async fn run(&mut self, signals: &mut Signals) {
        let mut watchdog = self.service.ping_interval().map(tokio::time::interval);
        loop {
            self.carry_out();
            self.memory.note(&self.gateway, Instant::now());
            let sleep = self
                .gateway
                .poll_timeout()
                .map_or(LONGEST_SLEEP, |at| at.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP));
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop => return,
                    Wish::Reload => self.reload(),
                },
                () = tick(&mut watchdog) => self.service.alive(),
                Some(input) = self.inbox.inputs.recv() => self.take(input),
                Some(message) = self.inbox.received.recv() => self.handle_message(message),
                Some(question) = self.inbox.questions.recv() => self.answer(question),
                Some(block) = self.inbox.blocks.recv() => self.publish_profile(block),
                Some(block) = self.inbox.bus_blocks.recv() => self.publish_foreign(block),
                () = tokio::time::sleep(sleep) => self.gateway.handle_timeout(now()),
            }
        }
    }

    /// Goes on answering questions until `over`, or for `patience` at most: a stop leaves nobody without an answer.
    pub async fn finish(&mut self, over: impl Future<Output = ()>, patience: Duration) {
        let deadline = tokio::time::sleep(patience);
        tokio::pin!(over, deadline);
        loop {
            tokio::select! {
                () = &mut over => break,
                () = &mut deadline => break,
                Some(question) = self.inbox.questions.recv() => self.answer(question),
            }
        }
        self.memory.note(&self.gateway, Instant::now());
        self.memory.end();
    }

    /// What `systemctl status` says once the daemon works.
    pub fn ready_line(&self) -> String {
        let configuration = self.configuration.status();
        if configuration.fallback {
            format!(
                "{} cannot be used; the configuration from before the crash stays in force",
                configuration.file
            )
        } else {
            "waiting for campaigns".to_owned()
        }
    }

    /// One input and those that wait behind it.
    fn take(&mut self, first: Input) {
        self.gateway.handle_input(now(), first);
        for _ in 1..TURN {
            self.carry_out();
            let Ok(next) = self.inbox.inputs.try_recv() else { break };
            self.gateway.handle_input(now(), next);
        }
        if self.gateway.poll_timeout().is_some_and(|at| at <= Instant::now()) {
            self.gateway.handle_timeout(now());
        }
    }

    /// Everything the brain wants done is handed to its adapter. What an adapter cannot take has failed at once.
    fn carry_out(&mut self) {
        let mut failed = VecDeque::new();
        loop {
            while let Some(output) = self.gateway.poll_output() {
                if let Some(input) = self.io.carry_out(output) {
                    failed.push_back(input);
                }
            }
            let Some(input) = failed.pop_front() else { return };
            self.gateway.handle_input(now(), input);
        }
    }

    fn handle_message(&mut self, message: Received) {
        if message.topic == self.topics.command {
            self.gateway.handle_input(now(), Input::Command(message.payload));
        } else if message.topic == self.topics.rebirth {
            self.ask_for_keyframes(&message.payload);
        }
    }

    /// An empty request is for all streams; what cannot be read is taken for one of the gateway's own.
    fn ask_for_keyframes(&self, request: &[u8]) {
        let request = std::str::from_utf8(request).unwrap_or("?");
        let stream = request.parse::<TelemetryRequest>().map(|it| it.stream);
        let order = match stream {
            Ok(Stream::Ecu(name)) => Some(TelemetryOrder::Rebirth(Some(name))),
            _ if request.is_empty() => Some(TelemetryOrder::Rebirth(None)),
            _ => None,
        };
        if let Some(order) = &order {
            self.io.buses.iter().for_each(|(_, bus)| bus.telemetry(order.clone()));
        }
        if order.is_none() || request.is_empty() {
            self.io.profile.rebirth();
        }
    }

    fn publish_foreign(&self, block: SourceBlock) {
        let topic = Topic::Telemetry(Stream::Ecu(block.name)).of(&self.topics.vin);
        self.io.mqtt.publish(Publish { topic, payload: block.bytes, retain: false, droppable: true });
    }

    fn publish_profile(&self, block: Block) {
        let order = TelemetryOrder::Send(Arc::from(block.bytes.as_slice()));
        self.io.buses.iter().for_each(|(_, bus)| bus.telemetry(order.clone()));
        let topic = self.topics.profile.clone();
        let message = Publish { topic, payload: block.bytes, retain: false, droppable: true };
        self.io.mqtt.publish_with_receipt(message, block.receipt);
    }

    fn answer(&mut self, question: Question) {
        let answer = match question.request {
            Request::Status => Answer::Status(Box::new(self.status())),
            Request::Running => Answer::Running(Box::new(self.baseline.now())),
            Request::Check => {
                self.gateway.look(now());
                Answer::Ok
            }
        };
        // An asker that has left needs no answer.
        let _ = question.answer.send(answer);
    }

    fn status(&self) -> Status {
        let (connected, waiting, dropped) = self.io.mqtt.statistics().read();
        let mut workers = vec![
            WorkerStatus { name: "gatewayd".to_owned(), cpus: self.cpus.clone() },
            WorkerStatus { name: "crypto-0".to_owned(), cpus: self.io.crypto.cpus() },
        ];
        for (name, bus) in &self.io.buses {
            workers.push(WorkerStatus { name: format!("bus-{name}"), cpus: bus.cpus() });
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            broker: BrokerStatus { connected, waiting, dropped },
            workers,
            crypto: self.io.crypto.status(),
            profiler: self.io.profile.status(),
            telemetry: self.io.profile.profiler(),
            heap_taken_bytes: crate::heap::HEAP.totals().bytes(),
            generation: self.memory.generation(),
            configuration: self.configuration.status().clone(),
            ..self.gateway.status()
        }
    }
}

impl Io {
    /// Hands one output to its adapter; gives back the input that says it was not taken.
    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Fetch(fetch) => self.cloud.start(fetch),
            Output::CancelFetch(id) => self.cloud.cancel(id),
            Output::Crypto(job) => return self.crypto.submit(job).err().map(|it| Input::Crypto(*it)),
            Output::Store(request) => {
                let refused = self.store.submit(request).err()?;
                let error = StoreError::Medium { reason: "the store's queue is full".to_owned() };
                return Some(Input::Stored { id: refused.id, result: Err(error) });
            }
            Output::Journal { id, write } => {
                let id = self.journal.write(id, write).err()?;
                return Some(Input::Journaled { id, result: Err("the journal's queue is full".to_owned()) });
            }
            Output::Ecu { ecu, order } => {
                let bus = self.routes.get(ecu.0).and_then(|&at| self.buses.get(at));
                let taken = bus.is_some_and(|(_, worker)| worker.order(ecu, order).is_ok());
                if !taken {
                    return Some(refused_order(ecu));
                }
            }
            Output::Publish(publish) => self.mqtt.publish(publish),
        }
        None
    }
}

fn refused_order(ecu: EcuIndex) -> Input {
    let reason = "the bus worker's queue is full".to_owned();
    Input::Ecu { ecu, report: EcuReport::Failed(EcuError::Refused { reason }) }
}

/// The watchdog's next beat; never, where there is no watchdog.
async fn tick(watchdog: &mut Option<tokio::time::Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
