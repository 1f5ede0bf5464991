//! `gatewayctl`: ask the running daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use gatewayd::control::{Answer, CryptoStatus, EngineStatus, Request, Status};

/// Ask the running gatewayd.
#[derive(Debug, Parser)]
#[command(name = "gatewayctl", version)]
struct Args {
    /// The daemon's control socket.
    #[arg(long, global = true, default_value = "/run/gatewayd/control.sock")]
    socket: PathBuf,
    /// Print stable JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Campaign, ECUs, broker and workers at a glance.
    Status,
    /// The ECUs, one a line.
    Ecus,
    /// The campaign under way, or the last one.
    Campaigns,
    /// What each ECU last reported.
    Versions,
    /// Ask the Director for a campaign now.
    Check,
}

/// The longest answer that is read.
const MAX_ANSWER: u64 = 1 << 20;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to standard output and are no mistake.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    match run(&args) {
        Ok(text) => {
            // A reader that has left wants no more text.
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "gatewayctl: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, String> {
    let request = if matches!(args.command, Command::Check) { Request::Check } else { Request::Status };
    match ask(args, &request)? {
        Answer::Ok => Ok("the Director is being asked".to_owned()),
        Answer::Error { message } => Err(message),
        Answer::Status(status) => show(args, &status),
    }
}

fn ask(args: &Args, request: &Request) -> Result<Answer, String> {
    let wrong = |error: std::io::Error| {
        format!(
            "cannot talk to gatewayd at {}: {error}; is it running, and is this its socket?",
            args.socket.display()
        )
    };
    let mut stream = UnixStream::connect(&args.socket).map_err(wrong)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(wrong)?;
    stream.set_write_timeout(Some(Duration::from_secs(5))).map_err(wrong)?;
    let mut line = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    line.push(b'\n');
    stream.write_all(&line).map_err(wrong)?;
    let mut text = Vec::new();
    BufReader::new(stream.take(MAX_ANSWER)).read_until(b'\n', &mut text).map_err(wrong)?;
    serde_json::from_slice(&text).map_err(|error| format!("gatewayd answered something else: {error}"))
}

fn show(args: &Args, status: &Status) -> Result<String, String> {
    if args.json {
        let value = match args.command {
            Command::Ecus | Command::Versions => serde_json::to_string_pretty(&status.ecus),
            Command::Campaigns => serde_json::to_string_pretty(&status.campaign),
            Command::Status | Command::Check => serde_json::to_string_pretty(status),
        };
        return value.map_err(|error| error.to_string());
    }
    Ok(match args.command {
        Command::Ecus => ecus(status),
        Command::Campaigns => campaign(status),
        Command::Versions => versions(status),
        Command::Status | Command::Check => overview(status),
    })
}

fn overview(status: &Status) -> String {
    let broker = if status.broker.connected { "connected" } else { "not connected" };
    let workers: Vec<_> = status.workers.iter().map(|it| format!("{} on {}", it.name, it.cpus)).collect();
    format!(
        "gatewayd {} (pid {}), vehicle {}, start {}, up {} s\n{}broker: {broker}, {} waiting, {} dropped\nprofiler: \
         {}\nworkers: {}\n{}{}",
        status.version,
        status.pid,
        status.vin,
        status.boot,
        status.uptime_s,
        campaign(status),
        status.broker.waiting,
        status.broker.dropped,
        status.profiler,
        workers.join(", "),
        engines(&status.crypto),
        ecus(status),
    )
}

fn engines(crypto: &CryptoStatus) -> String {
    crypto.engines.iter().map(engine).collect()
}

fn engine(engine: &EngineStatus) -> String {
    let EngineStatus { name, identity, state, jobs, fallbacks, .. } = engine;
    let mut text = format!("crypto: {name} ({identity}) {state}, {jobs} jobs, {fallbacks} done by another\n");
    if let Some(reason) = &engine.reason {
        text += &format!("        last failure: {reason}\n");
    }
    let crossovers = engine.crossovers.iter().map(|(algorithm, bytes)| match bytes {
        Some(bytes) => format!("{algorithm} from {bytes} B"),
        None => format!("{algorithm} never"),
    });
    let crossovers: Vec<String> = crossovers.collect();
    if !crossovers.is_empty() {
        text += &format!("        faster than the CPU: {}\n", crossovers.join(", "));
    }
    text
}

fn campaign(status: &Status) -> String {
    status.campaign.as_ref().map_or_else(
        || "campaign: none\n".to_owned(),
        |it| format!("campaign: {} ({}), {}\n", it.campaign, it.ota_trace_id, it.state),
    )
}

fn ecus(status: &Status) -> String {
    let mut text = format!(
        "{:<16} {:<10} {:<10} {:>5}  {:<12} {}\n",
        "ECU", "BUS", "STAGE", "DONE", "VERSION", "TARGET"
    );
    for ecu in &status.ecus {
        let percent =
            (ecu.done * 100).checked_div(ecu.total).map_or_else(|| "-".to_owned(), |it| format!("{it}%"));
        let version = ecu.version.as_deref().unwrap_or("-");
        let target = ecu.target.as_deref().unwrap_or("-");
        text += &format!(
            "{:<16} {:<10} {:<10} {percent:>5}  {version:<12} {target}\n",
            ecu.serial, ecu.bus, ecu.stage
        );
        if let Some(error) = &ecu.error {
            text += &format!("  {error}\n");
        }
    }
    text
}

fn versions(status: &Status) -> String {
    let line = |ecu: &gatewayd::control::EcuStatus| {
        format!("{:<16} {}\n", ecu.serial, ecu.version.as_deref().unwrap_or("unknown"))
    };
    status.ecus.iter().map(line).collect()
}
