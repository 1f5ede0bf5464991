//! Log lines of level ERROR: a test that does not expect one fails.

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Collects what this thread logs as an error, until it is dropped.
///
/// With `GATEWAYD_TRACE` in the environment every line of level INFO and above is printed as well.
pub struct ErrorTrap {
    errors: Arc<Mutex<Vec<String>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl fmt::Debug for ErrorTrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorTrap").field("errors", &self.errors).finish_non_exhaustive()
    }
}

impl ErrorTrap {
    /// Collects from now on.
    pub fn install() -> Self {
        let errors = Arc::new(Mutex::new(Vec::new()));
        let echo = std::env::var_os("GATEWAYD_TRACE").is_some();
        let guard = tracing::subscriber::set_default(Collector { errors: Arc::clone(&errors), echo });
        Self { errors, _guard: guard }
    }

    /// The errors since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.errors.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for ErrorTrap {
    fn drop(&mut self) {
        let errors = self.take();
        assert!(std::thread::panicking() || errors.is_empty(), "unexpected errors in the log: {errors:#?}");
    }
}

struct Collector {
    errors: Arc<Mutex<Vec<String>>>,
    echo: bool,
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR || (self.echo && metadata.target().starts_with("gateway"))
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        if self.echo {
            eprintln!("{} {}", event.metadata().level(), text.0);
        }
        if *event.metadata().level() == Level::ERROR {
            self.errors.lock().unwrap_or_else(PoisonError::into_inner).push(text.0);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}
