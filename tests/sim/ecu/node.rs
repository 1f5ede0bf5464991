//! A simulated ECU as a node of a bus: ISO-TP below, and a thread that drives both.

use super::SimEcu;
use super::thread::{NodeThread, ask};
use super::wire::{Wire, WireFault};
use canfd::bus::{Bus, BusError, SendOutcome};
use canfd::frame::{CanId, CanIds, FdFrame};
use canfd::isotp::{Event, Link, LinkConfig};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Instant;

/// Frames heard before timers and commands have their turn.
const TURN: usize = 256;
/// Answers that may wait for the link; the server has at most eight of its own.
const MAX_WAITING: usize = 16;

/// Where an ECU listens on its bus.
#[derive(Debug, Clone, Copy)]
pub struct NodeConfig {
    /// Its physical link, as [`LinkConfig::ecu`] makes it
    pub link: LinkConfig,
    /// Identifier of requests to every ECU, if it listens to one
    pub functional_id: Option<CanId>,
}

impl NodeConfig {
    /// The defaults of [`LinkConfig::ecu`].
    pub fn new(ids: CanIds, functional_id: Option<CanId>) -> Self {
        Self { link: LinkConfig::ecu(ids), functional_id }
    }
}

/// A simulated ECU with its links, without thread or bus: frames in, frames out.
///
/// Every call that takes `&mut self` is followed by a full drain of `poll_transmit`.
#[derive(Debug)]
pub struct EcuPort {
    ecu: SimEcu,
    physical: Link,
    functional: Option<Link>,
    waiting: VecDeque<Vec<u8>>,
    wire: Wire,
    /// Frames that faults put beside those of the link
    extra: VecDeque<FdFrame>,
    /// Frames with the bus, and whether the link waits for their confirmation
    unconfirmed: VecDeque<(FdFrame, bool)>,
}

impl EcuPort {
    /// The ECU on its links.
    pub fn new(ecu: SimEcu, config: NodeConfig) -> Self {
        let functional = config.functional_id.map(|rx_id| Link::new(LinkConfig { rx_id, ..config.link }));
        Self {
            ecu,
            physical: Link::new(config.link),
            functional,
            waiting: VecDeque::new(),
            wire: Wire::default(),
            extra: VecDeque::new(),
            unconfirmed: VecDeque::new(),
        }
    }

    /// Something goes wrong with one of its frames.
    pub fn inject_wire(&mut self, fault: WireFault) {
        self.wire.inject(fault);
    }

    /// From now on something goes wrong with so many of its frames in a million; 0: with none.
    pub fn set_noise(&mut self, per_million: u32, seed: u64) {
        self.wire.set_noise(per_million, seed);
    }

    /// Nothing goes wrong any more, neither with the ECU nor with its frames.
    pub fn clear_faults(&mut self) {
        self.wire.clear();
        self.ecu.clear_faults();
    }

    /// The ECU.
    pub fn ecu(&self) -> &SimEcu {
        &self.ecu
    }

    /// The ECU.
    pub fn ecu_mut(&mut self) -> &mut SimEcu {
        &mut self.ecu
    }

    /// A frame of another node.
    pub fn handle_frame(&mut self, now: Instant, frame: &FdFrame) {
        if self.listens_to(frame.id()) {
            for frame in self.wire.handle_received(now, *frame).into_iter().flatten() {
                self.hear(now, &frame);
            }
        }
        self.settle(now);
    }

    /// The bus confirmed this frame of ours.
    pub fn handle_transmitted(&mut self, now: Instant, frame: &FdFrame) {
        // Those before it are lost. A bus that repeats a frame confirms it twice: that is for the link to sort out.
        let known = self.unconfirmed.iter().position(|(sent, _)| sent == frame);
        let linked =
            known.and_then(|at| self.unconfirmed.drain(..=at).next_back()).is_none_or(|(_, linked)| linked);
        if linked {
            self.physical.handle_transmitted(now);
        }
        self.settle(now);
    }

    /// Call when the instant of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(frame) = self.wire.release_received(now) {
            self.hear(now, &frame);
        }
        if let Some(frame) = self.wire.release_sent(now) {
            self.extra.push_back(frame);
        }
        self.physical.handle_timeout(now);
        if let Some(functional) = &mut self.functional {
            functional.handle_timeout(now);
        }
        self.ecu.handle_timeout(now);
        self.settle(now);
    }

    /// The next frame for the bus.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<FdFrame> {
        self.settle(now);
        if let Some(frame) = self.extra.pop_front() {
            self.unconfirmed.push_back((frame, false));
            return Some(frame);
        }
        loop {
            let frame = self.physical.poll_transmit(now)?;
            let [first, second] = self.wire.handle_transmit(now, frame);
            self.extra.extend(second);
            if let Some(first) = first {
                self.unconfirmed.push_back((first, true));
                return Some(first);
            }
            self.physical.handle_transmitted(now);
            self.settle(now);
        }
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let functional = self.functional.as_ref().and_then(Link::poll_timeout);
        [self.physical.poll_timeout(), functional, self.ecu.poll_timeout(), self.wire.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn listens_to(&self, id: CanId) -> bool {
        let functional = self.functional.as_ref().map(|link| link.config().rx_id);
        id == self.physical.config().rx_id || Some(id) == functional
    }

    fn hear(&mut self, now: Instant, frame: &FdFrame) {
        self.physical.handle_frame(now, frame);
        if let Some(functional) = &mut self.functional {
            functional.handle_frame(now, frame);
        }
    }

    /// Moves requests up and answers down until nothing moves.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.physical.poll_event() {
            match event {
                Event::Received(sdu) => {
                    self.ecu.handle_request(now, false, &sdu);
                    self.physical.recycle(sdu);
                }
                Event::Sent(sdu) => self.physical.recycle(sdu),
                // The tester's business: it times out.
                Event::ReceptionStarted { .. } | Event::Failed(_) => {}
            }
        }
        if let Some(functional) = &mut self.functional {
            while let Some(event) = functional.poll_event() {
                if let Event::Received(sdu) = event {
                    self.ecu.handle_request(now, true, &sdu);
                    functional.recycle(sdu);
                }
            }
            // A functional message is one frame (ISO 15765-2 clause 9.2): no flow control is ever sent for it.
            while functional.poll_transmit(now).is_some() {
                functional.handle_transmitted(now);
                functional.reset();
            }
        }
        while let Some(response) = self.ecu.poll_response() {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push_back(response);
            }
        }
        while self.physical.is_idle()
            && let Some(response) = self.waiting.pop_front()
        {
            // The link is idle and a response is never empty, so it is taken.
            if self.physical.send(now, response).is_err() {
                break;
            }
        }
    }
}

/// Why an ECU left its bus.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The thread could not be started or woken
    #[error("cannot run a simulated ECU")]
    Thread(#[from] std::io::Error),
    /// The bus is gone
    #[error("the bus of a simulated ECU is gone")]
    Bus(#[from] BusError),
    /// The thread ended without a word
    #[error("a simulated ECU panicked")]
    Panicked,
    /// The thread has ended
    #[error("the simulated ECU has left its bus")]
    Stopped,
}

type Command = Box<dyn FnOnce(&mut EcuPort) + Send>;

/// A simulated ECU in a thread of its own. Dropping it is a power cut.
#[derive(Debug)]
pub struct EcuNode {
    commands: mpsc::Sender<Command>,
    waker: UnixStream,
    thread: NodeThread,
}

impl EcuNode {
    /// Hangs `ecu` on `bus`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(name: &str, bus: Box<dyn Bus>, ecu: SimEcu, config: NodeConfig) -> Result<Self, NodeError> {
        let (waker, wake) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let (commands, inbox) = mpsc::channel();
        let runner = Runner { bus, port: EcuPort::new(ecu, config), wake, inbox, blocked: None };
        let thread = NodeThread::spawn(name, move || runner.run())?;
        Ok(Self { commands, waker, thread })
    }

    /// Asks the ECU in its thread, between two frames: inject a fault, read a version.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] if the thread has ended; [`Self::stop`] says why.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut SimEcu) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        self.ask_port(|port| question(port.ecu_mut()))
    }

    /// The same of the ECU with its links.
    ///
    /// # Errors
    /// [`NodeError::Stopped`] if the thread has ended; [`Self::stop`] says why.
    pub fn ask_port<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut EcuPort) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        ask(question, |command| {
            self.commands.send(command).map_err(|_| NodeError::Stopped)?;
            std::io::Write::write(&mut &self.waker, &[1]).map(drop).map_err(|_| NodeError::Stopped)
        })
    }

    /// Whether the thread has ended; [`Self::stop`] says why.
    pub fn has_ended(&self) -> bool {
        self.thread.has_ended()
    }

    /// Cuts the power and says how the thread ended.
    ///
    /// # Errors
    /// What ended the thread before its time.
    pub fn stop(mut self) -> Result<(), NodeError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), NodeError> {
        // The thread sees the end of the stream; if it is gone already, so is the stream.
        let _ = self.waker.shutdown(std::net::Shutdown::Both);
        self.thread.join()
    }
}

impl Drop for EcuNode {
    fn drop(&mut self) {
        // Whoever wants to know how it ended calls `stop`.
        let _ = self.join();
    }
}

struct Runner {
    bus: Box<dyn Bus>,
    port: EcuPort,
    wake: UnixStream,
    inbox: mpsc::Receiver<Command>,
    /// A frame the bus had no room for
    blocked: Option<FdFrame>,
}

impl Runner {
    fn run(mut self) -> Result<(), NodeError> {
        loop {
            // First what has come: a thread that had no CPU for a while must not take its own absence for the sender's.
            for _ in 0..TURN {
                let Some(received) = self.receive()? else { break };
                let now = Instant::now();
                if received.own {
                    self.port.handle_transmitted(now, &received.frame);
                } else {
                    self.port.handle_frame(now, &received.frame);
                }
                self.transmit(now)?;
            }
            self.port.handle_timeout(Instant::now());
            self.transmit(Instant::now())?;
            self.bus.flush()?;
            self.wait()?;
            if !self.obey()? {
                return Ok(());
            }
        }
    }

    /// The next usable frame.
    fn receive(&mut self) -> Result<Option<canfd::bus::Received>, NodeError> {
        loop {
            match self.bus.recv() {
                Err(error) if error.is_transient() => {}
                other => return Ok(other?),
            }
        }
    }

    fn transmit(&mut self, now: Instant) -> Result<(), NodeError> {
        while let Some(frame) = self.blocked.take().or_else(|| self.port.poll_transmit(now)) {
            match self.bus.send(&frame)? {
                SendOutcome::Queued => {}
                SendOutcome::WouldBlock => {
                    self.blocked = Some(frame);
                    break;
                }
            }
        }
        Ok(())
    }

    fn wait(&self) -> Result<(), NodeError> {
        let writable = self.bus.wants_write() || self.blocked.is_some();
        let interest = if writable { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let fd = self.bus.as_fd();
        let mut fds = [PollFd::from_borrowed_fd(fd, interest), PollFd::new(&self.wake, PollFlags::IN)];
        let pause = self.port.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match poll(&mut fds, pause.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(NodeError::Thread(error.into())),
        }
    }

    /// Carries out commands; false once the owner is gone.
    fn obey(&mut self) -> Result<bool, NodeError> {
        let mut bytes = [0; 64];
        match self.wake.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        while let Ok(command) = self.inbox.try_recv() {
            command(&mut self.port);
        }
        Ok(true)
    }
}
