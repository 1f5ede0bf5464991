//! Log output: to standard error, which the service manager keeps; without times there, which it adds itself.

use std::io::{Stderr, stderr};
use std::sync::OnceLock;

use tracing_subscriber::fmt::format::DefaultFields;
use tracing_subscriber::fmt::{FormatEvent, SubscriberBuilder};
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::parts::LogPart;

/// Puts another filter in place; says why where it cannot.
type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// Logging is the process's, so is the way to change its filter.
static CHANGE: OnceLock<Change> = OnceLock::new();
const STDERR: fn() -> Stderr = stderr;

/// Starts logging as the configuration says; `GATEWAYD_LOG` in the environment overrides its filter.
pub fn start(part: &LogPart) {
    let filter = std::env::var("GATEWAYD_LOG").unwrap_or_else(|_| part.filter.clone());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(STDERR).with_ansi(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        install(builder.without_time());
    } else {
        install(builder);
    }
}

fn install<E>(builder: SubscriberBuilder<DefaultFields, E, EnvFilter, fn() -> Stderr>)
where
    E: FormatEvent<Registry, DefaultFields> + Send + Sync + 'static,
{
    let builder = builder.with_filter_reloading();
    let handle = builder.reload_handle();
    // Logging that somebody else has started already, as tests do, stays theirs.
    if builder.try_init().is_ok() {
        // Only the first start is in force.
        let _ = CHANGE.set(Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())));
    }
}

/// Changes the filter while logging runs. `GATEWAYD_LOG` goes on overriding it.
///
/// # Errors
/// What is wrong with the filter, or why it cannot be changed.
pub fn change(part: &LogPart) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&part.filter).map_err(|error| format!("log.filter `{}`: {error}", part.filter))?;
    if std::env::var_os("GATEWAYD_LOG").is_some() {
        return Ok(());
    }
    CHANGE.get().map_or(Ok(()), |change| change(filter))
}
