//! Before the daemon lives: its configuration, and what the process before it left behind.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use super::configuration::Configuration;
use crate::config::parts::{ControlPart, LogPart};
use crate::config::{Config, Findings};
use crate::control::{Answer, MAX_REQUEST};
use crate::systemd::{Keep, Passed};

/// The most askers that are told; the service manager starts the daemon again for those behind them.
const ASKERS: usize = 64;
/// How long one of them may take to say what it wants, and to hear.
const ASKER: Duration = Duration::from_millis(50);

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
        let log = loaded.as_ref().map_or_else(|_| LogPart::default(), |((config, _), _)| config.log.clone());
        crate::log::start(&log);
        let mut passed = Passed::from_env();
        let keep = Keep::open(&mut passed);
        let ((config, warnings), text, fallback) = match loaded {
            Ok((parsed, text)) => (parsed, text, false),
            Err(findings) => {
                let Some(text) = keep.after_crash() else {
                    turn_askers_away(&mut passed, &findings.to_string());
                    return Err(findings);
                };
                let parsed = Config::parse(text, path)?;
                tracing::error!(%findings, "the configuration file cannot be used; after a crash the old one stays in force");
                (parsed, text.to_owned(), true)
            }
        };
        let configuration = Configuration::new(path, text, fallback);
        Ok((Self { config, configuration, passed, keep }, warnings))
    }
}

/// Tells everybody who waits at the control socket why there will be no daemon. Without this the service manager, which
/// sees them wait, would start it again at once.
pub(super) fn turn_askers_away(passed: &mut Passed, reason: &str) {
    let Some(listener) = passed.take_listener("control", &ControlPart::default().socket) else { return };
    let message = format!("gatewayd cannot start: {reason}");
    let Ok(mut line) = serde_json::to_vec(&Answer::Error { message }) else { return };
    line.push(b'\n');
    if listener.set_nonblocking(true).is_err() {
        return;
    }
    for (mut stream, _) in std::iter::from_fn(|| listener.accept().ok()).take(ASKERS) {
        let deadlines = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(ASKER)))
            .and_then(|()| stream.set_write_timeout(Some(ASKER)));
        if deadlines.is_ok() {
            // Whatever it wanted, and whether it hears, this is the answer.
            let _ = stream.read(&mut [0; MAX_REQUEST]);
            let _ = stream.write_all(&line);
        }
    }
}
