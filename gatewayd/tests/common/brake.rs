//! A configuration with one ECU on a simulated CAN bus.

use std::net::SocketAddr;
use std::path::Path;

use crate::common::scene;

/// BRAKE-1 on the bus behind `bus.sock`, updated from `origin`.
pub(crate) fn config(dir: &Path, origin: SocketAddr) -> String {
    let ecus = format!(
        r#"
[[bus]]
name = "chassis"
url = "virtual:{}/bus.sock"
nominal_bit_rate = 500000
data_bit_rate = 2000000
[[ecu]]
serial = "BRAKE-1"
hardware_id = "brake"
bus = "chassis"
request_id = 0x731
response_id = 0x7B1
functional_id = 0x7DF
dialect = "plain""#,
        dir.display()
    );
    scene::config(dir, origin, &ecus)
}
