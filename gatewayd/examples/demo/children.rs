//! The real gatewayd as child processes, started again when they die, as the service manager would.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc::UnboundedSender;

use crate::failure::{Failure, Outcome};

/// Pause before a dead child is started again.
const RESTART: Duration = Duration::from_secs(1);
/// A child that dies sooner than this has not really run.
const SHORT_LIFE: Duration = Duration::from_secs(3);
/// Short lives in a row after which there is no further start.
const MAX_SHORT_LIVES: u32 = 4;
/// How long a child may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// What became of a child.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    /// It runs.
    Started { name: &'static str, pid: u32 },
    /// It died by itself, or was killed; it is started again.
    Died { name: &'static str, pid: u32, how: String },
    /// It dies at once, again and again.
    GivenUp { name: &'static str, how: String },
}

/// One supervised child.
#[derive(Debug)]
pub(crate) struct Supervised {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Option<ExitStatus>>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// 0 where none runs.
    pid: AtomicU32,
}

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) binary: PathBuf,
    pub(crate) subcommand: &'static str,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
    /// Let the child die with us.
    pub(crate) setpriv: bool,
}

/// The daemon's binary: built by the same command, beside the folder of this example.
pub(crate) fn binary() -> Outcome<PathBuf> {
    let own = std::env::current_exe().map_err(Failure::of("where this program lies"))?;
    let found = own.parent().and_then(Path::parent).map(|it| it.join("gatewayd"));
    found.filter(|it| it.is_file()).ok_or_else(|| {
        Failure::new(format!(
            "no gatewayd beside {}; build it first: cargo build --release -p gatewayd --bins, or make demo",
            own.display()
        ))
    })
}

/// Whether `setpriv` (util-linux) is there.
pub(crate) fn has_setpriv() -> bool {
    let mut command = Command::new("setpriv");
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|it| it.success())
}

impl Supervised {
    /// Starts the child from a thread that lives as long: the kernel sends the parent-death signal when the thread
    /// ends that made the child.
    pub(crate) fn start(program: Program, notices: UnboundedSender<Notice>) -> Outcome<Self> {
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), pid: AtomicU32::new(0) });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("{}-watch", program.name))
            .spawn(move || supervise(&program, &theirs, &notices))
            .map_err(Failure::of("a thread"))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks the child to stop. Blocks until it has, or was killed. `None` where none ran.
    pub(crate) fn stop(mut self) -> Option<ExitStatus> {
        self.end()
    }

    fn end(&mut self) -> Option<ExitStatus> {
        let thread = self.thread.take()?;
        self.shared.stop.store(true, Ordering::SeqCst);
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP;
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                self.signal(Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        thread.join().ok().flatten()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.shared.pid.load(Ordering::SeqCst)).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // One that has just ended needs no signal.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // How it ended interests nobody any more.
        let _ = self.end();
    }
}

fn supervise(program: &Program, shared: &Shared, notices: &UnboundedSender<Notice>) -> Option<ExitStatus> {
    let name = program.name;
    // A demo that no longer listens is about to end, here and below.
    let tell = |notice| drop(notices.send(notice));
    let mut short_lives = 0;
    let mut last = None;
    while !shared.stop.load(Ordering::SeqCst) {
        let began = Instant::now();
        let (pid, how) = match program.spawn() {
            Err(error) => (0, format!("cannot be started: {error}")),
            Ok(mut child) => {
                let pid = child.id();
                shared.pid.store(pid, Ordering::SeqCst);
                tell(Notice::Started { name, pid });
                let status = child.wait();
                shared.pid.store(0, Ordering::SeqCst);
                last = status.as_ref().ok().copied();
                (pid, status.map_or_else(|error| error.to_string(), describe))
            }
        };
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        short_lives = if began.elapsed() < SHORT_LIFE { short_lives + 1 } else { 0 };
        if short_lives >= MAX_SHORT_LIVES {
            tell(Notice::GivenUp { name, how });
            return last;
        }
        tell(Notice::Died { name, pid, how });
        let until = Instant::now() + RESTART;
        while Instant::now() < until && !shared.stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    last
}

impl Program {
    fn spawn(&self) -> std::io::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = if self.setpriv {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]).arg(&self.binary);
            command
        } else {
            Command::new(&self.binary)
        };
        command
            .arg(self.subcommand)
            .arg("--config")
            .arg(&self.config)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for the demo, which then stops its children in order.
            .process_group(0)
            .spawn()
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("ended with exit code {code}"),
        (None, None) => "ended".to_owned(),
    }
}
