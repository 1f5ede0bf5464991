//! What the subscriber wrote about profiles, metrics and block input and output, read back for a page.

mod heat;
mod lines;
mod profile;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

pub(crate) use heat::{Heat, HeatKey, Histogram};
pub(crate) use lines::{Line, LineKey};
pub(crate) use profile::{Profiles, Tree};

use crate::fsio::FileError;

/// Bytes read from each file, and of each line; what lies behind is left out, and said so on the page.
const MAX_FILE: u64 = 256 << 20;
const MAX_LINE: u64 = 4 << 20;

/// Everything that the page shows beside the campaigns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Telemetry {
    pub(crate) profiles: Profiles,
    pub(crate) heat: BTreeMap<HeatKey, Heat>,
    pub(crate) lines: BTreeMap<LineKey, Line>,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
    /// Files that were longer than what is read.
    pub(crate) cut: Vec<&'static str>,
}

#[derive(Deserialize)]
struct MetricLine {
    vin: String,
    stream: String,
    at_ms: u64,
    name: String,
    value: i64,
}

impl Telemetry {
    /// Reads `profiles.jsonl`, `io.jsonl` and `metrics.jsonl` where they are; of one vehicle only where one is named.
    pub(crate) fn read(dir: &Path, vehicle: Option<&str>) -> Result<Self, FileError> {
        let mut telemetry = Self::default();
        let wanted = |vin: &str| vehicle.is_none_or(|it| it == vin);
        let mut windows = Vec::new();
        telemetry.each_line(dir, "profiles.jsonl", |line| {
            let window: profile::WindowLine = serde_json::from_slice(line)?;
            if wanted(&window.vin) {
                windows.push(window);
            }
            Ok(())
        })?;
        telemetry.profiles = Profiles::new(windows);
        let mut histograms = Vec::new();
        telemetry.each_line(dir, "io.jsonl", |line| {
            let histogram: Histogram = serde_json::from_slice(line)?;
            if wanted(&histogram.vin) {
                histograms.push(histogram);
            }
            Ok(())
        })?;
        telemetry.heat = heat::heat(&histograms);
        let mut lines: BTreeMap<LineKey, Line> = BTreeMap::new();
        telemetry.each_line(dir, "metrics.jsonl", |line| {
            let MetricLine { vin, stream, at_ms, name, value } = serde_json::from_slice(line)?;
            let key = LineKey { name, vin, stream };
            if wanted(&key.vin) && (lines.len() < lines::MAX_LINES || lines.contains_key(&key)) {
                lines.entry(key).or_default().push(at_ms, value);
            }
            Ok(())
        })?;
        telemetry.lines = lines;
        Ok(telemetry)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.profiles.trees.is_empty() && self.heat.is_empty() && self.lines.is_empty()
    }

    fn each_line(
        &mut self,
        dir: &Path,
        name: &'static str,
        mut take: impl FnMut(&[u8]) -> Result<(), serde_json::Error>,
    ) -> Result<(), FileError> {
        let path = dir.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(FileError::new("read", &path))?,
        };
        let mut reader = BufReader::new(file);
        let (mut total, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line);
            let read = read.map_err(FileError::new("read", &path))? as u64;
            total += read;
            if read == 0 {
                return Ok(());
            }
            if total > MAX_FILE {
                self.cut.push(name);
                return Ok(());
            }
            if take(&line).is_err() {
                self.unreadable += 1;
            }
        }
    }
}
