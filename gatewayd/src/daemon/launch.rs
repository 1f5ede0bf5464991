//! Before the daemon lives: its configuration, and what the process before it left behind.

use std::path::Path;

use super::configuration::Configuration;
use crate::config::parts::LogPart;
use crate::config::{Config, Findings};
use crate::systemd::{Keep, Passed};

/// Everything a process of the daemon begins with.
#[derive(Debug)]
pub struct Launch {
    pub(super) config: Config,
    pub(super) configuration: Configuration,
    pub(super) passed: Passed,
    pub(super) keep: Keep,
}

impl Launch {
    /// Reads the configuration and starts logging. The findings are warnings.
    ///
    /// A file that cannot be used ends the start, except after a crash: then the configuration that the dead process ran
    /// on stays in force. A person who restarts the service gets what is in the file or an error; a crash changes
    /// nothing, so a broken file on disk does not turn it into a gateway that is gone.
    ///
    /// # Errors
    /// The findings, where the file cannot be used.
    pub fn load(path: &Path) -> Result<(Self, Findings), Findings> {
        let loaded = Config::read(path).and_then(|text| Ok((Config::parse(&text, path)?, text)));
        crate::log::start(loaded.as_ref().map_or(&LogPart::default(), |((config, _), _)| &config.log));
        let mut passed = Passed::from_env();
        let keep = Keep::open(&mut passed);
        let ((config, warnings), text, fallback) = match loaded {
            Ok((parsed, text)) => (parsed, text, false),
            Err(findings) => {
                let Some(text) = keep.after_crash() else { return Err(findings) };
                let parsed = Config::parse(text, path)?;
                tracing::error!(%findings, "the configuration file cannot be used; after a crash the old one stays in force");
                (parsed, text.to_owned(), true)
            }
        };
        let configuration = Configuration::new(path, text, fallback);
        Ok((Self { config, configuration, passed, keep }, warnings))
    }
}
