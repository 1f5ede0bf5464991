//! What is followed over time: ECUs, buses, telemetry.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gateway_cloud::subscribe::ReceivedWindow;
use gateway_sim::bus::HubStatistics;

use crate::units::share;

/// How long the rate of a transfer looks back.
const RATE_SPAN: Duration = Duration::from_secs(3);

/// One ECU over time.
#[derive(Debug, Default)]
pub(crate) struct EcuTrack {
    pub(crate) stage: String,
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// When, and how far.
    pub(crate) recent: VecDeque<(Instant, u64)>,
    /// Bytes and time of transfer that were watched.
    transferred: (u64, Duration),
}

/// How long one stage took.
#[derive(Debug, Default)]
pub(crate) struct StageTime {
    /// Of all spans that ended.
    pub(crate) millis: u64,
    pub(crate) failed: bool,
    pub(crate) begun: u32,
    pub(crate) ended: u32,
}

impl StageTime {
    /// Whether a span was cut off by the daemon's death, so that nobody knows how long it had taken.
    pub(crate) const fn is_cut(&self) -> bool {
        self.begun > self.ended
    }
}

/// One bus over time.
#[derive(Debug, Default)]
pub(crate) struct BusTrack {
    pub(crate) now: HubStatistics,
    /// Busy share of the last full second.
    pub(crate) load: f64,
    pub(crate) peak: f64,
    second: Option<HubStatistics>,
}

/// What arrived.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    pub(crate) windows: u64,
    pub(crate) samples: u64,
    pub(crate) metrics: u64,
    pub(crate) missed: u64,
    /// Before compression.
    pub(crate) plain_bytes: u64,
    /// On the air.
    pub(crate) bytes: u64,
}

impl EcuTrack {
    /// What of the stage is done, 0 to 1. A finished ECU has nothing left to do, even where its bytes went before the
    /// daemon's last start.
    pub(crate) fn share(&self) -> f64 {
        if self.stage == "DONE" { 1.0 } else { share(self.done, self.total) }
    }

    /// Bytes per second over the last seconds, where the stage moves bytes.
    pub(crate) fn rate(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.recent.front()?, self.recent.back()?);
        let span = to.saturating_duration_since(*from).as_secs_f64();
        (span > 0.3 && last > first).then(|| (last - first) as f64 / span)
    }

    /// Bytes per second of the whole transfer, pauses between starts left out; zero where none was watched.
    pub(crate) fn throughput(&self) -> f64 {
        let (bytes, span) = self.transferred;
        if span.is_zero() { 0.0 } else { bytes as f64 / span.as_secs_f64() }
    }

    /// Says whether anything moved.
    pub(crate) fn update(&mut self, now: Instant, stage: &str, done: u64, total: u64) -> bool {
        let same_stage = self.stage == stage;
        let moved = !same_stage || self.done != done;
        if !same_stage || done < self.done {
            self.recent.clear();
        }
        // Erasing and the checks at the end move no bytes; they have their own line in the summary.
        if stage == "TRANSFER"
            && done > self.done
            && let Some((at, before)) = self.recent.back()
            && *before > 0
        {
            self.transferred.0 += done - before;
            self.transferred.1 += now.saturating_duration_since(*at);
        }
        if moved || stage != "TRANSFER" || done == 0 {
            self.recent.push_back((now, done));
        }
        while self.recent.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > RATE_SPAN) {
            self.recent.pop_front();
        }
        stage.clone_into(&mut self.stage);
        (self.done, self.total) = (done, total);
        moved
    }
}

impl BusTrack {
    pub(crate) fn update(&mut self, now: HubStatistics) {
        self.now = now;
        let before = *self.second.get_or_insert(now);
        let span = now.uptime.saturating_sub(before.uptime);
        if span >= Duration::from_secs(1) {
            let busy = now.bus.busy.saturating_sub(before.bus.busy);
            self.load = (busy.as_secs_f64() / span.as_secs_f64()).min(1.0);
            self.peak = self.peak.max(self.load);
            self.second = Some(now);
        }
    }
}

impl Telemetry {
    pub(crate) fn take(&mut self, received: &ReceivedWindow) {
        self.windows += 1;
        self.missed += received.missed;
        self.samples += received.window.samples().len() as u64;
        self.metrics += received.window.metrics().series().len() as u64;
        self.plain_bytes += received.header.plain_len as u64;
    }
}
