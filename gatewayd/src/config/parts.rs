//! The parts of the configuration file, one struct each.

use std::path::PathBuf;
use std::time::Duration;

use crypto_offload::tls::Suites;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::addressing::AddressingPart;
use super::bus_telemetry::BusTelemetryPart;
use super::key::PrivateKey;
use super::link::LinkUrl;
use super::units::{Size, Span};

/// `[vehicle]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VehiclePart {
    /// Vehicle identification number (ISO 3779): 17 characters, no I, O or Q.
    pub vin: String,
}

/// `[cloud]`: the origin that campaigns are fetched from, with mutual TLS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CloudPart {
    /// `https://host:port/`, the directory that holds `director/` and `image/`.
    pub url: String,
    /// PEM file with the certificates that may sign the origin's.
    pub ca: PathBuf,
    /// PEM file with the gateway's own certificate chain.
    pub certificate: PathBuf,
    /// Its private key: a PEM file, `credential:NAME` for one that systemd passes in, or the `pkcs11:` URI of a P-256 key
    /// in a token.
    pub key: PrivateKey,
    /// Which TLS suites the origin and the broker may have: `sm-only`, `sm-preferred` or `international`.
    #[serde(default, deserialize_with = "suites", serialize_with = "suites_name")]
    pub suites: Suites,
    /// PEM file with the gateway's own certificate chain for SM suites, where `certificate` is for international ones.
    #[serde(default)]
    pub sm_certificate: Option<PathBuf>,
    /// The private key of `sm_certificate`.
    #[serde(default)]
    pub sm_key: Option<Secret>,
    /// Transports, tried in this order.
    #[serde(default = "CloudPart::default_transports")]
    pub transports: Vec<TransportName>,
    /// How long a connection may take to stand.
    #[serde(default = "CloudPart::default_connect_timeout")]
    pub connect_timeout: Span,
    /// How long an answer may stay silent before it counts as stalled.
    #[serde(default = "CloudPart::default_stall_timeout")]
    pub stall_timeout: Span,
    /// How often a fetch is tried in a row without a single new byte before its ECU's update is given up.
    #[serde(default = "CloudPart::default_attempts")]
    pub attempts: u32,
    /// How far a download runs ahead of its verification.
    #[serde(default = "CloudPart::default_read_ahead")]
    pub read_ahead: Size,
    /// How often the Director is asked without being told to.
    #[serde(default = "CloudPart::default_poll_interval")]
    pub poll_interval: Span,
}

/// A policy, by its name.
fn suites<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Suites, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

fn suites_name<S: Serializer>(suites: &Suites, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(suites)
}

/// A way to reach the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum TransportName {
    /// HTTP/3 over QUIC (RFC 9114).
    #[serde(rename = "h3")]
    Http3,
    /// HTTP/2 over TLS and TCP (RFC 9113), for networks that block UDP.
    #[serde(rename = "h2")]
    Http2,
}

impl CloudPart {
    fn default_transports() -> Vec<TransportName> {
        vec![TransportName::Http3, TransportName::Http2]
    }
    const fn default_connect_timeout() -> Span {
        Span(Duration::from_secs(5))
    }
    const fn default_stall_timeout() -> Span {
        Span(Duration::from_secs(10))
    }
    const fn default_attempts() -> u32 {
        6
    }
    const fn default_read_ahead() -> Size {
        Size(1 << 20)
    }
    const fn default_poll_interval() -> Span {
        Span(Duration::from_secs(3600))
    }
}

/// `[uptane]`: what the vehicle trusts before it has ever been online.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UptanePart {
    /// The Director repository's first root metadata.
    pub director_root: PathBuf,
    /// The Image repository's first root metadata.
    pub image_root: PathBuf,
    /// Keys that unwrap the content keys of encrypted images.
    #[serde(default, rename = "key_encryption_key")]
    pub key_encryption_keys: Vec<KekPart>,
}

/// `[[uptane.key_encryption_key]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KekPart {
    /// The name that metadata calls it by.
    pub id: String,
    /// `aes-128-gcm`, `aes-256-gcm` or `sm4-gcm`.
    pub cipher: String,
    /// The raw key: a file, or `credential:NAME`.
    pub key: Secret,
}

/// `[mqtt]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MqttPart {
    /// `mqtt://host:port`, or `mqtts://host:port` for TLS 1.3 with the suites of `cloud.suites`.
    pub url: String,
    /// PEM file with the certificates that may sign the broker's. With `mqtts` only; those of `cloud.ca` otherwise.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate chain to show the broker. With `mqtts` only; the one of `[cloud]` otherwise.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate`, as `cloud.key`.
    #[serde(default)]
    pub key: Option<PrivateKey>,
    /// MQTT keep-alive.
    #[serde(default = "MqttPart::default_keep_alive")]
    pub keep_alive: Span,
    /// How many messages may wait for the broker; beyond that the oldest telemetry goes first.
    #[serde(default = "MqttPart::default_outbox")]
    pub outbox: usize,
}

impl MqttPart {
    const fn default_keep_alive() -> Span {
        Span(Duration::from_secs(15))
    }
    const fn default_outbox() -> usize {
        4096
    }
}

/// `[state]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StatePart {
    /// Where the journal and the image store live.
    pub directory: PathBuf,
    /// The most the image store may hold.
    #[serde(default = "StatePart::default_quota")]
    pub quota: Size,
}

impl StatePart {
    const fn default_quota() -> Size {
        Size(8 << 30)
    }
}

/// `[crypto]`: who checks and opens chunks.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CryptoPart {
    /// The engines; the CPU stands last.
    pub engines: Vec<EngineName>,
    /// The coprocessor's character device, or `socket:/path` of its emulator.
    pub device: String,
    /// Jobs in the queue at most.
    pub max_jobs: usize,
    /// Bytes in those jobs at most.
    pub max_bytes: Size,
    /// How long a coprocessor may take over one job before it counts as hung.
    pub patience: Span,
    /// How long a coprocessor that failed is left alone; doubles with each failure in a row.
    pub probation: Span,
    /// Of so many answers of a coprocessor, the CPU computes one again; 0 for none.
    pub shadow: u32,
}

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineName {
    /// The CPU.
    Software,
    /// A coprocessor behind `crypto.device`.
    Device,
    /// The kernel's crypto over `AF_ALG` sockets.
    AfAlg,
}

impl Default for CryptoPart {
    fn default() -> Self {
        Self {
            engines: vec![EngineName::Software],
            device: "/dev/sm_crypto".to_owned(),
            max_jobs: 64,
            max_bytes: Size(16 << 20),
            patience: Span(Duration::from_millis(500)),
            probation: Span(Duration::from_secs(1)),
            shadow: 0,
        }
    }
}

/// `[control]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPart {
    /// The Unix socket that `gatewayctl` talks to.
    #[serde(default = "ControlPart::default_socket")]
    pub socket: PathBuf,
    /// The Unix socket that the profiling service hands its samples to.
    #[serde(default = "ControlPart::default_profile_socket")]
    pub profile_socket: PathBuf,
}

impl ControlPart {
    fn default_socket() -> PathBuf {
        PathBuf::from("/run/gatewayd/control.sock")
    }
    fn default_profile_socket() -> PathBuf {
        PathBuf::from("/run/gatewayd/profile.sock")
    }
}

impl Default for ControlPart {
    fn default() -> Self {
        Self { socket: Self::default_socket(), profile_socket: Self::default_profile_socket() }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogPart {
    /// A `tracing` filter, for example `info` or `gatewayd=debug,warn`.
    #[serde(default = "LogPart::default_filter")]
    pub filter: String,
}

impl LogPart {
    fn default_filter() -> String {
        "info".to_owned()
    }
}

impl Default for LogPart {
    fn default() -> Self {
        Self { filter: Self::default_filter() }
    }
}

/// `[policy]`: rules besides those built in.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyPart {
    /// Folders with `.rego` files that `gatewayd check` runs. The daemon itself never reads them.
    pub rules: Vec<PathBuf>,
}

/// `[[bus]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BusPart {
    /// What `[[ecu]]` entries call it.
    pub name: String,
    /// `can:IFNAME`, `virtual:/path/to/socket` or `udp:GROUP:PORT`; or a DoIP entity, `doip://HOST:PORT`,
    /// `doips://HOST:PORT`, or to be found: `doip://BROADCAST?eid=EID` or `?vin=VIN`.
    pub url: String,
    /// Nominal bit rate in bit/s, as the link is set up. Not with DoIP.
    #[serde(default)]
    pub nominal_bit_rate: u32,
    /// Data-phase bit rate in bit/s, as the link is set up. Not with DoIP.
    #[serde(default)]
    pub data_bit_rate: u32,
    /// The gateway's own logical address, 0x0E00 to 0x0FFF. With DoIP only.
    #[serde(default)]
    pub source_address: Option<u16>,
    /// Edition of ISO 13400-2 to speak: 2 (2012) or 3 (2019). With DoIP only; 2, or 3 with TLS, by default.
    #[serde(default)]
    pub protocol_version: Option<u8>,
    /// PEM file with the certificates that may sign the entity's. With `doips` only; those of `cloud.ca` otherwise.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate chain to show the entity. With `doips` only; the one of `[cloud]` otherwise.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate`, as `cloud.key`.
    #[serde(default)]
    pub key: Option<PrivateKey>,
    /// Blocks of telemetry in fragments. With CAN FD only.
    #[serde(default)]
    pub telemetry: BusTelemetryPart,
}

impl BusPart {
    /// Whether it is a DoIP entity, by its URL.
    pub fn is_doip(&self) -> bool {
        LinkUrl::is_doip(&self.url)
    }

    /// Whether it names a file of its own for TLS.
    pub fn has_tls_files(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some() || self.key.is_some()
    }
}

/// `[[ecu]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EcuPart {
    /// Uptane ECU serial, unique in the vehicle.
    pub serial: String,
    /// Uptane hardware identifier.
    pub hardware_id: String,
    /// The bus it is on.
    pub bus: String,
    /// CAN id it listens on (above 0x7FF: 29 bit). Not with DoIP, as the two below.
    #[serde(default)]
    pub request_id: Option<u32>,
    /// CAN id it answers on (above 0x7FF: 29 bit).
    #[serde(default)]
    pub response_id: Option<u32>,
    /// CAN id for requests to all ECUs of the bus.
    #[serde(default)]
    pub functional_id: Option<u32>,
    /// The address in front of its frames, where ECUs share CAN ids. Default: `normal`, none. Not with DoIP.
    #[serde(default)]
    pub addressing: AddressingPart,
    /// Its logical address. With DoIP only.
    #[serde(default)]
    pub logical_address: Option<u16>,
    /// Logical address for requests to all ECUs of the entity; without one they go to this ECU alone. With DoIP only.
    #[serde(default)]
    pub functional_address: Option<u16>,
    /// One bank is only erased once the whole image lies verified in the store; two are streamed into.
    #[serde(default = "EcuPart::default_banks")]
    pub banks: u8,
    /// The `[dialect.NAME]` it speaks.
    pub dialect: String,
}

/// The CAN ids of an ECU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawCanIds {
    /// It listens on.
    pub request: u32,
    /// It answers on.
    pub response: u32,
    /// Of requests to all ECUs of the bus.
    pub functional: u32,
}

impl EcuPart {
    /// Its CAN ids; `None` where one is not written, as with DoIP.
    pub fn can_ids(&self) -> Option<RawCanIds> {
        Some(RawCanIds {
            request: self.request_id?,
            response: self.response_id?,
            functional: self.functional_id?,
        })
    }

    const fn default_banks() -> u8 {
        1
    }
}

/// Where a secret is kept; never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Secret {
    /// A file, by path.
    File(PathBuf),
    /// A systemd credential, by name (`LoadCredential=`).
    Credential(String),
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        match secret {
            Secret::File(path) => path.to_string_lossy().into_owned(),
            Secret::Credential(name) => format!("credential:{name}"),
        }
    }
}

impl Secret {
    /// The secret that `text` names; anything but `credential:NAME` is a path.
    pub(super) fn stored(text: &str) -> Self {
        text.strip_prefix("credential:")
            .map_or_else(|| Self::File(PathBuf::from(text)), |name| Self::Credential(name.to_owned()))
    }

    /// The file to read the secret from.
    ///
    /// # Errors
    /// A message that says what to do, where a credential is named but the service manager passed none.
    pub fn path(&self, credentials: Option<&std::path::Path>) -> Result<PathBuf, String> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Credential(name) => credentials.map(|dir| dir.join(name)).ok_or_else(|| {
                format!("credential `{name}` is not there; add `LoadCredential={name}:FILE` to the unit")
            }),
        }
    }
}
