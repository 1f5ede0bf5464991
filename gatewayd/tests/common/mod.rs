//! The real daemon as a process, for the tests that run it.

pub(crate) mod scene;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gatewayd::control::{Answer, EcuStatus, Request, Status};

/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `gatewayd run`, killed when the test ends.
pub(crate) struct Daemon {
    /// Its process.
    pub(crate) child: Child,
    /// Its control socket.
    pub(crate) socket: PathBuf,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Runs it on a configuration whose control socket is beside it, and waits until it answers.
    pub(crate) fn start(config: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_gatewayd"))
            .args(["run", "--config"])
            .arg(config)
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary is built");
        let daemon = Self { child, socket: config.with_file_name("control.sock") };
        wait_for("the control socket", || daemon.status());
        daemon
    }

    pub(crate) fn ask(&self, request: &Request) -> Option<Answer> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut line = serde_json::to_vec(request).ok()?;
        line.push(b'\n');
        stream.write_all(&line).ok()?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).ok()?;
        serde_json::from_str(&answer).ok()
    }

    pub(crate) fn status(&self) -> Option<Status> {
        match self.ask(&Request::Status)? {
            Answer::Status(status) => Some(*status),
            other => panic!("not a status: {other:?}"),
        }
    }

    /// The ECU, once it is as wanted.
    pub(crate) fn wait_for_ecu(&self, what: &str, wanted: impl Fn(&EcuStatus) -> bool) -> EcuStatus {
        wait_for(what, || self.status()?.ecus.into_iter().next().filter(|it| wanted(it)))
    }

    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
