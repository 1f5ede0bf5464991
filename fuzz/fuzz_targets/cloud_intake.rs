//! Publishes of a hostile vehicle, from the topic to every form that telemetry leaves in.
//!
//! The input is a series of publishes: a byte that chooses the topic, two bytes of length (big endian), the payload.
#![no_main]

use std::time::{Duration, Instant};

use gateway_cloud::export::prometheus::Registry;
use gateway_cloud::export::symbols::Symbols;
use gateway_cloud::export::{self, Source};
use gateway_cloud::subscribe::{Message, Receiver};
use libfuzzer_sys::fuzz_target;

const TOPICS: [&str; 6] = [
    "v1/VEHICLE1/telemetry/profile",
    "v1/VEHICLE1/telemetry/ecu/brake-01",
    "v1/WVWZZZ1JZXW000001/ota/event",
    "v1/VEHICLE1/presence",
    "v1/VEHICLE1/alert",
    "v1/VEHICLE2/telemetry/io",
];

fuzz_target!(|data: &[u8]| {
    let Ok(mut receiver) = Receiver::new(None, Duration::ZERO) else { return };
    let now = Instant::now();
    let mut registry = Registry::default();
    let mut rest = data;
    for _ in 0..32 {
        let [topic, high, low, tail @ ..] = rest else { break };
        let (payload, tail) = tail.split_at(tail.len().min(usize::from(u16::from_be_bytes([*high, *low]))));
        rest = tail;
        let topic = TOPICS[usize::from(*topic) % TOPICS.len()];
        // Memory never fails.
        let Ok(_message) = receiver.handle_publish(topic, payload) else { unreachable!() };
        while let Ok(Some(message)) = receiver.poll_message(now) {
            if let Message::Window(received) = message {
                leave(&received.window, received.header.seq, &mut registry, now);
            }
        }
    }
    assert!(registry.open_metrics(now).ends_with("# EOF\n"));
});

fn leave(window: &telemetry::Window, seq: u64, registry: &mut Registry, now: Instant) {
    let source = Source { vin: "VEHICLE1", stream: "profile", boot: 1, seq };
    let profiles = export::profiles(window, &mut Symbols::default());
    for profile in &profiles {
        export::pprof(profile, &source);
        for (stack, _) in export::folded(profile, source.vin) {
            assert!(!stack.contains('\n'));
        }
        for line in export::perf_script(profile).lines() {
            // A head of five words, a frame, or the empty line behind them.
            assert!(
                line.is_empty() || line.starts_with('\t') || line.split_whitespace().count() == 5,
                "{line}"
            );
        }
    }
    export::otlp(&profiles, &source);
    registry.add(source.vin, source.stream, window, now);
}
