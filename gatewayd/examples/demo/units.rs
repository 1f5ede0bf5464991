//! Quantities for people.

use std::time::Duration;

/// `512 B`, `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Decimal, as bit rates are: `181.6 kB/s`.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    if bytes_per_second < 1e6 {
        format!("{:.1} kB/s", bytes_per_second / 1e3)
    } else {
        format!("{:.1} MB/s", bytes_per_second / 1e6)
    }
}

/// `0:07`, `12:34`.
pub(crate) fn clock(span: Duration) -> String {
    format!("{}:{:02}", span.as_secs() / 60, span.as_secs() % 60)
}

/// `840 ms`, `12.3 s`.
pub(crate) fn millis(millis: u64) -> String {
    if millis < 1000 { format!("{millis} ms") } else { format!("{:.1} s", millis as f64 / 1e3) }
}

/// `45 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// What is reached of `whole`, 0 to 1; zero where there is nothing to do.
pub(crate) fn share(done: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (done as f64 / whole as f64).min(1.0) }
}

/// `[#####.....]`
pub(crate) fn bar(share: f64, width: usize) -> String {
    let full = (0..width).filter(|it| (*it as f64 + 0.5) / width as f64 <= share).count();
    format!("[{}{}]", "#".repeat(full), ".".repeat(width - full))
}
