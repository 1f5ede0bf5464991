//! Whatever comes in, in whatever order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Frame(Vec<u8>),
    Transmitted,
    Timeout,
    Pass(u64),
    Send(usize),
    Ready(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    // Mostly plausible first bytes, or nearly every frame would be ignored.
    let data = (any::<u8>(), 0usize..=64, any::<[u8; 8]>()).prop_map(|(first, len, rest)| {
        let mut data: Vec<u8> = [first & 0x3F].into_iter().chain(rest).collect();
        data.resize(Dlc::at_least(len).unwrap().len(), 0x55);
        data
    });
    prop_oneof![
        4 => data.prop_map(Step::Frame),
        2 => Just(Step::Transmitted),
        1 => Just(Step::Timeout),
        1 => (0u64..3_000).prop_map(Step::Pass),
        1 => (0usize..300).prop_map(Step::Send),
        1 => any::<bool>().prop_map(Step::Ready),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_frames_panics_or_stops_the_link_from_coming_to_rest(
        steps in proptest::collection::vec(any_step(), 0..200),
    ) {
        let mut lone = Lone::new(|config| config.max_len = 10_000);
        let mut pending = 0;
        for step in steps {
            match step {
                Step::Frame(data) => lone.link.handle_frame(lone.now, &from_ecu(&data)),
                Step::Transmitted => lone.link.handle_transmitted(lone.now),
                Step::Timeout => lone.link.handle_timeout(lone.now),
                Step::Pass(millis) => lone.now += Duration::from_millis(millis),
                Step::Send(len) => pending += usize::from(lone.link.send(lone.now, vec![1; len]).is_ok()),
                Step::Ready(ready) => lone.link.set_receive_ready(lone.now, ready),
            }
            while lone.link.poll_transmit(lone.now).is_some() {}
            prop_assert!(lone.link.in_flight() <= 64);
            while let Some(event) = lone.link.poll_event() {
                match event {
                    Event::Sent(_) => pending -= 1,
                    Event::Failed(error) if error.direction() == Direction::Send => pending -= 1,
                    _ => {}
                }
            }
        }
        // Every message sent has exactly one end, and silence brings it.
        for _ in 0..100 {
            let Some(next) = lone.link.poll_timeout() else { break };
            lone.now = lone.now.max(next);
            lone.link.handle_timeout(lone.now);
            while lone.link.poll_transmit(lone.now).is_some() {}
            while let Some(event) = lone.link.poll_event() {
                pending -= usize::from(matches!(event, Event::Failed(error) if error.direction() == Direction::Send));
            }
        }
        prop_assert_eq!(lone.link.poll_timeout(), None);
        prop_assert_eq!(pending, 0);
        prop_assert!(lone.link.is_idle());
    }
}
