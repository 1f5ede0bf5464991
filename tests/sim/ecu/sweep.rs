//! Seeded campaigns of faults: a programmer, ISO-TP and a simulated ECU on a simulated bus and simulated time.
//!
//! A run is one ECU's way from its old version to its new one. Its attempts meet the faults its seed draws: frames lost,
//! doubled, overtaken and misnumbered, an ECU that resets, stalls, refuses and lies, power cuts on either side. After
//! every attempt what the programmer claims is held against what the ECU holds; after the last one the faults end and
//! the ECU must take the image.

mod scenario;

pub use scenario::Scenario;

use super::{EcuPort, FlashStateError, NodeConfig, SimEcu, Tester};
use canfd::uds::programming::{EcuState, Event, Plan, Programmer};
use canfd::virtual_bus::{NodeId, VirtualBus, VirtualBusConfig};
use scenario::{FUNCTIONAL_ID, NEW_VERSION, OLD_VERSION};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest simulated time of one attempt: every bounded wait of a whole sequence one after the other.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3_600);
/// Rounds without any event of time after which the cores are taken to talk in circles.
const ROUNDS_AT_ONE_INSTANT: usize = 100_000;
/// Attempts under faults.
const ATTEMPTS: usize = 3;
/// What passes between two attempts: longer than any lock of security access.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(60);

/// How a run went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Attempts under faults that ended programmed and equal.
    pub programmed: u32,
    /// Attempts under faults that were cleanly refused, the ECU in the state that was claimed.
    pub refused: u32,
    /// Attempts that a power cut of the tester ended.
    pub cut: u32,
    /// Simulated time.
    pub simulated: Duration,
}

/// What must never happen.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// An attempt did not end
    #[error("attempt {attempt} hangs in phase {phase}")]
    Hang {
        /// From 1
        attempt: usize,
        /// Where
        phase: String,
    },
    /// The ECU holds something else than was claimed
    #[error("attempt {attempt} ended with {claim}, but the ECU {truth}")]
    State {
        /// From 1
        attempt: usize,
        /// The programmer's last event
        claim: String,
        /// What is so
        truth: String,
    },
    /// The simulator itself failed
    #[error("the flash of the simulated ECU cannot be used")]
    Flash(#[from] FlashStateError),
    /// The image file cannot be read
    #[error("the image of the simulated ECU cannot be read")]
    Image(#[from] std::io::Error),
    /// The scenario makes no plan
    #[error("the scenario makes no plan: {0}")]
    Plan(String),
}

/// One run in `directory`, which is empty.
///
/// # Errors
/// The first [`Violation`].
pub fn run(scenario: &Scenario, directory: &Path) -> Result<Report, Violation> {
    let mut run = Run {
        scenario,
        directory,
        began: Instant::now(),
        now: Instant::now(),
        resume_from: None,
        report: Report::default(),
    };
    run.now = run.began;
    for attempt in 1..=ATTEMPTS {
        if run.attempt(attempt, true)? {
            run.report.simulated = run.now - run.began;
            return Ok(run.report);
        }
        run.now += BETWEEN_ATTEMPTS;
    }
    let done = run.attempt(ATTEMPTS + 1, false)?;
    run.report.simulated = run.now - run.began;
    if done {
        return Ok(run.report);
    }
    let claim = "a failure without any fault".to_owned();
    Err(Violation::State { attempt: ATTEMPTS + 1, claim, truth: "was to be programmed".to_owned() })
}

struct Run<'a> {
    scenario: &'a Scenario,
    directory: &'a Path,
    began: Instant,
    now: Instant,
    /// What a journal would know
    resume_from: Option<u64>,
    report: Report,
}

/// What an ECU runs, and whether the image behind it is whole.
#[derive(Debug, PartialEq, Eq)]
enum Truth {
    Old,
    Nothing,
    New,
    Mixed(Vec<u8>),
}

impl Run<'_> {
    /// True once the ECU is programmed.
    fn attempt(&mut self, attempt: usize, faulty: bool) -> Result<bool, Violation> {
        let mut port = self.power_on(attempt, faulty)?;
        let mut tester = self.tester()?;
        let before = self.truth(port.ecu())?;
        let cut_after = self.scenario.cut_after(attempt).filter(|_| faulty);
        let last = self.drive(attempt, &mut tester, &mut port, faulty, cut_after)?;
        let acknowledged = tester.acknowledged();
        self.resume_from = if tester.has_erased() { Some(acknowledged) } else { self.resume_from };
        let truth = self.truth(port.ecu())?;
        let fits = match &last {
            None => !matches!(truth, Truth::Mixed(_)),
            Some(Event::Failed(error)) => match error.ecu_state {
                EcuState::OldSoftware => truth == before,
                EcuState::NoApplication => truth == Truth::Nothing,
                EcuState::NewSoftware => truth == Truth::New,
                EcuState::Unknown => !matches!(truth, Truth::Mixed(_)),
            },
            Some(_) => truth == Truth::New,
        };
        if !fits {
            let claim = last.map_or_else(|| "a power cut".to_owned(), |event| format!("{event:?}"));
            return Err(Violation::State { attempt, claim, truth: format!("runs {truth:?}") });
        }
        match last {
            None => self.report.cut += 1,
            Some(Event::Failed(_)) => self.report.refused += u32::from(faulty),
            Some(_) => {
                self.report.programmed += u32::from(faulty);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn power_on(&self, attempt: usize, faulty: bool) -> Result<EcuPort, Violation> {
        let ecu = SimEcu::open(self.now, self.directory, Arc::clone(&self.scenario.ecu))?;
        let node = NodeConfig { link: self.scenario.ecu_link(), functional_id: Some(FUNCTIONAL_ID) };
        let mut port = EcuPort::new(ecu, node);
        if faulty {
            self.scenario.inject(attempt, self.now, &mut port);
        }
        Ok(port)
    }

    fn tester(&self) -> Result<Tester, Violation> {
        let Scenario { ecu, image, checksum, .. } = self.scenario;
        let plan = Plan {
            image_len: image.len() as u64,
            version: NEW_VERSION.to_vec(),
            checksum: checksum.clone(),
            resume_from: self.resume_from,
            ..Plan::default()
        };
        let programmer = Programmer::new(self.now, Arc::new(ecu.profile.clone()), plan);
        let mut programmer = programmer.map_err(|error| Violation::Plan(error.to_string()))?;
        programmer.begin_transfer(self.now);
        programmer.activate(self.now);
        Ok(Tester::new(programmer, self.scenario.tester_link(), FUNCTIONAL_ID, image.clone()))
    }

    /// Until the last event; `None` where the tester's power was cut.
    fn drive(
        &mut self,
        attempt: usize,
        tester: &mut Tester,
        port: &mut EcuPort,
        faulty: bool,
        cut_after: Option<Duration>,
    ) -> Result<Option<Event>, Violation> {
        let config = VirtualBusConfig { timing: self.scenario.timing, queue_len: 64 };
        let mut bus = VirtualBus::new(self.now, config);
        let nodes = [bus.attach(), bus.attach()];
        if faulty {
            let mut fate = self.scenario.bus_faults(attempt);
            bus.set_fault(move |_, _| fate());
        }
        let end = self.now + ATTEMPT_LIMIT;
        let cut = cut_after.map(|after| self.now + after);
        let hang = |tester: &Tester| Violation::Hang { attempt, phase: format!("{:?}", tester.phase()) };
        loop {
            if !exchange(self.now, &mut bus, nodes, tester, port) {
                return Err(hang(tester));
            }
            if let Some(event) = tester.take_last() {
                return Ok(Some(event));
            }
            let due = [bus.poll_timeout(), tester.poll_timeout(), port.poll_timeout()];
            let due =
                due.into_iter().flatten().min().filter(|due| *due <= end).ok_or_else(|| hang(tester))?;
            self.now = self.now.max(due);
            if cut.is_some_and(|cut| self.now >= cut) {
                return Ok(None);
            }
            tester.handle_timeout(self.now);
            port.handle_timeout(self.now);
        }
    }

    fn truth(&self, ecu: &SimEcu) -> Result<Truth, Violation> {
        let Some(image) = ecu.running_image()? else { return Ok(Truth::Nothing) };
        Ok(match ecu.stored_version() {
            Some(version) if version == NEW_VERSION && image == self.scenario.placed() => Truth::New,
            Some(version) if version == OLD_VERSION && image == self.scenario.ecu.factory_image => Truth::Old,
            version => Truth::Mixed(version.unwrap_or_default().to_vec()),
        })
    }
}

/// Everything that happens at this instant; false where it does not end.
fn exchange(
    now: Instant,
    bus: &mut VirtualBus,
    [gateway, node]: [NodeId; 2],
    tester: &mut Tester,
    port: &mut EcuPort,
) -> bool {
    for _ in 0..ROUNDS_AT_ONE_INSTANT {
        let mut moved = false;
        while bus.room(gateway) > 0
            && let Some(frame) = tester.poll_transmit(now)
        {
            moved = true;
            // There is room.
            let _ = bus.handle_transmit(now, gateway, frame);
        }
        while bus.room(node) > 0
            && let Some(frame) = port.poll_transmit(now)
        {
            moved = true;
            let _ = bus.handle_transmit(now, node, frame);
        }
        while let Some(delivery) = bus.poll_delivery(now) {
            moved = true;
            let own = delivery.from == gateway;
            if delivery.reaches(gateway) {
                tester.handle_frame(now, &delivery.frame, own);
            }
            if delivery.reaches(node) && own {
                port.handle_frame(now, &delivery.frame);
            } else if delivery.reaches(node) {
                port.handle_transmitted(now, &delivery.frame);
            }
        }
        if !moved {
            return true;
        }
    }
    false
}
