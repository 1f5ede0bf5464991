//! Where a broker is, as a URL.

/// The ports of MQTT without TLS and with it.
const PLAIN_PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// Why a text is not a broker's address. The caller's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another form.
    #[error("{0:?} is not mqtt://host, mqtts://host, or either with :port behind it")]
    Form(String),
}

/// Host and port, and whether TLS is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

/// Takes `mqtt://host[:port]` or `mqtts://host[:port]` apart; `tcp://`, `ssl://` and `tls://` are understood too.
pub(crate) fn parse(url: &str) -> Result<Address, AddressError> {
    let form = || AddressError::Form(url.to_owned());
    let schemes =
        [("mqtt://", false), ("tcp://", false), ("mqtts://", true), ("ssl://", true), ("tls://", true)];
    let found = schemes.iter().find_map(|(scheme, tls)| Some((url.strip_prefix(scheme)?, *tls)));
    let (rest, tls) = found.ok_or_else(form)?;
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
        None if tls => TLS_PORT,
        None => PLAIN_PORT,
    };
    if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
        return Err(form());
    }
    Ok(Address { host: host.to_owned(), port, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_found_and_anything_else_is_refused() {
        let ok = |url: &str| parse(url).map(|it| (it.host, it.port, it.tls));
        assert_eq!(ok("mqtt://broker"), Ok(("broker".into(), 1883, false)));
        assert_eq!(ok("tcp://10.0.0.1:1/"), Ok(("10.0.0.1".into(), 1, false)));
        assert_eq!(ok("mqtt://[::1]:65535"), Ok(("::1".into(), 65_535, false)));
        assert_eq!(ok("mqtt://[::1]"), Ok(("::1".into(), 1883, false)));
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
            "mqtts://",
        ] {
            assert!(matches!(ok(bad), Err(AddressError::Form(_))), "{bad}");
        }
        assert_eq!(ok("mqtts://broker"), Ok(("broker".into(), 8883, true)));
        assert_eq!(ok("ssl://broker:1/"), Ok(("broker".into(), 1, true)));
    }
}
