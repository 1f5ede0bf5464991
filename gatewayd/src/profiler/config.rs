//! The `[profile]` table of the configuration.

use std::fmt::Display;
use std::time::Duration;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::config::units::{Percent, Size, Span};

/// How the gateway is profiled. Unknown keys are refused; numbers carry their unit.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether to profile at all. Defaults to `true`: the cost is bounded by `budget`.
    pub enabled: bool,
    /// Which way to sample. Defaults to `auto`.
    pub backend: BackendChoice,
    /// Time that one telemetry block covers, `1s` to `60s`. Defaults to `10s`.
    #[serde(deserialize_with = "window", serialize_with = "seconds")]
    pub window: Duration,
    /// Mean sampling interval of a normal thread, `1ms` to `60s`. Defaults to `100ms`.
    #[serde(deserialize_with = "interval", serialize_with = "seconds")]
    pub base: Duration,
    /// The same while the machine's load is above `high_load`. Defaults to `500ms`.
    #[serde(deserialize_with = "interval", serialize_with = "seconds")]
    pub loaded: Duration,
    /// Mean sampling interval of a real-time thread, whatever the load. Defaults to `20ms`.
    #[serde(deserialize_with = "interval", serialize_with = "seconds")]
    pub realtime: Duration,
    /// Share of all CPUs' time that counts as high load, `1%` to `100%`. Defaults to `70%`.
    #[serde(deserialize_with = "load")]
    pub high_load: f64,
    /// Share of one CPU that profiling may cost, `0.01%` to `10%`. Defaults to `0.5%`.
    #[serde(deserialize_with = "budget")]
    pub budget: f64,
    /// What is measured beside CPU time, by the machine's back ends only. Defaults to all.
    pub dimensions: Vec<Dimension>,
    /// Buffer of each CPU, `32KiB` to `4MiB`, rounded up to a power of two of pages. Defaults to `256KiB`.
    #[serde(deserialize_with = "ring")]
    pub ring: usize,
    /// Bytes of telemetry per second, on the mean; `0B` for any number. Defaults to `512B`. What there is no room for
    /// loses its detail, the oldest first.
    #[serde(deserialize_with = "rate")]
    pub bytes_per_second: u32,
}

/// What can be measured beside CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    /// Time asleep and time waiting for a CPU.
    Blocking,
    /// Time waiting for locks.
    Locks,
    /// Pages handed out by the kernel.
    Memory,
    /// Requests to block devices.
    BlockIo,
}

/// Which back end to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The first of the following that the kernel allows.
    #[default]
    Auto,
    /// Programs in the kernel beside a timer on each CPU: the whole machine, in all dimensions, at the least cost.
    Bpf,
    /// Perf events on each CPU: the whole machine, in all dimensions.
    Machine,
    /// Perf events on the daemon's threads: CPU time only.
    Perf,
    /// CPU times from procfs, without stacks.
    Procfs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            backend: BackendChoice::Auto,
            window: Duration::from_secs(10),
            base: Duration::from_millis(100),
            loaded: Duration::from_millis(500),
            realtime: Duration::from_millis(20),
            high_load: 0.70,
            budget: 0.005,
            dimensions: vec![Dimension::Blocking, Dimension::Locks, Dimension::Memory, Dimension::BlockIo],
            ring: 256 << 10,
            bytes_per_second: 512,
        }
    }
}

fn seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(span.as_secs_f64())
}

fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    span_within(deserializer, Duration::from_secs(1))
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    span_within(deserializer, Duration::from_millis(1))
}

fn load<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    share_within(deserializer, 0.01, 1.0)
}

fn budget<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    share_within(deserializer, 0.0001, 0.1)
}

fn ring<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let size =
        within(Size::deserialize(deserializer)?, Size(32 << 10), Size(4 << 20)).map_err(D::Error::custom)?;
    usize::try_from(size.0).map_err(D::Error::custom)
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let size = within(Size::deserialize(deserializer)?, Size(0), Size(1 << 30)).map_err(D::Error::custom)?;
    u32::try_from(size.0).map_err(D::Error::custom)
}

/// The longest of all intervals is one minute.
fn span_within<'de, D: Deserializer<'de>>(deserializer: D, least: Duration) -> Result<Duration, D::Error> {
    let most = Duration::from_secs(60);
    let span = Span::deserialize(deserializer)?;
    within(span, Span(least), Span(most)).map(Span::get).map_err(D::Error::custom)
}

fn share_within<'de, D: Deserializer<'de>>(deserializer: D, least: f64, most: f64) -> Result<f64, D::Error> {
    let share = Percent::deserialize(deserializer)?;
    within(share, Percent(least), Percent(most)).map(Percent::get).map_err(D::Error::custom)
}

fn within<T: PartialOrd + Display>(value: T, least: T, most: T) -> Result<T, String> {
    if (&least..=&most).contains(&&value) {
        return Ok(value);
    }
    Err(format!("{value} is out of range, {least} to {most} allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default() {
        assert_eq!(toml::from_str::<Config>("").unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_read_with_its_unit() {
        let text = "enabled = false\nbackend = 'procfs'\nwindow = '2s'\nbase = '50ms'\nloaded = '1s'\n\
                    realtime = '5000us'\nhigh_load = '80%'\nbudget = '0.25%'\ndimensions = ['block-io']\nring = '64KiB'\n\
                    bytes_per_second = '0B'";
        let expected = Config {
            enabled: false,
            backend: BackendChoice::Procfs,
            window: Duration::from_secs(2),
            base: Duration::from_millis(50),
            loaded: Duration::from_secs(1),
            realtime: Duration::from_millis(5),
            high_load: 0.8,
            budget: 0.0025,
            dimensions: vec![Dimension::BlockIo],
            ring: 64 << 10,
            bytes_per_second: 0,
        };
        assert_eq!(toml::from_str::<Config>(text).unwrap(), expected);
    }

    #[test]
    fn limits_are_taken_and_one_past_them_is_refused() {
        for (good, bad) in [
            ("window = '60s'", "window = '61s'"),
            ("window = '1s'", "window = '999ms'"),
            ("realtime = '1ms'", "realtime = '999us'"),
            ("budget = '10%'", "budget = '10.01%'"),
            ("high_load = '100%'", "high_load = '101%'"),
            ("ring = '32KiB'", "ring = '31KiB'"),
            ("ring = '4MiB'", "ring = '5MiB'"),
            ("bytes_per_second = '1GiB'", "bytes_per_second = '2GiB'"),
        ] {
            assert!(toml::from_str::<Config>(good).is_ok(), "{good}");
            let error = toml::from_str::<Config>(bad).unwrap_err().to_string();
            assert!(error.contains("out of range"), "{error}");
        }
    }

    #[test]
    fn what_has_no_unit_or_no_place_is_refused() {
        for bad in [
            "window = 10",
            "window = '10'",
            "base = '1 week'",
            "budget = '1'",
            "budget = 'NaN%'",
            "rate = '1s'",
        ] {
            assert!(toml::from_str::<Config>(bad).is_err(), "{bad}");
        }
    }
}
