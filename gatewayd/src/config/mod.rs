//! The configuration file: one struct per part, unknown keys refused, units in the values.
//!
//! [`Config::parse`] gives a configuration that can be used as it stands or a list of [`Finding`]s; there is no
//! half-checked state. Nothing here opens, binds or connects to anything, except that [`Config::load`] reads the file.

pub mod addressing;
pub mod bus_telemetry;
mod check;
mod finding;
pub mod key;
pub mod link;
pub mod parts;
pub mod reference;
pub mod units;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crypto_offload::job::{HashAlgorithm, Verifier};
use crypto_offload::software::SoftwareVerifier;
use serde::{Deserialize, Serialize};

pub use self::finding::{Finding, Findings, Severity};
use self::parts::{
    BusPart, CloudPart, ControlPart, CryptoPart, EcuPart, LogPart, MqttPart, PolicyPart, StatePart,
    UptanePart, VehiclePart,
};
use crate::profiler;

/// Everything the daemon is told before it starts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which vehicle this is.
    pub vehicle: VehiclePart,
    /// Where campaigns come from.
    pub cloud: CloudPart,
    /// What is trusted from the factory on.
    pub uptane: UptanePart,
    /// The broker.
    pub mqtt: MqttPart,
    /// What survives a restart, and how much of it.
    pub state: StatePart,
    /// Who checks and opens chunks.
    #[serde(default)]
    pub crypto: CryptoPart,
    /// The local control socket.
    #[serde(default)]
    pub control: ControlPart,
    /// Log output.
    #[serde(default)]
    pub log: LogPart,
    /// The operator's own rules for `gatewayd check`.
    #[serde(default)]
    pub policy: PolicyPart,
    /// The profiling service.
    #[serde(default)]
    pub profile: profiler::config::Config,
    /// The buses, in any order.
    #[serde(default, rename = "bus")]
    pub buses: Vec<toml::Spanned<BusPart>>,
    /// The ECUs behind them. Their order here has no meaning; a campaign brings its own.
    #[serde(default, rename = "ecu")]
    pub ecus: Vec<toml::Spanned<EcuPart>>,
    /// UDS programming dialects by name.
    #[serde(default, rename = "dialect")]
    pub dialects: BTreeMap<String, canfd::uds::profile::Profile>,
    /// Where all this was read.
    #[serde(skip)]
    pub source: Source,
}

/// Which file a configuration was read from, and what was in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its text, in hex.
    pub sha256: String,
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`Findings`] with at least one error: the file cannot be read, is not TOML, has an unknown key, or breaks a rule.
    pub fn load(path: &Path) -> Result<(Self, Findings), Findings> {
        Self::parse(&Self::read(path)?, path)
    }

    /// Reads the text of a configuration file.
    ///
    /// # Errors
    /// [`Findings`] with one error: the file cannot be read, or is longer than [`MAX_LEN`].
    pub fn read(path: &Path) -> Result<String, Findings> {
        let mut text = String::new();
        let length = File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_string(&mut text));
        let message = match length {
            Ok(length) if length as u64 <= MAX_LEN => return Ok(text),
            Ok(_) => format!("the configuration file is longer than {MAX_LEN} bytes"),
            Err(error) => format!("cannot read the configuration file: {error}"),
        };
        Err(Findings::one(Finding::error("CFG-001", 0, message), path))
    }

    /// Checks configuration text; `path` is only for the messages.
    ///
    /// # Errors
    /// As [`Config::load`]. On success the findings hold warnings only.
    pub fn parse(text: &str, path: &Path) -> Result<(Self, Findings), Findings> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| line_of(text, span.start));
            Findings::one(Finding::error("CFG-002", line, error.message().to_owned()), path)
        })?;
        config.source = Source { path: path.to_owned(), sha256: sha256(text.as_bytes()) };
        let findings = Findings::new(check::run(&config, text), path);
        if findings.has_errors() { Err(findings) } else { Ok((config, findings)) }
    }
}

/// The longest configuration file in bytes: a thousand ECUs fit many times.
pub const MAX_LEN: u64 = 4 << 20;

/// SHA-256 in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = SoftwareVerifier.digest(HashAlgorithm::Sha256, &[bytes]);
    digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The line, counted from 1, on which the byte at `offset` stands.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Config, Findings), Findings> {
        Config::parse(text, Path::new("test.toml"))
    }

    fn errors(text: &str) -> String {
        parse(text).expect_err("the configuration must be refused").to_string()
    }

    #[test]
    fn the_reference_file_is_accepted() {
        let (config, _) = parse(reference::TEXT).unwrap_or_else(|findings| panic!("{findings}"));
        assert_eq!(config.ecus.len(), 2);
        assert_eq!(config.buses.len(), 1);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let text = reference::TEXT.replace("[state]\n", "[state]\nquotta = \"1GiB\"\n");
        let line = text.lines().position(|it| it.starts_with("quotta")).map(|it| it + 1);
        let message = errors(&text);
        assert!(message.contains("quotta"), "{message}");
        assert!(message.starts_with(&format!("test.toml:{}: [CFG-002]", line.unwrap_or(0))), "{message}");
    }

    #[test]
    fn an_ecu_on_a_bus_that_is_not_there_is_refused_at_its_line() {
        let text = reference::TEXT.replace("bus = \"chassis\"", "bus = \"chasis\"");
        let message = errors(&text);
        assert!(message.contains("[ECU-001]") && message.contains("chasis"), "{message}");
    }

    #[test]
    fn two_ecus_that_answer_on_one_id_are_refused() {
        let text = reference::TEXT.replace("response_id = 0x7B2", "response_id = 0x7B1");
        assert!(errors(&text).contains("[ECU-003]"));
    }

    #[test]
    fn two_ecus_may_share_an_id_where_their_addresses_differ() {
        let first = |tester: u8| {
            format!("addressing = {{ extended = {{ ecu = 0x10, tester = {tester}, functional = 0xFE }} }}")
        };
        let second = "request_id = 0x731\naddressing = { extended = { ecu = 0x20, tester = 0xF1, functional = 0xFE } }";
        let text = |tester| {
            reference::TEXT
                .replace("addressing = \"normal\"", &first(tester))
                .replace("request_id = 0x732", second)
                .replace("response_id = 0x7B2", "response_id = 0x7B1")
        };
        assert!(parse(&text(0xF2)).is_ok());
        assert!(errors(&text(0xF1)).contains("[ECU-003]"), "both answer the same tester on one id");
        let normal = text(0xF2).replace(&first(0xF2), "addressing = \"normal\"");
        assert!(errors(&normal).contains("[ECU-003]"), "one of them hears every frame of the id");
    }

    #[test]
    fn a_policy_that_prefers_sm_needs_a_certificate_of_either_kind() {
        let with = |suites: &str, more: &str| {
            reference::TEXT.replace("suites = \"international\"", &format!("suites = \"{suites}\"\n{more}"))
        };
        let both = "sm_certificate = \"/a.pem\"\nsm_key = \"/a.key\"";
        assert!(parse(&with("sm-preferred", both)).is_ok());
        assert!(parse(&with("sm-only", "")).is_ok());
        assert!(errors(&with("sm-preferred", "")).contains("[CLD-006]"));
        assert!(errors(&with("sm-only", "sm_key = \"/a.key\"")).contains("[CLD-005]"));
        assert!(errors(&with("sm", "")).contains("is not sm-only, sm-preferred or international"));
    }

    #[test]
    fn a_broker_is_reached_in_clear_text_on_this_machine_only_or_a_warning_says_so() {
        let found = |url: &str| {
            let text = reference::TEXT.replace("mqtt://127.0.0.1:1883", url);
            parse(&text).map_or_else(|findings| findings, |(_, findings)| findings).to_string()
        };
        for url in ["mqtts://broker.example.com", "mqtt://localhost:1883", "mqtt://[::1]:1883"] {
            assert!(!found(url).contains("MQT"), "{url}: {}", found(url));
        }
        assert!(found("mqtt://broker.example.com").contains("[MQT-003]"));
        assert!(found("amqp://broker.example.com").contains("[MQT-002]"));
        let half = reference::TEXT.replace("outbox = 4096", "outbox = 4096\ncertificate = \"/a.pem\"");
        assert!(errors(&half).contains("[MQT-006]"));
    }

    #[test]
    fn a_clear_text_cloud_is_refused() {
        let text = reference::TEXT.replace("https://", "http://");
        assert!(errors(&text).contains("[CLD-001]"));
    }

    #[test]
    fn crypto_without_the_cpu_behind_it_or_without_room_is_refused() {
        let with = |text: &str| reference::TEXT.replace("engines = [\"software\"]", text);
        assert!(parse(&with("engines = [\"device\", \"software\"]")).is_ok());
        for engines in ["[]", "[\"device\"]", "[\"software\", \"device\"]", "[\"software\", \"software\"]"] {
            assert!(errors(&with(&format!("engines = {engines}"))).contains("[CRY-001]"), "{engines}");
        }
        assert!(errors(&reference::TEXT.replace("max_jobs = 64", "max_jobs = 0")).contains("[CRY-002]"));
        assert!(
            errors(&reference::TEXT.replace("max_bytes = \"16MiB\"", "max_bytes = \"1MiB\""))
                .contains("[CRY-002]")
        );
        assert!(
            errors(
                &with("engines = [\"software\"]\npatience = \"0ms\"").replace("\npatience = \"500ms\"", "")
            )
            .contains("[CRY-003]")
        );
    }

    #[test]
    fn a_missing_section_is_an_error_that_names_it() {
        let text = reference::TEXT.replace("[mqtt]", "[mqqt]");
        let message = errors(&text);
        assert!(message.contains("mqqt") || message.contains("mqtt"), "{message}");
    }
}
