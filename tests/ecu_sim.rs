//! The program `ecu-sim` as its users meet it: started, commanded by lines, programmed over a bus, read afterwards.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use canfd::bus::{Bus, BusUrl};
use canfd::frame::{CanId, CanIds};
use canfd::isotp::LinkConfig;
use canfd::uds::profile::{Phase, Profile};
use canfd::uds::programming::{EcuState, Event, Plan, Programmer};
use gateway_sim::ecu::Tester;
use gateway_sim::random::Random;
use sha2::{Digest, Sha256};

const BENCH: &str = r#"
    [[ecu]]
    name = "BRAKE"
    request_id = 0x731
    response_id = 0x7B1
    functional_id = 0x7DF
    erase_time = "1ms"
    program_time_per_kib = "0us"
    boot_time = "1ms"
    dialect = "plain"
    [dialect.plain]
    timings = { reset_poll = "5ms", p2 = "2s" }
"#;

/// A running simulator with the hub of its bus.
struct Simulator {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Simulator {
    fn start(directory: &Path) -> Self {
        std::fs::write(directory.join("bench.toml"), BENCH).expect("a file in a fresh directory");
        let mut process = command(directory)
            .args(["--hub", "untimed", "bench.toml"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program that was just built");
        let (stdin, stdout) =
            (process.stdin.take().expect("it is piped"), process.stdout.take().expect("it is piped"));
        let mut simulator = Self { process, stdin, stdout: BufReader::new(stdout) };
        while simulator.line() != "ready, 1 ECUs" {}
        simulator
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).expect("its output is text") > 0, "the simulator has ended");
        line.trim_end().to_owned()
    }

    /// The lines of an answer.
    fn say(&mut self, command: &str) -> Vec<String> {
        writeln!(self.stdin, "{command}").expect("it reads commands");
        let mut lines = vec![self.line()];
        while lines.last().is_some_and(|line| line != "ok" && !line.starts_with("error: ")) {
            lines.push(self.line());
        }
        lines
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ecu-sim"));
    command.current_dir(directory).arg("--flash-dir").arg("flash");
    command.arg("--bus").arg(format!("virtual:{}", directory.join("bus").display()));
    command
}

fn finish(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().expect("the program that was just built")
}

fn program(directory: &Path, image: &[u8], resume_from: Option<u64>) -> Event {
    let now = Instant::now();
    let bench: toml::Table = BENCH.parse().expect("the bench of this file");
    let profile: Profile = bench["dialect"]["plain"].clone().try_into().expect("the dialect of this file");
    let plan = Plan {
        image_len: image.len() as u64,
        version: b"2.0.0".to_vec(),
        checksum: Sha256::digest(image).to_vec(),
        resume_from,
        ..Plan::default()
    };
    let mut programmer = Programmer::new(now, Arc::new(profile), plan).expect("a plan that fits its profile");
    programmer.begin_transfer(now);
    programmer.activate(now);
    let id = |raw| CanId::standard(raw).expect("11 bits");
    let link = LinkConfig::tester(CanIds { request: id(0x731), response: id(0x7B1) });
    let mut tester = Tester::new(programmer, link, id(0x7DF), image.to_vec());
    let mut bus = canfd::bus::open(&BusUrl::Virtual(directory.join("bus"))).expect("the hub listens");
    let event = tester.run(&mut *bus as &mut dyn Bus, Duration::from_secs(120)).expect("the hub stays");
    event.unwrap_or_else(|| panic!("no end in phase {:?}", tester.phase()))
}

#[test]
fn an_ecu_fails_on_command_and_holds_the_image_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let image = Random::new(1).bytes(50_000);
    let mut simulator = Simulator::start(directory.path());
    assert_eq!(simulator.say("inject BRAKE reset-during-transfer 3"), ["ok"]);
    let Event::Failed(error) = program(directory.path(), &image, None) else { panic!() };
    assert_eq!((error.phase, error.ecu_state), (Phase::TransferData, EcuState::NoApplication));
    let listed = simulator.say("list");
    assert!(listed[0].ends_with("on version=- session=0x01 boots=2 erases=1"), "{listed:?}");

    let event = program(directory.path(), &image, None);
    assert!(matches!(event, Event::Finished { .. }), "{event:?}");
    assert_eq!(std::fs::read(directory.path().join("flash/BRAKE/bank0.bin")).unwrap(), image);
    assert_eq!(simulator.say("power-cycle all"), ["ok"]);
    let listed = simulator.say("list");
    assert!(listed[0].contains("on version=2.0.0 session=0x01 boots=4 erases=2"), "{listed:?}");
    assert_eq!(simulator.say("quit"), ["ok"]);
    assert_eq!(simulator.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_frame_lost_on_command_ends_an_attempt_and_not_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let image = Random::new(2).bytes(20_000);
    let mut simulator = Simulator::start(directory.path());
    // Far into the first block: the block arrives with a hole, nobody answers it.
    assert_eq!(simulator.say("inject all drop in 60"), ["ok"]);
    let Event::Failed(error) = program(directory.path(), &image, None) else { panic!() };
    assert_eq!((error.phase, error.ecu_state), (Phase::TransferData, EcuState::NoApplication));
    let event = program(directory.path(), &image, None);
    assert!(matches!(event, Event::Finished { .. }), "{event:?}");
}

#[test]
fn lines_that_mean_nothing_are_answered_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut simulator = Simulator::start(directory.path());
    assert_eq!(simulator.say("explode"), ["error: unknown command `explode`; `help` lists them"]);
    assert_eq!(simulator.say("clear DOOR"), ["error: no ECU is called `DOOR`; `list` names them"]);
    assert_eq!(simulator.say("power-off BRAKE"), ["ok"]);
    assert_eq!(simulator.say("inject BRAKE silent"), ["error: BRAKE is switched off"]);
    assert!(simulator.say("list")[0].ends_with(" off"));
}

#[test]
fn bad_files_bad_arguments_and_missing_buses_have_their_exit_codes() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bench.toml"), BENCH).unwrap();
    std::fs::write(directory.path().join("bad.toml"), "colour = 'red'").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = command(directory.path());
        command.args(arguments);
        let output = finish(command);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, message) = run(&["bad.toml"]);
    assert_eq!(code, Some(78));
    assert!(message.contains("`ecu-sim --example` shows one"), "{message}");
    assert_eq!(run(&["missing.toml"]).0, Some(78));
    assert_eq!(run(&["--colour", "bench.toml"]).0, Some(64));
    assert_eq!(run(&["--hub", "2/1", "bench.toml"]).0, Some(64));
    assert_eq!(run(&["--help"]).0, Some(0));
    // Nobody plays the hub.
    let (code, message) = run(&["bench.toml"]);
    assert_eq!(code, Some(1));
    assert!(message.contains("cannot open bus virtual:"), "{message}");
}
