//! What happens when a peer, the bus or a user does not do its part.

use super::*;

fn flow_control_of_tester() -> FdFrame {
    FdFrame::new(ids().request, FrameFormat::Fd { brs: true }, &[0x30, 0, 0, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC])
        .unwrap()
}

#[test]
fn a_bus_that_confirms_nothing_ends_in_timeout_a_and_the_link_starts_afresh() {
    let mut lone = Lone::new(|config| config.timing.n_as = Duration::from_millis(30));
    lone.link.send(lone.now, random_bytes(100)).unwrap();
    assert!(lone.link.poll_transmit(lone.now).is_some());
    assert_eq!(lone.wait(), Duration::from_millis(30));
    assert_eq!(
        lone.link.poll_event(),
        Some(Event::Failed(LinkError::TimeoutA { direction: Direction::Send }))
    );
    assert_eq!((lone.link.poll_event(), lone.link.poll_timeout(), lone.link.in_flight()), (None, None, 0));
    lone.start(100);
}

#[test]
fn a_flow_control_frame_that_is_never_confirmed_ends_in_timeout_a() {
    let mut lone = Lone::new(|config| config.timing.n_ar = Duration::from_millis(30));
    let mut first = [0; 64];
    Pci::FirstFrame { len: 100 }.write(&mut first);
    lone.link.handle_frame(lone.now, &from_ecu(&first));
    assert_eq!(lone.link.poll_event(), Some(Event::ReceptionStarted { len: 100 }));
    assert!(lone.link.poll_transmit(lone.now).is_some());
    assert_eq!(lone.wait(), Duration::from_millis(30));
    assert_eq!(
        lone.link.poll_event(),
        Some(Event::Failed(LinkError::TimeoutA { direction: Direction::Receive }))
    );
    assert_eq!(lone.link.poll_timeout(), None);
}

#[test]
fn each_confirmation_gives_the_next_frame_its_full_time() {
    let mut lone = Lone::new(|config| config.timing.n_as = Duration::from_millis(30));
    lone.start(2_000);
    lone.link.handle_frame(lone.now, &flow_control(FlowStatus::ContinueToSend, 0, 0));
    assert_eq!(std::iter::from_fn(|| lone.link.poll_transmit(lone.now)).count(), 8);
    for _ in 0..7 {
        lone.now += Duration::from_millis(29);
        lone.link.handle_timeout(lone.now);
        lone.link.handle_transmitted(lone.now);
    }
    assert_eq!(lone.link.poll_event(), None);
    assert_eq!(lone.wait(), Duration::from_millis(30));
    assert!(matches!(lone.link.poll_event(), Some(Event::Failed(LinkError::TimeoutA { .. }))));
}

#[test]
fn missing_flow_control_ends_in_timeout_bs_after_the_first_frame_and_after_a_block() {
    let mut lone = Lone::new(|config| config.timing.n_bs = Duration::from_millis(70));
    lone.start(500);
    assert_eq!(lone.wait(), Duration::from_millis(70));
    assert_eq!(lone.link.poll_event(), Some(Event::Failed(LinkError::TimeoutBs)));
    lone.start(500);
    assert_eq!(lone.hear(&flow_control(FlowStatus::ContinueToSend, 3, 0)).len(), 3);
    assert_eq!(lone.wait(), Duration::from_millis(70));
    assert_eq!(lone.link.poll_event(), Some(Event::Failed(LinkError::TimeoutBs)));
    assert_eq!(lone.link.poll_timeout(), None);
}

#[test]
fn a_sender_that_stops_ends_in_timeout_cr() {
    let mut lone = Lone::new(|config| config.timing.n_cr = Duration::from_millis(90));
    let mut field = [0; 64];
    Pci::FirstFrame { len: 500 }.write(&mut field);
    assert_eq!(lone.hear(&from_ecu(&field)), [flow_control_of_tester()]);
    assert_eq!(lone.link.poll_event(), Some(Event::ReceptionStarted { len: 500 }));
    assert_eq!(lone.wait(), Duration::from_millis(90));
    assert_eq!(lone.link.poll_event(), Some(Event::Failed(LinkError::TimeoutCr)));
    assert_eq!(lone.hear(&from_ecu(&field)).len(), 1);
    assert_eq!(lone.link.poll_event(), Some(Event::ReceptionStarted { len: 500 }));
    field[0] = 0x21;
    assert_eq!(lone.hear(&from_ecu(&field)), []);
    assert_eq!(lone.wait(), Duration::from_millis(90));
    assert_eq!(lone.link.poll_event(), Some(Event::Failed(LinkError::TimeoutCr)));
}

#[test]
fn waits_up_to_the_limit_are_granted_and_one_more_is_an_overrun() {
    let wait = flow_control(FlowStatus::Wait, 0, 0);
    let mut lone = Lone::new(|config| config.wft_max = 3);
    lone.start(100);
    for _ in 0..3 {
        assert_eq!(lone.hear(&wait), []);
        lone.now += Duration::from_millis(999);
        lone.link.handle_timeout(lone.now);
    }
    assert_eq!(lone.hear(&flow_control(FlowStatus::ContinueToSend, 0, 0)).len(), 1);
    assert_eq!(lone.link.poll_event(), Some(Event::Sent(random_bytes(100))));

    lone.start(100);
    (0..4).for_each(|_| assert_eq!(lone.hear(&wait), []));
    let overrun = LinkError::WftOverrun { direction: Direction::Send, waits: 3 };
    assert_eq!(lone.link.poll_event(), Some(Event::Failed(overrun)));
}

#[test]
fn a_user_who_is_not_ready_makes_senders_wait_and_then_lets_them_go_on() {
    let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |config| config.block_size = 2);
    pair.ecu.link.set_receive_ready(pair.now, false);
    pair.send(1_000);
    pair.run_until(pair.base + Duration::from_millis(500));
    assert_eq!((pair.tester.events.len(), pair.ecu.events.len()), (0, 0));
    // First frame, and waits at 0, 200 and 400 ms.
    assert_eq!(pair.log.len(), 4);
    pair.ecu.link.set_receive_ready(pair.now, true);
    pair.run();
    assert_eq!(pair.tester.events, [Event::Sent(random_bytes(1_000))]);
    assert_eq!(pair.ecu.events, [Event::Received(random_bytes(1_000))]);
}

#[test]
fn a_user_who_is_never_ready_overruns_both_ends() {
    let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |config| config.wft_max = 2);
    pair.ecu.link.set_receive_ready(pair.now, false);
    let overrun = LinkError::WftOverrun { direction: Direction::Receive, waits: 2 };
    assert_eq!(pair.failures(1_000), [vec![LinkError::TimeoutBs], vec![overrun]]);
}

#[test]
fn the_longest_message_the_receiver_takes_arrives_and_one_byte_more_overflows_at_both_ends() {
    let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |config| config.max_len = 1_000);
    pair.assert_transfer(1_000);
    let expected = [LinkError::BufferOverflow { len: 1_001 }, LinkError::TooLong { len: 1_001, max: 1_000 }];
    assert_eq!(pair.failures(1_001), expected.map(|it| vec![it]));
    pair.assert_transfer(1_000);
}

#[test]
fn a_first_frame_that_announces_4_gib_allocates_nothing() {
    let mut lone = Lone::new(|_| {});
    let mut field = [0; 64];
    Pci::FirstFrame { len: u32::MAX }.write(&mut field);
    let reply = lone.hear(&from_ecu(&field));
    assert_eq!(reply[0].data()[0], 0x32);
    assert!(matches!(lone.link.poll_event(), Some(Event::Failed(LinkError::TooLong { .. }))));
}

#[test]
fn a_reserved_flow_status_ends_the_message() {
    let mut lone = Lone::new(|_| {});
    lone.start(100);
    assert_eq!(lone.hear(&flow_control(FlowStatus::Reserved(3), 0, 0)), []);
    assert_eq!(lone.link.poll_event(), Some(Event::Failed(LinkError::InvalidFs { value: 3 })));
}

#[test]
fn a_lost_consecutive_frame_is_a_wrong_sn_for_the_receiver_who_delivers_nothing() {
    let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |_| {});
    pair.bus.set_fault(|_, frame| if frame.data()[0] == 0x23 { Fault::Drop } else { Fault::None });
    pair.send(500);
    pair.run();
    // Without flow control in between the sender cannot know.
    assert_eq!(pair.tester.events, [Event::Sent(random_bytes(500))]);
    assert_eq!(pair.ecu.events, [Event::Failed(LinkError::WrongSn { expected: 3, received: 4 })]);
}

#[test]
fn a_lost_last_frame_ends_in_timeout_cr_and_with_blocks_the_sender_times_out_too() {
    let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |config| config.block_size = 4);
    // 500 bytes are 7 consecutive frames.
    pair.bus.set_fault(|_, frame| if frame.data()[0] == 0x24 { Fault::Drop } else { Fault::None });
    assert_eq!(pair.failures(500), [vec![LinkError::TimeoutBs], vec![LinkError::TimeoutCr]]);
}

#[test]
fn a_duplicated_consecutive_frame_is_a_wrong_sn() {
    let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |_| {});
    pair.bus.set_fault(|_, frame| if frame.data()[0] == 0x22 { Fault::Duplicate } else { Fault::None });
    pair.send(500);
    pair.run();
    assert_eq!(pair.ecu.events, [Event::Failed(LinkError::WrongSn { expected: 3, received: 2 })]);
}

#[test]
fn a_lost_flow_control_frame_ends_in_timeouts_at_both_ends() {
    let mut pair = Pair::of(Some(TIMING), LinkLayer::FD, |_| {});
    pair.bus.set_fault(|_, frame| if frame.data()[0] == 0x30 { Fault::Drop } else { Fault::None });
    assert_eq!(pair.failures(500), [vec![LinkError::TimeoutBs], vec![LinkError::TimeoutCr]]);
}

#[test]
fn a_new_message_in_the_middle_of_one_is_unexpected_and_is_received_all_the_same() {
    let mut lone = Lone::new(|_| {});
    let mut field = [0; 64];
    Pci::FirstFrame { len: 500 }.write(&mut field);
    assert_eq!(lone.hear(&from_ecu(&field)).len(), 1);
    assert_eq!(lone.hear(&from_ecu(&[2, 0x7E, 0, 0, 0, 0, 0, 0])), []);
    assert_eq!(lone.link.poll_event(), Some(Event::ReceptionStarted { len: 500 }));
    assert_eq!(lone.link.poll_event(), Some(Event::Failed(LinkError::UnexpectedPdu)));
    assert_eq!(lone.link.poll_event(), Some(Event::Received(vec![0x7E, 0])));
    assert_eq!(lone.link.poll_timeout(), None);
}

#[test]
fn frames_nobody_asked_for_change_nothing() {
    let mut lone = Lone::new(|_| {});
    let foreign = FdFrame::new(CanId::standard(0x123).unwrap(), FrameFormat::Classical, &[1, 2]).unwrap();
    let nonsense =
        [from_ecu(&[0x21; 64]), flow_control(FlowStatus::Wait, 0, 0), from_ecu(&[0xF0; 8]), foreign];
    for frame in &nonsense {
        assert_eq!(lone.hear(frame), []);
    }
    assert_eq!((lone.link.poll_event(), lone.link.poll_timeout()), (None, None));
}
