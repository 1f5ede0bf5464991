//! One self-contained HTML page: campaigns as waterfalls, profiles as flame graphs, block input and output as heat maps,
//! metrics as lines. Nothing is loaded from elsewhere; the one script is its own, and without it all but the flame graphs
//! is there. Light and dark, fit for print.

mod flame;
mod format;
mod html;
mod page;
mod spans;
mod style;
mod style_telemetry;
mod summary;
mod telemetry;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use ota::stage::StageEvent;

pub use page::render;
pub use summary::{BusSummary, EcuSummary, StageSpan, Summary, Totals, Verdict};

use crate::fsio::{self, Access, FileError};
use telemetry::Telemetry;

/// Events that one page shows at most; the earliest ones are taken.
const MAX_EVENTS: usize = 100_000;

/// Longest line of `events.jsonl` that is read, and longest `profile.folded`, in bytes.
const MAX_LINE: u64 = 64 * 1024;
const MAX_PROFILE: u64 = 64 << 20;

/// Longest `summary.json`, in bytes.
const MAX_SUMMARY: u64 = 16 << 20;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file is missing or unreadable.
    #[error("{0} (a report is made from the directory that `subscribe`, a demo or a campaign run wrote)")]
    File(#[from] FileError),
    /// `summary.json` is not one.
    #[error("{}: {source}", path.display())]
    Summary {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
}

/// What a page is made from.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// The outcome.
    pub summary: Summary,
    /// What the vehicle said on the way; may be empty.
    pub events: Vec<StageEvent>,
    /// Lines of `events.jsonl` that could not be read.
    pub unreadable_events: u64,
    /// CPU samples as folded stacks: frames from the outside in, separated by `;`, a space, nanoseconds. May be empty.
    pub folded: String,
    /// Profiles, metrics, block input and output; may be empty.
    telemetry: Telemetry,
}

/// Reads what a campaign's run (`summary.json`) and a subscriber ([`Output`](crate::subscribe::Output)) left in `dir`, of
/// one vehicle only where one is named; writes `report.html` beside it and returns its path.
///
/// # Errors
/// [`ReportError`] names the file.
pub fn write(dir: &Path, vehicle: Option<&str>) -> Result<PathBuf, ReportError> {
    let page = render(&read(dir, vehicle)?);
    let path = dir.join("report.html");
    fsio::write_atomically(&path, page.as_bytes(), Access::Public)?;
    Ok(path)
}

/// Reads what [`write()`] needs.
///
/// # Errors
/// [`ReportError`] names the file; also when none of the files is there.
pub fn read(dir: &Path, vehicle: Option<&str>) -> Result<Material, ReportError> {
    let path = dir.join("summary.json");
    let text = read_text(&path, MAX_SUMMARY)?;
    let (mut events, unreadable_events) = read_events(&dir.join("events.jsonl"))?;
    events.retain(|it| vehicle.is_none_or(|vehicle| it.vin.as_str() == vehicle));
    let telemetry = Telemetry::read(dir, vehicle)?;
    let summary = match text {
        Some(text) => serde_json::from_str(&text).map_err(|source| ReportError::Summary { path, source })?,
        None if events.is_empty() && telemetry.is_empty() => {
            return Err(FileError::new("read", &path)(io::ErrorKind::NotFound.into()).into());
        }
        None => Summary::default(),
    };
    let folded = read_text(&dir.join("profile.folded"), MAX_PROFILE)?.unwrap_or_default();
    Ok(Material { summary, events, unreadable_events, folded, telemetry })
}

fn read_text(path: &Path, limit: u64) -> Result<Option<String>, FileError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(FileError::new("read", path))?,
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(FileError::new("read", path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn read_events(path: &Path) -> Result<(Vec<StageEvent>, u64), FileError> {
    let mut reader = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        file => BufReader::new(file.map_err(FileError::new("read", path))?),
    };
    let (mut events, mut unreadable, mut line) = (Vec::new(), 0, Vec::new());
    while events.len() < MAX_EVENTS {
        line.clear();
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(FileError::new("read", path))? == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(event) => events.push(event),
            Err(_) => unreadable += 1,
        }
    }
    Ok((events, unreadable))
}
