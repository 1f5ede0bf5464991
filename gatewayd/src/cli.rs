//! The command line.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

/// Update and telemetry daemon of a vehicle gateway.
#[derive(Debug, Parser)]
#[command(name = "gatewayd", version, disable_help_subcommand = true)]
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
    /// Print the man page, or write it and those of the subcommands to files.
    Man {
        /// Where the files go.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// The man page of a program of this package, in a section of the manual. With a directory it is written there instead, together
/// with a page for each subcommand, and the text is empty.
///
/// # Errors
/// The system's, where the directory cannot be written.
pub fn man(mut command: clap::Command, section: &str, dir: Option<&Path>) -> io::Result<String> {
    // Builds the names of the subcommands' pages, which are `gatewayd-run` and not `run`.
    command.build();
    let page = |command: &clap::Command| clap_mangen::Man::new(command.clone()).section(section);
    let Some(dir) = dir else {
        let mut text = Vec::new();
        page(&command).render(&mut text)?;
        return Ok(String::from_utf8_lossy(&text).into_owned());
    };
    let subcommands = command.get_subcommands().filter(|it| it.get_name() != "help");
    for command in subcommands.chain([&command]) {
        page(command).generate_to(dir)?;
    }
    Ok(String::new())
}

/// The completions of a program of this package.
pub fn completions(mut command: clap::Command, shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_directory_gets_a_page_for_the_program_and_one_for_each_subcommand() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(man(Args::command(), "8", Some(dir.path())).unwrap(), "");
        let names =
            std::fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!(names.len(), 1 + Args::command().get_subcommands().count());
        assert!(
            names.contains(&"gatewayd.8".to_owned()) && names.contains(&"gatewayd-run.8".to_owned()),
            "{names:?}"
        );
        let main = std::fs::read_to_string(dir.path().join("gatewayd.8")).unwrap();
        assert_eq!(main, man(Args::command(), "8", None).unwrap());
        // No page refers to one that is not there.
        assert!(main.contains("gatewayd\\-run(8)") && !main.contains("help(8)"), "{main}");
    }

    #[test]
    fn completions_name_the_program() {
        assert!(completions(Args::command(), clap_complete::Shell::Bash).contains("_gatewayd()"));
    }
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
