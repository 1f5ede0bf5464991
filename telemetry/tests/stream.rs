//! A sender and a receiver with a bad road between them.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests; a panic in one is a failed test, and the casts cut on purpose"
)]

use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;
use telemetry::limits::{MAX_BLOCK_LEN, MAX_IO_HISTOGRAMS, MAX_PLAIN_LEN, MAX_STRING_LEN, MAX_STRINGS};
use telemetry::{
    BlockHeader, BootId, BuildId, DecodeError, Decoded, Decoder, DictionaryId, EncodeError, Encoder, Frame,
    IO_BUCKETS, IoHistogram, IoOperation, IoTerm, Malformed, Mapping, Refused, SchedulingClass, StreamId,
    ThreadInfo, Window, WindowBuilder,
};

const BOOT: BootId = BootId(0xB007);
/// What a block leaves out of its zstd frame.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

fn encoder(keyframe_interval: u32) -> Encoder {
    let mut encoder = Encoder::new(BOOT, StreamId::PROFILE).unwrap();
    encoder.keyframe_interval(NonZeroU32::new(keyframe_interval).unwrap());
    encoder
}

fn frame(name: u32) -> Frame {
    if name.is_multiple_of(2) {
        let build_id = BuildId::new(&[u8::try_from(name % 3).unwrap(); 20]).unwrap();
        let mapping = Mapping { build_id, path: format!("/usr/lib/lib{}.so", name % 3).into() };
        Frame::Address { mapping: Arc::new(mapping), offset: u64::from(name).wrapping_mul(0x1234_5678_9ABC) }
    } else {
        Frame::Symbol(format!("function_{name}").into())
    }
}

fn thread(tid: u32) -> ThreadInfo {
    let class = if tid == 0 { SchedulingClass::Realtime(99) } else { SchedulingClass::Normal };
    ThreadInfo { pid: 1, tid, name: format!("thread-{tid}").into(), class }
}

/// Some numbered window; neighbours share most of their stacks.
fn window(number: u32) -> Window {
    let mut builder = WindowBuilder::new(u64::from(number) * 10_000);
    for sample in 0..20 {
        let stack: Vec<_> = (0..5).map(|depth| frame(depth * 7 + (sample + number) % 6)).collect();
        builder.push(sample * 500, &thread(sample % 3), &stack, 100_000_000).unwrap();
    }
    builder.push_metrics(0, &[("cpu_ppm", i64::from(number)), ("rss_bytes", 9_000_000)]).unwrap();
    builder.finish(10_000)
}

fn received(decoder: &mut Decoder, block: &[u8]) -> Window {
    match decoder.decode(block) {
        Ok(Decoded::Window { window, .. }) => window,
        other => panic!("{other:?}"),
    }
}

prop_compose! {
    fn any_window()(
        start: u64,
        lost: u64,
        samples in prop::collection::vec(
            (any::<u32>(), 0..6_u32, prop::collection::vec(0..40_u32, 0..12), any::<u64>()), 0..60),
        metrics in prop::collection::vec((any::<u32>(), any::<i64>(), any::<i64>()), 0..8),
        io in prop::collection::vec((0..3_u8, 0..4_usize, 0..4_usize, any::<u64>()), 0..12),
        duration: u32,
        aggregated: bool,
    ) -> Window {
        let mut builder = WindowBuilder::new(start);
        builder.add_lost(lost);
        for (at, tid, stack, weight) in samples {
            let stack: Vec<_> = stack.into_iter().map(frame).collect();
            builder.push(at, &thread(tid), &stack, weight).unwrap();
        }
        for (at, first, second) in metrics {
            builder.push_metrics(at, &[("first", first), ("second", second)]).unwrap();
        }
        for (device, operation, term, ns) in io {
            let mut histogram = IoHistogram::new(format!("sd{device}").into(), OPERATIONS[operation], TERMS[term]);
            histogram.record(ns);
            builder.push_io(histogram).unwrap();
        }
        let window = builder.finish(duration);
        if aggregated { window.aggregate() } else { window }
    }
}

const OPERATIONS: [IoOperation; 4] =
    [IoOperation::Read, IoOperation::Write, IoOperation::Flush, IoOperation::Discard];
const TERMS: [IoTerm; 4] = [IoTerm::Queue, IoTerm::Device, IoTerm::Flush, IoTerm::RunQueue];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn every_series_of_windows_comes_back_equal(
        windows in prop::collection::vec(any_window(), 1..8),
        interval in 1..4_u32,
        dictionary in 0..2_u32,
    ) {
        let (mut encoder, mut decoder) = (encoder(interval), Decoder::new());
        encoder.use_dictionary(DictionaryId(dictionary)).unwrap();
        for window in windows {
            let block = encoder.encode(&window).unwrap();
            prop_assert_eq!(received(&mut decoder, &block), window);
        }
    }

    #[test]
    fn no_bytes_behind_a_header_make_the_receiver_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let block = sealed(&body, body.len());
        let outcome = Decoder::new().decode(&block);
        prop_assert!(!matches!(outcome, Err(DecodeError::NotABlock)), "{:?}", outcome);
    }

    #[test]
    fn no_samples_make_the_receiver_panic(samples in prop::collection::vec(any::<u8>(), 0..400)) {
        let names: &[u64] = &[0, 0, 0, 2, 1, 97, 1, 98, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0];
        let block = sealed_with(&body(names), body(names).len(), &samples);
        match Decoder::new().decode(&block) {
            Ok(Decoded::Window { window, .. }) => prop_assert!(window.stacks().len() <= window.samples().len()),
            other => prop_assert!(matches!(other, Err(DecodeError::Malformed(_))), "{:?}", other),
        }
    }

    #[test]
    fn a_damaged_block_leaves_the_receiver_as_it_was(at in 0..400_usize, bits in 1..=255_u8) {
        let (mut encoder, mut decoder) = (encoder(100), Decoder::new());
        received(&mut decoder, &encoder.encode(&window(0)).unwrap());
        let good = encoder.encode(&window(1)).unwrap();
        let mut bad = good.clone();
        let at = at % bad.len();
        bad[at] ^= bits;
        // Some flips only change a value; those that are refused must change nothing.
        if decoder.decode(&bad).is_err() {
            prop_assert_eq!(received(&mut decoder, &good), window(1));
        }
    }

    #[test]
    fn a_damaged_body_in_a_sound_frame_leaves_the_receiver_as_it_was(at in 0..400_usize, bits in 1..=255_u8) {
        let (mut encoder, mut decoder) = (encoder(100), Decoder::new());
        received(&mut decoder, &encoder.encode(&window(0)).unwrap());
        let good = encoder.encode(&window(1)).unwrap();
        let plain_len = BlockHeader::parse(&good).unwrap().plain_len;
        let mut bad = good.clone();
        match BlockHeader::frame_of(&good).unwrap() {
            Some(frame) => {
                let mut body = zstd::bulk::decompress(&[&ZSTD_MAGIC, frame].concat(), plain_len).unwrap();
                let at = at % body.len();
                body[at] ^= bits;
                bad.truncate(good.len() - frame.len());
                bad.extend(&zstd::bulk::compress(&body, 3).unwrap()[ZSTD_MAGIC.len()..]);
            }
            None => {
                let at = good.len() - 1 - at % plain_len;
                bad[at] ^= bits;
            }
        }
        if decoder.decode(&bad).is_err() {
            prop_assert_eq!(received(&mut decoder, &good), window(1));
        }
    }
}

/// A keyframe with this body.
fn sealed(body: &[u8], plain_len: usize) -> Vec<u8> {
    sealed_with(body, plain_len, &[])
}

fn sealed_with(body: &[u8], plain_len: usize, samples: &[u8]) -> Vec<u8> {
    let mut block = b"GT\x03\x01\0\0\0\0\0\0\0\x01\x01\x00\x00".to_vec();
    put(&mut block, plain_len as u64);
    put(&mut block, samples.len() as u64);
    block.extend(samples);
    block.extend(&zstd::bulk::compress(body, 3).unwrap()[ZSTD_MAGIC.len()..]);
    block
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn body(numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    numbers.iter().for_each(|number| put(&mut out, *number));
    out
}

#[test]
fn losing_any_block_costs_at_most_the_blocks_up_to_the_next_keyframe() {
    const INTERVAL: usize = 5;
    for lost in 0..2 * INTERVAL {
        let mut encoder = encoder(5);
        let mut decoder = Decoder::new();
        let mut arrived = Vec::new();
        for number in 0..20 {
            let block = encoder.encode(&window(number)).unwrap();
            if number as usize == lost {
                continue;
            }
            match decoder.decode(&block) {
                Ok(Decoded::Window { window: decoded, .. }) => {
                    assert_eq!(decoded, window(number));
                    arrived.push(number as usize);
                }
                Err(error) => assert!(error.wants_rebirth(), "{error}"),
                Ok(Decoded::Duplicate { seq }) => panic!("{seq} is new"),
            }
        }
        let recovered = (lost / INTERVAL + 1) * INTERVAL;
        let expected: Vec<_> = (0..lost).chain(recovered..20).collect();
        assert_eq!(arrived, expected, "block {lost} lost");
    }
}

#[test]
fn a_rebirth_heals_a_gap_at_the_next_block() {
    let (mut encoder, mut decoder) = (encoder(1_000), Decoder::new());
    received(&mut decoder, &encoder.encode(&window(0)).unwrap());
    encoder.encode(&window(1)).unwrap();
    let late = encoder.encode(&window(2)).unwrap();
    assert_eq!(decoder.decode(&late), Err(DecodeError::Gap { expected: Some(1), found: 2 }));
    encoder.request_keyframe();
    let reborn = encoder.encode(&window(3)).unwrap();
    match decoder.decode(&reborn) {
        Ok(Decoded::Window { missed, window: decoded, .. }) => {
            assert_eq!((missed, decoded), (2, window(3)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_receiver_that_asks_is_blind_for_as_many_blocks_as_are_lost_and_one() {
    // Every pair of losses near a keyframe, the keyframe that was asked for among them.
    for (first, second) in (1..8_u32).flat_map(|first| (first + 1..9).map(move |second| (first, second))) {
        let (mut encoder, mut decoder, mut blind) = (encoder(5), Decoder::new(), Vec::new());
        for number in 0..12 {
            let block = encoder.encode(&window(number)).unwrap();
            if [first, second].contains(&number) {
                blind.push(number);
                continue;
            }
            match decoder.decode(&block) {
                Ok(Decoded::Window { window: decoded, .. }) => assert_eq!(decoded, window(number)),
                Err(error) if error.wants_rebirth() => {
                    blind.push(number);
                    encoder.request_keyframe();
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(blind.len() <= 4, "{blind:?} after {first} and {second} were lost");
    }
}

#[test]
fn a_receiver_that_joins_late_asks_for_a_rebirth() {
    let mut encoder = encoder(1_000);
    encoder.encode(&window(0)).unwrap();
    let block = encoder.encode(&window(1)).unwrap();
    assert_eq!(Decoder::new().decode(&block), Err(DecodeError::Gap { expected: None, found: 1 }));
}

#[test]
fn a_block_that_overtook_another_is_refused_and_the_other_still_taken() {
    let (mut encoder, mut decoder) = (encoder(1_000), Decoder::new());
    let blocks: Vec<_> = (0..3).map(|number| encoder.encode(&window(number)).unwrap()).collect();
    received(&mut decoder, &blocks[0]);
    assert!(decoder.decode(&blocks[2]).unwrap_err().wants_rebirth());
    assert_eq!(received(&mut decoder, &blocks[1]), window(1));
    assert_eq!(received(&mut decoder, &blocks[2]), window(2));
}

#[test]
fn a_second_delivery_is_a_duplicate_even_of_a_keyframe() {
    let (mut encoder, mut decoder) = (encoder(1_000), Decoder::new());
    let blocks: Vec<_> = (0..2).map(|number| encoder.encode(&window(number)).unwrap()).collect();
    received(&mut decoder, &blocks[0]);
    received(&mut decoder, &blocks[1]);
    assert_eq!(decoder.decode(&blocks[0]), Ok(Decoded::Duplicate { seq: 0 }));
    assert_eq!(decoder.decode(&blocks[1]), Ok(Decoded::Duplicate { seq: 1 }));
}

#[test]
fn a_sender_that_starts_again_is_followed_from_its_first_keyframe() {
    let (mut first, mut decoder) = (encoder(1_000), Decoder::new());
    received(&mut decoder, &first.encode(&window(0)).unwrap());
    let mut second = Encoder::new(BootId(BOOT.0 + 1), StreamId::PROFILE).unwrap();
    assert_eq!(received(&mut decoder, &second.encode(&window(9)).unwrap()), window(9));
}

#[test]
fn a_block_of_another_stream_is_refused() {
    let mut decoder = Decoder::new();
    received(&mut decoder, &encoder(9).encode(&window(0)).unwrap());
    let other = Encoder::new(BOOT, StreamId::METRICS).unwrap().encode(&window(0)).unwrap();
    let refused = DecodeError::Stream { expected: StreamId::PROFILE, found: StreamId::METRICS };
    assert_eq!(decoder.decode(&other), Err(refused));
}

#[test]
fn only_what_is_new_is_sent_again() {
    let mut encoder = encoder(1_000);
    let keyframe = encoder.encode(&window(0)).unwrap();
    let delta = encoder.encode(&window(0)).unwrap();
    assert!(delta.len() * 3 < keyframe.len(), "{} after {}", delta.len(), keyframe.len());
}

#[test]
fn the_fullest_window_still_fits_one_block() {
    // Every sample brings a thread, a stack and names of its own, until the builder says stop.
    let mut builder = WindowBuilder::new(u64::MAX);
    let mut taken = 0_u32;
    loop {
        let text = |kind: &str| format!("{kind}{taken:x>40}");
        let mapping =
            Arc::new(Mapping { build_id: BuildId::new(&[0xFF; 32]).unwrap(), path: text("/").into() });
        let frame =
            Frame::Address { mapping, offset: if taken.is_multiple_of(2) { u64::MAX / 2 } else { 0 } };
        let weight = if taken.is_multiple_of(2) { u64::MAX / 2 } else { 0 };
        let name = Arc::from(text("t"));
        let thread = ThreadInfo { pid: u32::MAX, tid: taken, name, class: SchedulingClass::Realtime(99) };
        let thread = if taken < 4_000 { thread } else { self::thread(0) };
        if builder.push(taken, &thread, &[frame], weight) == Err(Refused::Full) {
            break;
        }
        taken += 1;
    }
    let window = builder.finish(u32::MAX);
    assert!(taken > 5_000, "{taken} samples taken");
    let block = encoder(9).encode(&window).unwrap();
    let plain_len = BlockHeader::parse(&block).unwrap().plain_len;
    assert!(plain_len <= MAX_PLAIN_LEN && block.len() <= MAX_BLOCK_LEN, "{plain_len} bytes");
    assert_eq!(received(&mut Decoder::new(), &block), window);
}

#[test]
fn a_dictionary_that_would_overflow_starts_again_with_a_keyframe() {
    let (mut encoder, mut decoder) = (encoder(u32::MAX), Decoder::new());
    let mut keyframes = 0;
    for number in 0..40_u32 {
        let mut builder = WindowBuilder::new(0);
        for sample in 0..1_000 {
            let name = Arc::from(format!("{}{sample}", "n".repeat(90 + number as usize)));
            builder.push(sample, &thread(1), &[Frame::Symbol(name)], 1).unwrap();
        }
        let window = builder.finish(1);
        let block = encoder.encode(&window).unwrap();
        keyframes += u32::from(BlockHeader::parse(&block).unwrap().keyframe);
        assert_eq!(received(&mut decoder, &block), window);
    }
    assert_eq!(keyframes, 3, "40 windows of about 110 kB of names, 2 MiB hold");
}

#[test]
fn a_bomb_is_refused_by_its_promise() {
    let zeros = vec![0; 16 << 20];
    let honest = Decoder::new().decode(&sealed(&zeros, zeros.len()));
    assert!(matches!(honest, Err(DecodeError::Malformed(Malformed::TooLarge { .. }))), "{honest:?}");
    let liar = Decoder::new().decode(&sealed(&zeros, 1_000));
    assert!(matches!(liar, Err(DecodeError::Malformed(Malformed::Zstd(_)))), "{liar:?}");
    let short = Decoder::new().decode(&sealed(&[0; 20], 21));
    let length = Malformed::Length { expected: 21, found: 20 };
    assert_eq!(short, Err(DecodeError::Malformed(length)));
}

#[test]
fn a_second_frame_behind_the_first_is_refused() {
    let mut block = encoder(9).encode(&window(0)).unwrap();
    block.push(0);
    assert_eq!(Decoder::new().decode(&block), Err(DecodeError::Malformed(Malformed::LeftOver(1))));
}

#[test]
fn a_promise_of_entries_that_cannot_follow_is_refused_before_memory_is_taken() {
    let strings = |count: u64| body(&[0, 0, 0, count]);
    let past = strings(MAX_STRINGS as u64 + 1);
    let refused = Decoder::new().decode(&sealed(&past, past.len()));
    assert!(matches!(refused, Err(DecodeError::Malformed(Malformed::TooLarge { .. }))), "{refused:?}");
    let most = strings(MAX_STRINGS as u64);
    let refused = Decoder::new().decode(&sealed(&most, most.len()));
    assert_eq!(refused, Err(DecodeError::Malformed(Malformed::Truncated)));
}

#[test]
fn a_string_past_the_limit_is_refused() {
    let long = body(&[0, 0, 0, 1, MAX_STRING_LEN as u64 + 1]);
    let refused = Decoder::new().decode(&sealed(&long, long.len()));
    assert!(matches!(refused, Err(DecodeError::Malformed(Malformed::TooLarge { .. }))), "{refused:?}");
}

#[test]
fn samples_of_one_thread_on_one_stack_are_counted_together() {
    let mut builder = WindowBuilder::new(0);
    for at in 0..5 {
        builder.push(at, &thread(at % 2), &[frame(1)], 10).unwrap();
    }
    let window = builder.finish(10).aggregate();
    let sums: Vec<_> = window.samples().iter().map(|it| (it.at_ms, it.count, it.weight_ns)).collect();
    assert_eq!(sums, [(0, 3, 30), (0, 2, 20)]);
    assert_eq!(window.clone().aggregate(), window);
    assert_eq!(window.without_samples().lost(), 5);
}

#[test]
fn a_window_without_times_is_smaller() {
    let (timed, aggregated) = (window(0), window(0).aggregate());
    let len = |window| encoder(9).encode(window).unwrap().len();
    assert!(len(&aggregated) < len(&timed), "{} after {}", len(&aggregated), len(&timed));
}

#[test]
fn a_dictionary_that_the_receiver_lacks_is_named_and_a_rebirth_wanted() {
    let mut block = encoder(9).encode(&window(0)).unwrap();
    // Behind magic, version, flags, boot, and a byte each for stream and seq.
    assert_eq!(block[14], 0);
    block[14] = 99;
    let refused = Decoder::new().decode(&block).unwrap_err();
    assert_eq!(refused, DecodeError::Dictionary(99));
    assert!(refused.wants_rebirth());
    assert!(matches!(encoder(9).use_dictionary(DictionaryId(99)), Err(EncodeError::UnknownDictionary(99))));
}

#[test]
fn a_sender_that_gives_its_dictionary_up_goes_on_with_a_keyframe() {
    let (mut encoder, mut decoder) = (encoder(1_000), Decoder::new());
    encoder.use_dictionary(DictionaryId::PROFILE_1).unwrap();
    let first = encoder.encode(&window(0)).unwrap();
    assert_eq!(BlockHeader::parse(&first).unwrap().dictionary, DictionaryId::PROFILE_1);
    received(&mut decoder, &first);
    encoder.use_dictionary(DictionaryId::NONE).unwrap();
    let second = encoder.encode(&window(1)).unwrap();
    let header = BlockHeader::parse(&second).unwrap();
    assert_eq!((header.dictionary, header.keyframe), (DictionaryId::NONE, true));
    assert_eq!(received(&mut decoder, &second), window(1));
}

#[test]
fn the_last_histogram_is_taken_and_one_more_refused() {
    let mut builder = WindowBuilder::new(0);
    let histogram = |device: usize| {
        let name = format!("device-{device}");
        IoHistogram::new(name.into(), IoOperation::Read, IoTerm::Device)
    };
    for device in 0..MAX_IO_HISTOGRAMS {
        builder.push_io(histogram(device)).unwrap();
    }
    assert_eq!(builder.push_io(histogram(MAX_IO_HISTOGRAMS)), Err(Refused::Full));
    builder.push_io(histogram(0)).unwrap();
    let window = builder.finish(1);
    let block = encoder(9).encode(&window).unwrap();
    assert_eq!(received(&mut Decoder::new(), &block), window);
}

#[test]
fn a_histogram_told_twice_or_with_a_bucket_too_many_is_refused() {
    // A string for the device, then nothing but histograms: device, operation and term, sum, first bucket, buckets.
    let histograms = |numbers: &[u64]| {
        let body = body(&[&[0, 0, 0, 1, 1, u64::from(b'd'), 0, 0, 0][..], numbers].concat());
        Decoder::new().decode(&sealed(&body, body.len()))
    };
    let buckets = IO_BUCKETS as u64;
    assert!(matches!(histograms(&[1, 0, 0, 0, buckets, 0]), Ok(Decoded::Window { .. })));
    let past = histograms(&[1, 0, 0, 0, buckets, 1, 1]);
    assert!(matches!(past, Err(DecodeError::Malformed(Malformed::TooLarge { .. }))), "{past:?}");
    let twice = histograms(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(twice, Err(DecodeError::Malformed(Malformed::Order("histograms"))));
}
