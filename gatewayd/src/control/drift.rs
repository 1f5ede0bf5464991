//! Drift: what the running daemon was started with, against what is declared now.
//!
//! The daemon only says what it runs with ([`running`]); reading the disk, asking systemd and the links is
//! `gatewayctl`'s part ([`compare`]), so that the daemon's loop waits for nothing and the daemon needs no right more.

pub mod compare;
mod links;
pub mod running;
mod units;

use std::fmt;

use serde::{Deserialize, Serialize};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What differs: `configuration mqtt.outbox`, `unit gatewayd.service`, `link can0`.
    pub what: String,
    /// What is declared now.
    pub declared: String,
    /// What runs.
    pub running: String,
    /// What to do.
    pub fix: String,
}

/// Something that could not be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchecked {
    /// What it is.
    pub what: String,
    /// Why not.
    pub reason: String,
}

/// All differences. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The differences.
    pub items: Vec<Item>,
    /// What could not be compared.
    pub unchecked: Vec<Unchecked>,
}

impl Drift {
    fn add(
        &mut self,
        what: impl Into<String>,
        declared: impl Into<String>,
        running: impl Into<String>,
        fix: &str,
    ) {
        self.items.push(Item {
            what: what.into(),
            declared: declared.into(),
            running: running.into(),
            fix: fix.to_owned(),
        });
    }

    fn unchecked(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        self.unchecked.push(Unchecked { what: what.into(), reason: reason.into() });
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for it in &self.items {
            writeln!(
                f,
                "{}\n    declared: {}\n    running:  {}\n    fix:      {}",
                it.what, it.declared, it.running, it.fix
            )?;
        }
        for it in &self.unchecked {
            writeln!(f, "not checked: {}: {}", it.what, it.reason)?;
        }
        match self.items.len() {
            0 => write!(f, "no drift"),
            1 => write!(f, "1 difference"),
            count => write!(f, "{count} differences"),
        }
    }
}
