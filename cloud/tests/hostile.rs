//! Damaged publishes, from the topic to every form that telemetry leaves in: nothing panics, no line is split.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod windows;

use std::time::{Duration, Instant};

use gateway_cloud::export::prometheus::Registry;
use gateway_cloud::export::symbols::Symbols;
use gateway_cloud::export::{self, Source};
use gateway_cloud::subscribe::{Message, Receiver};
use proptest::prelude::*;
use telemetry::{BootId, Encoder, StreamId, Window};

fn leave(window: &Window, registry: &mut Registry) {
    let source = Source { vin: "VEHICLE1", stream: "profile", boot: 1, seq: 1 };
    let profiles = export::profiles(window, &mut Symbols::default());
    for profile in &profiles {
        assert!(!export::pprof(profile, &source).is_empty());
        for (stack, _) in export::folded(profile, source.vin) {
            assert!(!stack.contains('\n'), "{stack}");
        }
        for line in export::perf_script(profile).lines() {
            let whole = line.is_empty() || line.starts_with('\t') || line.split_whitespace().count() == 5;
            assert!(whole, "{line}");
        }
    }
    assert!(!export::otlp(&profiles, &source).is_empty());
    registry.add(source.vin, source.stream, window, Instant::now());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_blocks_are_refused_or_leave_whole(
        damage in proptest::collection::vec((0..6_usize, any::<prop::sample::Index>(), any::<u8>()), 0..12),
        topic in "v1/[A-Z0-9+]{1,5}/(telemetry/(profile|io|ecu/[a-z#]{1,4})|ota/event|presence|x)",
        other in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut encoder = Encoder::new(BootId(1), StreamId::PROFILE).unwrap();
        let mut blocks: Vec<_> =
            (0..6).map(|it| encoder.encode(&windows::window(it, it % 2 == 1)).unwrap()).collect();
        for (block, at, byte) in damage {
            let at = at.index(blocks[block].len());
            blocks[block][at] = byte;
        }
        let mut receiver = Receiver::new(None, Duration::ZERO).unwrap();
        let mut registry = Registry::default();
        let publishes = blocks.iter().map(|it| ("v1/VEHICLE1/telemetry/profile", it)).chain([(&*topic, &other)]);
        for (topic, payload) in publishes {
            receiver.handle_publish(topic, payload).unwrap();
            while let Some(message) = receiver.poll_message(Instant::now()).unwrap() {
                if let Message::Window(received) = message {
                    leave(&received.window, &mut registry);
                }
            }
        }
        prop_assert!(registry.open_metrics(Instant::now()).ends_with("# EOF\n"));
    }
}
