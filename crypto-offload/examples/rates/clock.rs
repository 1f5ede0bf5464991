//! Processor time, so that a busy machine does not count.

use rustix::time::{ClockId, clock_gettime};

/// Seconds that this thread has run.
#[allow(clippy::cast_precision_loss, reason = "a benchmark does not run for years")]
pub(crate) fn cpu_time() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
