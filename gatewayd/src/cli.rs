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
    /// Say what is wrong with a configuration, without touching the world.
    Check {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
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
