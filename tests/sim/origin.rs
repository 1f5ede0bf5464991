//! The cloud's files for one vehicle, and an origin in this process that serves them, for tests that run the real daemon.
//!
//! In one folder: `keys` and `certs` as from `publish keys`, `www` as from `publish campaign`.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use gateway_cloud::certs::{self, CertificateFiles};
use gateway_cloud::publish::{self, Campaign, Expiry, KeyRing};
use gateway_cloud::serve::{Config, Faults, Limits, Server, Suites};
use ota::stage::TraceId;
use ota::uptane::UtcTime;

/// Whatever keeps the scene from being set; it has no cause in what is tested.
pub type Trouble = Box<dyn Error + Send + Sync>;

/// The cloud's keys, and certificates for 127.0.0.1 and its vehicle, new in `directory`.
///
/// # Errors
/// The disk's.
pub fn keys(directory: &Path) -> Result<KeyRing, Trouble> {
    let keys = KeyRing::create(&directory.join("keys"))?;
    certs::issue(&directory.join("certs"), &["127.0.0.1".to_owned()], certs::DEFAULT_VALIDITY)?;
    Ok(keys)
}

/// Publishes campaign `number` for vehicle `vin`, of `targets` as `publish campaign --target` takes them.
///
/// # Errors
/// A target or VIN that is none, a file that is not there, a number for which there is no trace id.
pub fn publish(
    directory: &Path,
    keys: &KeyRing,
    vin: &str,
    number: u64,
    targets: &[String],
) -> Result<(), Trouble> {
    let campaign = Campaign {
        vin: vin.parse()?,
        campaign: format!("campaign-{number}").parse()?,
        trace_id: TraceId::new('T', number).ok_or("no trace id")?,
        targets: targets.iter().map(|it| it.parse()).collect::<Result<_, _>>()?,
    };
    let now = UtcTime::from_unix(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    publish::publish(&directory.join("www"), keys, &campaign, &Expiry::default(), now, &mut |_| {})?;
    Ok(())
}

/// Serves `directory/www` on a free port of 127.0.0.1, for as long as the runtime lives.
///
/// # Errors
/// Certificates that [`keys`] did not make, or no port.
pub async fn serve(directory: &Path) -> Result<SocketAddr, Trouble> {
    let server = Server::bind(Config {
        root: directory.join("www"),
        addr: ([127, 0, 0, 1], 0).into(),
        suites: Suites::International,
        international: Some(CertificateFiles::below(&directory.join("certs")).into()),
        sm: None,
        limits: Limits::default(),
        faults: Arc::new(Faults::default()),
    });
    let server = server.await?;
    let address = server.local_addr();
    tokio::spawn(server.run(std::future::pending()));
    Ok(address)
}
