//! A DoIP client against a hostile entity: whatever it says and whenever, each message taken comes to one end, the
//! connection ends at most once, and nothing follows.
#![no_main]

use canfd::doip::LogicalAddress;
use canfd::doip::client::{Client, ClientConfig, Event};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

/// Events of time after the last byte: the general inactivity comes long before.
const MAX_WAITS: usize = 1_000;

struct Bench {
    client: Client,
    pending: usize,
    closed: bool,
}

impl Bench {
    fn drain(&mut self, now: Instant) {
        while self.client.poll_transmit(now).is_some() {}
        while let Some(event) = self.client.poll_event() {
            assert!(!self.closed, "{event:?} after the end");
            match event {
                Event::Acknowledged { .. } | Event::Refused { .. } | Event::Unacknowledged { .. } => {
                    self.pending = self.pending.checked_sub(1).expect("one end for each message");
                }
                Event::Closed(_) => {
                    self.closed = true;
                    self.pending = 0;
                }
                Event::Activated { .. } | Event::ConfirmationRequired | Event::Received { .. } => {}
            }
        }
        assert_eq!(self.closed, self.client.poll_timeout().is_none() && self.pending == 0);
    }
}

fuzz_target!(|script: Vec<(u16, Option<u16>, Vec<u8>)>| {
    let mut now = Instant::now();
    let client = Client::new(now, ClientConfig::new(LogicalAddress(0x0E80)));
    let mut bench = Bench { client, pending: 0, closed: false };
    bench.drain(now);
    for (milliseconds, target, bytes) in script.iter().take(256) {
        now += Duration::from_millis(u64::from(*milliseconds));
        bench.client.handle_timeout(now);
        bench.drain(now);
        if let Some(target) = target
            && bench.client.request(LogicalAddress(*target), vec![0x3E, 0x00]).is_ok()
        {
            bench.pending += 1;
            bench.drain(now);
        }
        bench.client.handle_bytes(now, bytes);
        bench.drain(now);
    }
    for _ in 0..MAX_WAITS {
        let Some(timeout) = bench.client.poll_timeout() else { break };
        bench.client.handle_timeout(timeout);
        bench.drain(timeout);
    }
    assert!(bench.closed, "an unused connection ends");
});
