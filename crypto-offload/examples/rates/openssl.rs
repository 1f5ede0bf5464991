//! The `openssl` command that `GATEWAYD_OPENSSL4` names, as a peer: its own measurement, in user time.

use std::process::Command;

/// Megabytes per second of an AEAD with messages of `len` bytes; or why there is no figure.
pub(crate) fn aead(cipher: &str, len: usize) -> Result<f64, String> {
    let len = len.to_string();
    let text = speed(&["-aead", "-evp", cipher, "-bytes", &len, "-seconds", "2"])?;
    // Thousands of bytes, as in `140697.60k`.
    let rate = text.lines().last().and_then(|line| line.split_whitespace().last()?.strip_suffix('k'));
    let rate: Option<f64> = rate.and_then(|rate| rate.parse().ok());
    rate.map(|rate| rate / 1000.0).ok_or_else(|| format!("`openssl speed` has no {cipher}"))
}

/// SM2 verifications and signatures per second, as a peer program prints them; or why there is no figure.
pub(crate) fn sm2() -> Result<Vec<(String, f64)>, String> {
    let text = speed(&["-seconds", "1", "sm2"])?;
    let columns = text.lines().last().map(|line| line.split_whitespace().rev());
    let mut columns = columns.into_iter().flatten().map_while(|column| column.parse().ok());
    let (verify, sign) = (columns.next(), columns.next());
    let (Some(verify), Some(sign)) = (verify, sign) else {
        return Err("`openssl speed` has no SM2".to_owned());
    };
    Ok(vec![("verify".to_owned(), verify), ("sign".to_owned(), sign)])
}

fn speed(arguments: &[&str]) -> Result<String, String> {
    let program =
        std::env::var_os("GATEWAYD_OPENSSL4").ok_or("GATEWAYD_OPENSSL4 names no openssl command")?;
    let output = Command::new(program).arg("speed").args(arguments).output();
    output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).map_err(|error| error.to_string())
}
