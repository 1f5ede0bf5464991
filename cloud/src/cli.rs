//! What can be asked for on the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, value_parser};
use crypto_offload::signing;
use crypto_offload::tls::Suites;
use gateway_cloud::publish::{self, Campaign, Expiry, TargetDescription};
use gateway_cloud::subscribe::{Format, Options, TlsFiles};
use ota::stage::TraceId;
use ota::uptane::{CampaignId, Vin};

/// The cloud side of gatewayd: publish campaigns, serve them, listen to vehicles, report.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make keys, or publish a campaign
    #[command(subcommand)]
    Publish(PublishCommand),
    /// Serve a directory over HTTP/3 and HTTP/2 to gateways with a certificate (for development)
    Serve(ServeArgs),
    /// Listen to vehicles and write what they say to files
    Subscribe(Box<SubscribeArgs>),
    /// Make one HTML page from what `subscribe`, a campaign's run or the demo left in a directory
    Report {
        /// The directory; report.html is written there
        dir: PathBuf,
        /// Show this vehicle only
        #[arg(long, value_name = "VIN")]
        vehicle: Option<String>,
    },
    /// Print shell completions
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the man page and those of the subcommands to files
    Man {
        /// Where the files go
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PublishCommand {
    /// Make repository keys, key-encryption keys, and certificates for origin and gateway
    Keys(KeysArgs),
    /// Encrypt packages, build their trees, sign metadata for both repositories
    Campaign(Box<CampaignArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    /// Where signing and key-encryption keys go
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: PathBuf,
    /// Where certificates go
    #[arg(long, value_name = "DIR")]
    pub(crate) certs: PathBuf,
    /// Names and addresses of the origin, one per flag
    #[arg(long, value_name = "NAME", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned()])]
    pub(crate) name: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["file", "target"])))]
pub(crate) struct CampaignArgs {
    /// The directory that is served
    #[arg(long, value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Where `publish keys` put the keys
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: PathBuf,
    /// The campaign as TOML
    #[arg(long, value_name = "TOML")]
    file: Option<PathBuf>,
    /// The vehicle, with --target
    #[arg(long, requires = "target", conflicts_with = "file")]
    vin: Option<Vin>,
    /// The campaign's name, with --target
    #[arg(long, requires = "target", conflicts_with = "file")]
    campaign: Option<CampaignId>,
    /// The campaign's trace id; a random one unless given
    #[arg(long, requires = "target", conflicts_with = "file")]
    trace_id: Option<TraceId>,
    /// One image: file=..,name=..,ecu_serial=..,hardware_id=..,version=..,release_counter=..[,cipher=..,hash=..,
    /// chunk_size=..,order=..,group=..]
    #[arg(long, value_name = "KEY=VALUE,..", requires_all = ["vin", "campaign"])]
    target: Vec<TargetDescription>,
    /// Targets, snapshot and timestamp expire after this (30d, 12h, 90s; negative for tests), instead of their own
    /// times
    #[arg(long, value_name = "TIME", value_parser = seconds, allow_hyphen_values = true)]
    expires_in: Option<i64>,
    /// Root expires after this; first publication only
    #[arg(long, value_name = "TIME", value_parser = seconds, allow_hyphen_values = true, default_value = "365d")]
    root_expires: i64,
    /// Targets expire after this
    #[arg(long, value_name = "TIME", value_parser = seconds, allow_hyphen_values = true, default_value = "30d")]
    targets_expires: i64,
    /// Snapshot expires after this
    #[arg(long, value_name = "TIME", value_parser = seconds, allow_hyphen_values = true, default_value = "7d")]
    snapshot_expires: i64,
    /// Timestamp expires after this
    #[arg(long, value_name = "TIME", value_parser = seconds, allow_hyphen_values = true, default_value = "1d")]
    timestamp_expires: i64,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The directory that `publish campaign` filled
    #[arg(long, value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// Where `publish keys` put the certificates
    #[arg(long, value_name = "DIR")]
    pub(crate) certs: PathBuf,
    /// Which TLS suites gateways may come with: sm-only, sm-preferred or international
    #[arg(long, value_name = "POLICY", default_value_t = Suites::International)]
    pub(crate) suites: Suites,
    /// Address for UDP and TCP
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4433")]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct SubscribeArgs {
    /// The MQTT 5 broker: mqtt://host[:port], or mqtts://host[:port] for TLS 1.3
    #[arg(long, value_name = "URL")]
    pub(crate) broker: String,
    /// PEM file of the authorities that the broker's certificate may come from, for mqtts
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Certificate to show to the broker, once for each kind of key
    #[arg(long, value_name = "FILE")]
    certificate: Vec<PathBuf>,
    /// Its key, in the same order
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Which TLS suites to offer: sm-only, sm-preferred or international
    #[arg(long, value_name = "POLICY", default_value_t = Suites::International)]
    suites: Suites,
    /// Where the files go
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Write each window of profiles in this form too: pprof, otlp or perf-script; may be given several times
    #[arg(long, value_name = "FORM", value_parser = format)]
    pub(crate) format: Vec<Format>,
    /// Name places by the debug files in this directory (.build-id/xx/yyyy.debug)
    #[arg(long, value_name = "DIR")]
    pub(crate) debug_dir: Option<PathBuf>,
    /// Answer scrapes of Prometheus at http://ADDR/metrics
    #[arg(long, value_name = "ADDR")]
    pub(crate) scrape: Option<SocketAddr>,
    /// Push metrics by Prometheus' remote write: http://host[:port]/path
    #[arg(long, value_name = "URL")]
    pub(crate) remote_write: Option<String>,
    /// Share the messages with the other members of this group; they need a common --spool, and an --out each
    #[arg(long, requires = "spool")]
    group: Option<String>,
    /// Where blocks wait until all they refer to is there; carries streams over a restart [default: OUT/spool]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Names the session on the broker; give one to get what arrived while you were away
    #[arg(long, value_parser = value_parser!(String))]
    client_id: Option<String>,
}

impl CampaignArgs {
    /// The campaign, from its file or from flags.
    pub(crate) fn campaign(&self) -> Result<Campaign, Box<dyn std::error::Error>> {
        if let Some(file) = &self.file {
            return Ok(publish::read_campaign(file)?);
        }
        // The parser has seen to it that both are there.
        let (Some(vin), Some(campaign)) = (self.vin.clone(), self.campaign.clone()) else {
            return Err("--target needs --vin and --campaign".into());
        };
        let trace_id = match self.trace_id {
            Some(id) => id,
            None => {
                let random = signing::random_bytes(8)?;
                let random = random.iter().fold(0, |number: u64, &byte| number << 8 | u64::from(byte));
                TraceId::new('G', random).ok_or("G is a platform letter")?
            }
        };
        Ok(Campaign { vin, campaign, trace_id, targets: self.target.clone() })
    }

    /// When metadata expires.
    pub(crate) fn expiry(&self) -> Expiry {
        Expiry {
            root: self.root_expires,
            targets: self.expires_in.unwrap_or(self.targets_expires),
            snapshot: self.expires_in.unwrap_or(self.snapshot_expires),
            timestamp: self.expires_in.unwrap_or(self.timestamp_expires),
        }
    }
}

impl SubscribeArgs {
    /// Where to listen, and as whom: without a name, as one that no other process on this machine has now.
    pub(crate) fn options(&self) -> Result<Options, Box<dyn std::error::Error>> {
        let client_id =
            self.client_id.clone().unwrap_or_else(|| format!("gateway-cloud-{}", std::process::id()));
        if self.certificate.len() != self.key.len() {
            return Err("each --certificate needs its --key, and each --key its --certificate".into());
        }
        let identities = self.certificate.iter().cloned().zip(self.key.iter().cloned()).collect();
        let tls = self.ca.clone().map(|ca| TlsFiles { ca, identities, suites: self.suites });
        let spool = self.spool.clone().unwrap_or_else(|| self.out.join("spool"));
        let options = Options::new(&self.broker, &client_id);
        Ok(Options { tls, group: self.group.clone(), spool: Some(spool), ..options })
    }
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "pprof" => Ok(Format::Pprof),
        "otlp" => Ok(Format::Otlp),
        "perf-script" => Ok(Format::PerfScript),
        _ => Err("expected pprof, otlp or perf-script".to_owned()),
    }
}

/// `30d`, `12h`, `15m`, `90s`, each with a minus sign in front or not.
fn seconds(text: &str) -> Result<i64, String> {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    units
        .into_iter()
        .find_map(|(unit, seconds)| text.strip_suffix(unit)?.parse::<i64>().ok()?.checked_mul(seconds))
        .ok_or_else(|| "expected a time such as 30d, 12h, 15m, 90s or -1h".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units_and_signs() {
        assert_eq!((seconds("30d"), seconds("-1h"), seconds("90s")), (Ok(2_592_000), Ok(-3600), Ok(90)));
        for bad in ["", "d", "30", "30w", "1.5h", "9223372036854775807d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_campaign_comes_from_a_file_or_from_flags_but_not_from_both() {
        let parse = |extra: &[&str]| {
            let common = ["gateway-cloud", "publish", "campaign", "--root", "r", "--keys", "k"];
            Cli::try_parse_from(common.iter().chain(extra)).map(drop)
        };
        let target = "file=a,name=a,ecu_serial=e,hardware_id=h,version=1,release_counter=1";
        let flags = ["--vin", "WVWZZZ1JZXW000001", "--campaign", "c", "--target", target];
        assert!(parse(&["--file", "c.toml"]).is_ok());
        assert!(parse(&flags).is_ok());
        assert!(parse(&[&flags[..], &["--expires-in", "-1h"]].concat()).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--target", target]).is_err());
        assert!(parse(&[&flags[..], &["--file", "c.toml"]].concat()).is_err());
    }
}
