//! Against OpenSSL 4 over TCP, both directions, with client certificates and resumption.
//!
//! The environment variable `GATEWAYD_OPENSSL4` names its command; OpenSSL has the suites of RFC 8998 from 4.0 on. Without
//! it the tests say `not checked`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crypto_offload::certificate::to_pem;
use crypto_offload::tls::{Family, Negotiated, Suites, TLS_SM4_GCM_SM3, sm_provider};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection, StreamOwned};

use super::support::{Hierarchy, Leaf, NAME};

const PATIENCE: Duration = Duration::from_secs(30);
const SUITE: [&str; 5] = ["-tls1_3", "-ciphersuites", "TLS_SM4_GCM_SM3", "-groups", "curveSM2"];

fn openssl() -> Option<PathBuf> {
    let path = std::env::var_os("GATEWAYD_OPENSSL4").map(PathBuf::from);
    if path.is_none() {
        println!("not checked: GATEWAYD_OPENSSL4 does not name an OpenSSL 4 command");
    }
    path
}

/// The hierarchy as files.
struct Files(tempdir::Folder);

mod tempdir {
    //! A folder that goes away with its owner.

    pub(super) struct Folder(pub(super) std::path::PathBuf);

    impl Folder {
        pub(super) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // What is left behind is in the folder for temporary files.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

impl Files {
    fn write(pki: &Hierarchy, name: &str) -> Self {
        let files = Self(tempdir::Folder::new(name));
        std::fs::write(files.path("ca.pem"), to_pem(&pki.ca.certificate)).unwrap();
        let leaf = |name: &str, leaf: &Leaf| {
            std::fs::write(files.path(&format!("{name}.pem")), to_pem(&leaf.certificate)).unwrap();
            let key = leaf.key.to_pkcs8_pem().unwrap();
            std::fs::write(files.path(&format!("{name}.key")), key.as_bytes()).unwrap();
        };
        leaf("server", &pki.server);
        leaf("client", &pki.client);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.0.join(name)
    }
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `openssl s_server`, which answers each line turned round, and its port.
fn s_server(openssl: &Path, files: &Files, mutual: bool) -> (Running, u16) {
    let mut command = Command::new(openssl);
    command.args(["s_server", "-accept", "127.0.0.1:0", "-rev"]).args(SUITE);
    command.arg("-cert").arg(files.path("server.pem")).arg("-key").arg(files.path("server.key"));
    if mutual {
        command.args(["-Verify", "1", "-verify_return_error", "-CAfile"]).arg(files.path("ca.pem"));
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = Running(child);
    let port = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("ACCEPT ")?.rsplit_once(':')?.1.parse().ok())
        .expect("s_server names its port");
    // It stops when nobody reads what it prints.
    std::thread::spawn(move || lines.for_each(drop));
    (running, port)
}

/// One connection: a line there, its mirror image back.
fn connect(port: u16, config: &Arc<ClientConfig>) -> std::io::Result<(Negotiated, HandshakeKind)> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let client = ClientConnection::new(config.clone(), ServerName::try_from(NAME).unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, socket);
    stream.write_all(b"campaign\n")?;
    let mut answer = [0; 9];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer, b"ngiapmac\n");
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok((Negotiated::of(&stream.conn).unwrap(), stream.conn.handshake_kind().unwrap()))
}

#[test]
fn our_client_meets_openssls_server() {
    let Some(openssl) = openssl() else { return };
    let pki = Hierarchy::new();
    let files = Files::write(&pki, "gatewayd-s-server");
    for mutual in [false, true] {
        let (_running, port) = s_server(&openssl, &files, mutual);
        let config = Arc::new(pki.client(sm_provider(), mutual));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let (negotiated, kind) = connect(port, &config).unwrap();
            assert_eq!((negotiated.suite, kind), (TLS_SM4_GCM_SM3, expected), "mutual: {mutual}");
            assert_eq!(negotiated.check(Suites::SmOnly), Ok(Family::Sm));
        }
    }
    let (_running, port) = s_server(&openssl, &files, true);
    let error = connect(port, &Arc::new(pki.client(sm_provider(), false))).unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

/// Takes one connection: hears a line, answers another.
fn serve(listener: &TcpListener, config: &Arc<rustls::ServerConfig>) -> (Negotiated, HandshakeKind) {
    let (socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket);
    let mut heard = [0; 9];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"campaign\n");
    stream.write_all(b"accepted\n").unwrap();
    let seen = (Negotiated::of(&stream.conn).unwrap(), stream.conn.handshake_kind().unwrap());
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    seen
}

/// `openssl s_client`: sends a line, and is through when the server closes. What it printed.
fn s_client(openssl: &Path, files: &Files, port: u16, mutual: bool, session: &[&str]) -> String {
    let mut command = Command::new(openssl);
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", NAME, "-ign_eof"]);
    command.args(SUITE).args(["-sigalgs", "sm2sig_sm3", "-verify_return_error", "-verify_hostname", NAME]);
    command.arg("-CAfile").arg(files.path("ca.pem"));
    if mutual {
        command.arg("-cert").arg(files.path("client.pem")).arg("-key").arg(files.path("client.key"));
    }
    if let [option, file] = session {
        command.arg(option).arg(files.path(file));
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"campaign\n").unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn openssls_client_meets_our_server() {
    let Some(openssl) = openssl() else { return };
    let pki = Hierarchy::new();
    let files = Files::write(&pki, "gatewayd-s-client");
    for mutual in [false, true] {
        let config = Arc::new(pki.server(sm_provider(), mutual));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let session = format!("session-{mutual}");
        let turns =
            [("-sess_out", HandshakeKind::Full, "New, "), ("-sess_in", HandshakeKind::Resumed, "Reused, ")];
        for (option, expected, said) in turns {
            let (printed, (negotiated, kind)) = std::thread::scope(|scope| {
                let client = scope.spawn(|| s_client(&openssl, &files, port, mutual, &[option, &session]));
                let seen = serve(&listener, &config);
                (client.join().unwrap(), seen)
            });
            assert_eq!((negotiated.suite, kind), (TLS_SM4_GCM_SM3, expected), "mutual: {mutual}");
            assert_eq!(negotiated.check(Suites::SmOnly), Ok(Family::Sm));
            assert_eq!(negotiated.peer, mutual.then_some(Family::Sm));
            for text in [said, "TLS_SM4_GCM_SM3", "Verify return code: 0 (ok)", "accepted"] {
                assert!(printed.contains(text), "{text} is missing in\n{printed}");
            }
        }
    }
}
