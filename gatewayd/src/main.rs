//! `gatewayd`: parse, run, exit code.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use gatewayd::cli::{self, Args, CheckArgs, Command};
use gatewayd::config::{Config, reference};
use gatewayd::inspect::Checked;
use gatewayd::policy::rego;
use gatewayd::{daemon, inspect, profiler_service};

/// `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;
/// `EX_DATAERR` of sysexits.h.
const BAD_DATA: u8 = 65;
/// `EX_CONFIG` of sysexits.h.
const BAD_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to standard output and are no mistake.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match args.command {
        Command::Run { config } => run(&config),
        Command::Profile { config } => profile(&config),
        Command::Check(args) => check(&args),
        Command::RegoWorker => finish(rego::worker().map(|()| String::new())),
        Command::Topology { xml, json, buses } => finish(inspect::topology(xml.as_deref(), json, buses)),
        Command::Reference => finish(Ok(reference::TEXT.to_owned())),
        Command::Completions { shell } => finish(Ok(cli::completions(Args::command(), shell))),
        Command::Man { dir } => {
            finish(cli::man(Args::command(), "8", dir.as_deref()).map_err(|error| error.to_string()))
        }
    }
}

fn run(path: &Path) -> ExitCode {
    let (launch, warnings) = match daemon::Launch::load(path) {
        Ok(loaded) => loaded,
        Err(findings) => {
            say(&findings.to_string());
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    warn(&warnings);
    match daemon::run(launch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("gatewayd: {error}"));
            if error.is_configuration() { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

fn profile(path: &Path) -> ExitCode {
    let config = match Config::load(path) {
        Ok((config, warnings)) => {
            warn(&warnings);
            config
        }
        Err(findings) => {
            say(&findings.to_string());
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    gatewayd::log::start(&config.log);
    finish(profiler_service::run(&config, path).map(|()| String::new()))
}

fn warn(findings: &gatewayd::config::Findings) {
    if !findings.is_empty() {
        say(&findings.to_string());
    }
}

fn check(args: &CheckArgs) -> ExitCode {
    let (text, code) = match inspect::check(args) {
        Checked::Clean(text) => (text, 0),
        Checked::Errors(text) => (text, BAD_CONFIGURATION),
        Checked::Failed(message) => {
            say(&format!("gatewayd: {message}"));
            return ExitCode::from(BAD_DATA);
        }
    };
    // A reader that has left wants no more text.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    ExitCode::from(code)
}

fn finish(result: Result<String, String>) -> ExitCode {
    match result {
        Ok(text) => {
            if !text.is_empty() {
                // A reader that has left wants no more text.
                let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(message) => {
            say(&format!("gatewayd: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}
