//! An ISO-TP link against a hostile peer: any frames, at any times, while it sends a message itself. It must keep its
//! promises on memory and time: no message beyond its limit, no end of frames to send, no deadline that stays past.
#![no_main]

use canfd::frame::{CanId, CanIds, FdFrame, FrameFormat};
use canfd::isotp::{Event, Link, LinkConfig};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

const MAX_LEN: usize = 5000;
/// Frames that may leave before the link must wait for somebody: a message of the longest length in frames of the
/// shortest payload, and a flow control.
const MAX_FRAMES: usize = 1000;

fuzz_target!(|script: Vec<(u16, Vec<u8>)>| {
    let (Ok(request), Ok(response)) = (CanId::standard(0x7E0), CanId::standard(0x7E8)) else { return };
    let mut config = LinkConfig::tester(CanIds { request, response });
    config.max_len = MAX_LEN;
    let mut link = Link::new(config);
    let mut now = Instant::now();
    let _busy = link.send(now, vec![0x36; 300]);
    drain(&mut link, now);
    for (milliseconds, data) in script.iter().take(256) {
        now += Duration::from_millis(u64::from(*milliseconds));
        link.handle_timeout(now);
        drain(&mut link, now);
        let cut = &data[..data.len().min(64)];
        if let Ok(frame) = FdFrame::new(response, FrameFormat::Fd { brs: true }, cut) {
            link.handle_frame(now, &frame);
            drain(&mut link, now);
        }
    }
});

fn drain(link: &mut Link, now: Instant) {
    let mut frames = 0;
    loop {
        let mut moved = false;
        while link.poll_transmit(now).is_some() {
            link.handle_transmitted(now);
            frames += 1;
            moved = true;
            assert!(frames <= MAX_FRAMES, "the link never stops sending");
        }
        while let Some(event) = link.poll_event() {
            moved = true;
            match event {
                Event::ReceptionStarted { len } => assert!(len <= MAX_LEN),
                Event::Received(message) => {
                    assert!(message.len() <= MAX_LEN);
                    link.recycle(message);
                }
                Event::Sent(_) | Event::Failed(_) => {}
            }
        }
        if !moved {
            return;
        }
    }
}
