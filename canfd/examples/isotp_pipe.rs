//! One ISO-TP message over a bus: standard input to the bus, or the bus to standard output.
//!
//! For trying a bus by hand, and for tests against other implementations of ISO-TP: the kernel's (`isotprecv` and
//! `isotpsend` of can-utils), testers, ECUs.
//!
//! ```text
//! isotp_pipe send can:vcan0 731 7B1 [classical] [dl=64] < message
//! isotp_pipe recv can:vcan0 7B1 731 [classical] [bs=0] [stmin=00] > message
//! ```
//! The first identifier is the one we send with, the second the one we listen to, both hexadecimal; more than three
//! digits make it 29 bit. `stmin` is the code byte of ISO 15765-2, hexadecimal. On standard error it says how long that
//! took, and how long from the first frame to the last where the bus tells when it saw them.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use canfd::bus::{self, Bus, BusUrl, SendOutcome};
use canfd::frame::{CanId, CanIds, FdFrame};
use canfd::isotp::{Event, Link, LinkConfig, LinkLayer, StMin, TxDl};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long nothing may arrive or go out.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(text) => {
            eprintln!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("isotp_pipe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, Box<dyn Error>> {
    let [verb, url, tx, rx, options @ ..] = arguments else {
        return Err(
            "usage: isotp_pipe send|recv BUS TX-ID RX-ID [classical] [dl=N] [bs=N] [stmin=HEX]".into()
        );
    };
    let url: BusUrl = url.parse()?;
    let config = config(CanIds { request: id(tx)?, response: id(rx)? }, options)?;
    let mut bus = bus::open(&url)?;
    bus.listen_to(&[config.tx_id, config.rx_id])?;
    let mut link = Link::new(config);
    let began = Instant::now();
    let (len, word, span) = match verb.as_str() {
        "send" => {
            let mut message = Vec::new();
            std::io::stdin().lock().read_to_end(&mut message)?;
            let len = message.len();
            link.send(Instant::now(), message)?;
            let (_, span) = drive(bus.as_mut(), &mut link)?;
            (len, "sent", span)
        }
        "recv" => {
            let (message, span) = drive(bus.as_mut(), &mut link)?;
            let mut out = std::io::stdout().lock();
            out.write_all(&message)?;
            out.flush()?;
            (message.len(), "received", span)
        }
        other => return Err(format!("`{other}` is neither send nor recv").into()),
    };
    let on_bus = span.map(|span| format!(", {:.6} s by the bus's clock", span.as_secs_f64()));
    Ok(format!("{len} bytes {word} in {:.3} s{}", began.elapsed().as_secs_f64(), on_bus.unwrap_or_default()))
}

fn config(ids: CanIds, options: &[String]) -> Result<LinkConfig, Box<dyn Error>> {
    let mut config = LinkConfig::tester(ids);
    config.max_len = 1 << 24;
    for option in options {
        match option.split_once('=').unwrap_or((option, "")) {
            ("classical", "") => config.link_layer = LinkLayer::Classical,
            ("dl", len) => {
                let tx_dl = TxDl::new(len.parse()?).ok_or_else(|| format!("there is no TX_DL of {len}"))?;
                config.link_layer = LinkLayer::Fd { tx_dl, brs: true };
            }
            ("bs", count) => config.block_size = count.parse()?,
            ("stmin", code) => config.st_min = StMin::from_code(u8::from_str_radix(code, 16)?),
            _ => return Err(format!("unknown option `{option}`").into()),
        }
    }
    Ok(config)
}

fn id(text: &str) -> Result<CanId, Box<dyn Error>> {
    let raw = u32::from_str_radix(text, 16)?;
    Ok(if text.len() > 3 { CanId::extended(raw)? } else { CanId::standard(u16::try_from(raw)?)? })
}

/// Runs the link until its message is sent or one has arrived, and returns the buffer of either and the time from the first
/// frame to the last, where every frame has one.
fn drive(bus: &mut dyn Bus, link: &mut Link) -> Result<(Vec<u8>, Option<Duration>), Box<dyn Error>> {
    let mut held: Option<FdFrame> = None;
    let (mut done, mut first, mut last) = (None, None, None);
    let mut moved = Instant::now();
    loop {
        while let Some(received) = bus.recv()? {
            if !received.own {
                link.handle_frame(Instant::now(), &received.frame);
            } else if received.frame.id() == link.config().tx_id {
                link.handle_transmitted(Instant::now());
            }
            last = received.timestamp;
            first = first.or(last);
            moved = Instant::now();
        }
        let now = Instant::now();
        if link.poll_timeout().is_some_and(|at| at <= now) {
            link.handle_timeout(now);
        }
        while let Some(event) = link.poll_event() {
            match event {
                Event::Received(message) | Event::Sent(message) => done = Some(message),
                Event::ReceptionStarted { .. } => {}
                Event::Failed(error) => return Err(error.into()),
            }
        }
        let mut blocked = false;
        while let Some(frame) = held.take().or_else(|| link.poll_transmit(now)) {
            if bus.send(&frame)? == SendOutcome::WouldBlock {
                held = Some(frame);
                blocked = true;
                break;
            }
        }
        bus.flush()?;
        // A frame that still waits is the flow control or the end of what is done.
        if let Some(message) = done.take_if(|_| !blocked && link.in_flight() == 0) {
            return Ok((message, last.zip(first).and_then(|(last, first)| last.checked_sub(first))));
        }
        if moved.elapsed() > PATIENCE {
            return Err(format!("nothing moved for {} s", PATIENCE.as_secs()).into());
        }
        // A full queue of the interface does not make the descriptor unwritable; look again soon.
        let longest = if blocked { Duration::from_millis(1) } else { Duration::from_secs(1) };
        let wait = link
            .poll_timeout()
            .map_or(longest, |at| at.saturating_duration_since(Instant::now()).min(longest));
        let wants = if bus.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let span = Timespec { tv_sec: i64::try_from(wait.as_secs())?, tv_nsec: wait.subsec_nanos().into() };
        // An interrupted wait only means another turn.
        let _ = poll(&mut [PollFd::from_borrowed_fd(bus.as_fd(), wants)], Some(&span));
    }
}
