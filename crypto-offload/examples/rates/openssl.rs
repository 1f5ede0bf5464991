//! The `openssl` command that `GATEWAYD_OPENSSL4` names, as a peer: its own measurement, in user time.

use std::process::Command;

/// Megabytes per second of an AEAD with messages of `len` bytes.
pub(crate) fn rate(cipher: &str, len: usize) -> Option<f64> {
    let program = std::env::var_os("GATEWAYD_OPENSSL4")?;
    let len = len.to_string();
    let arguments = ["speed", "-aead", "-evp", cipher, "-bytes", &len, "-seconds", "2"];
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Thousands of bytes, as in `140697.60k`.
    let rate: f64 = text.lines().last()?.split_whitespace().last()?.strip_suffix('k')?.parse().ok()?;
    Some(rate / 1000.0)
}
