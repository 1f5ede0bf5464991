//! The terminal: one picture that is drawn again and again, or plain lines where nobody looks on.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant, SystemTime};

use crate::monitor::Monitor;
use crate::state::{State, unix_ms};
use crate::units::{bar, bytes, clock, percent, rate, share};
use crate::vehicle::{BUSES, ECUS, VIN};

/// Between two pictures.
const REDRAW: Duration = Duration::from_millis(250);
/// Between two progress lines, where there is no picture.
const PROGRESS: Duration = Duration::from_secs(5);
/// Lines of what happened last.
const LAST: usize = 10;
/// Columns where the terminal does not say.
const COLUMNS: usize = 110;

/// The terminal.
#[derive(Debug)]
pub(crate) struct View {
    picture: bool,
    drawn: Option<Instant>,
    /// Lines of the picture that is on the screen.
    height: usize,
    /// Lines of the monitor that were printed.
    printed: usize,
}

impl View {
    pub(crate) fn new() -> Self {
        let picture =
            std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|it| it != "dumb");
        Self { picture, drawn: None, height: 0, printed: 0 }
    }

    /// A line above everything.
    pub(crate) fn print(&mut self, line: &str) {
        self.erase();
        put(&format!("{line}\n"));
    }

    /// How far the publication has come; replaces its own line on a terminal.
    pub(crate) fn publishing(&mut self, target: &str, done: u64, total: u64) {
        if self.picture {
            let done_share = share(done, total);
            let text = format!(
                "publishing {target:<18} {} {} of {}",
                bar(done_share, 30),
                bytes(done),
                bytes(total)
            );
            put(&format!("\r{text}\x1b[K"));
            self.height = 1;
        }
    }

    /// What is going on, if it is time to say so.
    pub(crate) fn show(&mut self, now: Instant, state: &State, monitor: &Monitor, forced: bool) {
        let every = if self.picture { REDRAW } else { PROGRESS };
        let due = forced || self.drawn.is_none_or(|it| now.saturating_duration_since(it) >= every);
        if self.picture {
            if due {
                self.drawn = Some(now);
                self.draw(&picture(state, monitor));
            }
            return;
        }
        let new = monitor.line_count - self.printed;
        for (at, line) in monitor.lines.iter().skip(monitor.lines.len().saturating_sub(new)) {
            put(&format!("{} {line}\n", since(*at, state)));
        }
        self.printed = monitor.line_count;
        if due {
            self.drawn = Some(now);
            put(&format!("{} {}\n", since(unix_ms(SystemTime::now()), state), progress(monitor)));
        }
    }

    /// Leaves the last picture where it is and goes on below.
    pub(crate) fn leave(&mut self) {
        self.height = 0;
    }

    fn draw(&mut self, lines: &[String]) {
        self.erase();
        let columns = columns();
        for line in lines {
            let line: String = line.chars().take(columns.saturating_sub(1)).collect();
            put(&format!("{line}\n"));
        }
        self.height = lines.len() + 1;
    }

    fn erase(&mut self) {
        match std::mem::take(&mut self.height) {
            0 => {}
            1 => put("\r\x1b[K"),
            height => put(&format!("\r\x1b[{}A\x1b[J", height - 1)),
        }
    }
}

fn picture(state: &State, monitor: &Monitor) -> Vec<String> {
    let elapsed = since(unix_ms(SystemTime::now()), state);
    let mut lines = vec![
        format!("gatewayd demo  {elapsed}  vehicle {VIN}  {} ({})", state.campaign, state.trace),
        daemon(monitor),
        String::new(),
    ];
    for (spec, track) in ECUS.iter().zip(&monitor.ecus) {
        let done = track.share();
        lines.push(format!(
            "{:<12} {:<8} {:<10} {} {:>5}  {:>10} of {:<10} {:>12}",
            spec.serial,
            BUSES.get(spec.bus).copied().unwrap_or_default(),
            track.stage,
            bar(done, 28),
            percent(done),
            bytes(track.done),
            bytes(track.total),
            track.rate().map_or_else(String::new, rate),
        ));
    }
    lines.push(String::new());
    for (name, track) in BUSES.iter().zip(&monitor.buses) {
        let load = if state.untimed { "untimed".to_owned() } else { percent(track.load) };
        lines.push(format!(
            "bus {name:<8} {} {load:>7}  {} frames, {}",
            bar(track.load, 20),
            track.now.bus.frames,
            bytes(track.now.bus.bytes),
        ));
    }
    lines.push(telemetry(monitor));
    lines.push(String::new());
    for (at, line) in monitor.lines.iter().skip(monitor.lines.len().saturating_sub(LAST)) {
        lines.push(format!("{:>6} {line}", since(*at, state)));
    }
    lines
}

/// The daemon in one line.
fn daemon(monitor: &Monitor) -> String {
    let Some(status) = &monitor.heard.status else {
        return match monitor.deaths {
            0 => "gatewayd starts".to_owned(),
            deaths => format!("gatewayd does not answer yet (it died {deaths} times)"),
        };
    };
    let broker = if status.broker.connected { "connected" } else { "away" };
    format!(
        "gatewayd pid {} (kill -9 it), start {}, peak {}, broker {broker}, {} waiting, profiler: {}",
        status.pid,
        status.boot,
        bytes(monitor.heard.peak_memory),
        status.broker.waiting,
        status.profiler
    )
}

fn telemetry(monitor: &Monitor) -> String {
    let telemetry = &monitor.telemetry;
    format!(
        "telemetry    {} windows, {} samples, {} on the air ({} before zstd)",
        telemetry.windows,
        telemetry.samples,
        bytes(telemetry.bytes),
        bytes(telemetry.plain_bytes)
    )
}

fn progress(monitor: &Monitor) -> String {
    let Some(_) = &monitor.heard.status else { return daemon(monitor) };
    let ecus = ECUS.iter().zip(&monitor.ecus).map(|(spec, track)| {
        let rate = track.rate().map_or_else(String::new, |it| format!(" {}", rate(it)));
        format!("{} {} {}{rate}", spec.serial, track.stage, percent(track.share()))
    });
    let buses = BUSES.iter().zip(&monitor.buses).map(|(name, it)| format!("{name} {}", percent(it.load)));
    format!(
        "{} | bus {} | {} samples, {}",
        ecus.collect::<Vec<_>>().join(", "),
        buses.collect::<Vec<_>>().join(", "),
        monitor.telemetry.samples,
        bytes(monitor.telemetry.bytes)
    )
}

/// Time from the campaign's beginning to this line.
fn since(at: u64, state: &State) -> String {
    clock(Duration::from_millis(at.saturating_sub(state.started_at_ms)))
}

fn columns() -> usize {
    rustix::termios::tcgetwinsize(rustix::stdio::stdout())
        .ok()
        .map(|it| usize::from(it.ws_col))
        .filter(|it| *it > 0)
        .unwrap_or(COLUMNS)
}

/// To standard output; a reader that has gone away changes nothing about the campaign.
fn put(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
