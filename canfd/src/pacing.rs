//! Shares of a bus, counted in bit time: what programming and telemetry may take so that control traffic gets through.

use std::time::{Duration, Instant};

/// What a frame is for. Later classes yield to earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficClass {
    /// Sessions, flow control, tester present.
    Control,
    /// The data of an update.
    Programming,
    /// Fragments of telemetry blocks.
    Telemetry,
}

/// A share of a bus in permille, 0 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    /// The whole bus: its bit rate is bound enough, and a class with it needs no tokens.
    pub const WHOLE: Self = Self(1000);

    /// A share in permille, or `None` above 1000.
    pub const fn permille(permille: u16) -> Option<Self> {
        if permille <= 1000 { Some(Self(permille)) } else { None }
    }

    /// In permille.
    pub const fn as_permille(self) -> u16 {
        self.0
    }
}

/// The share of each class and how much of it may be saved up.
#[derive(Clone, Copy, Debug)]
pub struct PacingConfig {
    /// Of [`TrafficClass::Control`].
    pub control: Share,
    /// Of [`TrafficClass::Programming`].
    pub programming: Share,
    /// Of [`TrafficClass::Telemetry`].
    pub telemetry: Share,
    /// Bus time a class may have saved up: the longest burst.
    pub burst: Duration,
}

impl Default for PacingConfig {
    /// A vehicle at a standstill: nothing holds programming back, telemetry has 5 %. Bursts of 5 ms.
    fn default() -> Self {
        let burst = Duration::from_millis(5);
        Self { control: Share::WHOLE, programming: Share::WHOLE, telemetry: Share(50), burst }
    }
}

/// Token buckets of one bus, one per class. A token is a nanosecond of bus time.
///
/// Ask before a frame is queued, with its duration on the wire; what is granted is spent.
#[derive(Clone, Debug)]
pub struct Pacer {
    buckets: [Bucket; 3],
}

#[derive(Clone, Debug)]
struct Bucket {
    share: Share,
    capacity: u128,
    /// Tokens in thousandths of a nanosecond, so that no fraction of a share is ever lost.
    tokens: u128,
    filled_at: Instant,
}

impl Pacer {
    /// Full buckets at `now`.
    pub fn new(now: Instant, config: &PacingConfig) -> Self {
        let capacity = config.burst.as_nanos() * 1000;
        let bucket = |share| Bucket { share, capacity, tokens: capacity, filled_at: now };
        Self { buckets: [config.control, config.programming, config.telemetry].map(bucket) }
    }

    /// Changes the share of a class from `now` on; what it has saved up stays.
    pub fn set_share(&mut self, now: Instant, class: TrafficClass, share: Share) {
        let bucket = self.bucket(class);
        bucket.fill(now);
        bucket.share = share;
    }

    /// Takes the tokens for a frame that holds the bus for `duration`.
    ///
    /// # Errors
    /// [`NotYet`] says when to ask again. A frame longer than the burst takes a full bucket, whole.
    pub fn handle_request(
        &mut self,
        now: Instant,
        class: TrafficClass,
        duration: Duration,
    ) -> Result<(), NotYet> {
        let bucket = self.bucket(class);
        bucket.fill(now);
        if bucket.share == Share::WHOLE {
            return Ok(());
        }
        let cost = duration.as_nanos() * 1000;
        let needed = cost.min(bucket.capacity);
        if bucket.tokens >= needed {
            bucket.tokens -= needed;
            return Ok(());
        }
        let missing = needed - bucket.tokens;
        let wait = missing.checked_div(u128::from(bucket.share.0)).map(|whole| {
            let nanos = whole + u128::from(!missing.is_multiple_of(u128::from(bucket.share.0)));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        Err(NotYet { until: wait.and_then(|wait| now.checked_add(wait)) })
    }

    fn bucket(&mut self, class: TrafficClass) -> &mut Bucket {
        let [control, programming, telemetry] = &mut self.buckets;
        match class {
            TrafficClass::Control => control,
            TrafficClass::Programming => programming,
            TrafficClass::Telemetry => telemetry,
        }
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_nanos();
        self.tokens = self.capacity.min(self.tokens + elapsed * u128::from(self.share.0));
        self.filled_at = self.filled_at.max(now);
    }
}

/// The class has used up its share for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the traffic class has used up its share of the bus")]
pub struct NotYet {
    /// When there is enough again; `None` with a share of zero.
    pub until: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_micros(347);

    fn pacer(telemetry: u16) -> (Pacer, Instant) {
        let base = Instant::now();
        let telemetry = Share::permille(telemetry).unwrap();
        let config = PacingConfig { telemetry, burst: Duration::from_millis(1), ..PacingConfig::default() };
        (Pacer::new(base, &config), base)
    }

    #[test]
    fn over_a_second_a_class_gets_its_share_and_one_burst() {
        let (mut pacer, base) = pacer(50);
        let (mut now, mut granted) = (base, Duration::ZERO);
        while now < base + Duration::from_secs(1) {
            match pacer.handle_request(now, TrafficClass::Telemetry, FRAME) {
                Ok(()) => granted += FRAME,
                Err(NotYet { until }) => now = until.unwrap(),
            }
        }
        let most = Duration::from_millis(51);
        assert!(granted <= most && granted > most - FRAME * 2, "{granted:?}");
    }

    #[test]
    fn the_time_told_is_the_first_that_suffices() {
        let (mut pacer, base) = pacer(50);
        while pacer.handle_request(base, TrafficClass::Telemetry, FRAME).is_ok() {}
        let until = pacer.handle_request(base, TrafficClass::Telemetry, FRAME).unwrap_err().until.unwrap();
        let early = until - Duration::from_nanos(1);
        assert_eq!(
            pacer.handle_request(early, TrafficClass::Telemetry, FRAME),
            Err(NotYet { until: Some(until) })
        );
        assert_eq!(pacer.handle_request(until, TrafficClass::Telemetry, FRAME), Ok(()));
    }

    #[test]
    fn classes_do_not_take_from_each_other() {
        let (mut pacer, base) = pacer(50);
        while pacer.handle_request(base, TrafficClass::Telemetry, FRAME).is_ok() {}
        assert_eq!(pacer.handle_request(base, TrafficClass::Programming, FRAME), Ok(()));
    }

    #[test]
    fn the_whole_bus_is_never_refused_and_what_was_sent_then_is_not_held_against_a_smaller_share() {
        let (mut pacer, base) = pacer(999);
        let many = |pacer: &mut Pacer, class| {
            (0..100).take_while(|_| pacer.handle_request(base, class, FRAME).is_ok()).count()
        };
        assert_eq!(many(&mut pacer, TrafficClass::Programming), 100);
        assert_eq!(many(&mut pacer, TrafficClass::Telemetry), 2, "what a burst has room for");
        pacer.set_share(base, TrafficClass::Programming, Share::permille(999).unwrap());
        assert_eq!(many(&mut pacer, TrafficClass::Programming), 2);
    }

    #[test]
    fn no_share_is_told_as_never_once_the_burst_is_spent_and_1001_permille_is_no_share() {
        let (mut pacer, base) = pacer(0);
        while pacer.handle_request(base, TrafficClass::Telemetry, FRAME).is_ok() {}
        let later = base + Duration::from_secs(3600);
        assert_eq!(pacer.handle_request(later, TrafficClass::Telemetry, FRAME), Err(NotYet { until: None }));
        assert_eq!(Share::permille(1001), None);
    }

    #[test]
    fn a_frame_longer_than_the_burst_passes_a_full_bucket() {
        let (mut pacer, base) = pacer(50);
        let long = Duration::from_millis(3);
        assert_eq!(pacer.handle_request(base, TrafficClass::Telemetry, long), Ok(()));
        assert!(pacer.handle_request(base, TrafficClass::Telemetry, FRAME).is_err());
    }
}
