//! The real daemon with a TLS key that stays in a PKCS#11 token, against SoftHSM. Without softhsm2 nothing is checked, and
//! the test says so.

#[path = "common/brake.rs"]
mod brake;
mod common;
#[path = "../../crypto-offload/tests/softhsm/mod.rs"]
mod softhsm;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use common::Daemon;
use common::scene::{self, VIN};
use gateway_sim::bus::BusHub;
use gateway_sim::origin;
use gatewayd::control::{Answer, Request};

#[test]
fn with_a_token_all_of_this_holds() {
    if std::env::var_os(softhsm::LIBRARY).is_none() {
        softhsm::run_again_with_a_token("with_a_token_all_of_this_holds");
    }
}

/// Puts the private key of that file into the token and takes the file away.
fn import(file: &Path, label: &str) {
    let imported = Command::new("softhsm2-util")
        .arg("--import")
        .arg(file)
        .args(["--token", softhsm::LABEL, "--label", label, "--id", "01", "--pin", softhsm::PIN])
        .output()
        .expect("softhsm2-util runs");
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    std::fs::remove_file(file).expect("it was there");
}

fn uri(dir: &Path, token: &str, object: &str, pin: &str) -> String {
    let library = std::env::var(softhsm::LIBRARY).expect("a run with a token");
    format!(
        "pkcs11:token={token};object={object}?module-path={library}&pin-source=file:{}/{pin}",
        dir.display()
    )
}

/// The configuration with another key for the gateway's certificate.
fn config(dir: &Path, origin: SocketAddr, key: &str) -> String {
    let file = format!("{}/certs/gateway.key", dir.display());
    brake::config(dir, origin).replace(&file, key)
}

/// What becomes of a daemon that should not get as far as to answer.
fn refused(dir: &Path, text: &str) -> (Option<i32>, String) {
    let file = dir.join("refused.toml");
    std::fs::write(&file, text).expect("configuration");
    let run = Command::new(env!("CARGO_BIN_EXE_gatewayd")).args(["run", "--config"]).arg(&file).output();
    let Output { status, stdout, stderr } = run.expect("the binary is built");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[test]
fn metadata_comes_over_mutual_tls_that_a_token_has_signed() {
    if std::env::var_os(softhsm::LIBRARY).is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("temporary directory");
    let dir = directory.path();
    scene::image(dir);
    std::fs::write(dir.join("pin"), format!("{}\n", softhsm::PIN)).expect("PIN");
    std::fs::write(dir.join("wrong-pin"), "4321\n").expect("PIN");
    let keys = origin::keys(dir).expect("keys");
    let target = format!(
        "file={}/image.bin,name=brake.bin,ecu_serial=BRAKE-1,hardware_id=brake,version=2.0.0,release_counter=2,cipher=none",
        dir.display()
    );
    origin::publish(dir, &keys, VIN, 1, &[target]).expect("published");
    // The origin asks every client for a certificate, and lets nobody in whose key does not sign the handshake.
    let (_runtime, address) = scene::serve(dir);
    let _hub = BusHub::start(&dir.join("bus.sock"), None).expect("bus");
    import(&dir.join("certs/gateway.key"), "tls");

    std::fs::write(dir.join("gatewayd.toml"), config(dir, address, &uri(dir, softhsm::LABEL, "tls", "pin")))
        .expect("configuration");
    let daemon = Daemon::start(&dir.join("gatewayd.toml"));
    assert_eq!(daemon.ask(&Request::Check), Some(Answer::Ok));
    daemon.wait_for_ecu("its update", |it| it.target.as_deref() == Some("2.0.0"));
    let campaign = daemon.status().and_then(|status| status.campaign).expect("a campaign");
    assert_eq!(campaign.campaign, "campaign-1");
    assert_eq!(daemon.terminate(), Some(0));

    // What cannot heal ends with the code after which nobody starts the daemon again: a token locks itself after a few
    // wrong PINs.
    for (key, code, said) in [
        (uri(dir, softhsm::LABEL, "tls", "wrong-pin"), 78, "token failed"),
        (uri(dir, softhsm::LABEL, "other", "pin"), 78, "no such key"),
        (uri(dir, softhsm::LABEL, "tls", "no-pin"), 78, "the PIN cannot be read"),
        (uri(dir, "unplugged", "tls", "pin"), 1, "there is no token"),
    ] {
        let (found, output) = refused(dir, &config(dir, address, &key));
        assert_eq!(found, Some(code), "{output}");
        assert!(output.contains(said), "{output}");
    }
    // A key that is in the token, and not the certificate's.
    let other = dir.join("other");
    gateway_cloud::certs::issue(&other, &["127.0.0.1".to_owned()], gateway_cloud::certs::DEFAULT_VALIDITY)
        .expect("certificates");
    let text = config(dir, address, &uri(dir, softhsm::LABEL, "tls", "pin"))
        .replace("/certs/gateway.pem", "/other/gateway.pem");
    let (found, output) = refused(dir, &text);
    assert_eq!(found, Some(78), "{output}");
    assert!(output.contains("not the certificate's"), "{output}");
}
