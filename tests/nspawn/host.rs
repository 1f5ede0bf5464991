//! The service manager and the daemon, as somebody on this machine sees them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use gatewayd::control::{Answer, Request, Status};

use crate::Outcome;

/// The control socket of the shipped units.
pub(crate) const CONTROL: &str = "/run/gatewayd/control.sock";
/// The configuration of the shipped units.
pub(crate) const CONFIG: &str = "/etc/gatewayd/gatewayd.toml";
/// The daemon's unit.
pub(crate) const DAEMON: &str = "gatewayd.service";
/// The profiling service's.
pub(crate) const PROFILE: &str = "gatewayd-profile.service";
/// Longer than anything takes on a machine that is busy with other things too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program to its end: its output, or what it complained about.
pub(crate) fn run(program: &str, args: &[&str]) -> Outcome<String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(format!(
        "{program} {}: {} {} {}",
        args.join(" "),
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    ))
}

pub(crate) fn systemctl(args: &[&str]) -> Outcome<String> {
    run("systemctl", args)
}

/// One property of a unit.
pub(crate) fn property(unit: &str, name: &str) -> Outcome<String> {
    systemctl(&["show", "--value", "-p", name, unit])
}

/// Sends a signal to a unit's main process.
pub(crate) fn kill(unit: &str, signal: &str) -> Outcome<()> {
    systemctl(&["kill", "--kill-whom=main", &format!("--signal={signal}"), unit]).map(drop)
}

/// How long something took.
pub(crate) fn timed<T>(act: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Duration)> {
    let began = Instant::now();
    act().map(|it| (it, began.elapsed()))
}

/// Waits until `look` finds something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Outcome<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("waited {} s in vain for {what}", PATIENCE.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How one question ended that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Nobody listens.
    Refused,
    /// The conversation broke off.
    Cut,
    /// Not in time.
    Late,
}

/// One question to the daemon.
pub(crate) fn ask(request: &Request) -> Result<Answer, Miss> {
    let mut stream = UnixStream::connect(CONTROL).map_err(|_| Miss::Refused)?;
    let cut = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Miss::Late,
        _ => Miss::Cut,
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(cut)?;
    let line = serde_json::to_string(request).map_err(|_| Miss::Cut)?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(cut)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(cut)?;
    serde_json::from_str(&answer).map_err(|_| Miss::Cut)
}

/// The daemon's status, if it answers.
pub(crate) fn status() -> Option<Status> {
    match ask(&Request::Status) {
        Ok(Answer::Status(status)) => Some(*status),
        _ => None,
    }
}

/// The status of a process other than `pid`.
pub(crate) fn status_after(pid: u32) -> Outcome<Status> {
    wait_for("the next process to answer", || status().filter(|it| it.pid != pid))
}

/// What a unit has logged so far, without the service manager's own lines.
pub(crate) fn journal(unit: &str) -> Outcome<String> {
    run("journalctl", &["--sync"])?;
    run("journalctl", &["-q", "-o", "cat", "--no-pager", &format!("_SYSTEMD_UNIT={unit}")])
}
