//! A programming sequence against a hostile ECU: any answers at any times, and it still ends, once, in bounded time,
//! with a bounded number of requests. The first byte of the input chooses the dialect.
#![no_main]

use canfd::uds::message::DataIdentifier;
use canfd::uds::profile::{Profile, Resume};
use canfd::uds::programming::{Event, Plan, Programmer};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use std::time::{Duration, Instant};

const IMAGE: [u8; 300] = [0x5A; 300];
/// Requests between two events of time.
const MAX_REQUESTS: usize = 1_000;
/// Events of time after the last answer.
const MAX_WAITS: usize = 100_000;

fuzz_target!(|input: (bool, Vec<(u16, bool, Vec<u8>)>)| {
    let (resumes, script) = input;
    let resume = if resumes { Resume::ReportedOffset { did: DataIdentifier(0xFD01) } } else { Resume::None };
    let profile = Profile { checksum: None, resume, ..Profile::default() };
    let plan = Plan { image_len: IMAGE.len() as u64, version: b"2".to_vec(), ..Plan::default() };
    let mut now = Instant::now();
    let Ok(mut programmer) = Programmer::new(now, Arc::new(profile), plan) else { return };
    programmer.begin_transfer(now);
    programmer.activate(now);
    let mut ends = drain(&mut programmer, now);
    for (milliseconds, started, pdu) in script.iter().take(256) {
        now += Duration::from_millis(u64::from(*milliseconds));
        programmer.handle_timeout(now);
        ends += drain(&mut programmer, now);
        if *started {
            programmer.handle_response_started(now);
        }
        programmer.handle_response(now, pdu);
        ends += drain(&mut programmer, now);
    }
    for _ in 0..MAX_WAITS {
        let Some(timeout) = programmer.poll_timeout().filter(|_| ends == 0) else { break };
        programmer.handle_timeout(timeout);
        ends += drain(&mut programmer, timeout);
    }
    assert_eq!(ends, 1, "it ends once");
});

/// Does as the programmer wishes; how many last events there were.
fn drain(programmer: &mut Programmer, now: Instant) -> usize {
    let (mut ends, mut requests) = (0, 0);
    loop {
        let mut moved = false;
        while programmer.poll_request().is_some() {
            programmer.handle_sent(now);
            moved = true;
            requests += 1;
            assert!(requests <= MAX_REQUESTS, "it never stops asking");
        }
        while let Some(event) = programmer.poll_event() {
            moved = true;
            match event {
                Event::NeedData { offset, max_len } => {
                    let start = usize::try_from(offset).expect("an offset inside the image");
                    let data = &IMAGE[start..][..max_len as usize];
                    programmer.handle_data(now, offset, data).expect("what it asked for");
                }
                Event::Finished { .. } | Event::Failed(_) => ends += 1,
                _ => {}
            }
        }
        if !moved {
            return ends;
        }
    }
}
