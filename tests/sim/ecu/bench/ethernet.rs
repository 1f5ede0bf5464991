//! `[ecu.doip]`: an ECU on Ethernet.

use crate::ecu::doip::tls::{TlsFileError, server_config};
use crate::ecu::doip::{DoipNodeConfig, DoipTls};
use canfd::doip::server::{ServerConfig, TlsPolicy};
use canfd::doip::{LogicalAddress, Vin};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How an ECU is reached by DoIP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoipPart {
    /// TCP address without TLS; port 0: any free one.
    pub listen: SocketAddr,
    /// UDP address for discovery; without one nobody is answered there.
    pub discovery: Option<SocketAddr>,
    /// Its logical address.
    pub logical_address: u16,
    /// The address of requests to every ECU.
    pub functional_address: Option<u16>,
    /// The VIN it announces; without one it says that it has none.
    pub vin: Option<String>,
    /// Connections that may be active at once.
    #[serde(default = "DoipPart::default_max_sockets")]
    pub max_sockets: u8,
    /// TLS beside it.
    pub tls: Option<TlsPart>,
}

/// An ECU's TLS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsPart {
    /// TCP address with TLS; port 0: any free one.
    pub listen: SocketAddr,
    /// PEM file with its certificate chain.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// PEM file with who may sign testers' certificates; without one they need none.
    pub ca: Option<PathBuf>,
    /// Whether routing is denied without TLS.
    #[serde(default)]
    pub required: bool,
}

impl DoipPart {
    const fn default_max_sockets() -> u8 {
        4
    }

    /// The node it describes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn node(&self, boot_time: Duration) -> Result<DoipNodeConfig, DoipPartError> {
        let mut server = ServerConfig::new(LogicalAddress(self.logical_address));
        server.functional.extend(self.functional_address.map(LogicalAddress));
        if self.max_sockets == 0 {
            return Err(DoipPartError::NoSockets);
        }
        server.max_sockets = self.max_sockets;
        if let Some(vin) = &self.vin {
            let wrong = |_| DoipPartError::Vin { vin: vin.clone() };
            server.identity.vin = Vin(vin.as_bytes().try_into().map_err(wrong)?);
        }
        let tls = self.tls.as_ref().map(|part| {
            if part.required {
                server.tls = TlsPolicy::Required;
            }
            let config = server_config(&part.certificate, &part.key, part.ca.as_deref())?;
            Ok::<_, TlsFileError>(DoipTls { listen: part.listen, config })
        });
        let tls = tls.transpose()?;
        Ok(DoipNodeConfig { server, listen: self.listen, discovery: self.discovery, tls, boot_time })
    }
}

/// Why an ECU cannot be on Ethernet; whoever wrote its bench file is at fault.
#[derive(Debug, thiserror::Error)]
pub enum DoipPartError {
    /// Nobody could connect
    #[error("max_sockets is 1 to 255")]
    NoSockets,
    /// Not a VIN's length
    #[error("`{vin}` is no VIN of 17 characters")]
    Vin {
        /// As written
        vin: String,
    },
    /// No TLS
    #[error("its TLS files are not usable")]
    Tls(#[from] TlsFileError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &str = "listen = '127.0.0.1:0'\nlogical_address = 0x1001\n";

    fn refusal(more: &str) -> String {
        let part: DoipPart = toml::from_str(&format!("{PART}{more}")).unwrap();
        part.node(Duration::ZERO).unwrap_err().to_string()
    }

    #[test]
    fn what_stands_there_is_what_the_entity_says_of_itself() {
        let text = format!("{PART}functional_address = 0xE400\nvin = 'LSVAG2180E2100001'\nmax_sockets = 1");
        let part: DoipPart = toml::from_str(&text).unwrap();
        let server = part.node(Duration::ZERO).unwrap().server;
        assert_eq!(
            (server.targets, server.functional),
            (vec![LogicalAddress(0x1001)], vec![LogicalAddress(0xE400)])
        );
        assert_eq!((server.identity.vin, server.max_sockets), (Vin(*b"LSVAG2180E2100001"), 1));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(refusal("max_sockets = 0"), "max_sockets is 1 to 255");
        assert_eq!(refusal("vin = 'LSVAG2180E210000'"), "`LSVAG2180E210000` is no VIN of 17 characters");
        let tls = "tls = { listen = '127.0.0.1:0', certificate = '/none.pem', key = '/none.key' }";
        assert_eq!(refusal(tls), "its TLS files are not usable");
    }
}
