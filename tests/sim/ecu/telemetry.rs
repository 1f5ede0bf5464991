//! A node that sends telemetry blocks in fragments on CAN FD, and a keyframe when it is asked: the other end of
//! `telemetry` of a `[[bus]]`. One frame at a time, the next when the bus has had the one before.

use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use canfd::bus::{Bus, BusError, SendOutcome};
use canfd::frame::{CanId, FdFrame, FrameFormat};
use telemetry::fragment::{Fragmenter, parse_rebirth};
use telemetry::{BootId, Encoder, StreamId, WindowBuilder};

/// How long a turn waits where nothing is due.
const ROUND: Duration = Duration::from_millis(2);
/// How long the bus may take for a frame before the next one follows.
const PATIENCE: Duration = Duration::from_millis(500);

/// The identifiers of a sender: `0x6F1`, or `0x6F1/0x6F9` with the one under which it is asked for a keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelemetryIds {
    /// Of its fragments.
    pub send: CanId,
    /// Of requests.
    pub ask: Option<CanId>,
}

impl FromStr for TelemetryIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = |text: &str| {
            let number = match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => text.parse(),
            };
            let number = number.map_err(|_| format!("`{text}` is no CAN id; write 0x6F1 or 0x6F1/0x6F9"))?;
            let id = match u16::try_from(number) {
                Ok(short) if short <= 0x7FF => CanId::standard(short),
                _ => CanId::extended(number),
            };
            id.map_err(|error| error.to_string())
        };
        match text.split_once('/') {
            Some((send, ask)) => Ok(Self { send: id(send)?, ask: Some(id(ask)?) }),
            None => Ok(Self { send: id(text)?, ask: None }),
        }
    }
}

/// A sender on a thread of its own, which ends when this is dropped.
#[derive(Debug)]
pub struct TelemetryNode {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TelemetryNode {
    /// Sends a block every `interval`: metrics named `load_ppm` and `window_count`, numbered from 0.
    ///
    /// # Errors
    /// The system's, where no thread can be started.
    pub fn start(bus: Box<dyn Bus>, ids: TelemetryIds, interval: Duration) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            // A bus that is gone ends the sender; those who listen notice.
            let _ = Sender { bus, ids, stop: stopped, awaits_echo: None, asked: false }.run(interval);
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for TelemetryNode {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by the panic hook.
            let _ = thread.join();
        }
    }
}

struct Sender {
    bus: Box<dyn Bus>,
    ids: TelemetryIds,
    stop: Arc<AtomicBool>,
    /// A frame is with the bus, since then.
    awaits_echo: Option<Instant>,
    asked: bool,
}

impl Sender {
    fn run(mut self, interval: Duration) -> Result<(), Box<dyn std::error::Error>> {
        let mut encoder = Encoder::new(BootId(random_boot()), StreamId::FIRST_ECU)?;
        let (mut number, mut due, mut block) = (0, Instant::now(), None::<Fragmenter>);
        let mut held = None;
        while !self.stop.load(Ordering::Relaxed) {
            self.listen()?;
            if std::mem::take(&mut self.asked) {
                encoder.request_keyframe();
            }
            let now = Instant::now();
            if block.is_none() && due <= now {
                let mut builder = WindowBuilder::new(1_772_366_400_000 + number * 1_000);
                let load = i64::try_from(number * 7_919 % 1_000_000)?;
                builder.push_metrics(0, &[("load_ppm", load), ("window_count", i64::try_from(number)?)])?;
                let bytes = encoder.encode(&builder.finish(1_000))?;
                block = Some(Fragmenter::new(16, encoder.next_seq() - 1, &bytes)?);
                (number, due) = (number + 1, due + interval);
            }
            if self.awaits_echo.is_none_or(|since| now.saturating_duration_since(since) > PATIENCE)
                && let Some(fragmenter) = &mut block
            {
                let next = || {
                    Some(FdFrame::new(
                        self.ids.send,
                        FrameFormat::Fd { brs: true },
                        &fragmenter.poll_frame()?,
                    ))
                };
                match held.take().map(Ok).or_else(next).transpose()? {
                    None => block = None,
                    Some(frame) if self.bus.send(&frame)? == SendOutcome::WouldBlock => held = Some(frame),
                    Some(_) => {
                        self.bus.flush()?;
                        self.awaits_echo = Some(now);
                        continue;
                    }
                }
            }
            std::thread::park_timeout(ROUND);
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), BusError> {
        loop {
            match self.bus.recv() {
                Ok(Some(received)) if received.own => self.awaits_echo = None,
                Ok(Some(received)) => {
                    let is_ask = self.ids.ask == Some(received.frame.id());
                    self.asked |= is_ask && parse_rebirth(received.frame.data()).is_some();
                }
                Ok(None) => return Ok(()),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A life of its own for each start.
fn random_boot() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX) ^ u64::from(std::process::id()) << 40
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_read_and_anything_else_is_refused() {
        let id = |raw| CanId::standard(raw).unwrap();
        assert_eq!("0x6F1".parse(), Ok(TelemetryIds { send: id(0x6F1), ask: None }));
        assert_eq!("1777/0x6F9".parse(), Ok(TelemetryIds { send: id(0x6F1), ask: Some(id(0x6F9)) }));
        for bad in ["", "x", "0x20000000", "1/", "1/2/3"] {
            assert!(bad.parse::<TelemetryIds>().is_err(), "{bad}");
        }
    }
}
