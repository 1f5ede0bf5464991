//! How the demo ends when it does not end well.

use std::fmt::Display;

/// One clear sentence and the exit code that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

/// The outcome of every step.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// Something did not go as it must: exit 1.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The command line asks for something that cannot be: exit 64, `EX_USAGE` of sysexits(3).
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 64, message: message.into() }
    }

    /// A file that was named cannot be used: exit 66, `EX_NOINPUT`.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self { code: 66, message: message.into() }
    }

    /// Ctrl-C: exit 130, as shells have it.
    pub(crate) fn interrupted() -> Self {
        Self {
            code: 130,
            message: "stopped; the same command goes on with the unfinished campaign".to_owned(),
        }
    }

    /// Says what failed before the error itself.
    pub(crate) fn of<E: Display>(what: impl Display) -> impl FnOnce(E) -> Self {
        move |error| Self::new(format!("{what}: {error}"))
    }
}
