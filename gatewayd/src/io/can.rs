//! One thread per bus: frames in, frames out, the bus master's timers, and nothing that could delay them.

mod traffic;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use canfd::bus::{Bus, BusError, BusUrl};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::mpsc;

use super::worker::Worker;
use crate::bus::{
    BusMaster, EcuOrder, Off, Pause, Recovery, Return, SourceBlock, TelemetryOrder, TelemetryPort,
};
use crate::gateway::message::{EcuIndex, Input};
use crate::runtime::Pin;
use traffic::{Heard, Loss, Traffic};

/// Orders that may wait for the thread. The brain has a few per ECU at most.
const QUEUE: usize = 1024;
/// Longest wait for anything, so that nothing is ever missed for longer.
const ROUND: Duration = Duration::from_secs(1);

/// Telemetry of a bus, and where blocks of others go; those that find that full are dropped, and their numbers show it.
#[derive(Debug)]
pub struct TelemetryLink {
    /// What is sent and received.
    pub port: TelemetryPort,
    /// Whole blocks.
    pub blocks: mpsc::Sender<SourceBlock>,
}

/// What the thread is told.
#[derive(Debug)]
enum Order {
    Ecu(EcuIndex, EcuOrder),
    Telemetry(TelemetryOrder),
}

/// A handle on a bus's thread. Dropping it stops the thread; sessions that are open end by the ECUs' own timers.
#[derive(Debug)]
pub struct BusWorker {
    worker: Worker<Order>,
    wake: Arc<OwnedFd>,
    cpus: Arc<Mutex<String>>,
    /// Whether the bus sends or asks for telemetry.
    has_telemetry: bool,
}

impl BusWorker {
    /// Starts the thread. The bus may be absent for now: orders are then refused until it is there.
    ///
    /// # Errors
    /// The system's, where no thread can be started.
    pub fn start(
        name: &str,
        url: BusUrl,
        master: BusMaster,
        pin: Pin,
        inputs: mpsc::Sender<Input>,
    ) -> std::io::Result<Self> {
        let (blocks, _) = mpsc::channel(1);
        let telemetry = TelemetryLink { port: TelemetryPort::default(), blocks };
        Self::start_with_telemetry(name, url, master, telemetry, pin, inputs)
    }

    /// The same on a bus that carries telemetry too.
    ///
    /// # Errors
    /// As [`BusWorker::start`].
    pub fn start_with_telemetry(
        name: &str,
        url: BusUrl,
        master: BusMaster,
        telemetry: TelemetryLink,
        pin: Pin,
        inputs: mpsc::Sender<Input>,
    ) -> std::io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let cpus = Arc::new(Mutex::new(String::new()));
        let (told, woken) = (Arc::clone(&cpus), Arc::clone(&wake));
        let has_telemetry = telemetry.port.ids().next().is_some();
        let worker = Worker::start(&format!("bus-{name}"), QUEUE, move |queue| {
            let given = pin.apply();
            if let Ok(mut told) = told.lock() {
                *told = given;
            }
            let TelemetryLink { port, blocks } = telemetry;
            let (traffic, recovery) = (Traffic::new(master, port), Recovery::default());
            BusLoop { url, traffic, queue, wake: woken, inputs, blocks, recovery, told: false }.run();
        })?;
        Ok(Self { worker, wake, cpus, has_telemetry })
    }

    /// Hands an order to the thread.
    ///
    /// # Errors
    /// The order, where the queue is full or the thread gone.
    pub fn order(&self, ecu: EcuIndex, order: EcuOrder) -> Result<(), EcuOrder> {
        match self.worker.order(Order::Ecu(ecu, order)) {
            Err(Order::Ecu(_, order)) => return Err(order),
            // What comes back is what was given.
            Ok(()) | Err(Order::Telemetry(_)) => {}
        }
        self.wake();
        Ok(())
    }

    /// Hands telemetry to the thread, where its bus has to do with any; it is dropped where there is no room.
    pub fn telemetry(&self, order: TelemetryOrder) {
        if self.has_telemetry && self.worker.order(Order::Telemetry(order)).is_ok() {
            self.wake();
        }
    }

    /// The CPUs the kernel gave the thread, as a cpulist.
    pub fn cpus(&self) -> String {
        self.cpus.lock().map(|it| it.clone()).unwrap_or_default()
    }

    fn wake(&self) {
        // A counter that is full already wakes the thread.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for BusWorker {
    fn drop(&mut self) {
        self.worker.close();
        self.wake();
    }
}

/// Why a bus is served no more.
enum Stop {
    /// The daemon stops.
    Asked,
    /// The bus cannot be used.
    Lost(Loss),
}

struct BusLoop {
    url: BusUrl,
    traffic: Traffic,
    queue: blocking::Receiver<Order>,
    wake: Arc<OwnedFd>,
    inputs: mpsc::Sender<Input>,
    blocks: mpsc::Sender<SourceBlock>,
    recovery: Recovery,
    /// Whether the log already says that the bus is missing.
    told: bool,
}

impl BusLoop {
    fn run(mut self) {
        loop {
            // What else is on the bus neither fills the socket's queue nor wakes the thread.
            let opened = canfd::bus::open(&self.url)
                .and_then(|mut bus| bus.listen_to(&self.traffic.ids()).map(|()| bus));
            let reason = match opened.map(|mut bus| self.keep(bus.as_mut())) {
                Ok(Stop::Asked) => return,
                Ok(Stop::Lost(Loss::Bus(error))) | Err(error) => error,
                Ok(Stop::Lost(Loss::Off)) => BusError::Off { url: self.url.to_string() },
            };
            let pause = self.lose(&reason);
            self.traffic.handle_down(&reason.to_string());
            if !self.wait_closed(pause.span) {
                return;
            }
        }
    }

    /// Uses a bus as long as its descriptor is good for anything, bus-off or not.
    fn keep(&mut self, bus: &mut dyn Bus) -> Stop {
        loop {
            tracing::info!(bus = %self.url, "bus open");
            self.told = false;
            self.traffic.handle_up();
            self.recovery.handle_up(Instant::now());
            match self.serve(bus) {
                Stop::Lost(Loss::Off) => {}
                other => return other,
            }
            let pause = self.lose(&"its controller is bus-off");
            if let Some(stop) = self.wait_off(bus, pause) {
                return stop;
            }
        }
    }

    /// Notes a loss, and says it where that is news.
    fn lose(&mut self, reason: &dyn std::fmt::Display) -> Pause {
        let pause = self.recovery.handle_down(Instant::now());
        if !self.told {
            tracing::warn!(bus = %self.url, error = %reason, "bus not usable; trying again in {:?}", pause.span);
            self.told = true;
        }
        if pause.hopeless {
            tracing::error!(bus = %self.url, "bus fails again and again: check wiring, termination and bit rates");
        }
        pause
    }

    /// Waits until the controller takes part again and the pause is over, refusing orders. `None` when it does.
    fn wait_off(&mut self, bus: &mut dyn Bus, pause: Pause) -> Option<Stop> {
        let mut off = Off::new(Instant::now(), pause);
        loop {
            if !self.take_orders() || !self.tell() {
                return Some(Stop::Asked);
            }
            match self.traffic.listen(bus) {
                Ok((_, Heard::Alive)) => off.handle_back(),
                Ok((_, Heard::Off)) => off.handle_off(),
                Ok((_, Heard::Nothing)) => {}
                Err(error) => return Some(Stop::Lost(Loss::Bus(error))),
            }
            let now = Instant::now();
            match off.poll(now) {
                Return::Wait(until) => self.sleep(Some(bus), until.saturating_duration_since(now).min(ROUND)),
                Return::Use => return None,
                Return::Reopen => {
                    // That nobody restarts it is news.
                    self.told = false;
                    return Some(Stop::Lost(Loss::Off));
                }
            }
        }
    }

    /// Waits a moment while the bus is away, refusing orders. False when the daemon stops.
    fn wait_closed(&mut self, span: Duration) -> bool {
        let until = Instant::now() + span;
        loop {
            if !self.take_orders() || !self.tell() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            self.sleep(None, left);
        }
    }

    fn serve(&mut self, bus: &mut dyn Bus) -> Stop {
        loop {
            if !self.take_orders() {
                return Stop::Asked;
            }
            let idle = match self.traffic.turn(bus) {
                Ok(idle) => idle,
                Err(loss) => return Stop::Lost(loss),
            };
            if !self.tell() {
                return Stop::Asked;
            }
            if idle {
                self.wait(bus);
            }
        }
    }

    /// Waits for whatever comes first; for the bus only where its word is wanted now.
    fn wait(&mut self, bus: &mut dyn Bus) {
        let now = Instant::now();
        let rest = self.traffic.poll_rest(now, bus);
        let until = rest.into_iter().chain(self.traffic.master.poll_timeout()).min();
        let span = until.map_or(ROUND, |at| at.saturating_duration_since(now));
        self.sleep(rest.is_none().then_some(bus), span.min(ROUND));
    }

    /// False when the daemon stops.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.queue.try_recv() {
                Ok(Order::Ecu(ecu, order)) => self.traffic.master.handle_order(Instant::now(), ecu, order),
                Ok(Order::Telemetry(TelemetryOrder::Send(block))) => self.traffic.port.handle_block(&block),
                Ok(Order::Telemetry(TelemetryOrder::Rebirth(name))) => {
                    self.traffic.port.handle_rebirth(name.as_ref())
                }
                Err(blocking::TryRecvError::Empty) => return true,
                Err(blocking::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Passes the reports on. False when nobody listens any more.
    fn tell(&mut self) -> bool {
        while let Some((ecu, report)) = self.traffic.master.poll_report() {
            if self.inputs.blocking_send(Input::Ecu { ecu, report }).is_err() {
                return false;
            }
        }
        while let Some(block) = self.traffic.port.poll_block() {
            if let Err(error) = self.blocks.try_send(block) {
                tracing::debug!(%error, "a block of telemetry found no room");
            }
        }
        true
    }

    fn sleep(&self, bus: Option<&mut dyn Bus>, span: Duration) {
        let span = Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: span.subsec_nanos().into(),
        };
        let wake = PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN);
        let mut fds = [wake.clone(), wake];
        let mut count = 1;
        if let Some(bus) = &bus {
            let wants = if bus.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds[1] = PollFd::from_borrowed_fd(bus.as_fd(), wants);
            count = 2;
        }
        // An interrupted wait only means another turn.
        let _ = poll(&mut fds[..count], Some(&span));
        if !fds[0].revents().is_empty() {
            // Whatever it counted, the queue is looked at as a whole.
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
    }
}
