//! The names of buses in configurations and on command lines.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which bus to open.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BusUrl {
    /// `can0` or `can:can0`: a SocketCAN interface.
    Can(String),
    /// `virtual:/path/to/socket`: a bus hub behind a Unix socket.
    Virtual(PathBuf),
    /// `udp:239.74.163.2:43113`: a multicast group as of python-can's `udp_multicast`. Without a port its default.
    Udp(SocketAddrV4),
}

/// Longest interface name, IFNAMSIZ less the terminator.
const INTERFACE_MAX: usize = 15;
/// Default port of python-can.
const UDP_PORT: u16 = 43_113;

impl FromStr for BusUrl {
    type Err = BusUrlError;

    fn from_str(text: &str) -> Result<Self, BusUrlError> {
        let (scheme, rest) = text.split_once(':').unwrap_or(("can", text));
        match scheme {
            "can" => {
                let fits = (1..=INTERFACE_MAX).contains(&rest.len()) && rest != "." && rest != "..";
                let clean = rest.bytes().all(|it| it.is_ascii_graphic() && it != b'/' && it != b':');
                if fits && clean {
                    Ok(Self::Can(rest.into()))
                } else {
                    Err(BusUrlError::Interface(rest.into()))
                }
            }
            "virtual" if rest.starts_with('/') => Ok(Self::Virtual(rest.into())),
            "virtual" => Err(BusUrlError::RelativePath(rest.into())),
            "udp" => group(rest).map(Self::Udp).ok_or_else(|| BusUrlError::Group(rest.into())),
            "cannelloni" => Err(BusUrlError::Pending { scheme: scheme.into() }),
            _ => Err(BusUrlError::Scheme { scheme: scheme.into() }),
        }
    }
}

/// A multicast group and its port.
fn group(text: &str) -> Option<SocketAddrV4> {
    let address = || text.parse::<Ipv4Addr>().map(|ip| SocketAddrV4::new(ip, UDP_PORT));
    let group = text.parse().or_else(|_| address()).ok()?;
    (group.ip().is_multicast() && group.port() != 0).then_some(group)
}

impl fmt::Display for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Can(interface) => write!(f, "can:{interface}"),
            Self::Virtual(path) => write!(f, "virtual:{}", path.display()),
            Self::Udp(group) => write!(f, "udp:{group}"),
        }
    }
}

impl TryFrom<String> for BusUrl {
    type Error = BusUrlError;

    fn try_from(text: String) -> Result<Self, BusUrlError> {
        text.parse()
    }
}

impl From<BusUrl> for String {
    fn from(url: BusUrl) -> Self {
        url.to_string()
    }
}

/// Why a text names no bus; whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusUrlError {
    /// A scheme nobody knows.
    #[error(
        "unknown bus scheme `{scheme}:`; supported are `can:INTERFACE`, `virtual:/PATH`, `udp:GROUP:PORT`"
    )]
    Scheme {
        /// As written.
        scheme: String,
    },
    /// A scheme that is planned.
    #[error(
        "bus scheme `{scheme}:` is not built yet; supported are `can:INTERFACE`, `virtual:/PATH`, `udp:GROUP:PORT`"
    )]
    Pending {
        /// As written.
        scheme: String,
    },
    /// Not the name of a network interface.
    #[error(
        "`{0}` is no CAN interface name: 1 to 15 printable characters without `/` and `:`, such as `can0`"
    )]
    Interface(String),
    /// The path of a virtual bus is not absolute.
    #[error("virtual bus path `{0}` is not absolute; write `virtual:/PATH`")]
    RelativePath(String),
    /// Not an IPv4 multicast group.
    #[error("`{0}` is no IPv4 multicast group; write `udp:GROUP:PORT`, such as `udp:239.74.163.2:43113`")]
    Group(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_stand_with_and_without_scheme() {
        assert_eq!("can0".parse(), Ok(BusUrl::Can("can0".into())));
        assert_eq!("can:vcan-body.1".parse(), Ok(BusUrl::Can("vcan-body.1".into())));
        assert_eq!("virtual:/run/a:b".parse(), Ok(BusUrl::Virtual("/run/a:b".into())));
    }

    #[test]
    fn an_interface_name_of_15_fits_and_of_16_does_not() {
        assert!("a".repeat(15).parse::<BusUrl>().is_ok());
        assert_eq!("a".repeat(16).parse::<BusUrl>(), Err(BusUrlError::Interface("a".repeat(16))));
        assert_eq!("".parse::<BusUrl>(), Err(BusUrlError::Interface(String::new())));
        assert!("../can0".parse::<BusUrl>().is_err());
    }

    #[test]
    fn a_group_stands_with_and_without_port_and_is_multicast() {
        let group = |text: &str| text.parse::<BusUrl>().map(String::from);
        assert_eq!(group("udp:239.74.163.2"), Ok("udp:239.74.163.2:43113".into()));
        assert_eq!(group("udp:224.0.0.0:1"), Ok("udp:224.0.0.0:1".into()));
        for text in
            ["223.255.255.255:1", "240.0.0.0:1", "239.0.0.1:0", "239.0.0.1:65536", "4711", "[ff15::1]:1", ""]
        {
            assert_eq!(group(&format!("udp:{text}")), Err(BusUrlError::Group(text.into())));
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_and_says_what_is() {
        for text in ["doip:192.0.2.1", "cannelloni:192.0.2.1:20000", "socketcand:host:1:can0"] {
            let message = text.parse::<BusUrl>().unwrap_err().to_string();
            assert!(message.contains("virtual:/PATH"), "{message}");
        }
        assert_eq!("virtual:bus".parse::<BusUrl>(), Err(BusUrlError::RelativePath("bus".into())));
    }
}
