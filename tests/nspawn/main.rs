//! Runs inside a container whose init is systemd, with the shipped units and the real binaries installed; see
//! `tests/nspawn/run`. Everything around the daemon is simulated in this process: origin, broker, bus and ECUs.
//!
//! `suite --restarts N` checks the life of the services one step after the other; `soak --restarts N` restarts the daemon
//! N times in three ways while a campaign, telemetry and control clients keep it busy. Exit codes: 0 all held, 1 not.
#![forbid(unsafe_code)]

mod acts;
mod field;
mod host;
mod load;
mod report;
mod soak;
mod suite;

use std::process::ExitCode;

use crate::report::Report;

/// A sentence about what went wrong.
pub(crate) type Outcome<T> = Result<T, String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let restarts =
        |text: &str| text.parse::<u32>().map_err(|_| format!("`{text}` is not a number of restarts"));
    let mut report = Report::default();
    let outcome = match words.as_slice() {
        ["suite", "--restarts", count] => restarts(count).and_then(|count| suite::run(count, &mut report)),
        ["soak", "--restarts", count] => restarts(count).and_then(|count| soak::alone(count, &mut report)),
        ["acts"] => acts::run(&mut report),
        _ => Err("usage: nspawn (suite|soak) --restarts N | acts".to_owned()),
    };
    if let Err(message) = outcome {
        report.check("the run", Err(message));
    }
    report.finish()
}
