//! The name of a DoIP entity in configurations.

use super::{PORT, TLS_PORT};
use std::fmt;
use std::str::FromStr;

/// Where a DoIP entity listens: `doip://HOST[:PORT]`, or `doips://HOST[:PORT]` with TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DoipUrl {
    /// A name or an address, without the brackets of an IPv6 one.
    pub host: String,
    /// The TCP port; 13400 where none is written, 3496 with TLS.
    pub port: u16,
    /// Whether the stream is inside TLS.
    pub tls: bool,
}

impl FromStr for DoipUrl {
    type Err = DoipUrlError;

    fn from_str(text: &str) -> Result<Self, DoipUrlError> {
        let wrong = || DoipUrlError(text.to_owned());
        let (tls, rest) = match text.split_once("://") {
            Some(("doip", rest)) => (false, rest),
            Some(("doips", rest)) => (true, rest),
            _ => return Err(wrong()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']').ok_or_else(wrong)?;
                let port =
                    if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) };
                (host, port)
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
        let bare_colon = host.contains(':') && !rest.starts_with('[');
        if host.is_empty() || bare_colon || !host.bytes().all(legal) {
            return Err(wrong());
        }
        let default = if tls { TLS_PORT } else { PORT };
        let port = port.map_or(Ok(default), str::parse).map_err(|_| wrong())?;
        if port == 0 { Err(wrong()) } else { Ok(Self { host: host.to_owned(), port, tls }) }
    }
}

impl fmt::Display for DoipUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "doips" } else { "doip" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A text that names no DoIP entity; whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no DoIP entity; write `doip://HOST:PORT`, or `doips://HOST:PORT` for TLS")]
pub struct DoipUrlError(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, u16, bool)> {
        text.parse::<DoipUrl>().ok().map(|it| (it.host, it.port, it.tls))
    }

    #[test]
    fn ports_have_the_defaults_of_the_standard() {
        assert_eq!(parse("doip://192.0.2.1"), Some(("192.0.2.1".into(), 13_400, false)));
        assert_eq!(parse("doips://brake.local/"), Some(("brake.local".into(), 3_496, true)));
        assert_eq!(parse("doip://[fe80::1%eth0]"), Some(("fe80::1%eth0".into(), 13_400, false)));
        assert_eq!(parse("doips://[::1]:65535"), Some(("::1".into(), 65_535, true)));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["doip://192.0.2.1:13400", "doips://[fe80::1%eth0]:3496", "doip://a_b-c:1"] {
            assert_eq!(text.parse::<DoipUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in [
            "doip:192.0.2.1",
            "http://a",
            "doip://",
            "doip://a:0",
            "doip://a:65536",
            "doip://::1",
            "doip://[::1",
            "doip://[::1]13400",
            "doip://a b",
            "doip://a/b",
            "doip://a:",
        ] {
            let error = text.parse::<DoipUrl>().unwrap_err();
            assert!(error.to_string().contains("doip://HOST:PORT"), "{text}");
        }
    }
}
