//! `gatewayctl`: ask the running daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use gatewayd::cli;
use gatewayd::control::drift::compare;
use gatewayd::control::{Answer, ConfigurationStatus, CryptoStatus, EngineStatus, Request, Status};

/// Ask the running gatewayd.
#[derive(Debug, Parser)]
#[command(name = "gatewayctl", version, disable_help_subcommand = true)]
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
    /// How the machine is measured: back end, dimensions, rates, own cost and budget, losses, links.
    Telemetry,
    /// Ask the Director for a campaign now.
    Check,
    /// Compare what runs with the configuration, files, units and links that are there now; exit status 1 where they
    /// differ, 69 where the daemon cannot be asked.
    Drift,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page, or write it and those of the subcommands to files.
    Man {
        /// Where the files go.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
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
    if matches!(args.command, Command::Drift) {
        return drift(&args);
    }
    match run(&args) {
        Ok(text) => {
            if !text.is_empty() {
                // A reader that has left wants no more text.
                let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "gatewayctl: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, String> {
    let request = match &args.command {
        Command::Completions { shell } => return Ok(cli::completions(Args::command(), *shell)),
        Command::Man { dir } => {
            return cli::man(Args::command(), "1", dir.as_deref()).map_err(|error| error.to_string());
        }
        Command::Check => Request::Check,
        _ => Request::Status,
    };
    match ask(args, &request)? {
        Answer::Ok => Ok("the Director is being asked".to_owned()),
        Answer::Error { message } => Err(message),
        Answer::Status(status) => show(args, &status),
        Answer::Running(_) => Err("gatewayd answered something else".to_owned()),
    }
}

/// `EX_UNAVAILABLE` of sysexits.h.
const UNAVAILABLE: u8 = 69;

fn drift(args: &Args) -> ExitCode {
    let running = match ask(args, &Request::Running) {
        Ok(Answer::Running(running)) => running,
        answer => {
            let message = match answer {
                Err(message) | Ok(Answer::Error { message }) => message,
                Ok(_) => "gatewayd answered something else".to_owned(),
            };
            let _ = writeln!(std::io::stderr(), "gatewayctl: {message}");
            return ExitCode::from(UNAVAILABLE);
        }
    };
    let drift = compare::compare(&running);
    let text = match serde_json::to_string_pretty(&drift) {
        Ok(json) if args.json => json,
        _ => drift.to_string(),
    };
    // A reader that has left wants no more text.
    let _ = writeln!(std::io::stdout(), "{text}");
    if drift.items.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
            Command::Telemetry => serde_json::to_string_pretty(&status.telemetry),
            _ => serde_json::to_string_pretty(status),
        };
        return value.map_err(|error| error.to_string());
    }
    Ok(match args.command {
        Command::Ecus => ecus(status),
        Command::Campaigns => campaign(status),
        Command::Versions => versions(status),
        Command::Telemetry => telemetry(status),
        _ => overview(status),
    })
}

fn overview(status: &Status) -> String {
    let broker = if status.broker.connected { "connected" } else { "not connected" };
    let workers: Vec<_> = status.workers.iter().map(|it| format!("{} on {}", it.name, it.cpus)).collect();
    format!(
        "gatewayd {} (pid {}), vehicle {}, start {}, up {} s\n{}{}broker: {broker}, {} waiting, {} dropped\nprofiler: \
         {}\nworkers: {}\n{}{}",
        status.version,
        status.pid,
        status.vin,
        status.boot,
        status.uptime_s,
        configuration(&status.configuration),
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

fn configuration(status: &ConfigurationStatus) -> String {
    let mut text = format!("configuration: {}, {} reloads\n", status.file, status.reloads);
    if status.fallback {
        text += "  the file cannot be used; what was in force before the crash still is\n";
    }
    if let Some(refused) = &status.refused {
        text += &format!("  the last reload was refused: {refused}\n");
    }
    if !status.needs_restart.is_empty() {
        text += &format!("  needs a restart: {}\n", status.needs_restart.join(", "));
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

fn telemetry(status: &Status) -> String {
    let link = if status.broker.connected { "connected" } else { "not connected" };
    let links = format!(
        "links: profiling service {}; broker {link}, {} waiting, {} dropped\n",
        status.profiler, status.broker.waiting, status.broker.dropped
    );
    let Some(it) = &status.telemetry else {
        return format!("{links}nothing measured yet: the service speaks after its first window\n");
    };
    // Millionths with three digits behind the point.
    let percent = |ppm: u64| format!("{}.{:03} %", ppm / 10_000, ppm % 10_000 / 10);
    let mut text = format!("back end: {}\n", it.backend);
    if !it.reason.is_empty() {
        text += &format!("  no better one: {}\n", it.reason);
    }
    for dimension in &it.dimensions {
        let share = percent(dimension.share_ppm);
        text += &format!("  {:<10} {}, looked at {share} of the time\n", dimension.name, dimension.state);
    }
    text += &format!(
        "rates: normal threads every {} us, real-time ones every {} us, {} events/s; stretched {}.{:02} times\n",
        it.interval_us,
        it.realtime_interval_us,
        it.events_per_second,
        it.stretch_ppm / 1_000_000,
        it.stretch_ppm % 1_000_000 / 10_000,
    );
    text += &format!(
        "own cost: {} of one CPU, budget {}; {} KiB resident\n",
        percent(it.cost_ppm),
        percent(it.budget_ppm),
        it.resident_bytes / 1_024
    );
    text += &format!(
        "last window: {} samples, {} lost, {} without a stack, {} B; {} B/s allowed, {} windows waiting, {} blocks \
         dropped\n",
        it.samples,
        it.lost,
        it.stackless,
        it.block_bytes,
        it.bytes_per_second,
        it.waiting_windows,
        it.dropped_blocks
    );
    text += &format!("heap of the daemon: {} KiB taken since its start\n", status.heap_taken_bytes / 1_024);
    text + &links
}

fn versions(status: &Status) -> String {
    let line = |ecu: &gatewayd::control::EcuStatus| {
        format!("{:<16} {}\n", ecu.serial, ecu.version.as_deref().unwrap_or("unknown"))
    };
    status.ecus.iter().map(line).collect()
}
