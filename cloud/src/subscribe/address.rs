//! Where a broker is, as a URL.

/// The port of MQTT without TLS.
const DEFAULT_PORT: u16 = 1883;

/// Why a text is not a broker's address. The caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another form.
    #[error("{0:?} is not mqtt://host or mqtt://host:port")]
    Form(String),
    /// TLS to the broker is not there yet.
    #[error(
        "{0:?}: TLS to the broker is not supported yet; use mqtt:// on a trusted network or through a tunnel"
    )]
    Tls(String),
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Takes `mqtt://host[:port]` apart; `tcp://` is understood too.
pub(crate) fn parse(url: &str) -> Result<Address, AddressError> {
    let form = || AddressError::Form(url.to_owned());
    if ["mqtts://", "ssl://", "tls://"].iter().any(|it| url.starts_with(it)) {
        return Err(AddressError::Tls(url.to_owned()));
    }
    let rest = url.strip_prefix("mqtt://").or_else(|| url.strip_prefix("tcp://")).ok_or_else(form)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(form)?;
            (
                host,
                port.strip_prefix(':').map_or_else(|| port.is_empty().then_some(None), |it| Some(Some(it))),
            )
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(Some(port))),
            None => (rest, Some(None)),
        },
    };
    let port = match port.ok_or_else(form)? {
        Some(port) => port.parse().ok().filter(|&it| it != 0).ok_or_else(form)?,
        None => DEFAULT_PORT,
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(form());
    }
    Ok(Address { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_found_and_anything_else_is_refused() {
        let ok = |url: &str| parse(url).map(|it| (it.host, it.port));
        assert_eq!(ok("mqtt://broker"), Ok(("broker".into(), 1883)));
        assert_eq!(ok("tcp://10.0.0.1:1/"), Ok(("10.0.0.1".into(), 1)));
        assert_eq!(ok("mqtt://[::1]:65535"), Ok(("::1".into(), 65_535)));
        assert_eq!(ok("mqtt://[::1]"), Ok(("::1".into(), 1883)));
        for bad in [
            "",
            "broker",
            "http://broker",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://b:0",
            "mqtt://b:65536",
            "mqtt://b:x",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://user@b",
            "mqtt://b/path",
        ] {
            assert!(matches!(ok(bad), Err(AddressError::Form(_))), "{bad}");
        }
        assert!(matches!(ok("mqtts://broker"), Err(AddressError::Tls(_))));
    }
}
