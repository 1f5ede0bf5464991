//! UDS against udsoncan and can-isotp over a `udp:` bus: udsoncan as the tester of `ecu-sim`, and the daemon's bus thread
//! as the tester of ECUs that are written in Python with udsoncan's messages.
//!
//! `GATEWAYD_PEERS_PYTHON` names a Python that has `python-can[multicast]`, `can-isotp` and `udsoncan`; without it the
//! tests say `not checked`.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use canfd::bit_timing::BitTiming;
use canfd::bus::BusUrl;
use canfd::frame::{CanId, CanIds};
use canfd::pacing::PacingConfig;
use canfd::uds::profile::{Phase, Profile};
use canfd::uds::programming::EcuState;
use gateway_sim::random::Random;
use gatewayd::bus::{BusMaster, EcuError, EcuOrder, EcuReport, Program, SeatConfig};
use gatewayd::config::addressing::AddressingPart;
use gatewayd::gateway::message::{EcuIndex, Input};
use gatewayd::io::can::BusWorker;
use gatewayd::runtime::Pin;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Without a word for so long, something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The ECUs that `uds_tester.py` knows.
const BENCH: &str = r#"
    [[ecu]]
    name = "BRAKE"
    request_id = 0x731
    response_id = 0x7B1
    functional_id = 0x7DF
    erase_time = "200ms"
    program_time_per_kib = "10us"
    boot_time = "100ms"
    security_delay = "1ms"
    dialect = "seed-key"
    trouble_codes = [0xD00087, 0xC10100, 0x0A9B17]
    [[ecu]]
    name = "DOOR"
    request_id = 0x18DA20F1
    response_id = 0x18DAF120
    functional_id = 0x7DF
    frames = "classical"
    erase_time = "200ms"
    program_time_per_kib = "0us"
    boot_time = "100ms"
    dialect = "certificate"
    [[ecu]]
    name = "CLUSTER"
    request_id = 0x733
    response_id = 0x7B3
    tx_dl = 32
    erase_time = "1ms"
    program_time_per_kib = "0us"
    boot_time = "100ms"
    dialect = "file"

    [dialect.seed-key]
    security = { seed_key = { level = 1, algorithm = "demonstration-xor-rotate" } }
    [dialect.certificate]
    security = { certificate = { credential = "demonstration-certificate", bidirectional = true } }
    [dialect.file]
    security = { seed_key = { level = 0x11, algorithm = "demonstration-multiply-add" } }
    file = { path = "/app/image.bin", resume = true }
"#;

fn python() -> Option<String> {
    let python = std::env::var("GATEWAYD_PEERS_PYTHON").ok();
    if python.is_none() {
        println!("not checked: GATEWAYD_PEERS_PYTHON does not name a Python with udsoncan and can-isotp");
    }
    python
}

/// A port of this process: python-can listens on its port to whatever group anybody on the host has joined.
fn port() -> String {
    (10_000 + std::process::id() % 20_000).to_string()
}

/// A group of this process and test, or two runs on one host would hear each other.
fn group(test: u8) -> String {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("239.{}.{high}.{low}", 100 + test)
}

fn script(name: &str) -> String {
    format!("{}/peers/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Another program, commanded and read by lines. It ends with the test.
struct Peer {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    fn start(command: &mut Command) -> Self {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a program that is there");
        let stdin = process.stdin.take();
        let stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, stdin, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).expect("its output is text") > 0, "the peer has ended");
        line.trim_end().to_owned()
    }

    /// What is left to say once its input has ended.
    fn finish(mut self) -> String {
        self.stdin = None;
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("its output is text");
        assert!(self.process.wait().expect("it is our child").success(), "the peer failed");
        rest
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn udsoncan_diagnoses_and_programs_the_simulated_ecus() {
    let Some(python) = python() else { return };
    let (directory, group) = (tempfile::tempdir().unwrap(), group(0));
    let image = Random::new(1).bytes(60_000);
    std::fs::write(directory.path().join("image.bin"), &image).unwrap();
    std::fs::write(directory.path().join("bench.toml"), BENCH).unwrap();
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_ecu-sim"));
    simulator.current_dir(directory.path()).args(["--flash-dir", "flash", "bench.toml"]);
    let mut simulator = Peer::start(simulator.arg("--bus").arg(format!("udp:{group}:{}", port())));
    while simulator.line() != "ready, 3 ECUs" {}

    let mut tester = Command::new(python);
    tester.arg(script("uds_tester.py")).args([&group, &port()]).arg(directory.path().join("image.bin"));
    let told = Peer::start(&mut tester).finish();
    print!("{told}");
    let requests =
        told.lines().last().and_then(|line| line.strip_prefix("done ")).expect("it got to its end");
    println!("{requests} requests of udsoncan answered as ISO 14229-1 has it");

    let flash =
        |ecu: &str| std::fs::read(directory.path().join("flash").join(ecu).join("bank0.bin")).unwrap();
    assert!(flash("BRAKE") == image && flash("CLUSTER") == image, "an ECU holds something else");
    assert!(flash("DOOR") == image[..20_000], "DOOR holds something else");
    writeln!(simulator.stdin.as_mut().expect("it is piped"), "quit").unwrap();
    assert_eq!(simulator.line(), "ok");
}

/// One ECU in Python.
struct Case {
    ids: (CanId, CanId),
    functional: u16,
    addressing: AddressingPart,
    dialect: &'static str,
    /// Length of its frames, and the block size and separation time that it asks for.
    link: (u8, u8, u8),
    /// The block of 0x36 that it is too busy for at first, counted from 1; 0: none.
    busy_at: u32,
    /// The block whose answer gets lost; 0: none.
    lose_answer: u32,
    wrong_checksum: bool,
}

impl Case {
    /// Eleven bits, seed and key, and nothing goes wrong.
    fn well() -> Self {
        Self {
            ids: standard(0x7E0, 0x7E8),
            functional: 0x7DF,
            addressing: AddressingPart::Normal,
            dialect: SEED_KEY,
            link: (64, 0, 0),
            busy_at: 0,
            lose_answer: 0,
            wrong_checksum: false,
        }
    }

    fn profile(&self) -> Profile {
        // P2 of an ECU whose interpreter shares a busy machine.
        let text = format!(
            "timings = {{ p2 = \"1s\", busy_delay = \"20ms\", reset_poll = \"300ms\" }}\n{}",
            self.dialect
        );
        toml::from_str(&text).expect("a dialect of this file")
    }

    fn json(&self, memory: &Path) -> String {
        let raw = |id| match id {
            CanId::Standard(id) => u32::from(id.as_raw()),
            CanId::Extended(id) => id.as_raw(),
        };
        let addresses = match self.addressing {
            AddressingPart::Extended { ecu, tester, functional } => json!([tester, ecu, functional]),
            _ => Value::Null,
        };
        json!({
            "request": raw(self.ids.0), "response": raw(self.ids.1), "functional": self.functional,
            "addresses": addresses,
            "tx_dl": self.link.0, "block_size": self.link.1, "st_min": self.link.2,
            "busy_at": self.busy_at, "lose_answer": self.lose_answer, "wrong_checksum": self.wrong_checksum,
            "memory": memory, "profile": self.profile(),
        })
        .to_string()
    }
}

/// What came of a programming, and what the ECU says of it.
struct Outcome {
    reports: Vec<EcuReport>,
    memory: Vec<u8>,
    told: Value,
}

impl Outcome {
    fn count(&self, what: &str) -> u64 {
        self.told.get(what).and_then(Value::as_u64).expect("the ECU counts it")
    }

    fn asked(&self, service: u8) -> bool {
        let services = self.told.get("services").and_then(Value::as_array).expect("the ECU lists them");
        services.iter().any(|it| it.as_u64() == Some(service.into()))
    }
}

/// Has the daemon's bus thread program an ECU in Python.
fn program(python: &str, test: u8, case: &Case, image: &[u8]) -> Result<Outcome, Box<dyn Error>> {
    let (directory, group) = (tempfile::tempdir()?, group(test));
    let memory = directory.path().join("memory.bin");
    let mut server = Command::new(python);
    server.arg(script("uds_server.py")).args([&group, &port()]).arg(case.json(&memory));
    let mut server = Peer::start(&mut server);
    assert_eq!(server.line(), "ready");

    let url: BusUrl = format!("udp:{group}:{}", port()).parse()?;
    let ids = CanIds { request: case.ids.0, response: case.ids.1 };
    let ecu = EcuIndex(0);
    let seat = SeatConfig::new(ecu, ids, CanId::standard(case.functional)?, Arc::new(case.profile()));
    let seat = SeatConfig {
        addressing: case.addressing.physical(),
        functional_address: case.addressing.functional(),
        max_in_flight: SeatConfig::frames_in_flight(&url),
        ..seat
    };
    let master = BusMaster::paced([seat], BitTiming::FD_500K_2M, PacingConfig::default());
    let (inputs, mut incoming) = tokio::sync::mpsc::channel(1024);
    let worker = BusWorker::start("peer", url, master, Pin::ANYWHERE, inputs)?;
    let order = |order| worker.order(ecu, order).map_err(|_| "the queue of the bus is full");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut reports = Vec::new();
    order(EcuOrder::Identify)?;
    loop {
        let input = runtime.block_on(async { tokio::time::timeout(PATIENCE, incoming.recv()).await })?;
        let Some(Input::Ecu { report, .. }) = input else { return Err("the bus thread is gone".into()) };
        let mut last = false;
        match &report {
            // The thread has not opened the bus yet.
            EcuReport::Failed(EcuError::BusDown { .. }) => {
                order(EcuOrder::Identify)?;
                continue;
            }
            EcuReport::Identified { .. } => order(EcuOrder::Program(Program {
                image_len: image.len() as u64,
                version: "2.0.0".to_owned(),
                sha256: Sha256::digest(image).to_vec(),
                crc32: crc32(image),
                resume_from: None,
            }))?,
            EcuReport::TransferBegins { offset } => {
                let start = usize::try_from(*offset)?;
                for (nth, bytes) in image[start..].chunks(4_096).enumerate() {
                    order(EcuOrder::Data { offset: offset + nth as u64 * 4_096, bytes: bytes.to_vec() })?;
                }
            }
            EcuReport::ReadyToActivate => order(EcuOrder::Activate)?,
            EcuReport::Finished { .. } | EcuReport::Failed(_) => last = true,
            _ => {}
        }
        reports.push(report);
        if last {
            break;
        }
    }
    let told = serde_json::from_str(&server.finish())?;
    Ok(Outcome { reports, memory: std::fs::read(memory)?, told })
}

/// CRC-32 of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |state: u32| (0..8).fold(state, |it, _| (it >> 1) ^ (0xEDB8_8320 & (it & 1).wrapping_neg()));
    !bytes.iter().fold(u32::MAX, |state, byte| step(state ^ u32::from(*byte)))
}

fn standard(request: u16, response: u16) -> (CanId, CanId) {
    (CanId::standard(request).expect("11 bits"), CanId::standard(response).expect("11 bits"))
}

fn fixed() -> (CanId, CanId) {
    (CanId::extended(0x18DA_10F1).expect("29 bits"), CanId::extended(0x18DA_F110).expect("29 bits"))
}

/// Functional steps, seed and key, SHA-256; one block that the ECU is too busy for.
const SEED_KEY: &str = r#"
    extended_session = "functional"
    dtc_setting = "functional"
    communication_control = "functional"
    security = { seed_key = { level = 0x11, algorithm = "demonstration-multiply-add" } }
"#;

/// Certificates both ways, two banks, a checksum behind every block, CRC-32, taken up at the ECU's word.
const TWO_BANKS: &str = r#"
    security = { certificate = { credential = "demonstration-certificate", bidirectional = true } }
    erase = { routine = 0xFF00, address_and_length = false }
    memory = { address_bytes = 5, length_bytes = 3, data_format = 0 }
    banks = [{ address = 0x0800_0000 }, { address = 0x1_0900_0000 }]
    active_bank_did = 0xFD02
    block_check = "crc16_x25"
    checksum = { routine = 0x0203, algorithm = "crc32" }
    activation = { switch_bank = { routine = 0x0301 } }
    resume = { reported_offset = { did = 0xFD01 } }
"#;

/// A file, taken up again by mode 6 of 0x38.
const FILE: &str = r#"
    security = { certificate = { credential = "demonstration-certificate" } }
    file = { path = "/app/image.bin", resume = true }
"#;

#[test]
fn the_daemon_programs_ecus_written_in_python() {
    let Some(python) = python() else { return };
    let image = Random::new(2).bytes(50_000);
    let extended = AddressingPart::Extended { ecu: 0x10, tester: 0xF1, functional: 0xFE };
    let cases = [
        ("seed and key, busy once", Case { busy_at: 5, ..Case::well() }),
        (
            "two banks, an answer lost",
            Case { dialect: TWO_BANKS, ids: fixed(), link: (64, 8, 0), lose_answer: 7, ..Case::well() },
        ),
        (
            "extended addressing, one id for every request",
            Case { ids: standard(0x6F1, 0x610), functional: 0x6F1, addressing: extended, ..Case::well() },
        ),
        ("file, an answer lost", Case { dialect: FILE, link: (32, 0, 0xF1), lose_answer: 3, ..Case::well() }),
    ];
    let (mut requests, mut blocks) = (0, 0);
    for (test, (name, case)) in (1..).zip(&cases) {
        let outcome = program(&python, test, case, &image).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {}", outcome.told);
        let finished = EcuReport::Finished { version: "2.0.0".to_owned() };
        assert_eq!(outcome.reports.last(), Some(&finished), "{name}: {:?}", outcome.reports);
        assert!(outcome.memory == image, "{name}: the ECU holds something else");
        assert_eq!(outcome.told["version"], "2.0.0", "{name}");
        // What was to go wrong did, and no block was sent twice: as many as the image has, and those refused.
        assert_eq!(outcome.count("busy"), u64::from(case.busy_at != 0), "{name}");
        assert_eq!(outcome.count("lost"), u64::from(case.lose_answer != 0), "{name}");
        assert_eq!(outcome.count("pending") % 2, 0, "{name}");
        let data = 1_024 - u64::from(case.profile().block_check.len());
        assert_eq!(outcome.count("blocks") - outcome.count("busy"), 50_000_u64.div_ceil(data), "{name}");
        requests += outcome.count("asked");
        blocks += outcome.count("blocks");
    }
    println!("{} programmings of ECUs in Python, {requests} requests, {blocks} blocks", cases.len());
}

#[test]
fn an_image_that_an_ecu_in_python_finds_wrong_is_a_failure_and_the_ecus_state_is_said() {
    let Some(python) = python() else { return };
    let image = Random::new(3).bytes(5_000);
    let case = Case { wrong_checksum: true, ..Case::well() };
    let outcome = program(&python, 10, &case, &image).unwrap();
    let Some(EcuReport::Failed(EcuError::Session { phase, state, .. })) = outcome.reports.last() else {
        panic!("{:?}", outcome.reports)
    };
    assert_eq!((*phase, *state), (Phase::Checksum, EcuState::NoApplication));
    assert!(
        outcome.asked(0x31) && !outcome.asked(0x11),
        "it was started with a wrong image: {}",
        outcome.told
    );
}
