//! A coprocessor in software, with a latency, a bandwidth, and faults to order.
//!
//! [`Emulator`] itself has no clock and no socket. [`Loopback`] puts it behind a transport on simulated time,
//! [`Emulator::serve`] behind a Unix socket; the example `sm-crypto-emulator` is that as a program.

mod compute;
mod fault;
mod keys;
mod loopback;
mod serve;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub use self::fault::EmulatorFault;
use self::fault::Faults;
use self::keys::Keys;
pub use self::loopback::{Control, Loopback};
pub use self::serve::ServeError;
use super::abi::{Capability, Key, Reply, Request, Status};
use crate::engine::Engine as _;
use crate::software::{KnownAnswerFailed, SoftwareEngine};

/// How fast the emulated device is, and how much it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// From a request to the beginning of the work on it. Those of several requests overlap.
    pub latency: Duration,
    /// Bytes of input worked through in a second, one request after the other; at least 1.
    pub bytes_per_second: u64,
    /// Requests in flight, 1 to 1024.
    pub depth: u32,
    /// Bytes of input of one request.
    pub max_bytes: usize,
    /// Keys that may rest in it, at most 1024.
    pub keys: u32,
}

impl Default for Model {
    /// 10 us, 400 MB/s, 16 requests, 4 MiB, 32 keys.
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(10),
            bytes_per_second: 400_000_000,
            depth: 16,
            max_bytes: 4 << 20,
            keys: 32,
        }
    }
}

/// The device; see the [module](self).
#[derive(Debug)]
pub struct Emulator {
    model: Model,
    capability: Capability,
    keys: Keys,
    raw_keys: u64,
    faults: Faults,
    /// Until when the one unit that there is has work.
    busy_until: Option<Instant>,
    /// By time and order: what is sent then.
    pending: BTreeMap<(Instant, u64), Vec<u8>>,
    /// A reply that waits until another has overtaken it.
    held_back: Option<(Instant, Vec<u8>)>,
    sequence: u64,
    dead: bool,
}

impl Emulator {
    /// A device that can do what the CPU can.
    ///
    /// # Errors
    /// [`KnownAnswerFailed`] when the CPU cannot.
    pub fn new(model: Model) -> Result<Self, KnownAnswerFailed> {
        let software = SoftwareEngine::new()?;
        let name = "sm-crypto-emulator";
        let capability = Capability {
            keys: model.keys,
            ..Capability::of(name, software.capabilities(), model.depth, model.max_bytes)
        };
        Ok(Self {
            model,
            capability,
            keys: Keys::default(),
            raw_keys: 0,
            faults: Faults::default(),
            busy_until: None,
            pending: BTreeMap::new(),
            held_back: None,
            sequence: 0,
            dead: false,
        })
    }

    /// Has request number `number`, counted from 0 since the device was made, meet `fault`.
    pub fn order(&mut self, number: u64, fault: EmulatorFault) {
        self.faults.order(number, fault);
    }

    /// What the device says of itself from now on.
    pub const fn capability_mut(&mut self) -> &mut Capability {
        &mut self.capability
    }

    /// Requests seen so far.
    pub const fn requests(&self) -> u64 {
        self.faults.seen()
    }

    /// Keys that rest in it now.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Requests so far that brought a key along, to be loaded or for one use.
    pub const fn raw_keys(&self) -> u64 {
        self.raw_keys
    }

    /// Whether the device has died and its connection is to be closed.
    pub const fn is_dead(&self) -> bool {
        self.dead
    }

    /// What a new connection finds: nothing in flight, no keys, and a device that lives again.
    pub fn handle_reset(&mut self) {
        self.keys = Keys::default();
        self.pending.clear();
        self.held_back = None;
        self.busy_until = None;
        self.dead = false;
        self.faults.handle_reset();
    }

    /// Takes a request in. `payload` is as long as the request says.
    pub fn handle_request(&mut self, now: Instant, request: &Request, payload: &[u8]) {
        let fault = self.faults.next();
        self.raw_keys += u64::from(matches!(request.key, Key::Raw(_)));
        if self.dead || matches!(fault, Some(EmulatorFault::Drop | EmulatorFault::Stall)) {
            return;
        }
        if fault == Some(EmulatorFault::Die) {
            self.pending.clear();
            self.dead = true;
            return;
        }
        if fault == Some(EmulatorFault::ForgetKeys) {
            self.keys = Keys::default();
        }
        let (reply, output) = match usize::try_from(self.capability.depth) {
            Ok(depth) if self.pending.len() < depth => {
                compute::answer(&self.capability, &mut self.keys, request, payload)
            }
            _ => (compute::refuse(request, Status::DeviceError), Vec::new()),
        };
        let due = self.finish_time(now, request.in_len);
        let frame = fault::spoil(fault, reply, output);
        if fault == Some(EmulatorFault::Reorder) && self.held_back.is_none() {
            self.held_back = Some((due, frame));
            return;
        }
        let delay = match fault {
            Some(EmulatorFault::Slow(delay)) => delay,
            _ => Duration::ZERO,
        };
        self.schedule(due + delay, frame);
        if let Some((_, frame)) = self.held_back.take() {
            self.schedule(due + delay, frame);
        }
    }

    /// Gives out the bytes of one reply that is due by `now`. After the last bytes before its death, [`Self::is_dead`].
    pub fn poll_reply(&mut self, now: Instant) -> Option<Vec<u8>> {
        let next = self.pending.first_entry().filter(|entry| entry.key().0 <= now)?;
        let mut frame = next.remove();
        if self.faults.dies_in_reply() {
            frame.truncate(frame.len() / 2);
            self.pending.clear();
            self.dead = true;
        }
        Some(frame)
    }

    /// When the next reply is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|(&(due, _), _)| due)
    }

    /// When the work on `bytes` that came at `now` is done.
    fn finish_time(&mut self, now: Instant, bytes: usize) -> Instant {
        let begin = (now + self.model.latency).max(self.busy_until.unwrap_or(now));
        let nanos = (bytes as u128 * 1_000_000_000).div_ceil(u128::from(self.model.bytes_per_second.max(1)));
        let end = begin + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = Some(end);
        end
    }

    fn schedule(&mut self, due: Instant, frame: Vec<u8>) {
        self.sequence += 1;
        self.pending.insert((due, self.sequence), frame);
    }
}

/// A reply as it goes over the wire.
fn frame(reply: &Reply, output: &[u8]) -> Vec<u8> {
    [&reply.encode()[..], output].concat()
}
