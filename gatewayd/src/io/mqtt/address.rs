//! Where a broker is, as a URL.

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// DNS name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the scheme asks for TLS.
    pub tls: bool,
}

/// Splits `mqtt://host:port` and `mqtts://host:port`; the ports default to 1883 and 8883.
///
/// # Errors
/// A message that says how it is written.
pub fn parse_url(url: &str) -> Result<BrokerAddress, String> {
    let form = || format!("`{url}`: write mqtt://host:port or mqtts://host:port");
    let (tls, rest) = match url.strip_prefix("mqtts://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("mqtt://").ok_or_else(form)?),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(address) => address.ok_or_else(form)?,
        None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| format!("`{url}`: {port} is not a port"))?,
        None if port.is_empty() => {
            if tls {
                8883
            } else {
                1883
            }
        }
        None => return Err(form()),
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(form());
    }
    Ok(BrokerAddress { host: host.to_owned(), port, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_found_and_anything_else_is_refused() {
        let ok = |url: &str| parse_url(url).map(|it| (it.host, it.port, it.tls)).ok();
        let found = |host: &str, port, tls| Some((host.to_owned(), port, tls));
        assert_eq!(ok("mqtt://broker"), found("broker", 1883, false));
        assert_eq!(ok("mqtts://broker"), found("broker", 8883, true));
        assert_eq!(ok("mqtts://broker:65535/"), found("broker", 65_535, true));
        assert_eq!(ok("mqtt://[::1]:1"), found("::1", 1, false));
        assert_eq!(ok("mqtts://[::1]"), found("::1", 8883, true));
        for bad in [
            "",
            "broker",
            "http://broker",
            "mqtts://",
            "mqtt://:1883",
            "mqtt://b:65536",
            "mqtt://b:x",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://user@b",
            "mqtt://b/path",
        ] {
            assert_eq!(ok(bad), None, "{bad}");
        }
    }
}
