#![forbid(unsafe_code)]
//! `ecu-sim`: simulated ECUs on a CAN bus or on Ethernet, for a bench. Exit codes: 0 after `quit`, 1 an ECU or a bus failed,
//! 64 usage, 78 bad bench file.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use canfd::bit_timing::BitTiming;
use canfd::bus::BusUrl;
use clap::Parser;
use gateway_sim::bus::BusHub;
use gateway_sim::ecu::bench::{Bench, BenchEcu, BenchLink, EXAMPLE};
use gateway_sim::ecu::command::{Command, HELP, Injection};
use gateway_sim::ecu::doip::DoipNode;
use gateway_sim::ecu::telemetry::{TelemetryIds, TelemetryNode};
use gateway_sim::ecu::{EcuNode, NodeError, SimEcu};

/// `EX_USAGE` and `EX_CONFIG` of sysexits(3).
const USAGE: u8 = 64;
const CONFIG: u8 = 78;

/// How often the ECUs are looked after while no command comes.
const ROUND: Duration = Duration::from_millis(200);

/// How often a block of telemetry is sent.
const TELEMETRY_INTERVAL: Duration = Duration::from_secs(1);

const AFTER_HELP: &str = "\
Commands are read from standard input, one a line; each is answered with lines that end in `ok` or `error: WHY`. The end
of the input changes nothing, so the simulator also runs as a service; a named pipe makes a control file of it:
  mkfifo control && ecu-sim bench.toml <>control     and then: echo 'inject all slow-erase 30s' >control
SIGTERM and SIGINT are a power cut: flash is kept.

On a machine without CAN: ecu-sim --bus virtual:/tmp/bus0 --hub 500000/2000000 bench.toml
With CAN in the kernel: ip link add vcan0 type vcan; ip link set vcan0 mtu 72 up";

/// Simulated ECUs: UDS over ISO-TP on a CAN bus or over DoIP, flash that survives, faults on command.
#[derive(Debug, Parser)]
#[command(name = "ecu-sim", version, after_help = AFTER_HELP)]
struct Cli {
    /// The ECUs, as a TOML file
    #[arg(required_unless_present_any = ["example", "commands"])]
    bench: Option<PathBuf>,
    /// Bus of every ECU, instead of the file's: vcan0, can0, virtual:/PATH
    #[arg(long, value_name = "URL")]
    bus: Option<BusUrl>,
    /// Folder for flash images, instead of the file's; DIR/ECU/bank0.bin is what the ECU holds
    #[arg(long, value_name = "DIR")]
    flash_dir: Option<PathBuf>,
    /// Play the hub of every `virtual:` bus too, at these bit rates (500000/2000000) or as fast as it goes (untimed)
    #[arg(long, value_name = "RATES", value_parser = rates)]
    hub: Option<Rates>,
    /// Also send a block of telemetry a second, in fragments under this CAN id, on the bus of the first ECU; behind a
    /// slash the id under which keyframes are asked for: 0x6F1/0x6F9
    #[arg(long, value_name = "ID")]
    telemetry: Option<TelemetryIds>,
    /// Print a commented bench file and end
    #[arg(long)]
    example: bool,
    /// Print the commands and the faults and end
    #[arg(long)]
    commands: bool,
}

/// Bit rates of a hub; `None`: untimed.
#[derive(Debug, Clone, Copy)]
struct Rates(Option<BitTiming>);

fn rates(text: &str) -> Result<Rates, String> {
    if text == "untimed" {
        return Ok(Rates(None));
    }
    let parsed = text
        .split_once('/')
        .and_then(|(nominal, data)| BitTiming::new(nominal.parse().ok()?, data.parse().ok()?));
    parsed.map(|timing| Rates(Some(timing))).ok_or_else(|| {
        "write NOMINAL/DATA in bit/s, the data rate not below the nominal one, or `untimed`".to_owned()
    })
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if cli.example || cli.commands {
        println!("{}", if cli.example { EXAMPLE.trim_end() } else { HELP });
        return ExitCode::SUCCESS;
    }
    let read = || {
        Bench::load(&cli.bench.clone().unwrap_or_default())?.ecus(cli.bus.as_ref(), cli.flash_dir.as_deref())
    };
    let ecus = match read() {
        Ok(ecus) => ecus,
        Err(error) => {
            complain(&error);
            return ExitCode::from(CONFIG);
        }
    };
    match Rig::start(ecus, cli.hub, cli.telemetry).and_then(|mut rig| rig.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &dyn Error) {
    eprintln!("ecu-sim: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        eprintln!("  because: {error}");
        source = error.source();
    }
}

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Everything that runs.
struct Rig {
    // Dropped before the hubs they hang on.
    seats: Vec<Seat>,
    _telemetry: Option<TelemetryNode>,
    _hubs: Vec<BusHub>,
}

struct Seat {
    ecu: BenchEcu,
    /// `None` while it is switched off
    node: Option<Node>,
}

/// An ECU that runs.
enum Node {
    Can(EcuNode),
    Doip(DoipNode),
}

impl Node {
    fn has_ended(&self) -> bool {
        match self {
            Self::Can(node) => node.has_ended(),
            Self::Doip(node) => node.has_ended(),
        }
    }

    fn stop(self) -> Result<(), NodeError> {
        match self {
            Self::Can(node) => node.stop(),
            Self::Doip(node) => node.stop(),
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut SimEcu) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        match self {
            Self::Can(node) => node.ask(question),
            Self::Doip(node) => node.ask(question),
        }
    }

    fn inject(&self, fault: Injection) -> Outcome<()> {
        let now = Instant::now();
        match self {
            Self::Can(node) => node.ask_port(move |port| fault.apply(now, port))??,
            Self::Doip(node) => node.ask_port(move |port| fault.apply_to_doip(now, port))??,
        }
        Ok(())
    }

    fn clear_faults(&self) -> Result<(), NodeError> {
        match self {
            Self::Can(node) => node.ask_port(gateway_sim::ecu::EcuPort::clear_faults),
            Self::Doip(node) => node.ask_port(gateway_sim::ecu::doip::DoipPort::clear_faults),
        }
    }
}

impl Rig {
    fn start(ecus: Vec<BenchEcu>, hub: Option<Rates>, telemetry: Option<TelemetryIds>) -> Outcome<Self> {
        let mut hubs = Vec::new();
        if let Some(Rates(timing)) = hub {
            let mut paths: Vec<&PathBuf> = Vec::new();
            for ecu in &ecus {
                if let Some(BusUrl::Virtual(path)) = ecu.link.bus()
                    && !paths.contains(&path)
                {
                    paths.push(path);
                }
            }
            for path in paths {
                hubs.push(
                    BusHub::start(path, timing)
                        .map_err(|error| format!("cannot play the hub at {}: {error}", path.display()))?,
                );
            }
        }
        let first = ecus.iter().find_map(|ecu| ecu.link.bus()).cloned();
        let telemetry = telemetry.map(|ids| {
            let url = first.ok_or("--telemetry needs an ECU on a CAN bus")?;
            Ok::<_, Box<dyn Error>>(TelemetryNode::start(canfd::bus::open(&url)?, ids, TELEMETRY_INTERVAL)?)
        });
        let telemetry = telemetry.transpose()?;
        let mut seats: Vec<Seat> = ecus.into_iter().map(|ecu| Seat { ecu, node: None }).collect();
        for seat in &mut seats {
            seat.power_on()?;
        }
        for seat in &seats {
            println!("{} on {}, flash in {}", seat.ecu.name, seat.place(), seat.ecu.flash.display());
        }
        println!("ready, {} ECUs", seats.len());
        std::io::stdout().flush()?;
        Ok(Self { seats, _telemetry: telemetry, _hubs: hubs })
    }

    fn run(&mut self) -> Outcome<()> {
        let (lines, inbox) = mpsc::sync_channel(16);
        // It ends with the process: nothing can interrupt a read of standard input.
        std::thread::Builder::new().name("commands".into()).spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        })?;
        let mut open = true;
        loop {
            self.check()?;
            if !open {
                std::thread::sleep(ROUND);
                continue;
            }
            match inbox.recv_timeout(ROUND) {
                Ok(line) => match self.obey(&line) {
                    Ok(true) => {}
                    Ok(false) => return Ok(()),
                    Err(error) => println!("error: {error}"),
                },
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => open = false,
            }
            std::io::stdout().flush()?;
        }
    }

    /// A node that ended by itself has lost its bus.
    fn check(&mut self) -> Outcome<()> {
        for seat in &mut self.seats {
            if let Some(node) = seat.node.take_if(|node| node.has_ended()) {
                node.stop()?;
            }
        }
        Ok(())
    }

    /// Carries out one line; false at the end.
    fn obey(&mut self, line: &str) -> Outcome<bool> {
        let Some(command) = Command::parse(line)? else { return Ok(true) };
        match command {
            Command::Help => println!("{HELP}"),
            Command::List => {
                for seat in &self.seats {
                    println!("{}", seat.describe()?);
                }
            }
            Command::Quit => {
                println!("ok");
                return Ok(false);
            }
            Command::Inject { ecu, fault } => {
                for seat in self.named(&ecu)? {
                    seat.inject(fault.clone())?;
                }
            }
            Command::Clear { ecu } => {
                for seat in self.named(&ecu)? {
                    seat.node()?.clear_faults()?;
                }
            }
            Command::Power { ecu, off, on } => {
                for seat in self.named(&ecu)? {
                    if off && let Some(node) = seat.node.take() {
                        node.stop()?;
                    }
                    if on && seat.node.is_none() {
                        seat.power_on()?;
                    }
                }
            }
        }
        println!("ok");
        Ok(true)
    }

    fn named<'a>(&'a mut self, name: &'a str) -> Result<impl Iterator<Item = &'a mut Seat>, String> {
        if name != "all" && !self.seats.iter().any(|seat| seat.ecu.name == name) {
            return Err(format!("no ECU is called `{name}`; `list` names them"));
        }
        Ok(self.seats.iter_mut().filter(move |seat| name == "all" || seat.ecu.name == name))
    }
}

impl Seat {
    fn power_on(&mut self) -> Outcome<()> {
        let BenchEcu { name, link, flash, config, faults } = &self.ecu;
        let faults = faults.iter().map(|text| Injection::parse(text));
        let faults =
            faults.collect::<Result<Vec<_>, _>>().map_err(|error| format!("faults of {name}: {error}"))?;
        let ecu = SimEcu::open(Instant::now(), flash, Arc::new(config.clone()))?;
        self.node = Some(match link {
            BenchLink::Can { bus, node } => {
                Node::Can(EcuNode::start(name, canfd::bus::open(bus)?, ecu, *node)?)
            }
            BenchLink::Doip(node) => Node::Doip(DoipNode::start(name, ecu, (**node).clone())?),
        });
        faults.into_iter().try_for_each(|fault| self.inject(fault))
    }

    /// Where it can be found; ports that were given as 0 are known once it is on.
    fn place(&self) -> String {
        match (&self.ecu.link, &self.node) {
            (BenchLink::Can { bus, .. }, _) => bus.to_string(),
            (BenchLink::Doip(_), Some(Node::Doip(node))) => {
                let addresses = node.addresses();
                let tls = addresses.tls.map_or_else(String::new, |it| format!(" doips://{it}"));
                let udp = addresses.udp.map_or_else(String::new, |it| format!(" udp://{it}"));
                format!("doip://{}{tls}{udp}", addresses.tcp)
            }
            (BenchLink::Doip(node), _) => format!("doip://{}", node.listen),
        }
    }

    fn node(&self) -> Result<&Node, String> {
        self.node.as_ref().ok_or_else(|| format!("{} is switched off", self.ecu.name))
    }

    fn inject(&self, fault: Injection) -> Outcome<()> {
        self.node()?.inject(fault)
    }

    fn describe(&self) -> Outcome<String> {
        let BenchEcu { name, config, .. } = &self.ecu;
        let place = self.place();
        let Some(node) = &self.node else { return Ok(format!("{name} {place} off")) };
        let banks = config.profile.banks.len();
        let figures = node.ask(move |ecu| {
            let version = ecu
                .running_version()
                .map_or_else(|| "-".into(), |it| String::from_utf8_lossy(it).into_owned());
            let erases: Vec<String> = (0..banks).map(|bank| ecu.erase_count(bank).to_string()).collect();
            format!(
                "version={version} session=0x{:02X} boots={} erases={}",
                ecu.session().to_byte(),
                ecu.boots(),
                erases.join(",")
            )
        })?;
        Ok(format!("{name} {place} on {figures}"))
    }
}
