//! A programmer and a simulated ECU on simulated time, joined without a bus.

use super::SimEcu;
use canfd::uds::programming::{Event, Programmer};
use std::time::{Duration, Instant};

/// Rounds without any event of time after which two cores are taken to talk in circles.
const MAX_ROUNDS_AT_ONE_INSTANT: usize = 10_000;

/// How far a drive came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The programmer said its last word
    Ended(Event),
    /// The observer stopped it
    Stopped,
    /// Nothing is due, or not before the limit: the programmer waits for its caller
    Waiting,
}

/// Runs both until the programmer ends, `observe` returns false or `limit` has passed, handing in `image` as it is
/// asked for. `now` moves from one due instant to the next. PDUs take no time.
pub fn drive(
    now: &mut Instant,
    programmer: &mut Programmer,
    ecu: &mut SimEcu,
    image: &[u8],
    limit: Duration,
    mut observe: impl FnMut(&Event, &mut SimEcu) -> bool,
) -> Progress {
    let end = *now + limit;
    loop {
        for _ in 0..MAX_ROUNDS_AT_ONE_INSTANT {
            let mut moved = false;
            while let Some(event) = programmer.poll_event() {
                moved = true;
                if !observe(&event, ecu) {
                    return Progress::Stopped;
                }
                match event {
                    Event::NeedData { offset, max_len } => supply(*now, programmer, image, offset, max_len),
                    Event::Finished { .. } | Event::Failed(_) => return Progress::Ended(event),
                    _ => {}
                }
            }
            while let Some(request) = programmer.poll_request() {
                moved = true;
                programmer.handle_sent(*now);
                ecu.handle_request(*now, request.functional, &request.pdu);
            }
            while let Some(response) = ecu.poll_response() {
                moved = true;
                programmer.handle_response(*now, &response);
            }
            if !moved {
                break;
            }
        }
        let due = programmer.poll_timeout().into_iter().chain(ecu.poll_timeout()).min();
        let Some(due) = due.filter(|due| *due <= end) else { return Progress::Waiting };
        *now = due.max(*now);
        ecu.handle_timeout(*now);
        programmer.handle_timeout(*now);
    }
}

fn supply(now: Instant, programmer: &mut Programmer, image: &[u8], offset: u64, max_len: u32) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let len = usize::try_from(max_len).unwrap_or(usize::MAX);
    if let Some(data) = image.get(start..).and_then(|rest| rest.get(..len)) {
        // Data for a place that the programmer has left since is not wanted any more.
        let _stale = programmer.handle_data(now, offset, data);
    }
}
