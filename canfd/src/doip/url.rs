//! The name of a DoIP entity in configurations.

use super::discovery::Query;
use super::{PORT, TLS_PORT, Vin};
use std::fmt;
use std::str::FromStr;

/// Where a DoIP entity listens: `doip://HOST[:PORT]`, or `doips://HOST[:PORT]` with TLS. Or where it is asked for:
/// `doip://HOST[:PORT]?eid=EID` and `doip://HOST[:PORT]?vin=VIN`, HOST being a broadcast or multicast address or that of
/// one entity. Not with TLS: a certificate is for a name, and what was found has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DoipUrl {
    /// A name or an address, without the brackets of an IPv6 one.
    pub host: String,
    /// The TCP port, and the UDP port of a search; 13400 where none is written, 3496 with TLS.
    pub port: u16,
    /// Whether the stream is inside TLS.
    pub tls: bool,
    /// Whom to look for at `host`, where that is not the entity's own address.
    pub search: Option<Query>,
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
        let (rest, search) = match rest.split_once('?') {
            // Everybody is nobody to connect to.
            Some((rest, query)) if !tls => (rest, Some(query_of(query).ok_or_else(wrong)?)),
            Some(_) => return Err(wrong()),
            None => (rest, None),
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
        if port == 0 { Err(wrong()) } else { Ok(Self { host: host.to_owned(), port, tls, search }) }
    }
}

/// `eid=` with twelve hexadecimal digits, colons between the bytes or not, or `vin=` with 17 characters.
fn query_of(text: &str) -> Option<Query> {
    match text.split_once('=')? {
        ("eid", digits) => digits.parse().ok().map(Query::Eid),
        ("vin", vin) if vin.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            vin.as_bytes().try_into().ok().map(|vin| Query::Vin(Vin(vin)))
        }
        _ => None,
    }
}

impl fmt::Display for DoipUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "doips" } else { "doip" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)?;
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)?;
        }
        match self.search {
            Some(Query::Eid(eid)) => write!(f, "?eid={eid}"),
            Some(Query::Vin(vin)) => write!(f, "?vin={vin}"),
            Some(Query::All) | None => Ok(()),
        }
    }
}

/// A text that names no DoIP entity; whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no DoIP entity; write `doip://HOST:PORT`, `doips://HOST:PORT` for TLS, or `doip://HOST:PORT?eid=EID` or \
     `?vin=VIN` for one that is to be found"
)]
pub struct DoipUrlError(String);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doip::Eid;

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
    fn an_entity_that_is_to_be_found_is_named_by_its_identity_or_its_vehicle() {
        let url: DoipUrl = "doip://192.0.2.255/?eid=0001020aBbcC".parse().unwrap();
        assert_eq!(url.search, Some(Query::Eid(Eid([0, 1, 2, 0x0A, 0xBB, 0xCC]))));
        assert_eq!(url.to_string(), "doip://192.0.2.255:13400?eid=00:01:02:0A:BB:CC");
        assert_eq!(url.to_string().parse(), Ok(url));
        let url: DoipUrl = "doip://[ff02::1%eth0]?vin=LSVAG2180E2100001".parse().unwrap();
        assert_eq!(url.search, Some(Query::Vin(Vin(*b"LSVAG2180E2100001"))));
        assert_eq!(url.to_string(), "doip://[ff02::1%eth0]:13400?vin=LSVAG2180E2100001");
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
            "doip://a?",
            "doip://a?eid=",
            "doip://a?eid=0001020304",
            "doip://a?eid=00010203040506",
            "doip://a?eid=0001020304+5",
            "doip://a?eid=00:01:02:03:04:5",
            "doip://a?vin=LSVAG2180E210000",
            "doip://a?vin=LSVAG2180E210000-",
            "doip://a?all=1",
            "doips://a?eid=000102030405",
        ] {
            let error = text.parse::<DoipUrl>().unwrap_err();
            assert!(error.to_string().contains("doip://HOST:PORT"), "{text}");
        }
    }
}
