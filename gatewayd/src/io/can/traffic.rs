//! What moves between a bus and its master in one turn, and what becomes of a controller in trouble.

use std::time::Instant;

use canfd::bus::{Bus, BusError, ControllerState, SendOutcome};
use canfd::frame::{CanId, FdFrame};

use crate::bus::{BusMaster, TelemetryPort};

/// Frames handled in one turn before orders are looked at again.
const TURN: usize = 256;

/// A master and the frame that its bus had no room for.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) master: BusMaster,
    pub(super) port: TelemetryPort,
    held: Option<FdFrame>,
}

/// Why a bus cannot be used any more.
#[derive(Debug)]
pub(super) enum Loss {
    /// Its controller is bus-off; the descriptor stays good and tells when that ends.
    Off,
    /// The bus is gone.
    Bus(BusError),
}

impl From<BusError> for Loss {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

/// What the controller has said last, of this listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing.
    Nothing,
    /// It takes part: it says so, or frames of others come in.
    Alive,
    /// It went off.
    Off,
}

impl Traffic {
    pub(super) fn new(master: BusMaster, port: TelemetryPort) -> Self {
        Self { master, port, held: None }
    }

    /// The identifiers of the bus that mean something here.
    pub(super) fn ids(&self) -> Vec<CanId> {
        self.master.ids().into_iter().chain(self.port.ids()).collect()
    }

    /// The bus is away.
    pub(super) fn handle_down(&mut self, reason: &str) {
        self.master.handle_bus_down(reason);
        self.port.handle_bus_down();
    }

    /// The bus is there.
    pub(super) fn handle_up(&mut self) {
        self.held = None;
        self.master.handle_bus_up();
    }

    /// Whether the bus can be left alone until then.
    pub(super) fn poll_rest(&mut self, now: Instant, bus: &dyn Bus) -> Option<Instant> {
        // Frames that the bus has not taken yet must go first.
        let taken = self.held.is_none() && !bus.wants_write();
        if taken { self.master.poll_rest(now) } else { None }
    }

    /// Moves what can be moved. True when there is nothing left to do but wait.
    ///
    /// # Errors
    /// [`Loss`]. A controller that went off is that and nothing else, even where a write failed because of it.
    pub(super) fn turn(&mut self, bus: &mut dyn Bus) -> Result<bool, Loss> {
        match self.exchange(bus) {
            Err(Loss::Bus(error)) => match self.listen(bus) {
                Ok((_, Heard::Off)) => Err(Loss::Off),
                _ => Err(Loss::Bus(error)),
            },
            other => other,
        }
    }

    fn exchange(&mut self, bus: &mut dyn Bus) -> Result<bool, Loss> {
        let (received, heard) = self.listen(bus)?;
        if heard == Heard::Off {
            return Err(Loss::Off);
        }
        let now = Instant::now();
        if self.master.poll_timeout().is_some_and(|at| at <= now) {
            self.master.handle_timeout(now);
        }
        while let Some(frame) = self.port.poll_frame() {
            // Away, or as much waits as may: the next turn tries again.
            if let Err(frame) = self.master.send_telemetry(frame) {
                self.port.give_back(frame);
                break;
            }
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

    /// Hears what has come, at most a turn's worth of it; how many frames that were, and of the controller.
    ///
    /// # Errors
    /// The bus is gone.
    pub(super) fn listen(&mut self, bus: &mut dyn Bus) -> Result<(usize, Heard), BusError> {
        let (mut received, mut heard) = (0, Heard::Nothing);
        while received < TURN {
            match bus.recv() {
                Ok(Some(frame)) => {
                    if !frame.own {
                        heard = Heard::Alive;
                    }
                    self.port.handle_frame(&frame);
                    self.master.handle_frame(Instant::now(), &frame);
                }
                Ok(None) => break,
                Err(error) if error.is_transient() => tracing::debug!(%error, "frame ignored"),
                Err(error) => return Err(error),
            }
            received += 1;
        }
        while let Some(state) = bus.poll_state() {
            self.master.handle_bus_state(Instant::now(), state);
            if state == ControllerState::BusOff {
                // What it says after this waits for whoever asks next: it must not be taken for one that never was off.
                return Ok((received, Heard::Off));
            }
            heard = Heard::Alive;
        }
        Ok((received, heard))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::Arc;

    use canfd::bus::Received;
    use canfd::frame::{CanId, CanIds, FrameFormat};
    use canfd::uds::profile::Profile;
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::bus::{EcuError, EcuOrder, EcuReport, SeatConfig};
    use crate::gateway::message::EcuIndex;
    use ControllerState::{BusOff, ErrorActive, ErrorPassive};

    /// A bus that says what it was told to, in this order.
    struct Scripted {
        fd: OwnedFd,
        frames: VecDeque<Received>,
        states: VecDeque<ControllerState>,
        /// What the next write says, and whether the controller then reports that it is off.
        broken: bool,
        off_with_it: bool,
        sent: usize,
    }

    impl Scripted {
        fn new(states: &[ControllerState]) -> Self {
            Self {
                fd: eventfd(0, EventfdFlags::NONBLOCK).unwrap(),
                frames: VecDeque::new(),
                states: states.iter().copied().collect(),
                broken: false,
                off_with_it: false,
                sent: 0,
            }
        }
    }

    impl Bus for Scripted {
        fn send(&mut self, _frame: &FdFrame) -> Result<SendOutcome, BusError> {
            if self.broken {
                if std::mem::take(&mut self.off_with_it) {
                    self.states.push_back(BusOff);
                }
                let source = io::Error::from(io::ErrorKind::NetworkDown);
                return Err(BusError::Io { url: "can:can0".to_owned(), source });
            }
            self.sent += 1;
            Ok(SendOutcome::Queued)
        }

        fn recv(&mut self) -> Result<Option<Received>, BusError> {
            Ok(self.frames.pop_front())
        }

        fn flush(&mut self) -> Result<(), BusError> {
            Ok(())
        }

        fn poll_state(&mut self) -> Option<ControllerState> {
            self.states.pop_front()
        }

        fn as_fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }

        fn wants_write(&self) -> bool {
            false
        }
    }

    const ECU: EcuIndex = EcuIndex(0);

    /// A master with a session that has a request to send.
    fn traffic() -> Traffic {
        let id = |raw| CanId::standard(raw).unwrap();
        let ids = CanIds { request: id(0x731), response: id(0x7B1) };
        let seat = SeatConfig::new(ECU, ids, id(0x7DF), Arc::new(Profile::default()));
        let mut traffic = Traffic::new(BusMaster::new([seat]), TelemetryPort::default());
        traffic.handle_up();
        traffic.master.handle_order(Instant::now(), ECU, EcuOrder::Identify);
        traffic
    }

    fn reports(traffic: &mut Traffic) -> Vec<EcuReport> {
        std::iter::from_fn(|| traffic.master.poll_report()).map(|(_, report)| report).collect()
    }

    fn off() -> EcuReport {
        EcuReport::Failed(EcuError::BusDown { reason: "the controller is bus-off".to_owned() })
    }

    #[test]
    fn a_controller_that_reports_bus_off_loses_the_bus_once_and_its_session_with_it() {
        let (mut traffic, mut bus) = (traffic(), Scripted::new(&[BusOff]));
        assert!(matches!(traffic.turn(&mut bus), Err(Loss::Off)));
        assert_eq!(reports(&mut traffic), [off()]);
        assert_eq!(bus.sent, 0, "nothing is handed to a controller that is off");
        // Nothing more is heard of it.
        assert_eq!(traffic.listen(&mut bus).unwrap(), (0, Heard::Nothing));
        assert_eq!(reports(&mut traffic), []);
    }

    #[test]
    fn a_write_that_fails_because_the_controller_is_off_is_the_same_loss_and_not_another() {
        let (mut traffic, mut bus) = (traffic(), Scripted::new(&[]));
        (bus.broken, bus.off_with_it) = (true, true);
        assert!(matches!(traffic.turn(&mut bus), Err(Loss::Off)));
        assert_eq!(reports(&mut traffic), [off()]);
        assert_eq!(traffic.listen(&mut bus).unwrap(), (0, Heard::Nothing));
    }

    #[test]
    fn a_write_that_fails_by_itself_is_a_bus_that_is_gone() {
        let (mut traffic, mut bus) = (traffic(), Scripted::new(&[ErrorPassive]));
        bus.broken = true;
        let Err(Loss::Bus(error)) = traffic.turn(&mut bus) else { panic!() };
        assert!(matches!(error, BusError::Io { .. }), "{error}");
        assert_eq!(reports(&mut traffic), [], "whoever closes the bus says so");
    }

    #[test]
    fn a_controller_that_was_off_and_is_back_in_one_turn_was_off_and_then_is_back() {
        let (mut traffic, mut bus) = (traffic(), Scripted::new(&[BusOff, ErrorActive]));
        assert!(matches!(traffic.turn(&mut bus), Err(Loss::Off)));
        assert_eq!(traffic.listen(&mut bus).unwrap(), (0, Heard::Alive));
        assert_eq!(reports(&mut traffic), [off()]);
        traffic.handle_up();
        traffic.master.handle_order(Instant::now(), ECU, EcuOrder::Identify);
        assert!(matches!(traffic.turn(&mut bus), Ok(true)));
        assert_eq!(bus.sent, 1);
    }

    #[test]
    fn frames_of_others_show_that_a_controller_is_alive_and_own_ones_that_come_late_do_not() {
        let (mut traffic, mut bus) = (traffic(), Scripted::new(&[]));
        let id = CanId::standard(0x7B1).unwrap();
        let frame = FdFrame::new(id, FrameFormat::Fd { brs: true }, &[0; 8]).unwrap();
        for (own, expected) in [(true, Heard::Nothing), (false, Heard::Alive)] {
            bus.frames.push_back(Received { frame, timestamp: None, own });
            assert_eq!(traffic.listen(&mut bus).unwrap(), (1, expected));
        }
    }

    #[test]
    fn a_passive_controller_goes_on_and_keeps_its_session() {
        let (mut traffic, mut bus) = (traffic(), Scripted::new(&[ErrorPassive]));
        assert!(matches!(traffic.turn(&mut bus), Ok(true)));
        assert_eq!((bus.sent, reports(&mut traffic)), (1, vec![]));
    }
}
