//! The metrics that go with each window: what the process and the machine looked like at its end.

use std::fs;
use std::time::Duration;

use sysinfo::{CpuRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

use super::procfs::parse_pressure;

/// Pressure files (`/proc/pressure`) and the names of their metrics.
const PRESSURES: [(&str, &str); 3] = [
    ("/proc/pressure/cpu", "pressure_cpu_avg10_ppm"),
    ("/proc/pressure/memory", "pressure_memory_avg10_ppm"),
    ("/proc/pressure/io", "pressure_io_avg10_ppm"),
];

/// Reads the metrics of one process and of the machine.
#[derive(Debug)]
pub(super) struct MetricsReader {
    pid: Pid,
    system: System,
}

impl MetricsReader {
    pub(super) fn new(pid: u32) -> Self {
        let kind = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing().with_cpu_usage());
        Self { pid: Pid::from_u32(pid), system: System::new_with_specifics(kind) }
    }

    /// Share of all CPUs' time that was busy since the last call, 0 to 1. Calls closer than 200 ms repeat the last
    /// answer.
    pub(super) fn load(&mut self) -> f64 {
        self.system.refresh_cpu_usage();
        f64::from(self.system.global_cpu_usage()) / 100.0
    }

    /// One row of metrics. What the kernel does not offer is left out.
    pub(super) fn row(&mut self, load: f64) -> Vec<(&'static str, i64)> {
        let mut row = vec![("system_cpu_ppm", ppm(load))];
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), true, kind);
        if let Some(process) = self.system.process(self.pid) {
            // Per cent of one CPU.
            row.push(("process_cpu_ppm", ppm(f64::from(process.cpu_usage()) / 100.0)));
            row.push(("process_rss_bytes", i64::try_from(process.memory()).unwrap_or(i64::MAX)));
        }
        row.push(("load1_ppm", ppm(System::load_average().one)));
        for (file, name) in PRESSURES {
            if let Some(value) = fs::read_to_string(file).ok().as_deref().and_then(parse_pressure) {
                row.push((name, value));
            }
        }
        row
    }
}

/// Parts per million of a share or a ratio.
#[allow(clippy::cast_possible_truncation, reason = "the value is clamped far inside the range of i64")]
pub(super) fn ppm(ratio: f64) -> i64 {
    (ratio * 1e6).round().clamp(-1e15, 1e15) as i64
}

/// Microseconds of a duration.
pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
