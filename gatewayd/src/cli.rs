//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Update and telemetry daemon of a vehicle gateway.
#[derive(Debug, Parser)]
#[command(name = "gatewayd", version)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon until it is told to stop.
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say what is wrong with a configuration and the files and units that it names, without touching the world.
    Check(CheckArgs),
    /// Evaluate Rego rules from standard input; what `check` starts for itself.
    #[command(hide = true)]
    RegoWorker,
    /// Show the hardware and the placement that would be chosen.
    Topology {
        /// An hwloc XML file of another machine.
        #[arg(long, value_name = "FILE")]
        xml: Option<PathBuf>,
        /// Stable JSON instead of text.
        #[arg(long)]
        json: bool,
        /// Buses to plan for.
        #[arg(long, default_value_t = 2)]
        buses: u16,
    },
    /// Run the profiling service.
    Profile {
        /// The daemon's configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the commented reference configuration.
    Reference,
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    Man,
}

/// `gatewayd check`
#[derive(Debug, Parser)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["config", "explain", "list", "document"]))]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A folder with Rego rules of your own; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub rules: Vec<PathBuf>,
    /// The root file system that the configuration belongs to.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// A folder with units instead of those of systemd; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub units: Vec<PathBuf>,
    /// Stable JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// One line for each finding, without reason and fix.
    #[arg(long)]
    pub quiet: bool,
    /// Say what a rule asks, why, and show an example.
    #[arg(long, value_name = "RULE-ID")]
    pub explain: Option<String>,
    /// Only what keeps the daemon from starting; no rule is asked. `systemctl reload` asks this first.
    #[arg(long, requires = "config", conflicts_with_all = ["rules", "root", "units", "json"])]
    pub syntax: bool,
    /// List all rules.
    #[arg(long)]
    pub list: bool,
    /// Print docs/RULES.md.
    #[arg(long, hide = true)]
    pub document: bool,
}
