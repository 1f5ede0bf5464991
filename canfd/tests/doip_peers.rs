//! DoIP against implementations by others: doipclient with udsoncan as testers of our entity, our client as a tester
//! of doip-server.
//!
//! `GATEWAYD_PEERS_DOIP` names a Python that has them; without it the tests say `not checked`.

use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use canfd::doip::client::{Client, ClientConfig, Event};
use canfd::doip::header::ProtocolVersion;
use canfd::doip::server::{self, Server, ServerConfig, SocketId};
use canfd::doip::{LogicalAddress, Vin};

const ECU: LogicalAddress = LogicalAddress(0x1001);
const TESTER: LogicalAddress = LogicalAddress(0x0E80);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the ends wait for a byte before they look at the clock again.
const ROUND: Duration = Duration::from_millis(2);

fn python() -> Option<String> {
    let python = std::env::var("GATEWAYD_PEERS_DOIP").ok();
    if python.is_none() {
        println!("peers: not checked: GATEWAYD_PEERS_DOIP names no Python with doipclient and doip-server");
    }
    python
}

/// A peer in a process of its own, killed with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Our entity on real sockets.
struct Entity {
    server: Server,
    listener: TcpListener,
    datagrams: UdpSocket,
    streams: HashMap<SocketId, TcpStream>,
}

impl Entity {
    fn open(config: ServerConfig) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        datagrams.set_read_timeout(Some(ROUND))?;
        Ok(Self { server: Server::new(config), listener, datagrams, streams: HashMap::new() })
    }

    fn turn(&mut self) -> std::io::Result<()> {
        let now = Instant::now();
        let mut buffer = [0; 8192];
        match self.datagrams.recv_from(&mut buffer) {
            Ok((len, from)) => {
                if let Some(answer) = self.server.handle_datagram(&buffer[..len]) {
                    self.datagrams.send_to(&answer, from)?;
                }
            }
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
        if let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true)?;
            if let Ok(id) = self.server.handle_connected(now, false) {
                self.streams.insert(id, stream);
            }
        }
        for (id, stream) in &mut self.streams {
            match stream.read(&mut buffer) {
                Ok(len) if len > 0 => self.server.handle_bytes(now, *id, &buffer[..len]),
                Err(error) if is_pause(&error) => {}
                Ok(_) | Err(_) => self.server.handle_closed(now, *id),
            }
        }
        self.server.handle_timeout(now);
        self.drain(now)
    }

    fn drain(&mut self, now: Instant) -> std::io::Result<()> {
        loop {
            while let Some((id, bytes)) = self.server.poll_transmit() {
                if let Some(stream) = self.streams.get_mut(&id) {
                    // Short messages to a peer that reads, or that is gone; either way nothing waits.
                    let _ = stream.write_all(&bytes);
                }
            }
            let Some(event) = self.server.poll_event() else { return Ok(()) };
            match event {
                server::Event::Close(id) => drop(self.streams.remove(&id)),
                server::Event::Request(request) => {
                    if let Some(answer) = answer(&request.data) {
                        self.server.respond(now, ECU, request.tester, &answer);
                    }
                }
                server::Event::Activated { .. } | server::Event::ConfirmationRequired { .. } => {}
            }
        }
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// An ECU that knows a few services.
fn answer(request: &[u8]) -> Option<Vec<u8>> {
    match *request {
        // Seconds for P2: the machine may be busy.
        [0x10, session] => Some(vec![0x50, session, 0x13, 0x88, 0x13, 0x88]),
        [0x22, 0xF1, 0x95] => Some(b"\x62\xF1\x951.0.0".to_vec()),
        [0x3E, 0x00] => Some(vec![0x7E, 0x00]),
        [0x36, counter, ..] => Some(vec![0x76, counter]),
        [service, ..] => Some(vec![0x7F, service, 0x11]),
        [] => None,
    }
}

#[test]
fn doipclient_and_udsoncan_find_our_entity_and_talk_to_it() -> Result<(), Box<dyn Error>> {
    let Some(python) = python() else { return Ok(()) };
    let mut config = ServerConfig { max_sockets: 2, ..ServerConfig::new(ECU) };
    config.identity.vin = Vin(*b"LSVAG2180E2100001");
    let mut entity = Entity::open(config)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/doip_tester.py");
    let ports = [entity.listener.local_addr()?.port(), entity.datagrams.local_addr()?.port()];
    let mut peer = Peer(
        Command::new(python)
            .arg(script)
            .args(ports.map(|port| port.to_string()))
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let end = Instant::now() + PATIENCE;
    let status = loop {
        entity.turn()?;
        if let Some(status) = peer.0.try_wait()? {
            break status;
        }
        assert!(Instant::now() < end, "the peer does not end");
    };
    let mut said = String::new();
    peer.0.stdout.take().ok_or("it is piped")?.read_to_string(&mut said)?;
    assert!(status.success(), "{said}");
    println!("peers: doipclient to our entity: {} blocks", said.trim_end());
    Ok(())
}

/// What doip-server is told: one ECU with three services.
fn configure(directory: &Path, port: u16) -> std::io::Result<()> {
    let gateway = format!(
        "gateway:\n  name: peer\n  logical_address: 0x1000\n  network: {{host: 127.0.0.1, port: {port}}}\n  \
         protocol: {{version: 0x02, inverse_version: 0xFD}}\n  ecus: [ecu.yaml]\n"
    );
    std::fs::write(directory.join("gateway.yaml"), gateway)?;
    std::fs::write(
        directory.join("ecu.yaml"),
        "ecu:\n  name: ecu\n  target_address: 0x1001\n  functional_address: 0xE400\n  tester_addresses: [0x0E80]\n  \
         uds_services: {service_files: [services.yaml]}\n",
    )?;
    std::fs::write(
        directory.join("services.yaml"),
        "common_services:\n  version: {request: '22F195', responses: ['62F195312E302E30']}\n  \
         present: {request: '3E00', responses: ['7E00'], supports_functional: true}\n  \
         silent: {request: '3E80', no_response: true}\n",
    )
}

/// Our tester on a real socket.
struct Tester {
    client: Client,
    stream: TcpStream,
    end: Instant,
}

impl Tester {
    fn next(&mut self) -> Result<Event, Box<dyn Error>> {
        let mut buffer = [0; 4096];
        loop {
            let now = Instant::now();
            assert!(now < self.end, "the peer is silent");
            while let Some(bytes) = self.client.poll_transmit(now) {
                self.stream.write_all(&bytes)?;
            }
            if let Some(event) = self.client.poll_event() {
                return Ok(event);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => self.client.handle_closed(),
                Ok(len) => self.client.handle_bytes(Instant::now(), &buffer[..len]),
                Err(error) if is_pause(&error) => self.client.handle_timeout(Instant::now()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn connect(port: u16) -> TcpStream {
    let end = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "doip-server does not listen: {error}"),
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn our_client_talks_to_doip_server() -> Result<(), Box<dyn Error>> {
    let Some(python) = python() else { return Ok(()) };
    let directory = std::env::temp_dir().join(format!("doip-peer-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    // Free now, and nobody else takes it in the next moment.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    configure(&directory, port)?;
    let _peer = Peer(
        Command::new(python)
            .args(["-m", "doip_server.main", "--gateway-config", "gateway.yaml"])
            .current_dir(&directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let stream = connect(port);
    stream.set_read_timeout(Some(ROUND))?;
    let config = ClientConfig { version: ProtocolVersion::Iso2012, ..ClientConfig::new(TESTER) };
    let now = Instant::now();
    let mut tester = Tester { client: Client::new(now, config), stream, end: now + PATIENCE };
    assert_eq!(tester.next()?, Event::Activated { entity: LogicalAddress(0x1000) });
    for _ in 0..50 {
        for (request, answer) in [
            (&[0x22, 0xF1, 0x95][..], &b"\x62\xF1\x951.0.0"[..]),
            (&[0x3E, 0x00], &[0x7E, 0x00]),
            (&[0x31, 0x01], &[0x7F, 0x31, 0x7F]),
        ] {
            tester.client.request(ECU, request.to_vec())?;
            assert_eq!(tester.next()?, Event::Acknowledged { target: ECU });
            let Event::Received { source, data } = tester.next()? else { panic!("no answer") };
            assert_eq!((source, data.first(), data.len() >= 2), (ECU, answer.first(), true));
        }
    }
    // Nobody has this address. The peer says so in a message that names none, so it is the missing acknowledgement that
    // tells, and the connection goes on.
    let nobody = LogicalAddress(0x1FFF);
    tester.client.request(nobody, vec![0x3E, 0x00])?;
    assert_eq!(tester.next()?, Event::Unacknowledged { target: nobody });
    assert!(tester.client.is_active());
    std::fs::remove_dir_all(&directory)?;
    println!("peers: our client to doip-server: 150 requests");
    Ok(())
}
