//! ISO-TP against python can-isotp over a `udp:` bus: our sender into its receiver, its sender into our receiver.
//!
//! `GATEWAYD_PEERS_PYTHON` names a Python that has `python-can[multicast]` and `can-isotp`; without it the test says
//! `not checked`.
#![cfg(target_os = "linux")]

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use canfd::bus::{self, Bus, BusError, BusUrl, SendOutcome};
use canfd::frame::{CanId, CanIds, FdFrame};
use canfd::isotp::addressing::{mixed_29, normal_fixed};
use canfd::isotp::{Addressing, Event, Link, LinkConfig, LinkLayer, StMin, TxDl};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const TESTER: u8 = 0xF1;
const ECU: u8 = 0x10;
/// Longest that one direction may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The Python side.
struct Echo {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Echo {
    fn start(python: &str, group: &str, port: u16) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/isotp_echo.py");
        let mut process = Command::new(python)
            .args([script, group, &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python that was named");
        let (stdin, stdout) = (
            process.stdin.take().expect("it is piped"),
            BufReader::new(process.stdout.take().expect("it is piped")),
        );
        Self { process, stdin, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).expect("its output is text") > 0, "the peer has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One way to talk, and how can-isotp calls it.
struct Case {
    mode: &'static str,
    ids: CanIds,
    addressing: Addressing,
    link_layer: LinkLayer,
    /// Block size and separation that we ask for.
    ours: (u8, u8),
    /// Those that the peer asks for.
    theirs: (u8, u8),
    len: usize,
}

impl Case {
    fn json(&self) -> String {
        let raw = |id| match id {
            CanId::Standard(id) => u32::from(id.as_raw()),
            CanId::Extended(id) => id.as_raw(),
        };
        let (dl, fd) = (self.link_layer.tx_dl(), self.link_layer != LinkLayer::Classical);
        let extension = self.addressing.tx().unwrap_or(0);
        format!(
            r#"{{"mode":"{}","tx":{},"rx":{},"target":{TESTER},"source":{ECU},"extension":{extension},"dl":{dl},"fd":{fd},"bs":{},"stmin":{}}}"#,
            self.mode,
            raw(self.ids.response),
            raw(self.ids.request),
            self.theirs.0,
            self.theirs.1,
        )
    }

    fn config(&self) -> LinkConfig {
        LinkConfig {
            addressing: self.addressing,
            link_layer: self.link_layer,
            block_size: self.ours.0,
            st_min: StMin::from_code(self.ours.1),
            max_len: 1 << 20,
            ..LinkConfig::tester(self.ids)
        }
    }
}

fn cases() -> Vec<Case> {
    let standard = CanIds {
        request: CanId::standard(0x7E0).expect("11 bits"),
        response: CanId::standard(0x7E8).expect("11 bits"),
    };
    let fixed = normal_fixed(TESTER, ECU);
    let extended = Addressing::extended(ECU, TESTER);
    let modes = [
        ("Normal_11bits", standard, Addressing::Normal),
        ("Normal_29bits", fixed, Addressing::Normal),
        ("NormalFixed_29bits", fixed, Addressing::Normal),
        ("Extended_11bits", standard, extended),
        ("Extended_29bits", fixed, extended),
        ("Mixed_11bits", standard, Addressing::mixed(0x99)),
        ("Mixed_29bits", mixed_29(TESTER, ECU), Addressing::mixed(0x99)),
    ];
    let dl = |len| LinkLayer::Fd { tx_dl: TxDl::new(len).expect("a TX_DL"), brs: true };
    let mut cases = Vec::new();
    for (mode, ids, addressing) in modes {
        for link_layer in [LinkLayer::Classical, LinkLayer::FD] {
            for len in [1, 6, 7, 8, 61, 62, 63, 300] {
                cases.push(Case { mode, ids, addressing, link_layer, ours: (0, 0), theirs: (0, 0), len });
            }
        }
    }
    // The lengths at which the first frame changes its form; blocks, because nothing else slows a sender down here.
    let (mode, ids, addressing) = modes[0];
    for (link_layer, len) in [
        (LinkLayer::Classical, 4_095),
        (LinkLayer::Classical, 4_096),
        (LinkLayer::FD, 4_095),
        (LinkLayer::FD, 70_000),
    ] {
        cases.push(Case { mode, ids, addressing, link_layer, ours: (32, 0), theirs: (32, 0), len });
    }
    // Separation either way, in milliseconds and below, with and without blocks; lengths of frame in between.
    for (ours, theirs) in [((3, 0xF5), (2, 0xF9)), ((0, 2), (0, 1)), ((1, 0), (1, 0))] {
        for link_layer in [LinkLayer::Classical, dl(8), dl(32)] {
            cases.push(Case { mode, ids, addressing, link_layer, ours, theirs, len: 500 });
        }
    }
    cases
}

#[test]
fn can_isotp_receives_what_we_send_and_we_receive_what_it_sends_back() {
    let Ok(python) = std::env::var("GATEWAYD_PEERS_PYTHON") else {
        println!("not checked: GATEWAYD_PEERS_PYTHON does not name a Python with python-can and can-isotp");
        return;
    };
    // A group and a port of this process, or two runs on one host would hear each other: python-can listens on its port
    // to whatever group anybody on the host has joined.
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let group = format!("239.90.{high}.{low}");
    let port = 10_000 + u16::try_from(std::process::id() % 20_000).unwrap();
    let url: BusUrl = format!("udp:{group}:{port}").parse().unwrap();
    let mut bus = bus::open(&url).unwrap();
    let mut echo = Echo::start(&python, &group, port);
    let cases = cases();
    for case in &cases {
        let what = format!("{} {} bytes", case.json(), case.len);
        writeln!(echo.stdin, "{}", case.json()).unwrap();
        assert_eq!(echo.line(), "ready", "{what}");
        let message: Vec<u8> = (0..case.len).map(|at| (at * 31).to_le_bytes()[0]).collect();
        let returned = exchange(bus.as_mut(), case.config(), message.clone());
        // Not the bytes: nobody reads 70,000 of them in a report.
        let returned = returned.unwrap_or_else(|error| panic!("{error}: {what}"));
        assert!(returned == message, "{} other bytes came back: {what}", returned.len());
        assert_eq!(echo.line(), format!("done {}", case.len), "{what}");
    }
    let held = HELD.load(Ordering::Relaxed);
    println!("{} exchanges with can-isotp, {held} frames waited for the kernel's room", cases.len());
}

/// Frames that the kernel had no room for, all exchanges together: they wait, for a lost one ends the message.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Moves the link's frames to the bus, in order, as far as there is room.
fn transmit(bus: &mut dyn Bus, link: &mut Link, held: &mut Option<FdFrame>) -> Result<(), BusError> {
    let now = Instant::now();
    while let Some(frame) = held.take().or_else(|| link.poll_transmit(now)) {
        if bus.send(&frame)? == SendOutcome::WouldBlock {
            HELD.fetch_add(1, Ordering::Relaxed);
            *held = Some(frame);
            return Ok(());
        }
    }
    Ok(())
}

/// Sends a message and returns the one that comes.
fn exchange(bus: &mut dyn Bus, config: LinkConfig, message: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut link = Link::new(config);
    link.send(Instant::now(), message)?;
    let until = Instant::now() + PATIENCE;
    let (mut answer, mut held) = (None, None);
    while Instant::now() < until {
        while let Some(received) = bus.recv()? {
            let now = Instant::now();
            if received.own {
                link.handle_transmitted(now);
            } else {
                link.handle_frame(now, &received.frame);
            }
            while let Some(event) = link.poll_event() {
                match event {
                    Event::Received(message) => answer = Some(message),
                    Event::Failed(error) => return Err(error.into()),
                    Event::Sent(_) | Event::ReceptionStarted { .. } => {}
                }
            }
            transmit(bus, &mut link, &mut held)?;
        }
        if let Some(answer) = answer.take_if(|_| link.in_flight() == 0) {
            return Ok(answer);
        }
        let now = Instant::now();
        if link.poll_timeout().is_some_and(|at| at <= now) {
            link.handle_timeout(now);
        }
        transmit(bus, &mut link, &mut held)?;
        if let Some(Event::Failed(error)) = link.poll_event() {
            return Err(error.into());
        }
        // Below a millisecond, for the separation times.
        let wait = Timespec { tv_sec: 0, tv_nsec: 100_000 };
        poll(&mut [PollFd::from_borrowed_fd(bus.as_fd(), PollFlags::IN)], Some(&wait))?;
    }
    Err("nothing came back".into())
}
