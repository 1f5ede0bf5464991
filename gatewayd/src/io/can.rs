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
use crate::bus::{BusMaster, EcuOrder, Off, Pause, Recovery, Return};
use crate::gateway::message::{EcuIndex, Input};
use crate::runtime::Pin;
use traffic::{Heard, Loss, Traffic};

/// Orders that may wait for the thread. The brain has a few per ECU at most.
const QUEUE: usize = 1024;
/// Longest wait for anything, so that nothing is ever missed for longer.
const ROUND: Duration = Duration::from_secs(1);

/// A handle on a bus's thread. Dropping it stops the thread; sessions that are open end by the ECUs' own timers.
#[derive(Debug)]
pub struct BusWorker {
    worker: Worker<(EcuIndex, EcuOrder)>,
    wake: Arc<OwnedFd>,
    cpus: Arc<Mutex<String>>,
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
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let cpus = Arc::new(Mutex::new(String::new()));
        let (told, woken) = (Arc::clone(&cpus), Arc::clone(&wake));
        let worker = Worker::start(&format!("bus-{name}"), QUEUE, move |queue| {
            let given = pin.apply();
            if let Ok(mut told) = told.lock() {
                *told = given;
            }
            let (traffic, recovery) = (Traffic::new(master), Recovery::default());
            BusLoop { url, traffic, queue, wake: woken, inputs, recovery, told: false }.run();
        })?;
        Ok(Self { worker, wake, cpus })
    }

    /// Hands an order to the thread.
    ///
    /// # Errors
    /// The order, where the queue is full or the thread gone.
    pub fn order(&self, ecu: EcuIndex, order: EcuOrder) -> Result<(), EcuOrder> {
        self.worker.order((ecu, order)).map_err(|(_, order)| order)?;
        self.wake();
        Ok(())
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
    queue: blocking::Receiver<(EcuIndex, EcuOrder)>,
    wake: Arc<OwnedFd>,
    inputs: mpsc::Sender<Input>,
    recovery: Recovery,
    /// Whether the log already says that the bus is missing.
    told: bool,
}

impl BusLoop {
    fn run(mut self) {
        loop {
            // What else is on the bus neither fills the socket's queue nor wakes the thread.
            let opened = canfd::bus::open(&self.url)
                .and_then(|mut bus| bus.listen_to(&self.traffic.master.ids()).map(|()| bus));
            let reason = match opened.map(|mut bus| self.keep(bus.as_mut())) {
                Ok(Stop::Asked) => return,
                Ok(Stop::Lost(Loss::Bus(error))) | Err(error) => error,
                Ok(Stop::Lost(Loss::Off)) => BusError::Off { url: self.url.to_string() },
            };
            let pause = self.lose(&reason);
            self.traffic.master.handle_bus_down(&reason.to_string());
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
                Ok((ecu, order)) => self.traffic.master.handle_order(Instant::now(), ecu, order),
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
