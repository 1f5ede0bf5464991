//! Messages as files that other programs read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use telemetry::{Frame, Window};

use super::{Message, ReceivedWindow};
use crate::fsio::{self, Access, FileError};

/// Distinct stacks kept; the time of any others goes to one line, `[other]`.
const MAX_STACKS: usize = 100_000;

/// Distinct metrics (vehicle, stream, name) kept for the Prometheus file.
const MAX_METRICS: usize = 100_000;

/// Writes below one directory:
///
/// * `events.jsonl`: stage events, one per line, as they came;
/// * `profile.folded`: `vehicle;thread;outermost;...;innermost nanoseconds`, summed over all windows;
/// * `metrics.jsonl`: `{vin, stream, at_ms, name, value}` per value; `metrics.prom`: the last value of each metric;
/// * `vehicles.jsonl`: presence, alerts, gaps and refused messages.
#[derive(Debug)]
pub struct Output {
    dir: PathBuf,
    events: Lines,
    metrics: Lines,
    vehicles: Lines,
    stacks: BTreeMap<String, u64>,
    latest: BTreeMap<(String, String, String), i64>,
}

#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    /// Opens the directory; lines are added to files that exist, sums begin anew.
    ///
    /// # Errors
    /// What the system says, with the file's name.
    pub fn open(dir: &Path) -> Result<Self, FileError> {
        fsio::create_dir(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            events: Lines::open(dir.join("events.jsonl"))?,
            metrics: Lines::open(dir.join("metrics.jsonl"))?,
            vehicles: Lines::open(dir.join("vehicles.jsonl"))?,
            stacks: BTreeMap::new(),
            latest: BTreeMap::new(),
        })
    }

    /// Takes one message.
    ///
    /// # Errors
    /// What the system says, with the file's name.
    pub fn write(&mut self, message: &Message) -> Result<(), FileError> {
        match message {
            Message::Event(event) => self.events.write(event),
            Message::Window(received) => self.write_window(received),
            Message::Presence { vin, payload } => {
                self.vehicles.write(&json!({ "vin": vin, "presence": payload }))
            }
            Message::Alert { vin, payload } => self.vehicles.write(&json!({ "vin": vin, "alert": payload })),
            Message::Refused { topic, reason } => {
                self.vehicles.write(&json!({ "topic": topic, "refused": reason }))
            }
            Message::Gap { vin, stream } => {
                self.vehicles.write(&json!({ "vin": vin, "gap": stream.to_string() }))
            }
            Message::Disconnected { reason } => self.vehicles.write(&json!({ "disconnected": reason })),
        }
    }

    /// Brings the files up to date: lines to the system, sums as whole files.
    ///
    /// # Errors
    /// What the system says, with the file's name.
    pub fn flush(&mut self) -> Result<(), FileError> {
        for lines in [&mut self.events, &mut self.metrics, &mut self.vehicles] {
            lines.file.flush().map_err(FileError::new("write", &lines.path))?;
        }
        let mut folded = String::new();
        for (stack, nanoseconds) in &self.stacks {
            // Writing to a string does not fail.
            let _ = writeln!(folded, "{stack} {nanoseconds}");
        }
        fsio::write_atomically(&self.dir.join("profile.folded"), folded.as_bytes(), Access::Public)?;
        let prometheus = prometheus(&self.latest);
        fsio::write_atomically(&self.dir.join("metrics.prom"), prometheus.as_bytes(), Access::Public)
    }

    fn write_window(&mut self, received: &ReceivedWindow) -> Result<(), FileError> {
        let ReceivedWindow { vin, stream, window, .. } = received;
        for (stack, nanoseconds) in folded(vin, window) {
            let key = if self.stacks.len() < MAX_STACKS || self.stacks.contains_key(&stack) {
                stack
            } else {
                "[other]".to_owned()
            };
            let sum = self.stacks.entry(key).or_default();
            *sum = sum.saturating_add(nanoseconds);
        }
        let stream = stream.to_string();
        for series in window.metrics().series() {
            let name = series.name();
            for (at, value) in window.metrics().at_ms().iter().zip(series.values()) {
                let at_ms = window.start_unix_ms().saturating_add(u64::from(*at));
                self.metrics.write(
                    &json!({ "vin": vin, "stream": stream, "at_ms": at_ms, "name": &**name, "value": value }),
                )?;
            }
            let key = (vin.clone(), stream.clone(), name.to_string());
            if let Some(&last) = series.values().last()
                && (self.latest.len() < MAX_METRICS || self.latest.contains_key(&key))
            {
                self.latest.insert(key, last);
            }
        }
        Ok(())
    }
}

impl Lines {
    fn open(path: PathBuf) -> Result<Self, FileError> {
        let file = File::options().create(true).append(true).open(&path);
        let file = BufWriter::new(file.map_err(FileError::new("open", &path))?);
        Ok(Self { path, file })
    }

    fn write(&mut self, value: &impl serde::Serialize) -> Result<(), FileError> {
        serde_json::to_writer(&mut self.file, value)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(FileError::new("write", &self.path))
    }
}

/// The samples of one window as folded stacks: `vehicle;thread;outermost;...;innermost` and nanoseconds.
pub(crate) fn folded(vin: &str, window: &Window) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for sample in window.samples() {
        let (Some(thread), Some(stack)) = (window.thread_of(sample), window.stack_of(sample)) else {
            continue;
        };
        let mut line = format!("{};{}", plain(vin), plain(&thread.name));
        for frame in stack.iter().rev() {
            line.push(';');
            match frame {
                Frame::Symbol(name) => line.push_str(&plain(name)),
                Frame::Address { mapping, offset } => {
                    let file = mapping.path.rsplit('/').next().unwrap_or_default();
                    let _ = write!(line, "{}+{offset:#x}", plain(file));
                }
            }
        }
        let sum: &mut u64 = sums.entry(line).or_default();
        *sum = sum.saturating_add(sample.weight_ns);
    }
    sums
}

/// A name without what separates frames, lines and counts in folded text.
fn plain(name: &str) -> String {
    name.chars().map(|it| if it == ';' || it.is_control() { '_' } else { it }).collect()
}

/// The text format of Prometheus, version 0.0.4: untyped samples, grouped by name.
fn prometheus(latest: &BTreeMap<(String, String, String), i64>) -> String {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((vin, stream, name), value) in latest {
        let mut metric: String =
            name.chars().map(|it| if it.is_ascii_alphanumeric() || it == '_' { it } else { '_' }).collect();
        metric.insert_str(0, "gatewayd_");
        // Vehicle and stream hold no quote, backslash or line feed: topics do not allow them.
        let line = format!("{metric}{{vin=\"{vin}\",stream=\"{stream}\"}} {value}");
        by_name.entry(metric).or_default().push(line);
    }
    let mut text = String::new();
    for (name, lines) in by_name {
        let _ = writeln!(text, "# TYPE {name} untyped");
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use telemetry::topics::Stream;
    use telemetry::{
        BlockHeader, BootId, DictionaryId, SchedulingClass, StreamId, ThreadInfo, WindowBuilder,
    };

    use super::*;

    fn message(weight_ns: u64, value: i64) -> Message {
        let thread = ThreadInfo { pid: 1, tid: 1, name: "bus;0".into(), class: SchedulingClass::default() };
        let mut builder = WindowBuilder::new(5000);
        let frames = [Frame::Symbol("poll".into()), Frame::Symbol("main".into())];
        builder.push(1, &thread, &frames, weight_ns).unwrap();
        builder.push_metrics(7, &[("cpu_ppm", value)]).unwrap();
        Message::Window(Box::new(ReceivedWindow {
            vin: "V1".into(),
            stream: Stream::Profile,
            header: BlockHeader {
                keyframe: true,
                boot: BootId(1),
                stream: StreamId::PROFILE,
                seq: 0,
                dictionary: DictionaryId::default(),
                plain_len: 0,
            },
            missed: 0,
            window: builder.finish(1000),
        }))
    }

    #[test]
    fn windows_add_up_in_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut output = Output::open(dir.path()).unwrap();
        output.write(&message(10, 3)).unwrap();
        output.write(&message(32, 4)).unwrap();
        output.flush().unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("profile.folded"), "V1;bus_0;main;poll 42\n");
        assert_eq!(
            read("metrics.prom"),
            "# TYPE gatewayd_cpu_ppm untyped\ngatewayd_cpu_ppm{vin=\"V1\",stream=\"profile\"} 4\n"
        );
        let first: serde_json::Value =
            serde_json::from_str(read("metrics.jsonl").lines().next().unwrap()).unwrap();
        assert_eq!(first["at_ms"], 5007);
    }
}
