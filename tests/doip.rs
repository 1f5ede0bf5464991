//! The program `ecu-sim` with an ECU on Ethernet, as its users meet it, and programmed by an implementation by others.
//!
//! `GATEWAYD_PEERS_DOIP` names a Python that has doipclient and udsoncan; without it that test says `not checked`.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use canfd::doip::client::{Client, ClientConfig, CloseReason, Event};
use canfd::doip::discovery::{Discovery, Query};
use canfd::doip::{LogicalAddress, Timings, Vin};
use gateway_cloud::certs;
use gateway_sim::random::Random;

const ECU: LogicalAddress = LogicalAddress(0x1001);
const PATIENCE: Duration = Duration::from_secs(30);

/// A running simulator with one ECU on free ports of loopback, flash in `flash/CAMERA`.
struct Simulator {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    tcp: SocketAddr,
    tls: SocketAddr,
    udp: SocketAddr,
}

impl Simulator {
    fn start(directory: &Path) -> Self {
        certs::issue(&directory.join("certs"), &["127.0.0.1".to_owned()], certs::DEFAULT_VALIDITY)
            .expect("certificates");
        std::fs::write(directory.join("bench.toml"), BENCH).expect("a file in a fresh directory");
        let mut process = Command::new(env!("CARGO_BIN_EXE_ecu-sim"))
            .current_dir(directory)
            .args(["--flash-dir", "flash", "bench.toml"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program that was just built");
        let stdin = process.stdin.take().expect("it is piped");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its output is text");
        let address = |scheme: &str| {
            let word = line.split([' ', ',']).find_map(|word| word.strip_prefix(scheme));
            word.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("no {scheme} in {line}"))
        };
        let (tcp, tls, udp) = (address("doip://"), address("doips://"), address("udp://"));
        let mut simulator = Self { process, stdin, stdout, tcp, tls, udp };
        assert_eq!(simulator.line(), "ready, 1 ECUs");
        simulator
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).expect("its output is text") > 0, "the simulator has ended");
        line.trim_end().to_owned()
    }

    fn say(&mut self, command: &str) -> String {
        writeln!(self.stdin, "{command}").expect("it reads commands");
        self.line()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const BENCH: &str = r#"
    [[ecu]]
    name = "CAMERA"
    erase_time = "1ms"
    program_time_per_kib = "0us"
    boot_time = "50ms"
    [ecu.doip]
    listen = "127.0.0.1:0"
    discovery = "127.0.0.1:0"
    logical_address = 0x1001
    vin = "LSVAG2180E2100001"
    [ecu.doip.tls]
    listen = "127.0.0.1:0"
    certificate = "certs/server.pem"
    key = "certs/server.key"
    ca = "certs/ca.pem"
"#;

/// A tester on a socket of its own.
struct Tester {
    client: Client,
    stream: TcpStream,
}

impl Tester {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the ECU listens");
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        let config = ClientConfig::new(LogicalAddress(0x0E80));
        let mut tester = Self { client: Client::new(Instant::now(), config), stream };
        assert_eq!(tester.next(), Event::Activated { entity: ECU });
        tester
    }

    fn next(&mut self) -> Event {
        let (end, mut buffer) = (Instant::now() + PATIENCE, [0; 4096]);
        loop {
            while let Some(bytes) = self.client.poll_transmit(Instant::now()) {
                self.stream.write_all(&bytes).expect("the ECU reads");
            }
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            assert!(Instant::now() < end, "the ECU is silent");
            match self.stream.read(&mut buffer) {
                Ok(0) => self.client.handle_closed(),
                Ok(len) => self.client.handle_bytes(Instant::now(), &buffer[..len]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.client.handle_timeout(Instant::now());
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn discover(udp: SocketAddr) -> (LogicalAddress, Vin) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    let vin = Vin(*b"LSVAG2180E2100001");
    let mut discovery = Discovery::new(Instant::now(), Query::Vin(vin), &Timings::default());
    let mut buffer = [0; 1500];
    while !discovery.is_over(Instant::now()) {
        if let Some(request) = discovery.poll_transmit(Instant::now()) {
            socket.send_to(&request, udp).expect("loopback");
        }
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            discovery.handle_datagram(from, &buffer[..len]).expect("an announcement");
        }
        if let [(from, found)] = discovery.found() {
            assert_eq!(*from, udp);
            return (found.logical_address, found.vin);
        }
    }
    panic!("nobody answers");
}

#[test]
fn an_ecu_on_ethernet_is_found_asked_and_cut_off_on_command() {
    let directory = tempfile::tempdir().unwrap();
    let mut simulator = Simulator::start(directory.path());
    assert_eq!(discover(simulator.udp), (ECU, Vin(*b"LSVAG2180E2100001")));
    let mut tester = Tester::connect(simulator.tcp);
    tester.client.request(ECU, vec![0x22, 0xF1, 0x95]).unwrap();
    assert_eq!(tester.next(), Event::Acknowledged { target: ECU });
    let Event::Received { data, .. } = tester.next() else { panic!("no answer") };
    assert_eq!(data[..3], [0x62, 0xF1, 0x95]);

    let refusal = simulator.say("inject CAMERA drop in 3");
    assert_eq!(refusal, "error: a fault of CAN, which this ECU does not speak");
    assert_eq!(simulator.say("inject CAMERA disconnect 0"), "ok");
    tester.client.request(ECU, vec![0x3E, 0x00]).unwrap();
    assert_eq!(tester.next(), Event::Closed(CloseReason::ByPeer));
    let mut again = Tester::connect(simulator.tcp);
    again.client.request(ECU, vec![0x3E, 0x00]).unwrap();
    assert_eq!(again.next(), Event::Acknowledged { target: ECU });
    let listed = simulator.say("list");
    assert!(listed.starts_with(&format!("CAMERA doip://{}", simulator.tcp)), "{listed}");
}

#[test]
fn udsoncan_over_doipclient_programs_an_ecu_with_and_without_tls() {
    let Ok(python) = std::env::var("GATEWAYD_PEERS_DOIP") else {
        println!("peers: not checked: GATEWAYD_PEERS_DOIP names no Python with doipclient and udsoncan");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let simulator = Simulator::start(dir);
    let image = Random::new(5).bytes(200_000);
    std::fs::write(dir.join("image.bin"), &image).unwrap();
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/doip_programmer.py"))
        .args([simulator.tcp.port().to_string(), simulator.tls.port().to_string()])
        .args(["certs/ca.pem", "certs/gateway.pem", "certs/gateway.key", "image.bin"])
        .current_dir(dir)
        .output()
        .expect("the Python that was named");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let flash = std::fs::read(dir.join("flash/CAMERA/bank0.bin")).unwrap();
    assert!(flash == image);
    println!("peers: udsoncan over doipclient to ecu-sim: {} bytes twice, once in TLS", image.len());
}
