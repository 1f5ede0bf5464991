//! A UDS client against a hostile ECU: any answers at any times end its request in exactly one event.
#![no_main]

use canfd::uds::client::{Client, ClientTimings};
use canfd::uds::message::{DataIdentifier, Request};
use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};

/// Events of time after the last answer: the end of all patience comes long before.
const MAX_WAITS: usize = 1_000;

fuzz_target!(|script: Vec<(u16, bool, Vec<u8>)>| {
    let mut now = Instant::now();
    let mut client = Client::new(ClientTimings::default());
    let _taken = client.request(now, Request::read_data(DataIdentifier(0xF195)));
    let mut events = drain(&mut client, now);
    for (milliseconds, started, pdu) in script.iter().take(256) {
        now += Duration::from_millis(u64::from(*milliseconds));
        client.handle_timeout(now);
        events += drain(&mut client, now);
        if *started {
            client.handle_response_started(now);
        }
        client.handle_response(now, pdu);
        events += drain(&mut client, now);
    }
    for _ in 0..MAX_WAITS {
        let Some(timeout) = client.poll_timeout().filter(|_| events == 0) else { break };
        client.handle_timeout(timeout);
        events += drain(&mut client, timeout);
    }
    assert_eq!(events, 1, "one request, one event");
});

fn drain(client: &mut Client, now: Instant) -> usize {
    while client.poll_request().is_some() {
        client.handle_sent(now);
    }
    std::iter::from_fn(|| client.poll_event()).count()
}
