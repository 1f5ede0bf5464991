//! The profiling service, as far as the daemon sees it: numbered blocks, each kept until the daemon has it on disk.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gatewayd::profiler::link::{FrameWriter, TAKEN};
use telemetry::{BootId, Encoder, Frame, SchedulingClass, StreamId, ThreadInfo, Window, WindowBuilder};

/// Blocks that the service keeps; it makes no more while the daemon has taken none of them.
const KEPT: usize = 16;

pub(crate) struct Feeder {
    path: PathBuf,
    sent: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
}

impl Feeder {
    pub(crate) fn start(path: &Path) -> Self {
        Self { path: path.to_owned(), sent: Arc::default(), enough: Arc::default(), done: Arc::default() }
    }

    /// Sends blocks from a thread of its own: so many at least, and until [`Feeder::finish`] is called.
    pub(crate) fn send(&self, at_least: u64, rate: u32) {
        let link = Link {
            path: self.path.clone(),
            stream: None,
            encoder: Encoder::new(BootId(0xB1AC), StreamId::PROFILE).unwrap(),
            kept: VecDeque::new(),
            sent: Arc::clone(&self.sent),
        };
        let (enough, done) = (Arc::clone(&self.enough), Arc::clone(&self.done));
        std::thread::spawn(move || {
            link.run(at_least, Duration::from_secs(1) / rate, &enough);
            done.store(true, Ordering::SeqCst);
        });
    }

    /// Waits until the daemon has everything on disk; how many blocks that are.
    pub(crate) fn finish(&self) -> u64 {
        self.enough.store(true, Ordering::SeqCst);
        crate::common::wait_for("the feeder's end", || self.done.load(Ordering::SeqCst).then_some(()));
        self.sent()
    }

    /// Blocks that were made and handed to the daemon at least once.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    pub(crate) fn wait_for_sent(&self, count: u64) {
        crate::common::wait_for("the feeder", || (self.sent() >= count).then_some(()));
    }
}

struct Link {
    path: PathBuf,
    stream: Option<UnixStream>,
    encoder: Encoder,
    /// Not yet taken, oldest first.
    kept: VecDeque<Vec<u8>>,
    sent: Arc<AtomicU64>,
}

impl Link {
    fn run(mut self, at_least: u64, interval: Duration, enough: &AtomicBool) {
        let (mut made, mut due) = (0, Instant::now());
        loop {
            let wanted = made < at_least || !enough.load(Ordering::SeqCst);
            if !wanted && self.kept.is_empty() {
                return;
            }
            if self.stream.is_none() {
                self.connect();
            }
            if wanted && self.kept.len() < KEPT && due <= Instant::now() {
                let block = self.encoder.encode(&window(made)).unwrap();
                let frame = FrameWriter::new(&block).unwrap().poll_transmit().to_vec();
                self.write(&frame);
                self.kept.push_back(frame);
                made += 1;
                // What was held up is not made up for: the rate is a bound.
                due = Instant::now() + interval;
                self.sent.store(made, Ordering::SeqCst);
            }
            self.read();
        }
    }

    fn connect(&mut self) {
        match UnixStream::connect(&self.path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
                self.stream = Some(stream);
                for frame in self.kept.clone() {
                    self.write(&frame);
                }
            }
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    }

    fn write(&mut self, frame: &[u8]) {
        let Some(stream) = &mut self.stream else { return };
        if stream.write_all(frame).is_err() {
            self.stream = None;
        }
    }

    fn read(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut bytes = [0; 64];
        match stream.read(&mut bytes) {
            Ok(0) => self.stream = None,
            Ok(len) => {
                let taken = bytes[..len].iter().filter(|it| **it == TAKEN).count();
                self.kept.drain(..taken.min(self.kept.len()));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => self.stream = None,
        }
    }
}

fn window(number: u64) -> Window {
    let thread = ThreadInfo { pid: 1, tid: 1, name: "worker".into(), class: SchedulingClass::Normal };
    let mut builder = WindowBuilder::new(1_772_366_400_000 + number * 1_000);
    let frames = [Frame::Symbol(format!("job_{}", number % 50).into()), Frame::Symbol("main".into())];
    builder.push(1, &thread, &frames, 1_000_000 + number).unwrap();
    builder.finish(1_000)
}
