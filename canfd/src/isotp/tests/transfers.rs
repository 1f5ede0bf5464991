//! What arrives, how fast, and with which frames.

use super::*;

#[test]
fn messages_at_the_boundaries_of_every_frame_type_arrive_on_every_tx_dl() {
    let mut link_layers = vec![LinkLayer::Classical];
    link_layers.extend([8, 12, 16, 20, 24, 32, 48, 64].map(|len| {
        let tx_dl = TxDl::new(len).unwrap();
        LinkLayer::Fd { tx_dl, brs: true }
    }));
    for link_layer in link_layers {
        let mut pair = Pair::of(None, link_layer, |_| {});
        let tx_dl = link_layer.tx_dl();
        for len in [1, 6, 7, 8, 9, tx_dl - 2, tx_dl - 1, tx_dl, 62, 63, 64, 4_095, 4_096, 65_535] {
            pair.assert_transfer(len);
        }
    }
}

#[test]
fn the_longest_single_frame_is_one_frame_and_one_byte_more_is_a_first_frame() {
    for (link_layer, longest) in [(LinkLayer::Classical, 7), (LinkLayer::FD, 62)] {
        let mut pair = Pair::of(None, link_layer, |_| {});
        pair.assert_transfer(longest);
        assert_eq!(pair.log.len(), 1);
        pair.log.clear();
        pair.assert_transfer(longest + 1);
        // First frame, flow control, one consecutive frame.
        assert_eq!(pair.log.len(), 3);
    }
}

#[test]
fn short_frames_are_padded_to_eight_bytes_and_to_the_next_length_code() {
    let mut lone = Lone::new(|_| {});
    for (len, dl) in [(1, 8), (7, 8), (8, 12), (10, 12), (11, 16), (62, 64)] {
        lone.link.send(lone.now, vec![0; len]).unwrap();
        let frames = lone.transmit();
        let [frame] = frames.as_slice() else { panic!("{frames:?}") };
        assert_eq!(frame.dlc().len(), dl, "{len}");
        let overhead = if len <= 7 { 1 } else { 2 };
        assert!(frame.data()[overhead + len..].iter().all(|&it| it == 0xCC));
        assert_eq!(lone.link.poll_event(), Some(Event::Sent(vec![0; len])));
    }
}

#[test]
fn every_block_size_and_separation_brings_the_message_through() {
    for block_size in [0, 1, 2, 8, 255] {
        for code in [0, 1, 0x7F, 0xF1, 0xF9, 0x80] {
            let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |config| {
                config.block_size = block_size;
                config.st_min = StMin::from_code(code);
            });
            pair.assert_transfer(1_500);
            // 1500 bytes: 62 in the first frame, then 23 consecutive frames.
            let flow_controls = pair.log.iter().filter(|(_, frame)| frame.id() == ids().response).count();
            let expected = if block_size == 0 { 1 } else { 23usize.div_ceil(usize::from(block_size)) };
            assert_eq!(flow_controls, expected, "block size {block_size}");
        }
    }
}

#[test]
fn consecutive_frames_keep_the_separation_the_receiver_asks_for() {
    for code in [1, 5, 0xF1, 0xF9] {
        let st_min = StMin::from_code(code);
        let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |config| config.st_min = st_min);
        pair.assert_transfer(1_500);
        let ends: Vec<_> =
            pair.log.iter().filter(|(_, it)| it.data()[0] >> 4 == 2).map(|(at, it)| (*at, *it)).collect();
        for two in ends.windows(2) {
            let [(before, _), (after, frame)] = two else { unreachable!() };
            // From the end of one frame to the start of the next; both ends are an intermission before the bus is
            // free.
            let gap = *after - *before - (TIMING.frame_duration(frame) - TIMING.intermission());
            assert!(gap >= st_min.duration(), "{gap:?}");
            assert!(gap <= st_min.duration() + TIMING.intermission(), "{gap:?}");
        }
    }
}

#[test]
fn without_separation_as_many_frames_are_outstanding_as_allowed_and_never_more() {
    for max_in_flight in [1, 8, 255] {
        let mut link = Link::new(LinkConfig { max_in_flight, ..LinkConfig::tester(ids()) });
        let now = Instant::now();
        link.send(now, random_bytes(65_535)).unwrap();
        assert!(link.poll_transmit(now).is_some());
        link.handle_transmitted(now);
        link.handle_frame(now, &flow_control(FlowStatus::ContinueToSend, 0, 0));
        let burst = std::iter::from_fn(|| link.poll_transmit(now)).count();
        assert_eq!(burst, usize::from(max_in_flight));
        link.handle_transmitted(now);
        assert_eq!(std::iter::from_fn(|| link.poll_transmit(now)).count(), 1);
    }
}

#[test]
fn a_long_transfer_reaches_98_percent_of_the_wire_limit_and_a_4095_byte_one_95() {
    for timing in [BitTiming::FD_500K_2M, BitTiming::FD_500K_5M] {
        let limit = consecutive_frame_limit(timing, ids().request, LinkLayer::FD);
        for (len, least) in [(65_535, 0.98), (4_095, 0.95)] {
            let mut pair = Pair::of(Some(timing), LinkLayer::FD, |_| {});
            const BLOCKS: usize = 5;
            let mut payload = 0.0;
            for _ in 0..BLOCKS {
                pair.assert_transfer(len);
                // The ECU's answer to the block, as TransferData would have it.
                pair.ecu.link.send(pair.now, vec![0x76, 1]).unwrap();
                pair.run();
                assert_eq!(pair.tester.events.pop(), Some(Event::Received(vec![0x76, 1])));
                assert_eq!(pair.ecu.events.pop(), Some(Event::Sent(vec![0x76, 1])));
                payload += (len - 2) as f64;
            }
            let share = payload / pair.elapsed().as_secs_f64() / limit;
            assert!(share >= least && share <= 1.0, "{len} bytes at {timing:?}: {share}");
        }
    }
}

#[test]
fn a_message_of_several_frames_is_announced_with_its_length_and_one_of_a_single_frame_is_not() {
    let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |config| config.max_len = 1_000);
    // 62 bytes are the longest single frame.
    for (len, started) in [(62, vec![]), (63, vec![63]), (1_000, vec![1_000])] {
        pair.assert_transfer(len);
        assert_eq!(std::mem::take(&mut pair.ecu.started), started, "{len}");
    }
    pair.failures(1_001);
    assert_eq!(pair.ecu.started, []);
}

#[test]
fn both_directions_run_at_once() {
    let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |config| config.block_size = 4);
    pair.send(5_000);
    pair.ecu.link.send(pair.now, random_bytes(3_000)).unwrap();
    pair.run();
    for (end, sent, received) in [(&pair.tester, 5_000, 3_000), (&pair.ecu, 3_000, 5_000)] {
        assert_eq!(end.events.len(), 2);
        assert!(end.events.contains(&Event::Sent(random_bytes(sent))));
        assert!(end.events.contains(&Event::Received(random_bytes(received))));
    }
}

#[test]
fn a_busy_link_gives_the_message_back_and_an_empty_one_is_refused() {
    let mut link = Link::new(LinkConfig::tester(ids()));
    let now = Instant::now();
    assert_eq!(link.send(now, Vec::new()).unwrap_err().reason, SendRefusal::Empty);
    link.send(now, vec![1]).unwrap();
    let error = link.send(now, vec![2, 3]).unwrap_err();
    assert_eq!((error.reason, error.sdu), (SendRefusal::Busy, vec![2, 3]));
}

#[test]
fn buffers_go_round() {
    let mut pair = Pair::of(None, LinkLayer::FD, |_| {});
    pair.assert_transfer(5_000);
    let mut buffer = Vec::with_capacity(65_536);
    buffer.push(1);
    let address = buffer.as_ptr();
    pair.ecu.link.recycle(buffer);
    pair.send(5_000);
    pair.run();
    let Some(Event::Received(sdu)) = pair.ecu.events.pop() else { panic!("nothing received") };
    assert_eq!(sdu.as_ptr(), address);
    assert_eq!(sdu, random_bytes(5_000));
}

#[test]
fn a_reset_link_is_idle_and_stale_confirmations_do_not_confuse_it() {
    let mut lone = Lone::new(|_| {});
    lone.link.send(lone.now, random_bytes(100)).unwrap();
    assert!(lone.link.poll_transmit(lone.now).is_some());
    lone.link.reset();
    lone.link.send(lone.now, vec![7]).unwrap();
    assert!(lone.link.poll_transmit(lone.now).is_some());
    lone.link.handle_transmitted(lone.now);
    assert_eq!(lone.link.poll_event(), None);
    lone.link.handle_transmitted(lone.now);
    assert_eq!(lone.link.poll_event(), Some(Event::Sent(vec![7])));
}
