//! What the daemon's tests have around it: a package, an origin, the head of a configuration.

use std::net::SocketAddr;
use std::path::Path;

use gateway_sim::origin;

pub(crate) const VIN: &str = "LSVAG2180E2100001";
pub(crate) const IMAGE_LEN: usize = 300_000;
/// What the ECU of a scene wants, as `plain` in its configuration.
pub(crate) const DIALECT: &str = "resume = { reported_offset = { did = 0xFD01 } }\n";

/// The package, written to `image.bin`.
pub(crate) fn image(dir: &Path) -> Vec<u8> {
    let words = (0_u32..).flat_map(|word| word.wrapping_mul(0x9E37_79B9).to_le_bytes());
    let image: Vec<u8> = words.take(IMAGE_LEN).collect();
    std::fs::write(dir.join("image.bin"), &image).expect("package");
    image
}

/// Serves what lies in `www`, as long as the runtime lives.
pub(crate) fn serve(dir: &Path) -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let address = runtime.block_on(origin::serve(dir)).expect("origin");
    (runtime, address)
}

/// A configuration that gets its updates from `origin`, with these buses and ECUs of the dialect `plain`.
pub(crate) fn config(dir: &Path, origin: SocketAddr, ecus: &str) -> String {
    let dir = dir.display();
    // No broker listens there: an update does not need one.
    format!(
        r#"
[vehicle]
vin = "{VIN}"
[cloud]
url = "https://{origin}/"
ca = "{dir}/certs/ca.pem"
certificate = "{dir}/certs/gateway.pem"
key = "{dir}/certs/gateway.key"
[uptane]
director_root = "{dir}/www/director/{VIN}/1.root.json"
image_root = "{dir}/www/image/1.root.json"
[[uptane.key_encryption_key]]
id = "kek-sm4"
cipher = "sm4-gcm"
key = "{dir}/keys/kek-sm4.key"
[mqtt]
url = "mqtt://127.0.0.1:1"
[state]
directory = "{dir}/state"
[control]
socket = "{dir}/control.sock"
profile_socket = "{dir}/profile.sock"
{ecus}
[dialect.plain]
{DIALECT}"#
    )
}
