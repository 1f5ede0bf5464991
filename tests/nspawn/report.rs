//! What held and what did not, one line each, and figures that a script can read.

use std::io::Write;
use std::process::ExitCode;

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    held: u32,
    failed: Vec<String>,
}

impl Report {
    /// One promise and what came of it: a remark where it held, the reason where it did not.
    pub(crate) fn check(&mut self, promise: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(remark) if remark.is_empty() => say(&format!("ok    {promise}")),
            Ok(remark) => say(&format!("ok    {promise}: {remark}")),
            Err(reason) => {
                say(&format!("FAIL  {promise}: {reason}"));
                self.failed.push(promise.to_owned());
                return;
            }
        }
        self.held += 1;
    }

    /// A figure and what it is held against.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &str, goal: Option<(&str, f64)>) {
        let Some((comparison, limit)) = goal else { return say(&format!("figure {name} {value:.1} {unit}")) };
        let met = if comparison == ">=" { value >= limit } else { value <= limit };
        say(&format!(
            "figure {name} {value:.1} {unit} goal {comparison} {limit} {}",
            if met { "met" } else { "short" }
        ));
    }

    /// The last line, and the exit code.
    pub(crate) fn finish(self) -> ExitCode {
        say(&format!("nspawn: {} held, {} failed", self.held, self.failed.len()));
        for promise in &self.failed {
            say(&format!("nspawn: failed: {promise}"));
        }
        if self.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A line on standard output.
pub(crate) fn say(line: &str) {
    // A reader that has left wants no more lines.
    let _ = writeln!(std::io::stdout(), "{line}");
}
