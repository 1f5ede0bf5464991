//! The gateway's side in its simplest form: a programmer over its two links, frames in, frames out.

use canfd::bus::{Bus, BusError, SendOutcome};
use canfd::frame::{CanId, FdFrame};
use canfd::isotp::{self, Link, LinkConfig, LinkError};
use canfd::uds::client::TransportFailure;
use canfd::uds::profile::Phase;
use canfd::uds::programming::{Event, Programmer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::{Duration, Instant};

/// A programmer with its links, without thread or bus.
///
/// Every call that takes `&mut self` is followed by a full drain of `poll_transmit`.
#[derive(Debug)]
pub struct Tester {
    programmer: Programmer,
    physical: Link,
    functional: Link,
    image: Vec<u8>,
    last: Option<Event>,
    acknowledged: u64,
    erased: bool,
}

impl Tester {
    /// Runs `programmer`, whose gates are open, over `link` and a link for requests to `functional_id`; `image` is
    /// handed in as it is asked for.
    pub fn new(programmer: Programmer, link: LinkConfig, functional_id: CanId, image: Vec<u8>) -> Self {
        Self {
            programmer,
            physical: Link::new(link),
            functional: Link::new(LinkConfig { tx_id: functional_id, ..link }),
            image,
            last: None,
            acknowledged: 0,
            erased: false,
        }
    }

    /// The step under way.
    pub fn phase(&self) -> Phase {
        self.programmer.phase()
    }

    /// The last event, once.
    pub fn take_last(&mut self) -> Option<Event> {
        self.last.take()
    }

    /// Bytes of the image that the ECU has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Whether erasing the bank for this image was begun, now or before a transfer that was taken up.
    pub fn has_erased(&self) -> bool {
        self.erased
    }

    /// A frame from the bus, or the confirmation of one of ours.
    pub fn handle_frame(&mut self, now: Instant, frame: &FdFrame, own: bool) {
        match (own, frame.id() == self.functional.config().tx_id) {
            (true, true) => self.functional.handle_transmitted(now),
            (true, false) => self.physical.handle_transmitted(now),
            (false, _) => self.physical.handle_frame(now, frame),
        }
    }

    /// Call when the instant of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.physical.handle_timeout(now);
        self.functional.handle_timeout(now);
        self.programmer.handle_timeout(now);
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due =
            [self.physical.poll_timeout(), self.functional.poll_timeout(), self.programmer.poll_timeout()];
        due.into_iter().flatten().min()
    }

    /// Everything between programmer and links; the next frame for the bus.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<FdFrame> {
        for link in [&mut self.physical, &mut self.functional] {
            while let Some(event) = link.poll_event() {
                match event {
                    isotp::Event::Received(pdu) => self.programmer.handle_response(now, &pdu),
                    isotp::Event::ReceptionStarted { .. } => self.programmer.handle_response_started(now),
                    isotp::Event::Sent(_) => self.programmer.handle_sent(now),
                    isotp::Event::Failed(error) => {
                        self.programmer.handle_transport_failure(now, failure(error))
                    }
                }
            }
        }
        self.drain_programmer(now);
        while let Some(request) = self.programmer.poll_request() {
            let link = if request.functional { &mut self.functional } else { &mut self.physical };
            if let Err(error) = link.send(now, request.pdu) {
                let failure = TransportFailure::Send(error.to_string());
                self.programmer.handle_transport_failure(now, failure);
                self.drain_programmer(now);
            }
        }
        self.functional.poll_transmit(now).or_else(|| self.physical.poll_transmit(now))
    }

    /// Runs it by the clock on a bus until its last event; `None` after `limit`.
    ///
    /// # Errors
    /// The bus is gone.
    pub fn run(&mut self, bus: &mut dyn Bus, limit: Duration) -> Result<Option<Event>, BusError> {
        let began = Instant::now();
        let mut blocked = None;
        while began.elapsed() < limit {
            while let Some(received) = bus.recv()? {
                self.handle_frame(Instant::now(), &received.frame, received.own);
            }
            let now = Instant::now();
            self.handle_timeout(now);
            while let Some(frame) = blocked.take().or_else(|| self.poll_transmit(now)) {
                if bus.send(&frame)? == SendOutcome::WouldBlock {
                    blocked = Some(frame);
                    break;
                }
            }
            if let Some(event) = self.take_last() {
                return Ok(Some(event));
            }
            bus.flush()?;
            // A full queue empties without a word from SocketCAN, so it is looked at again soon.
            let longest = Duration::from_millis(if blocked.is_some() { 1 } else { 100 });
            let pause = self.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
            let pause = Timespec::try_from(pause.unwrap_or(longest).min(longest)).ok();
            // Whatever woke it, the next turn looks at everything.
            let _ = poll(&mut [PollFd::from_borrowed_fd(bus.as_fd(), PollFlags::IN)], pause.as_ref());
        }
        Ok(None)
    }

    fn drain_programmer(&mut self, now: Instant) {
        while let Some(event) = self.programmer.poll_event() {
            match event {
                Event::NeedData { offset, max_len } => self.supply(now, offset, max_len),
                Event::Acknowledged { offset } => self.acknowledged = offset,
                // As a journal has it: the intent is written down before the step.
                Event::PhaseEntered(Phase::Erase) => self.erased = true,
                Event::Erased => self.acknowledged = 0,
                Event::Resumed { offset } => {
                    self.erased = true;
                    self.acknowledged = offset;
                }
                Event::Finished { .. } | Event::Failed(_) => self.last = Some(event),
                _ => {}
            }
        }
    }

    fn supply(&mut self, now: Instant, offset: u64, max_len: u32) {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let len = usize::try_from(max_len).unwrap_or(usize::MAX);
        let rest = self.image.get(start..).unwrap_or_default();
        let data = rest.get(..len).unwrap_or(rest);
        // Data for a place that the programmer has left since is not wanted any more.
        let _stale = self.programmer.handle_data(now, offset, data);
    }
}

fn failure(error: LinkError) -> TransportFailure {
    match error.direction() {
        isotp::Direction::Send => TransportFailure::Send(error.to_string()),
        isotp::Direction::Receive => TransportFailure::Receive(error.to_string()),
    }
}
