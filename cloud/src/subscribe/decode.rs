//! From a topic and a payload to messages. No socket and no clock.

use std::path::Path;
use std::time::{Duration, Instant};

use ota::stage::StageEvent;
use telemetry::BootId;
use telemetry::request::{Missing, Request};
use telemetry::topics::{Topic, VinSegment};

use super::spool::{Given, Spool, Store};
use super::{Message, ReceivedWindow};
use crate::fsio::FileError;

/// Largest event, presence or alert, in bytes.
const MAX_JSON: usize = 64 * 1024;

/// Longest name of a life in an event, in bytes.
const MAX_BOOT: usize = 128;

/// What is behind a [`Subscriber`](super::Subscriber), for those who have an MQTT client of their own: publishes in,
/// messages out. After each [`Receiver::handle_publish`], and at [`Receiver::next_wakeup`], drain
/// [`Receiver::poll_message`] and [`Receiver::poll_request`]. Acknowledge a publish to the broker when
/// [`Receiver::poll_message`] has said `None` behind it: only then what it brought is settled.
#[derive(Debug)]
pub struct Receiver {
    spool: Spool,
    /// The event given out last, to be remembered once the caller asks for more.
    event: Option<(VinSegment, String, u64)>,
    request: Option<(String, String)>,
}

impl Receiver {
    /// Keeps blocks in `spool`, or in memory; a block that is missing for `grace` is asked for.
    ///
    /// # Errors
    /// The system's, where the spool cannot be read or written.
    pub fn new(spool: Option<&Path>, grace: Duration) -> Result<Self, FileError> {
        let store = match spool {
            Some(path) => Store::directory(path)?,
            None => Store::memory(),
        };
        Ok(Self { spool: Spool::new(store, grace)?, event: None, request: None })
    }

    /// Takes one publish. Telemetry comes out of [`Receiver::poll_message`], anything else at once; `None` also for what
    /// was seen before or is not for us. With an error nothing was taken in: the broker must keep the message.
    ///
    /// # Errors
    /// The system's, where the spool cannot be read or written.
    pub fn handle_publish(&mut self, topic: &str, payload: &[u8]) -> Result<Option<Message>, FileError> {
        let refused =
            |reason: String| Ok(Some(Message::Refused { topic: topic.chars().take(200).collect(), reason }));
        let (vin, parsed) = match Topic::parse(topic) {
            Ok(parsed) => parsed,
            Err(error) => return refused(error.to_string()),
        };
        if !matches!(parsed, Topic::Telemetry(_)) && payload.len() > MAX_JSON {
            return refused(format!("{} bytes, at most {MAX_JSON} are read", payload.len()));
        }
        let text = || String::from_utf8_lossy(payload).into_owned();
        match parsed {
            Topic::OtaEvent => match read_event(&vin, payload) {
                Ok(event) => self.handle_event(vin, event),
                Err(reason) => refused(reason),
            },
            Topic::Telemetry(stream) => match self.spool.offer(vin, stream, payload)? {
                Ok(()) => Ok(None),
                Err(error) => refused(error.to_string()),
            },
            Topic::Presence => Ok(Some(Message::Presence { vin: vin.to_string(), payload: text() })),
            Topic::Alert => Ok(Some(Message::Alert { vin: vin.to_string(), payload: text() })),
            // Ours to send, not to read.
            Topic::OtaCommand | Topic::TelemetryRebirth => Ok(None),
        }
    }

    /// The next window, gap or refusal. What was given out before counts as dealt with.
    ///
    /// # Errors
    /// The system's, where the spool cannot be read or written.
    pub fn poll_message(&mut self, now: Instant) -> Result<Option<Message>, FileError> {
        if let Some((vin, boot, seq)) = self.event.take() {
            self.spool.remember_event(&vin, &boot, seq)?;
        }
        Ok(self.spool.poll(now)?.map(|given| match given {
            Given::Window { life, header, missed, window } => {
                let (vin, stream, window) = (life.vin.to_string(), life.stream, *window);
                Message::Window(Box::new(ReceivedWindow { vin, stream, header, missed, window }))
            }
            Given::Refused { life, reason } => {
                Message::Refused { topic: Topic::Telemetry(life.stream).of(&life.vin), reason }
            }
            Given::Gap { life, missing } => {
                let missing = missing.and_then(|it| Missing::new(BootId(life.boot), it).ok());
                let request = Request { stream: life.stream.clone(), missing };
                self.request = Some((Topic::TelemetryRebirth.of(&life.vin), request.to_string()));
                Message::Gap { vin: life.vin.to_string(), stream: life.stream }
            }
        }))
    }

    /// A request to publish: topic and payload.
    pub fn poll_request(&mut self) -> Option<(String, String)> {
        self.request.take()
    }

    /// When to poll for messages although nothing came.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.spool.next_wakeup()
    }

    /// Blocks that came once more and were dropped, since the start.
    pub fn duplicates(&self) -> u64 {
        self.spool.duplicates()
    }

    fn handle_event(&mut self, vin: VinSegment, event: StageEvent) -> Result<Option<Message>, FileError> {
        if !self.spool.is_new_event(&vin, &event.boot, event.seq)? {
            return Ok(None);
        }
        self.event = Some((vin, event.boot.clone(), event.seq));
        Ok(Some(Message::Event(Box::new(event))))
    }
}

fn read_event(vin: &VinSegment, payload: &[u8]) -> Result<StageEvent, String> {
    let event: StageEvent = serde_json::from_slice(payload).map_err(|it| it.to_string())?;
    if event.vin.as_str() != vin.as_str() {
        return Err(format!("the event is signed {}, the topic is another vehicle's", event.vin));
    }
    if event.boot.len() > MAX_BOOT {
        return Err(format!("a boot of {} bytes, at most {MAX_BOOT} are read", event.boot.len()));
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use telemetry::{BootId, Encoder, Frame, SchedulingClass, StreamId, ThreadInfo, WindowBuilder};

    use super::*;
    use crate::subscribe::spool::REBIRTH_INTERVAL;

    const VIN: &str = "WVWZZZ1JZXW000001";

    fn event(seq: u64) -> Vec<u8> {
        format!(
            r#"{{"vin":"{VIN}","stage_code":"VERIFY","status":"ok","span_duration_ms":5,"thread_name":"bus",
            "boot":"b1","seq":{seq},"at":1}}"#
        )
        .into_bytes()
    }

    fn blocks(count: u64) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(BootId(1), StreamId::PROFILE).unwrap();
        let thread = ThreadInfo { pid: 1, tid: 1, name: "bus".into(), class: SchedulingClass::default() };
        (0..count)
            .map(|it| {
                let mut builder = WindowBuilder::new(it * 1000);
                builder.push(1, &thread, &[Frame::Symbol("poll".into())], 10).unwrap();
                encoder.encode(&builder.finish(1000)).unwrap()
            })
            .collect()
    }

    #[test]
    fn an_event_delivered_twice_is_given_once_and_a_foreign_one_is_refused() {
        let mut receiver = Receiver::new(None, Duration::ZERO).unwrap();
        let mut give = |topic: &str, payload: &[u8]| {
            let message = receiver.handle_publish(topic, payload).unwrap();
            assert!(receiver.poll_message(Instant::now()).unwrap().is_none());
            message
        };
        let topic = format!("v1/{VIN}/ota/event");
        assert!(matches!(give(&topic, &event(0)), Some(Message::Event(_))));
        assert!(give(&topic, &event(0)).is_none());
        assert!(matches!(give(&topic, &event(1)), Some(Message::Event(_))));
        let foreign = give("v1/WVWZZZ1JZXW000002/ota/event", &event(2));
        assert!(matches!(foreign, Some(Message::Refused { .. })));
        assert!(matches!(give(&topic, b"{"), Some(Message::Refused { .. })));
        let long = vec![b' '; MAX_JSON + 1];
        assert!(matches!(give(&topic, &long), Some(Message::Refused { .. })));
    }

    #[test]
    fn a_gap_asks_for_its_blocks_and_an_interval_later_for_a_keyframe() {
        let (mut receiver, start) = (Receiver::new(None, Duration::ZERO).unwrap(), Instant::now());
        let topic = format!("v1/{VIN}/telemetry/profile");
        let blocks = blocks(5);
        let mut give = |index: usize, at: Duration| {
            assert!(receiver.handle_publish(&topic, &blocks[index]).unwrap().is_none());
            let message = receiver.poll_message(start + at).unwrap();
            assert!(receiver.poll_message(start + at).unwrap().is_none());
            (message, receiver.poll_request())
        };
        assert!(matches!(give(0, Duration::ZERO), (Some(Message::Window(_)), None)));
        assert!(matches!(give(0, Duration::ZERO), (None, None)));
        let (gap, request) = give(2, Duration::ZERO);
        assert!(matches!(gap, Some(Message::Gap { .. })));
        let asked = |text: &str| Some((format!("v1/{VIN}/telemetry/rebirth"), text.to_owned()));
        assert_eq!(request, asked("profile 0000000000000001 1"));
        assert!(matches!(give(3, REBIRTH_INTERVAL - Duration::from_millis(1)), (None, None)));
        let (gap, request) = give(3, REBIRTH_INTERVAL);
        assert!(matches!(gap, Some(Message::Gap { .. })));
        assert_eq!(request, asked("profile"));
        assert_eq!(receiver.duplicates(), 2);
    }
}
