//! Log output: to standard error, which the service manager keeps; without times there, which it adds itself.

use tracing_subscriber::EnvFilter;

use crate::config::parts::LogPart;

/// Starts logging as the configuration says; `GATEWAYD_LOG` in the environment overrides its filter.
pub fn start(part: &LogPart) {
    let filter = std::env::var("GATEWAYD_LOG").unwrap_or_else(|_| part.filter.clone());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // Logging that somebody else has started already, as tests do, stays theirs.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
}
