//! The real binary under a service manager that this test plays: readiness, reload, descriptors handed over and kept.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway_sim::origin;
use gatewayd::control::{Answer, Request, Status};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};

const VIN: &str = "LSVAG2180E2100001";
/// Far longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service manager with one service.
struct Manager {
    directory: tempfile::TempDir,
    notify: UnixDatagram,
    listener: UnixListener,
    /// The fd store.
    kept: BTreeMap<String, OwnedFd>,
    child: Option<Child>,
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let dir = directory.path();
        trust(dir);
        std::fs::write(dir.join("gatewayd.toml"), config(dir)).expect("written");
        let notify = UnixDatagram::bind(dir.join("notify")).expect("a socket");
        notify.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let listener = UnixListener::bind(dir.join("control.sock")).expect("a socket");
        Self { directory, notify, listener, kept: BTreeMap::new(), child: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the service with the listener as its descriptor 3, called `control`, and with what it left behind as
    /// descriptor 4, called `state`.
    fn start(&mut self) {
        let listener: OwnedFd = self.listener.try_clone().expect("a descriptor").into();
        // The shell knows its own process id before the service replaces it; safe Rust does not.
        let kept = self.kept.get("state").map(|it| it.try_clone().expect("a descriptor"));
        let (script, names) = match &kept {
            Some(_) => {
                ("LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" run --config \"$1\" 3<&0 4<&1", "control:state")
            }
            None => ("LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run --config \"$1\" 3<&0", "control"),
        };
        let child = Command::new("/bin/sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_gatewayd")])
            .arg(self.path("gatewayd.toml"))
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env("LISTEN_FDNAMES", names)
            .stdin(Stdio::from(listener))
            .stdout(kept.map_or_else(Stdio::null, Stdio::from))
            .stderr(File::create(self.path("log")).expect("a file"))
            .spawn()
            .expect("a shell");
        self.child = Some(child);
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it was started");
        kill_process(Pid::from_child(child), signal).expect("it runs");
    }

    fn wait(&mut self) -> Option<i32> {
        self.child.take().expect("it was started").wait().expect("it ends").code()
    }

    /// Notifications up to one that holds `wanted`.
    fn told(&mut self, wanted: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut passed = RecvAncillaryBuffer::new(&mut space);
            let slices = &mut [IoSliceMut::new(&mut buffer)];
            let received = recvmsg(&self.notify, slices, &mut passed, RecvFlags::CMSG_CLOEXEC);
            let len = received.expect("a notification in time").bytes;
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            for message in passed.drain() {
                let RecvAncillaryMessage::ScmRights(fds) = message else { continue };
                let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).expect("a name");
                self.kept.extend(fds.map(|fd| (name.to_owned(), fd)));
            }
            all.push(text);
            if all.last().is_some_and(|it| it.contains(wanted)) {
                return all;
            }
        }
        panic!("nothing about {wanted} in {all:?}");
    }

    fn connect(&self) -> UnixStream {
        self.ask(&Request::Status)
    }

    fn ask(&self, request: &Request) -> UnixStream {
        let mut stream = UnixStream::connect(self.path("control.sock")).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let line = serde_json::to_string(request).expect("encodes");
        stream.write_all(format!("{line}\n").as_bytes()).expect("written");
        stream
    }

    fn edit(&self, from: &str, to: &str) {
        let path = self.path("gatewayd.toml");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replace(from, to)).expect("written");
    }
}

fn answer(stream: UnixStream) -> Answer {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer in time");
    serde_json::from_str(&line).expect("an answer")
}

fn status(stream: UnixStream) -> Status {
    match answer(stream) {
        Answer::Status(status) => *status,
        other => panic!("not a status: {other:?}"),
    }
}

/// Certificates and the first roots, as a vehicle has them from the factory.
fn trust(dir: &Path) {
    let keys = origin::keys(dir).expect("keys");
    std::fs::write(dir.join("image.bin"), [0x5A; 1000]).expect("package");
    let target = format!(
        "file={},name=a.bin,ecu_serial=A-1,hardware_id=a,version=2.0.0,release_counter=2,cipher=none,hash=sha256",
        dir.join("image.bin").display()
    );
    origin::publish(dir, &keys, VIN, 1, &[target]).expect("published");
}

fn config(dir: &Path) -> String {
    let dir = dir.display();
    // Neither an origin nor a broker listens there.
    format!(
        r#"
[vehicle]
vin = "{VIN}"
[cloud]
url = "https://127.0.0.1:1/"
ca = "{dir}/certs/ca.pem"
certificate = "{dir}/certs/gateway.pem"
key = "{dir}/certs/gateway.key"
poll_interval = "1h"
[uptane]
director_root = "{dir}/www/director/{VIN}/1.root.json"
image_root = "{dir}/www/image/1.root.json"
[mqtt]
url = "mqtt://127.0.0.1:1"
[state]
directory = "{dir}/state"
quota = "1MiB"
[control]
socket = "{dir}/control.sock"
profile_socket = "{dir}/profile.sock"
"#
    )
}

#[test]
fn who_asks_before_the_daemon_runs_and_between_two_runs_is_answered() {
    let mut manager = Manager::new();
    let early = manager.connect();
    manager.start();
    let told = manager.told("READY=1");
    for kept in ["state", "profile"] {
        let wanted = format!("FDSTORE=1\nFDNAME={kept}");
        assert!(told.iter().any(|it| it.contains(&wanted)), "{kept} is not kept: {told:?}");
    }
    assert!(
        !told.iter().any(|it| it.contains("FDNAME=control")),
        "the control socket is the manager's already"
    );
    let first = status(early);

    manager.signal(Signal::TERM);
    manager.told("STOPPING=1");
    assert_eq!(manager.wait(), Some(0));
    let between = manager.connect();
    manager.start();
    let second = status(between);
    assert_eq!(second.boot, first.boot + 1);
    assert!(manager.path("control.sock").exists(), "its file is the manager's");
}

#[test]
fn a_reload_is_acknowledged_and_a_broken_file_changes_nothing() {
    let mut manager = Manager::new();
    manager.start();
    manager.told("READY=1");
    let before = status(manager.connect());

    manager.edit("poll_interval = \"1h\"", "poll_interval = \"2h\"");
    manager.edit("quota = \"1MiB\"", "quota = \"2MiB\"");
    manager.signal(Signal::HUP);
    let told = manager.told("READY=1");
    let reloading = told.iter().position(|it| it.contains("RELOADING=1") && it.contains("MONOTONIC_USEC="));
    assert!(reloading.is_some_and(|at| at + 1 < told.len()), "RELOADING before READY: {told:?}");
    let line = told.last().expect("the last one is READY");
    assert!(line.contains("cloud.poll_interval") && line.contains("needs a restart: state.quota"), "{line}");

    manager.edit("[state]", "[state]\nno_such_key = 1");
    manager.signal(Signal::HUP);
    let told = manager.told("READY=1");
    assert!(
        told.last().is_some_and(|it| it.contains("reload refused") && it.contains("no_such_key")),
        "{told:?}"
    );
    let after = status(manager.connect());
    assert_eq!((after.pid, after.configuration.reloads), (before.pid, 1));
    assert_eq!(after.configuration.needs_restart, ["state.quota"]);
    assert!(after.configuration.refused.is_some());

    manager.edit("certs/ca.pem", "certs/nowhere.pem");
    manager.edit("\nno_such_key = 1", "");
    manager.signal(Signal::HUP);
    let told = manager.told("READY=1");
    assert!(told.last().is_some_and(|it| it.contains("refused") && it.contains("nowhere.pem")), "{told:?}");
}

#[test]
fn a_start_that_cannot_succeed_says_why_to_those_who_wait() {
    let mut manager = Manager::new();
    manager.edit("[state]", "[state");
    let asker = manager.connect();
    manager.start();
    assert_eq!(manager.wait(), Some(78));
    match answer(asker) {
        Answer::Error { message } => {
            assert!(message.contains("cannot start") && message.contains("CFG-002"), "{message}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_crash_keeps_the_promise_to_look_and_the_configuration_that_was_in_force() {
    let mut manager = Manager::new();
    manager.start();
    manager.told("READY=1");
    let before = status(manager.connect());
    assert_eq!(before.generation, 1);
    // Nobody answers there, so the look is under way for seconds.
    assert_eq!(answer(manager.ask(&Request::Check)), Answer::Ok);
    status(manager.connect());
    manager.edit("[state]", "[state");
    manager.signal(Signal::KILL);
    assert_eq!(manager.wait(), None);

    manager.start();
    let told = manager.told("READY=1");
    assert!(told.last().is_some_and(|it| it.contains("before the crash stays in force")), "{told:?}");
    let after = status(manager.connect());
    assert_eq!((after.boot, after.generation), (before.boot + 1, 2));
    assert!(after.configuration.fallback);
    let log = std::fs::read_to_string(manager.path("log")).expect("a log");
    assert!(log.contains("was promised before the restart"), "{log}");

    manager.signal(Signal::TERM);
    assert_eq!(manager.wait(), Some(0));
    manager.start();
    assert_eq!(manager.wait(), Some(78), "a person who starts it gets what is in the file");
}
