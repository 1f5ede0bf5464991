//! What a program that knows nothing of this crate reads on the wire: tshark, where it is installed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use crypto_offload::tls::{TLS_SM4_CCM_SM3, TLS_SM4_GCM_SM3};
use rustls::KeyLog;

use super::support::{Hierarchy, Pair, only};

#[test]
fn tshark_reads_the_handshake_as_the_rfc_has_it() {
    if Command::new("tshark").arg("--version").output().is_err() {
        return eprintln!("not checked: tshark is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    for (suite, number) in [(TLS_SM4_GCM_SM3, "0x00c6"), (TLS_SM4_CCM_SM3, "0x00c7")] {
        let (capture, keys) = record(folder.path(), suite);
        let hello = fields(
            &capture,
            &keys,
            "tls.handshake.type==1",
            &[
                "tls.handshake.ciphersuite",
                "tls.handshake.extensions_supported_group",
                "tls.handshake.extensions_key_share_group",
                "tls.handshake.sig_hash_alg",
                "tls.handshake.extensions.supported_version",
            ],
        );
        let [suites, groups, share, schemes, versions] =
            hello.trim_end().split('\t').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{hello}"));
        assert!(suites.split(',').any(|it| it == number), "{suites}");
        assert_eq!((groups, share, schemes, versions), ("0x0029", "41", "0x0708", "0x0304"));
        let answer = fields(
            &capture,
            &keys,
            "tls.handshake.type==2",
            &["tls.handshake.ciphersuite", "tls.handshake.extensions_key_share_group"],
        );
        assert_eq!(answer.trim_end(), format!("{number}\t41"));
        let malformed = fields(&capture, &keys, "_ws.malformed || tls.alert_message", &["frame.number"]);
        assert_eq!(malformed, "");
        // Whether it can decrypt depends on the ciphers it was built with; what it does then is shown, not demanded.
        let inside = fields(&capture, &keys, "tls", &["tls.record.content_type", "tls.handshake.type"]);
        println!("{suite:?}: record types and handshake messages\n{inside}");
    }
}

/// A capture of one handshake with a message each way, and its keys.
fn record(folder: &Path, suite: rustls::CipherSuite) -> (String, String) {
    let pki = Hierarchy::new();
    let log = Arc::new(Lines::default());
    let mut client = pki.client(only(suite), true);
    client.key_log = log.clone();
    let mut pair = Pair::new(&Arc::new(client), &Arc::new(pki.server(only(suite), true)));
    let mut wire = Wire::default();
    pair.carry(|from_server, flight| wire.add(from_server, flight)).unwrap();
    pair.exchange_over(|from_server, flight| wire.add(from_server, flight));
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (capture, keys) = (path("capture.pcap"), path("keys"));
    fs::write(&capture, &wire.capture).unwrap();
    fs::write(&keys, &*log.0.lock().unwrap()).unwrap();
    (capture, keys)
}

/// What tshark shows of the packets that `filter` lets through.
fn fields(capture: &str, keys: &str, filter: &str, names: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.args(["-r", capture, "-d", "tcp.port==443,tls", "-Y", filter, "-T", "fields"]);
    command.arg("-o").arg(format!("tls.keylog_file:{keys}"));
    for name in names {
        command.args(["-e", name]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The lines of NSS's key log format.
#[derive(Debug, Default)]
struct Lines(Mutex<String>);

impl KeyLog for Lines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!("{label} {} {}\n", hex::encode(client_random), hex::encode(secret));
        self.0.lock().unwrap().push_str(&line);
    }
}

/// One TCP connection as a pcap file of bare IPv4 packets.
struct Wire {
    capture: Vec<u8>,
    /// The next sequence number of the client and of the server.
    sequence: [u32; 2],
    packets: u32,
}

impl Default for Wire {
    fn default() -> Self {
        // Magic number, version 2.4, zone, accuracy, longest packet, LINKTYPE_RAW.
        let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 101];
        let capture = header.into_iter().flat_map(u32::to_le_bytes).collect();
        Self { capture, sequence: [1, 1], packets: 0 }
    }
}

impl Wire {
    fn add(&mut self, from_server: bool, flight: &[u8]) {
        for segment in flight.chunks(1400) {
            let (this, other) = if from_server { (1, 0) } else { (0, 1) };
            let (ports, hosts) = ([50000_u16, 443], [[10, 0, 0, 1], [10, 0, 0, 2]]);
            let len = u16::try_from(40 + segment.len()).unwrap();
            let mut packet = vec![0x45, 0];
            packet.extend(len.to_be_bytes());
            // Identification, do not fragment, time to live, TCP, no checksum.
            packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
            packet.extend(hosts[this]);
            packet.extend(hosts[other]);
            packet.extend(ports[this].to_be_bytes());
            packet.extend(ports[other].to_be_bytes());
            packet.extend(self.sequence[this].to_be_bytes());
            packet.extend(self.sequence[other].to_be_bytes());
            // Header of five words, ACK and PSH, window, no checksum.
            packet.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
            packet.extend(segment);
            self.sequence[this] += u32::try_from(segment.len()).unwrap();
            self.packets += 1;
            let len = u32::from(len);
            self.capture.extend([self.packets, 0, len, len].into_iter().flat_map(u32::to_le_bytes));
            self.capture.extend(packet);
        }
    }
}
