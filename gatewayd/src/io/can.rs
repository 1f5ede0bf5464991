//! One thread per bus: frames in, frames out, the bus master's timers, and nothing that could delay them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use canfd::bus::{Bus, BusError, BusUrl, SendOutcome};
use canfd::frame::FdFrame;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::mpsc;

use super::worker::Worker;
use crate::bus::{BusMaster, EcuOrder, Recovery};
use crate::gateway::message::{EcuIndex, Input};
use crate::runtime::Pin;

/// Orders that may wait for the thread. The brain has a few per ECU at most.
const QUEUE: usize = 1024;
/// Longest wait for anything, so that nothing is ever missed for longer.
const ROUND: Duration = Duration::from_secs(1);
/// Frames handled in one turn before orders are looked at again.
const TURN: usize = 256;

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
            BusLoop { url, master, queue, wake: woken, inputs, held: None, told: false }.run();
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

/// Why a turn ended.
enum Stop {
    /// The daemon stops.
    Asked,
    /// The bus is gone.
    Bus(BusError),
}

struct BusLoop {
    url: BusUrl,
    master: BusMaster,
    queue: blocking::Receiver<(EcuIndex, EcuOrder)>,
    wake: Arc<OwnedFd>,
    inputs: mpsc::Sender<Input>,
    /// A frame the bus had no room for.
    held: Option<FdFrame>,
    /// Whether the log already says that the bus is missing.
    told: bool,
}

impl BusLoop {
    fn run(mut self) {
        let mut recovery = Recovery::default();
        loop {
            // What else is on the bus neither fills the socket's queue nor wakes the thread.
            let opened = canfd::bus::open(&self.url)
                .and_then(|mut bus| bus.listen_to(&self.master.ids()).map(|()| bus));
            let reason = match opened {
                Ok(mut bus) => {
                    tracing::info!(bus = %self.url, "bus open");
                    self.told = false;
                    self.held = None;
                    self.master.handle_bus_up();
                    recovery.handle_up(Instant::now());
                    match self.serve(bus.as_mut()) {
                        Stop::Asked => return,
                        Stop::Bus(error) => error,
                    }
                }
                Err(error) => error,
            };
            let pause = recovery.handle_down(Instant::now());
            if !self.told {
                tracing::warn!(bus = %self.url, error = %reason, "bus not usable; trying again in {:?}", pause.span);
                self.told = true;
            }
            if pause.hopeless {
                tracing::error!(bus = %self.url, "bus fails again and again: check wiring, termination and bit rates");
            }
            self.master.handle_bus_down(&reason.to_string());
            if !self.wait_closed(pause.span) {
                return;
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
            let idle = match self.turn(bus) {
                Ok(idle) => idle,
                Err(error) => return Stop::Bus(error),
            };
            if !self.tell() {
                return Stop::Asked;
            }
            if idle {
                let now = Instant::now();
                let until = self.master.poll_timeout().map_or(ROUND, |at| at.saturating_duration_since(now));
                self.sleep(Some(bus), until.min(ROUND));
            }
        }
    }

    /// Moves what can be moved. True when there is nothing left to do but wait.
    fn turn(&mut self, bus: &mut dyn Bus) -> Result<bool, BusError> {
        let mut received = 0;
        while received < TURN {
            match bus.recv() {
                Ok(Some(frame)) => self.master.handle_frame(Instant::now(), &frame),
                Ok(None) => break,
                Err(error) if error.is_transient() => tracing::debug!(%error, "frame ignored"),
                Err(error) => return Err(error),
            }
            received += 1;
        }
        let now = Instant::now();
        if self.master.poll_timeout().is_some_and(|at| at <= now) {
            self.master.handle_timeout(now);
        }
        let mut blocked = false;
        while let Some(frame) = self.held.take().or_else(|| self.master.poll_transmit(now)) {
            if bus.send(&frame)? == SendOutcome::WouldBlock {
                self.held = Some(frame);
                blocked = true;
                break;
            }
        }
        bus.flush()?;
        Ok(received < TURN && (blocked || self.held.is_none()))
    }

    /// False when the daemon stops.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.queue.try_recv() {
                Ok((ecu, order)) => self.master.handle_order(Instant::now(), ecu, order),
                Err(blocking::TryRecvError::Empty) => return true,
                Err(blocking::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Passes the reports on. False when nobody listens any more.
    fn tell(&mut self) -> bool {
        while let Some((ecu, report)) = self.master.poll_report() {
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
        let mut fds = vec![PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN)];
        if let Some(bus) = &bus {
            let wants = if bus.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            fds.push(PollFd::from_borrowed_fd(bus.as_fd(), wants));
        }
        // An interrupted wait only means another turn.
        let _ = poll(&mut fds, Some(&span));
        let mut count = [0; 8];
        // A counter at zero has nothing to read.
        let _ = rustix::io::read(&*self.wake, &mut count);
    }
}
