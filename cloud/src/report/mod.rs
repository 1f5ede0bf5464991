//! One self-contained HTML page about one campaign: no script, nothing loaded from elsewhere, light and dark, fit for
//! print.

mod flame;
mod format;
mod html;
mod page;
mod spans;
mod style;
mod summary;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use ota::stage::StageEvent;

pub use page::render;
pub use summary::{BusSummary, EcuSummary, StageSpan, Summary, Totals, Verdict};

use crate::fsio::{self, Access, FileError};

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
    #[error("{0} (a report is made from the directory that a demo or a campaign run wrote)")]
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
}

/// Reads `summary.json` and, where they are, `events.jsonl` and `profile.folded` from `dir`; writes `report.html`
/// beside them and returns its path.
///
/// # Errors
/// [`ReportError`] names the file.
pub fn write(dir: &Path) -> Result<PathBuf, ReportError> {
    let page = render(&read(dir)?);
    let path = dir.join("report.html");
    fsio::write_atomically(&path, page.as_bytes(), Access::Public)?;
    Ok(path)
}

/// Reads what [`write()`] needs.
///
/// # Errors
/// [`ReportError`] names the file.
pub fn read(dir: &Path) -> Result<Material, ReportError> {
    let path = dir.join("summary.json");
    let text = read_text(&path, MAX_SUMMARY)?
        .ok_or_else(|| FileError::new("read", &path)(io::ErrorKind::NotFound.into()))?;
    let summary = serde_json::from_str(&text).map_err(|source| ReportError::Summary { path, source })?;
    let (events, unreadable_events) = read_events(&dir.join("events.jsonl"))?;
    let folded = read_text(&dir.join("profile.folded"), MAX_PROFILE)?.unwrap_or_default();
    Ok(Material { summary, events, unreadable_events, folded })
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
