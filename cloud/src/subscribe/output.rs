//! Messages as files that other programs read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::json;
use telemetry::Dimension;

use super::{Message, ReceivedWindow};
use crate::export::prometheus::{Registry, RemoteWrite};
use crate::export::symbols::{Statistics, Symbols};
use crate::export::{self, Profile, Source, slug};
use crate::fsio::{self, Access, FileError};

/// Distinct stacks kept, and bytes of their lines; the time of any others goes to one line, `[other]`.
const MAX_STACKS: usize = 100_000;
const MAX_STACK_BYTES: usize = 64 << 20;

/// A form in which each window's profiles are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `pprof/<vin>/<window>-<dimension>.pb.gz`.
    Pprof,
    /// `otlp/<vin>/<window>.binpb`: an OpenTelemetry `ProfilesData`.
    Otlp,
    /// `perf/<vin>/<window>-<dimension>.perf`: as `perf script` prints.
    PerfScript,
}

/// Writes below one directory:
///
/// * `events.jsonl`: stage events, one per line, as they came;
/// * `profile.folded` for CPU time, `profile-<dimension>.folded` for others: `vehicle;thread;outermost;...;innermost` and
///   nanoseconds or bytes, summed over all windows since the start;
/// * `profiles.jsonl`: a line for each window and dimension, with its folded stacks;
/// * each window in the [`Format`]s asked for; its name holds start, boot and number, so a window that is written again
///   after a crash takes its own place;
/// * `metrics.jsonl`: `{vin, stream, at_ms, name, value}` per value; `metrics.prom`: the last value of each metric, and
///   histograms of block input and output added up since the start;
/// * `io.jsonl`: a line for each histogram of a window;
/// * `vehicles.jsonl`: presence, alerts, gaps and refused messages.
#[derive(Debug)]
pub struct Output {
    dir: PathBuf,
    events: Lines,
    io: Lines,
    metrics: Lines,
    profiles: Lines,
    vehicles: Lines,
    formats: Vec<Format>,
    symbols: Symbols,
    stacks: BTreeMap<Dimension, BTreeMap<String, u64>>,
    stack_count: usize,
    stack_bytes: usize,
    registry: Arc<Mutex<Registry>>,
    remote_write: Option<RemoteWrite>,
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
            io: Lines::open(dir.join("io.jsonl"))?,
            metrics: Lines::open(dir.join("metrics.jsonl"))?,
            profiles: Lines::open(dir.join("profiles.jsonl"))?,
            vehicles: Lines::open(dir.join("vehicles.jsonl"))?,
            formats: Vec::new(),
            symbols: Symbols::default(),
            stacks: BTreeMap::new(),
            stack_count: 0,
            stack_bytes: 0,
            registry: Arc::default(),
            remote_write: None,
        })
    }

    /// Writes each window in these forms too.
    #[must_use]
    pub fn with_formats(mut self, formats: &[Format]) -> Self {
        self.formats = formats.to_vec();
        self
    }

    /// Names places by the debug files below `dir`.
    #[must_use]
    pub fn with_debug_dir(mut self, dir: &Path) -> Self {
        self.symbols = Symbols::from_dir(dir);
        self
    }

    /// Pushes metrics too.
    #[must_use]
    pub fn with_remote_write(mut self, remote_write: RemoteWrite) -> Self {
        self.remote_write = Some(remote_write);
        self
    }

    /// What a scrape shows.
    pub fn registry(&self) -> Arc<Mutex<Registry>> {
        Arc::clone(&self.registry)
    }

    /// How many places got a name.
    pub fn symbol_statistics(&self) -> Statistics {
        self.symbols.statistics()
    }

    /// Takes one message.
    ///
    /// # Errors
    /// What the system says, with the file's name.
    pub fn write(&mut self, message: &Message) -> Result<(), FileError> {
        match message {
            Message::Event(event) => self.events.write(event)?,
            Message::Window(received) => self.write_window(received)?,
            Message::Presence { vin, payload } => {
                self.vehicles.write(&json!({ "vin": vin, "presence": payload }))?;
            }
            Message::Alert { vin, payload } => {
                self.vehicles.write(&json!({ "vin": vin, "alert": payload }))?
            }
            Message::Refused { topic, reason } => {
                self.vehicles.write(&json!({ "topic": topic, "refused": reason }))?;
            }
            Message::Gap { vin, stream } => {
                self.vehicles.write(&json!({ "vin": vin, "gap": stream.to_string() }))?;
            }
            Message::Failed { reason } => self.vehicles.write(&json!({ "failed": reason }))?,
            Message::Disconnected { reason } => self.vehicles.write(&json!({ "disconnected": reason }))?,
        }
        // The message is settled when the next one is asked for: it has to be out of this process by then.
        self.flush_lines()
    }

    /// Brings the files up to date that hold sums.
    ///
    /// # Errors
    /// What the system says, with the file's name.
    pub fn flush(&mut self) -> Result<(), FileError> {
        self.flush_lines()?;
        let empty = BTreeMap::new();
        // The file for CPU time is there even when there was none.
        let cpu = [(&Dimension::Cpu, self.stacks.get(&Dimension::Cpu).unwrap_or(&empty))];
        let others = self.stacks.iter().filter(|(dimension, _)| **dimension != Dimension::Cpu);
        for (dimension, stacks) in cpu.into_iter().chain(others) {
            let mut folded = String::new();
            for (stack, value) in stacks {
                // Writing to a string does not fail.
                let _ = writeln!(folded, "{stack} {value}");
            }
            let name = match dimension {
                Dimension::Cpu => "profile.folded".to_owned(),
                other => format!("profile-{}.folded", slug(*other)),
            };
            fsio::write_atomically(&self.dir.join(name), folded.as_bytes(), Access::Public)?;
        }
        let prometheus = self.locked().plain_text(Instant::now());
        fsio::write_atomically(&self.dir.join("metrics.prom"), prometheus.as_bytes(), Access::Public)
    }

    /// What is still to be pushed is given `patience`.
    ///
    /// # Errors
    /// As [`Output::flush`].
    pub async fn finish(mut self, patience: std::time::Duration) -> Result<(), FileError> {
        self.flush()?;
        if let Some(remote_write) = self.remote_write.take() {
            remote_write.finish(patience).await;
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_lines(&mut self) -> Result<(), FileError> {
        let all = [&mut self.events, &mut self.io, &mut self.metrics, &mut self.profiles, &mut self.vehicles];
        for lines in all {
            lines.file.flush().map_err(FileError::new("write", &lines.path))?;
        }
        Ok(())
    }

    fn write_window(&mut self, received: &ReceivedWindow) -> Result<(), FileError> {
        let ReceivedWindow { vin, stream, window, header, .. } = received;
        let stream = stream.to_string();
        let source = Source { vin, stream: &stream, boot: header.boot.0, seq: header.seq };
        let profiles = export::profiles(window, &mut self.symbols);
        for profile in &profiles {
            self.write_profile(profile, &source, window.lost())?;
        }
        self.write_files(&profiles, &source)?;
        let at = |ms: u32| window.start_unix_ms().saturating_add(u64::from(ms));
        for series in window.metrics().series() {
            let name = &**series.name();
            for (at_ms, value) in window.metrics().at_ms().iter().zip(series.values()) {
                let at_ms = at(*at_ms);
                self.metrics.write(
                    &json!({ "vin": vin, "stream": stream, "at_ms": at_ms, "name": name, "value": value }),
                )?;
            }
        }
        for histogram in window.io() {
            self.io.write(&json!({
                "vin": vin, "stream": stream, "at_ms": at(0), "duration_ms": window.duration_ms(),
                "device": &**histogram.device(), "operation": export::prometheus::operation(histogram),
                "term": export::prometheus::term(histogram), "sum_ns": histogram.sum_ns(),
                "buckets": histogram.buckets().to_vec(),
            }))?;
        }
        let mut registry = self.locked();
        registry.add(vin, &stream, window, Instant::now());
        if let Some(remote_write) = &self.remote_write {
            remote_write.add(&registry, vin, &stream, window);
        }
        Ok(())
    }

    fn write_profile(&mut self, profile: &Profile, source: &Source<'_>, lost: u64) -> Result<(), FileError> {
        let prefix = source.vin.len() + 1;
        let folded = export::folded(profile, source.vin);
        let stacks: BTreeMap<_, _> =
            folded.iter().filter_map(|(stack, value)| Some((stack.get(prefix..)?, value))).collect();
        self.profiles.write(&json!({
            "vin": source.vin, "stream": source.stream, "boot": format!("{:016x}", source.boot), "seq": source.seq,
            "at_ms": profile.start_unix_ms, "duration_ms": profile.duration_ms, "lost": lost,
            "dimension": slug(profile.dimension), "unit": profile.unit(), "stacks": stacks,
        }))?;
        let sums = self.stacks.entry(profile.dimension).or_default();
        for (stack, value) in folded {
            let known = sums.contains_key(&stack);
            let full = self.stack_count >= MAX_STACKS || self.stack_bytes + stack.len() > MAX_STACK_BYTES;
            if !known && !full {
                self.stack_count += 1;
                self.stack_bytes += stack.len();
            }
            let key = if known || !full { stack } else { "[other]".to_owned() };
            let sum: &mut u64 = sums.entry(key).or_default();
            *sum = sum.saturating_add(value);
        }
        Ok(())
    }

    fn write_files(&self, profiles: &[Profile], source: &Source<'_>) -> Result<(), FileError> {
        let Some(first) = profiles.first() else { return Ok(()) };
        let Source { vin, stream, boot, seq } = source;
        let stream = stream.replace('/', ".");
        let window = format!("{:013}-{stream}-{boot:016x}-{seq:06}", first.start_unix_ms);
        for format in &self.formats {
            match format {
                Format::Otlp => {
                    self.write_file(
                        "otlp",
                        vin,
                        &format!("{window}.binpb"),
                        &export::otlp(profiles, source),
                    )?;
                }
                Format::Pprof => {
                    for profile in profiles {
                        let name = format!("{window}-{}.pb.gz", slug(profile.dimension));
                        self.write_file("pprof", vin, &name, &export::pprof(profile, source))?;
                    }
                }
                Format::PerfScript => {
                    for profile in profiles {
                        let name = format!("{window}-{}.perf", slug(profile.dimension));
                        self.write_file("perf", vin, &name, export::perf_script(profile).as_bytes())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Vehicle and stream are segments of topics: letters, digits, `-` and `_`.
    fn write_file(&self, kind: &str, vin: &str, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        fsio::write_whole(&self.dir.join(kind).join(vin).join(name), bytes)
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

#[cfg(test)]
mod tests {
    use telemetry::topics::Stream;
    use telemetry::{
        BlockHeader, BootId, DictionaryId, Frame, SchedulingClass, StreamId, ThreadInfo, WindowBuilder,
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
        let expected = "# TYPE gatewayd_cpu_ppm untyped\ngatewayd_cpu_ppm{vin=\"V1\",stream=\"profile\"} 4\n";
        assert!(read("metrics.prom").starts_with(expected), "{}", read("metrics.prom"));
        let first: serde_json::Value =
            serde_json::from_str(read("metrics.jsonl").lines().next().unwrap()).unwrap();
        assert_eq!(first["at_ms"], 5007);
    }
}
