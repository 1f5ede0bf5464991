//! A whole vehicle on simulated time, in one thread: the gateway's brain and bus masters, buses, ECUs, origin, store,
//! journal and crypto queue. Time jumps from one event to the next.
//!
//! [`SimVehicle::kill`] takes the gateway's memory away, [`SimVehicle::power_cut`] that of the ECUs too; what survives
//! is what a store, a journal and flash cells promise to keep.

mod cloud;
mod journal;
mod network;
mod origin;
mod plant;
mod store;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use canfd::virtual_bus::RandomFaults;
use crypto_offload::queue::Queue;
use crypto_offload::software::SoftwareVerifier;
use gatewayd::bus::EcuOrder;
use gatewayd::control::Status as GatewayStatus;
use gatewayd::gateway::message::{EcuIndex, Input, Output};
use gatewayd::gateway::{EcuSetup, Gateway, Now, Setup};
use ota::stage::{Stage, StageEvent, Status};
use ota::uptane::verify::TrustedMetadata;
use tempfile::TempDir;

use crate::ecu::SimEcu;
use crate::errors::ErrorTrap;
use crate::random::Random;
pub use cloud::{CHUNK_SIZE, EPOCH, Image, SimCloud, VIN, copy, trace_id};
pub use journal::{InFlight, SimJournal};
use network::SimBus;
pub use origin::{Extent, OriginFault, SimOrigin};
pub use plant::{EcuSpec, VehicleConfig, one_bank, two_banks};
pub use store::SimStore;

/// Time for a message between two threads of the gateway.
const HOP: Duration = Duration::from_micros(30);
/// Time for a crypto job.
const JOB: Duration = Duration::from_micros(80);
/// Time for a store operation.
const DISK: Duration = Duration::from_micros(150);
/// How often the Director is asked without a command: never, in a simulation.
/// And never by itself after a start, unless a test says so.
pub const POLL: Duration = Duration::from_secs(30 * 86_400);
/// Rounds at one instant after which two parts are taken to talk in circles.
const MAX_ROUNDS: u32 = 100_000;

/// See the module's documentation.
#[derive(Debug)]
pub struct SimVehicle {
    config: VehicleConfig,
    factory: TrustedMetadata,
    base: Instant,
    now: Instant,
    running: Option<Running>,
    buses: Vec<SimBus>,
    /// Where images come from.
    pub origin: SimOrigin,
    /// The image store.
    pub store: SimStore,
    /// The journal.
    pub journal: SimJournal,
    events: Vec<StageEvent>,
    /// What the gateway had said when it told each event.
    told_at: Vec<u64>,
    violations: Vec<String>,
    random: Random,
    outputs: u64,
    stop_at_output: Option<u64>,
    /// Errors in the log; those that are left at the end fail the test.
    pub errors: ErrorTrap,
    _directory: TempDir,
}

/// What is gone when the gateway stops.
#[derive(Debug)]
struct Running {
    gateway: Gateway,
    queue: Queue,
    pending: BTreeMap<(Instant, u64), Message>,
    sent: u64,
    disk_free_at: Instant,
}

/// On its way between two threads of the gateway.
#[derive(Debug)]
enum Message {
    Input(Input),
    Order(EcuIndex, EcuOrder),
}

/// The vehicle was still busy when its time was up.
#[derive(Debug, thiserror::Error)]
#[error("still busy after {limit:?} of simulated time: {status}")]
pub struct StillBusy {
    limit: Duration,
    status: String,
}

impl SimVehicle {
    /// A vehicle as it left the factory, switched on.
    ///
    /// # Panics
    /// Where the simulation itself cannot be set up.
    pub fn new(cloud: &SimCloud, config: VehicleConfig) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let now = Instant::now();
        let count = config.ecus.iter().map(|it| it.bus + 1).max().unwrap_or(0);
        let mut buses: Vec<_> = (0..count).map(|_| SimBus::new(now)).collect();
        for (at, spec) in config.ecus.iter().enumerate() {
            if let Some(bus) = buses.get_mut(spec.bus) {
                let flash = directory.path().join(spec.serial);
                bus.add(now, EcuIndex(at), flash, spec.config.clone());
            }
        }
        let mut vehicle = Self {
            factory: cloud.factory(),
            base: now,
            now,
            running: None,
            buses,
            origin: SimOrigin::new(cloud.root()),
            store: SimStore::new(config.quota),
            journal: SimJournal::new(),
            events: Vec::new(),
            told_at: Vec::new(),
            violations: Vec::new(),
            random: Random::new(config.seed),
            outputs: 0,
            stop_at_output: None,
            errors: ErrorTrap::install(),
            _directory: directory,
            config,
        };
        vehicle.restart();
        vehicle
    }

    /// Tells the gateway to look at the Director.
    pub fn command(&mut self, campaign: &str) {
        let payload = format!(r#"{{"command":"campaign","ota_trace_id":"{}"}}"#, trace_id(campaign));
        self.input(Duration::ZERO, Input::Command(payload.into_bytes()));
    }

    /// Runs until nothing is going on any more.
    ///
    /// # Errors
    /// [`StillBusy`] when `limit` of simulated time has passed before.
    pub fn run_until_idle(&mut self, limit: Duration) -> Result<(), StillBusy> {
        let end = self.now + limit;
        loop {
            self.settle();
            if self.is_idle() {
                return Ok(());
            }
            let next = self.poll_timeout().unwrap_or(end);
            if next > end {
                let status = format!("{:?}", self.status());
                return Err(StillBusy { limit, status });
            }
            self.advance(next);
        }
    }

    /// Runs for a while.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            match self.poll_timeout() {
                Some(next) if next <= end => self.advance(next),
                _ => break,
            }
        }
        self.advance(end);
        self.settle();
    }

    /// Runs until an event or a state of the vehicle is seen, or nothing is going on. True if it was seen.
    pub fn run_until(&mut self, mut seen: impl FnMut(&mut Self) -> bool) -> bool {
        loop {
            self.settle();
            if seen(self) {
                return true;
            }
            match self.poll_timeout() {
                Some(next) if !self.is_idle() => self.advance(next),
                _ => return false,
            }
        }
    }

    /// Runs until the gateway has said that many things in its life, and stops in the middle of what follows from the
    /// last one. False if it fell silent before.
    pub fn run_until_output(&mut self, count: u64) -> bool {
        self.stop_at_output = Some(count);
        let seen = self.run_until(|it| it.outputs >= count);
        self.stop_at_output = None;
        seen
    }

    /// The gateway's process dies; the ECUs live on.
    pub fn kill(&mut self) {
        self.running = None;
        self.journal.cut(&mut self.random);
        for bus in &mut self.buses {
            bus.stop_gateway();
        }
    }

    /// The whole vehicle loses power. It is back, but for the gateway, after each ECU's boot time.
    pub fn power_cut(&mut self) {
        self.kill();
        self.store.power_cut(&mut self.random);
        for bus in &mut self.buses {
            bus.cycle_ecus(self.now);
        }
    }

    /// The gateway starts.
    ///
    /// # Panics
    /// Where its journal cannot be read.
    pub fn restart(&mut self) {
        let setup = self.setup();
        let now = self.gateway_now();
        let records = self.journal.records();
        let gateway = Gateway::new(setup, Box::new(SoftwareVerifier), records, now);
        let gateway = gateway.unwrap_or_else(|error| panic!("the gateway does not start: {error:?}"));
        let queue = (self.config.engines)();
        let pending = BTreeMap::new();
        self.running = Some(Running { gateway, queue, pending, sent: 0, disk_free_at: self.now });
        for bus in &mut self.buses {
            bus.start_gateway();
        }
    }

    /// A bus goes away or comes back, as far as the gateway is concerned.
    pub fn set_bus(&mut self, bus: usize, up: bool) {
        if let Some(bus) = self.buses.get_mut(bus) {
            bus.set_up(up);
        }
    }

    /// From now on a bus loses and repeats frames, at rates per million.
    pub fn set_noise(&mut self, bus: usize, lost: u32, repeated: u32) {
        let faults = RandomFaults::new(self.random.bits(), lost, repeated);
        if let Some(bus) = self.buses.get_mut(bus) {
            bus.set_noise(faults);
        }
    }

    /// Stage events so far, of all boots.
    pub fn events(&self) -> &[StageEvent] {
        &self.events
    }

    /// Events of one ECU (or of the campaign as a whole) in one stage with one outcome.
    pub fn events_of(&self, serial: Option<&str>, stage: Stage, status: Status) -> Vec<&StageEvent> {
        let of = |it: &&StageEvent| {
            it.ecu_serial.as_ref().map(|it| it.as_str()) == serial
                && it.stage_code == stage
                && it.status == status
        };
        self.events.iter().filter(of).collect()
    }

    /// How many things the gateway had said when it first told of an ECU that a stage had ended well.
    pub fn told_at(&self, serial: &str, stage: Stage) -> Option<u64> {
        let is = |it: &StageEvent| {
            it.ecu_serial.as_ref().is_some_and(|it| it.as_str() == serial)
                && it.stage_code == stage
                && it.status == Status::Ok
        };
        self.events.iter().zip(&self.told_at).find(|(event, _)| is(event)).map(|(_, at)| *at)
    }

    /// Forgets the events so far.
    pub fn forget_events(&mut self) {
        self.events.clear();
        self.told_at.clear();
    }

    /// Rules that were broken on the way: an order to program an ECU before its image was proven, an event that cannot
    /// be read.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// An ECU.
    ///
    /// # Panics
    /// Where the vehicle has none of that serial.
    pub fn ecu(&mut self, serial: &str) -> &mut SimEcu {
        let at = self.config.ecus.iter().position(|it| it.serial == serial).expect("an ECU of the vehicle");
        let found = self.buses.iter_mut().find_map(|bus| bus.ecu_mut(EcuIndex(at)));
        found.expect("every ECU is on a bus")
    }

    /// How often the banks of an ECU were erased in its life, all together.
    pub fn erases(&mut self, serial: &str) -> u64 {
        let ecu = self.ecu(serial);
        (0..2).map(|bank| ecu.erase_count(bank)).sum()
    }

    /// What the gateway tells `gatewayctl`; `None` while it is down.
    pub fn status(&self) -> Option<GatewayStatus> {
        self.running.as_ref().map(|it| it.gateway.status())
    }

    /// Simulated time so far.
    pub fn elapsed(&self) -> Duration {
        self.now - self.base
    }

    /// The present instant.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// How many things the gateway has said in its life.
    pub const fn outputs(&self) -> u64 {
        self.outputs
    }

    /// Whether the image that runs is that one, byte for byte, and shows that version.
    pub fn runs(&mut self, image: &Image) -> bool {
        let ecu = self.ecu(image.serial);
        let version = ecu.running_version() == Some(image.version.as_bytes());
        version && ecu.running_image().is_ok_and(|it| it.as_deref() == Some(image.bytes.as_slice()))
    }

    fn setup(&self) -> Setup {
        let ecus = self.config.ecus.iter().map(|it| EcuSetup {
            serial: it.serial.parse().expect("a serial"),
            hardware_id: it.hardware.parse().expect("a hardware id"),
            bus: it.bus,
            bus_name: format!("can{}", it.bus),
            banks: it.banks,
        });
        Setup {
            vin: cloud::vin(),
            ecus: ecus.collect(),
            factory: self.factory.clone(),
            keys: if self.config.has_keys { cloud::key_encryption_keys() } else { Vec::new() },
            read_ahead: self.config.read_ahead,
            attempts: self.config.attempts,
            poll_interval: POLL,
            first_look: self.config.first_look,
        }
    }

    fn gateway_now(&self) -> Now {
        let elapsed = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { monotonic: self.now, utc_ms: EPOCH * 1000 + 1000 + self.config.clock_ahead_ms + elapsed }
    }

    fn advance(&mut self, to: Instant) {
        self.now = self.now.max(to);
        let now = self.gateway_now();
        if let Some(running) = &mut self.running
            && running.gateway.poll_timeout().is_some_and(|at| at <= self.now)
        {
            running.gateway.handle_timeout(now);
        }
        for bus in &mut self.buses {
            bus.handle_timeout(self.now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let running = self.running.iter().flat_map(|it| {
            let pending = it.pending.first_key_value().map(|((at, _), _)| *at);
            let queue = (!it.queue.is_empty()).then(|| it.queue.poll_timeout()).flatten();
            [it.gateway.poll_timeout(), pending, queue].into_iter().flatten()
        });
        let journal = self.running.as_ref().and_then(|_| self.journal.poll_timeout());
        running.chain(journal).chain(self.buses.iter().filter_map(SimBus::poll_timeout)).min()
    }

    fn is_idle(&self) -> bool {
        let far = self.now + POLL / 2;
        self.buses.iter().all(SimBus::is_idle)
            && self.running.as_ref().is_none_or(|it| {
                it.pending.is_empty()
                    && it.queue.is_empty()
                    && self.journal.poll_timeout().is_none()
                    && it.gateway.poll_timeout().is_none_or(|at| at > far)
            })
    }

    /// Everything that is due happens, and whatever follows from it at the same instant.
    fn settle(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let mut moved = self.carry_out();
            if self.stop_at_output.is_some_and(|stop| self.outputs >= stop) {
                return;
            }
            for bus in &mut self.buses {
                moved |= bus.pump(self.now);
            }
            moved |= self.collect();
            moved |= self.deliver();
            if !moved {
                return;
            }
        }
        panic!("two parts of the simulation talk in circles");
    }

    /// What the gateway has said is done. Stops early where a test wants to cut.
    fn carry_out(&mut self) -> bool {
        let mut moved = false;
        while self.stop_at_output.is_none_or(|stop| self.outputs < stop)
            && let Some(output) = self.running.as_mut().and_then(|it| it.gateway.poll_output())
        {
            moved = true;
            self.outputs += 1;
            self.handle_output(output);
        }
        moved
    }

    fn handle_output(&mut self, output: Output) {
        let Some(running) = &mut self.running else { return };
        match output {
            Output::Fetch(fetch) => {
                for (delay, input) in self.origin.answer(self.now, &fetch) {
                    self.input(delay, input);
                }
            }
            Output::CancelFetch(id) => {
                let of = |it: &Message| {
                    matches!(it, Message::Input(Input::FetchPart { id: it, .. } | Input::FetchEnd { id: it, .. })
                        if *it == id)
                };
                running.pending.retain(|_, message| !of(message));
            }
            Output::Crypto(job) => {
                if let Err(refused) = running.queue.submit(self.now, job) {
                    self.violations.push(format!("the crypto queue refuses a job: {:?}", refused.reason));
                }
            }
            Output::Store(request) => {
                let result = self.store.run(&request);
                let done = running.disk_free_at.max(self.now) + DISK;
                running.disk_free_at = done;
                self.input(done - self.now, Input::Stored { id: request.id, result });
            }
            Output::Journal { id, write } => self.journal.write(self.now, id, write),
            Output::Ecu { ecu, order } => {
                if matches!(order, EcuOrder::Program(_)) {
                    self.check_program(ecu);
                }
                self.send(HOP, Message::Order(ecu, order));
            }
            Output::Publish(publish) => match serde_json::from_slice(&publish.payload) {
                Ok(event) => {
                    self.events.push(event);
                    self.told_at.push(self.outputs);
                }
                Err(error) => self.violations.push(format!("{}: {error}", publish.topic)),
            },
        }
    }

    /// Nothing may be erased before the journal knows, and with one bank not before the whole image is proven.
    fn check_program(&mut self, ecu: EcuIndex) {
        let Some(spec) = self.config.ecus.get(ecu.0) else { return };
        let record = self.journal.ecu(spec.serial);
        if !record.as_ref().is_some_and(|it| it.touched) {
            self.violations.push(format!("{}: programmed before the journal knew", spec.serial));
        }
        let proven = |it: &&StageEvent| {
            it.ecu_serial.as_ref().is_some_and(|it| it.as_str() == spec.serial)
                && it.stage_code == Stage::Verify
                && it.status == Status::Ok
        };
        let one_bank = spec.banks == ota::journal::Banks::One;
        if one_bank && !self.events.iter().any(|it| proven(&it)) {
            self.violations.push(format!("{}: programmed before its image was proven", spec.serial));
        }
    }

    /// What the parts around the gateway have to say goes on its way to it.
    fn collect(&mut self) -> bool {
        let mut moved = false;
        for at in 0..self.buses.len() {
            while let Some((ecu, report)) = self.buses.get_mut(at).and_then(SimBus::poll_report) {
                moved = true;
                self.input(HOP, Input::Ecu { ecu, report });
            }
        }
        while let Some(completion) = self.running.as_mut().and_then(|it| it.queue.poll_completion(self.now)) {
            moved = true;
            self.input(JOB, Input::Crypto(completion));
        }
        moved
    }

    /// What has arrived is taken in, one thing at a time: its outputs come before the next one.
    fn deliver(&mut self) -> bool {
        let now = self.gateway_now();
        let Some(running) = &mut self.running else { return false };
        if let Some(input) = self.journal.poll_input(self.now) {
            running.gateway.handle_input(now, input);
            return true;
        }
        let Some(first) = running.pending.first_entry().filter(|it| it.key().0 <= self.now) else {
            return false;
        };
        match first.remove() {
            Message::Input(input) => running.gateway.handle_input(now, input),
            Message::Order(ecu, order) => {
                for bus in &mut self.buses {
                    bus.order(self.now, ecu, order.clone());
                }
            }
        }
        true
    }

    fn input(&mut self, delay: Duration, input: Input) {
        self.send(delay, Message::Input(input));
    }

    fn send(&mut self, delay: Duration, message: Message) {
        if let Some(running) = &mut self.running {
            running.sent += 1;
            running.pending.insert((self.now + delay, running.sent), message);
        }
    }
}
