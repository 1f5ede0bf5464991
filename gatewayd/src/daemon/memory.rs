//! What the daemon leaves to the process after it, kept up to date as it works.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::gateway::{Gateway, Wish};
use crate::systemd::{Keep, KeptWish};

/// How long a wish is kept after it came true: what it found needs a moment to be in the journal, and a look too many
/// does no harm.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// The memory, and what was written to it last.
#[derive(Debug)]
pub struct Memory {
    keep: Keep,
    wish: Option<Wish>,
    next_poll: Option<Instant>,
    fulfilled: Option<Instant>,
}

impl Memory {
    /// On what the process before left behind.
    pub fn new(keep: Keep) -> Self {
        Self { keep, wish: None, next_poll: None, fulfilled: None }
    }

    /// Processes of this service so far, this one included; 1 after a stop.
    pub fn generation(&self) -> u64 {
        self.keep.now().generation
    }

    /// Gives the brain back what the process before had promised.
    pub fn restore(&mut self, gateway: &mut Gateway, now: Instant) {
        let earlier = self.keep.earlier();
        if let Some(at) = earlier.next_poll_ms {
            let wait = Duration::from_millis(at.saturating_sub(uptime_ms()));
            gateway.resume_next_poll(now + wait);
        }
        if let Some(KeptWish { trace }) = &earlier.wish {
            let trace = trace.as_ref().and_then(|it| it.parse().ok());
            tracing::info!("a look at the Director was promised before the restart");
            gateway.resume_wish(now, Wish { trace });
        }
    }

    /// The daemon works, on this configuration.
    pub fn begin(&mut self, configuration: &str) {
        self.keep.update(|it| {
            it.running = true;
            it.configuration = Some(configuration.to_owned());
        });
    }

    /// The daemon stops because it was told to.
    pub fn end(&mut self) {
        self.keep.update(|it| it.running = false);
    }

    /// Writes down what has changed. Cheap where nothing has, so it may be called in every turn.
    pub fn note(&mut self, gateway: &Gateway, now: Instant) {
        let wish = match gateway.wish() {
            Some(wish) => {
                self.fulfilled = None;
                Some(wish)
            }
            None => self.wish.filter(|_| now < *self.fulfilled.get_or_insert(now + AFTERWARDS)),
        };
        let next_poll = Some(gateway.next_poll());
        if wish == self.wish && next_poll == self.next_poll {
            return;
        }
        (self.wish, self.next_poll) = (wish, next_poll);
        let wait = gateway.next_poll().saturating_duration_since(now);
        let at = uptime_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.keep.update(|it| {
            it.next_poll_ms = Some(at);
            it.wish = wish.map(|it| KeptWish { trace: it.trace.map(|it| it.to_string()) });
        });
    }
}

/// CLOCK_MONOTONIC, which all processes share until the next boot.
fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::try_from(now).map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}
