//! What `gateway-cloud subscribe` writes: the program itself, or the same parts of it in this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use gateway_cloud::subscribe::{Options, Output, Subscriber};
use tokio::sync::oneshot;

use crate::common::wait_for;

pub(crate) struct Sink {
    out: PathBuf,
    runner: Option<Runner>,
}

enum Runner {
    Program(Child),
    Thread { stop: oneshot::Sender<()>, thread: JoinHandle<u64> },
}

/// How often each block stands in the file.
pub(crate) struct Blocks(BTreeMap<u64, u64>);

pub(crate) struct Written {
    pub(crate) lines: u64,
    pub(crate) distinct: u64,
    /// Said to be missing for good.
    pub(crate) missed: u64,
}

impl Sink {
    pub(crate) fn start(dir: &Path, broker: SocketAddr, program: bool) -> Self {
        let out = dir.join("out");
        let runner = if program { by_program(dir, &out, broker) } else { by_thread(dir, &out, broker) };
        // Written once the subscription stands.
        wait_for("the subscription", || out.join("metrics.prom").exists().then_some(()));
        Self { out, runner: Some(runner) }
    }

    pub(crate) fn written(&self) -> Blocks {
        let text = std::fs::read_to_string(self.out.join("profiles.jsonl")).unwrap_or_default();
        let mut blocks = BTreeMap::new();
        for line in text.lines() {
            // The last line may be half written.
            let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            *blocks.entry(line["seq"].as_u64().unwrap()).or_default() += 1;
        }
        Blocks(blocks)
    }

    /// Stops it cleanly; how many duplicates it dropped.
    pub(crate) fn stop(&mut self) -> u64 {
        match self.runner.take().unwrap() {
            Runner::Thread { stop, thread } => {
                stop.send(()).unwrap();
                thread.join().unwrap()
            }
            Runner::Program(child) => {
                let pid = rustix::process::Pid::from_child(&child);
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success());
                let text = String::from_utf8(output.stdout).unwrap();
                let line = text.lines().find_map(|it| it.strip_suffix(" duplicate blocks dropped"));
                line.unwrap().parse().unwrap()
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(Runner::Program(mut child)) = self.runner.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Blocks {
    pub(crate) fn distinct_below(&self, seq: u64) -> u64 {
        self.0.range(..seq).count() as u64
    }

    pub(crate) fn count(self) -> Written {
        let (lines, distinct) = (self.0.values().sum(), self.0.len() as u64);
        let missed = self.0.last_key_value().map_or(0, |(last, _)| last + 1 - distinct);
        Written { lines, distinct, missed }
    }
}

fn by_program(dir: &Path, out: &Path, broker: SocketAddr) -> Runner {
    let program = Path::new(env!("CARGO_BIN_EXE_gatewayd")).with_file_name("gateway-cloud");
    assert!(program.exists(), "{} is not built: cargo build -p gateway-cloud", program.display());
    let child = Command::new(program)
        .args(["subscribe", "--client-id", "sink", "--broker", &format!("mqtt://{broker}")])
        .arg("--out")
        .arg(out)
        .arg("--spool")
        .arg(dir.join("spool"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Runner::Program(child)
}

fn by_thread(dir: &Path, out: &Path, broker: SocketAddr) -> Runner {
    let mut options = Options::new(&format!("mqtt://{broker}"), "sink");
    options.spool = Some(dir.join("spool"));
    let mut output = Output::open(out).unwrap();
    let (stop, mut stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut subscriber = Subscriber::connect(options).await.unwrap();
            output.flush().unwrap();
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    message = subscriber.recv() => output.write(&message.unwrap()).unwrap(),
                }
            }
            let duplicates = subscriber.duplicates();
            subscriber.close().await;
            duplicates
        })
    });
    Runner::Thread { stop, thread }
}
