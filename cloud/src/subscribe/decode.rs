//! From a topic and a payload to a message. No socket and no clock.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use ota::stage::StageEvent;
use telemetry::topics::{Stream, Topic, VinSegment};
use telemetry::{Decoded, Decoder};

use super::seen::Seen;
use super::{Message, ReceivedWindow};

/// Streams whose dictionaries are kept; each may take a few megabytes at the very most.
const MAX_STREAMS: usize = 1024;

/// Boots whose events are told apart.
const MAX_BOOTS: usize = 4096;

/// Largest event, presence or alert, in bytes.
const MAX_JSON: usize = 64 * 1024;

/// A vehicle is not asked for a keyframe of the same stream more often than this.
const REBIRTH_INTERVAL: Duration = Duration::from_secs(2);

type StreamKey = (VinSegment, Stream);

/// Turns publishes into messages; [`Receiver::handle_publish`], then drain [`Receiver::poll_request`].
#[derive(Debug)]
pub(crate) struct Receiver {
    events: Seen<(String, String)>,
    decoders: HashMap<StreamKey, Followed>,
    /// In the order in which streams appeared; the oldest is forgotten first.
    order: VecDeque<StreamKey>,
    request: Option<(String, String)>,
}

#[derive(Debug, Default)]
struct Followed {
    decoder: Decoder,
    asked: Option<Instant>,
}

impl Default for Receiver {
    fn default() -> Self {
        Self { events: Seen::new(MAX_BOOTS), decoders: HashMap::new(), order: VecDeque::new(), request: None }
    }
}

impl Receiver {
    /// Takes one publish; `None` for what was seen before or is not for us.
    pub(crate) fn handle_publish(&mut self, topic: &str, payload: &[u8], now: Instant) -> Option<Message> {
        let refused =
            |reason: String| Some(Message::Refused { topic: topic.chars().take(200).collect(), reason });
        let (vin, parsed) = match Topic::parse(topic) {
            Ok(parsed) => parsed,
            Err(error) => return refused(error.to_string()),
        };
        if !matches!(parsed, Topic::Telemetry(_)) && payload.len() > MAX_JSON {
            return refused(format!("{} bytes, at most {MAX_JSON} are read", payload.len()));
        }
        let text = || String::from_utf8_lossy(payload).into_owned();
        match parsed {
            Topic::OtaEvent => self.handle_event(&vin, payload).unwrap_or_else(refused),
            Topic::Telemetry(stream) => self.handle_block(vin, stream, payload, now).unwrap_or_else(refused),
            Topic::Presence => Some(Message::Presence { vin: vin.to_string(), payload: text() }),
            Topic::Alert => Some(Message::Alert { vin: vin.to_string(), payload: text() }),
            // Ours to send, not to read.
            Topic::OtaCommand | Topic::TelemetryRebirth => None,
        }
    }

    /// A request to publish: topic and payload.
    pub(crate) fn poll_request(&mut self) -> Option<(String, String)> {
        self.request.take()
    }

    fn handle_event(&mut self, vin: &VinSegment, payload: &[u8]) -> Result<Option<Message>, String> {
        let event: StageEvent = serde_json::from_slice(payload).map_err(|it| it.to_string())?;
        if event.vin.as_str() != vin.as_str() {
            return Err(format!("the event is signed {}, the topic is another vehicle's", event.vin));
        }
        let new = self.events.is_new(&(vin.to_string(), event.boot.clone()), event.seq);
        Ok(new.then(|| Message::Event(Box::new(event))))
    }

    fn handle_block(
        &mut self,
        vin: VinSegment,
        stream: Stream,
        payload: &[u8],
        now: Instant,
    ) -> Result<Option<Message>, String> {
        let key = (vin, stream);
        if !self.decoders.contains_key(&key) {
            if self.order.len() == MAX_STREAMS
                && let Some(oldest) = self.order.pop_front()
            {
                self.decoders.remove(&oldest);
            }
            self.order.push_back(key.clone());
        }
        let followed = self.decoders.entry(key.clone()).or_default();
        let (vin, stream) = key;
        match followed.decoder.decode(payload) {
            Ok(Decoded::Window { header, missed, window }) => {
                followed.asked = None;
                let vin = vin.to_string();
                Ok(Some(Message::Window(Box::new(ReceivedWindow { vin, stream, header, missed, window }))))
            }
            Ok(Decoded::Duplicate { .. }) => Ok(None),
            Err(error) if error.wants_rebirth() => {
                if followed.asked.is_some_and(|it| now.saturating_duration_since(it) < REBIRTH_INTERVAL) {
                    return Ok(None);
                }
                followed.asked = Some(now);
                self.request = Some((Topic::TelemetryRebirth.of(&vin), stream.to_string()));
                Ok(Some(Message::Gap { vin: vin.to_string(), stream }))
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use telemetry::{BootId, Encoder, Frame, SchedulingClass, StreamId, ThreadInfo, WindowBuilder};

    use super::*;

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
        let (mut receiver, now) = (Receiver::default(), Instant::now());
        let topic = format!("v1/{VIN}/ota/event");
        assert!(matches!(receiver.handle_publish(&topic, &event(0), now), Some(Message::Event(_))));
        assert!(receiver.handle_publish(&topic, &event(0), now).is_none());
        assert!(matches!(receiver.handle_publish(&topic, &event(1), now), Some(Message::Event(_))));
        let foreign = receiver.handle_publish("v1/WVWZZZ1JZXW000002/ota/event", &event(2), now);
        assert!(matches!(foreign, Some(Message::Refused { .. })));
        assert!(matches!(receiver.handle_publish(&topic, b"{", now), Some(Message::Refused { .. })));
        let long = vec![b' '; MAX_JSON + 1];
        assert!(matches!(receiver.handle_publish(&topic, &long, now), Some(Message::Refused { .. })));
    }

    #[test]
    fn a_gap_asks_for_a_rebirth_once_per_interval() {
        let (mut receiver, start) = (Receiver::default(), Instant::now());
        let topic = format!("v1/{VIN}/telemetry/profile");
        let blocks = blocks(5);
        let mut give = |index: usize, at: Duration| {
            let message = receiver.handle_publish(&topic, &blocks[index], start + at);
            (message, receiver.poll_request())
        };
        assert!(matches!(give(0, Duration::ZERO), (Some(Message::Window(_)), None)));
        assert!(matches!(give(0, Duration::ZERO), (None, None)));
        let (gap, request) = give(2, Duration::ZERO);
        assert!(matches!(gap, Some(Message::Gap { .. })));
        assert_eq!(request, Some((format!("v1/{VIN}/telemetry/rebirth"), "profile".to_owned())));
        assert!(matches!(give(3, REBIRTH_INTERVAL - Duration::from_millis(1)), (None, None)));
        assert!(matches!(give(3, REBIRTH_INTERVAL), (Some(Message::Gap { .. }), Some(_))));
    }
}
