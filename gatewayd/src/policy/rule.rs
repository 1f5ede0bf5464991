//! What a rule is, and the list of all.

use std::path::{Path, PathBuf};

use super::facts::Setting;
use super::review::Finding;
use super::rules;
use super::subject::Subject;
use crate::config::Severity;

/// One question of a security review.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Stable across versions.
    pub id: &'static str,
    /// How bad it is where it is broken.
    pub severity: Severity,
    /// What must hold, in a few words.
    pub title: &'static str,
    /// Why it must.
    pub reason: &'static str,
    /// What to do where it does not.
    pub fix: &'static str,
    /// How it is found.
    pub check: Check,
    /// An example that breaks it, and the nearest that does not.
    pub examples: [Example; 2],
}

/// How a broken rule is found.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// While the configuration is read: the daemon does not start either, or warns.
    Reading,
    /// By looking at a configuration that could be read and at the world around it.
    Looking(fn(&Subject, &mut Report<'_>)),
}

/// What is put over the reference configuration, the facts of a healthy vehicle, or the shipped units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// TOML merged into the reference configuration; elements of arrays are merged one by one.
    Config(&'static str),
    /// TOML merged into the facts.
    Facts(&'static str),
    /// Both.
    Both(&'static str, &'static str),
    /// A drop-in of a unit.
    DropIn(&'static str, &'static str),
    /// A whole file instead of the reference configuration.
    File(&'static str),
    /// The reference configuration and the shipped units as they are.
    Reference,
    /// No configuration file at all.
    Missing,
}

/// Takes the findings of one rule.
#[derive(Debug)]
pub struct Report<'a> {
    rule: &'a Rule,
    subject: &'a Subject,
    found: &'a mut Vec<Finding>,
}

/// The most findings of one rule: a file with ten thousand ECUs needs no ten thousand lines.
const MOST: usize = 50;

impl Report<'_> {
    /// A finding at a key of the configuration; a key that is left out stands where its table does.
    pub fn at(&mut self, key: &str, message: impl Into<String>) {
        let line = self.subject.lines.of_key(key);
        self.add(self.subject.path.clone(), line, message.into());
    }

    /// A finding at a line of a unit.
    pub fn at_setting(&mut self, setting: &Setting, message: impl Into<String>) {
        self.add(setting.file.clone(), setting.line, message.into());
    }

    /// A finding somewhere in another file.
    pub fn in_file(&mut self, path: &Path, line: usize, message: impl Into<String>) {
        self.add(path.to_owned(), line, message.into());
    }

    fn add(&mut self, file: PathBuf, line: usize, message: String) {
        if self.found.iter().filter(|it| it.rule == self.rule.id).count() < MOST {
            self.found.push(Finding::of(self.rule, file, line, message));
        }
    }
}

impl Rule {
    /// Adds what it finds.
    pub fn run(&self, subject: &Subject, found: &mut Vec<Finding>) {
        if let Check::Looking(check) = self.check {
            check(subject, &mut Report { rule: self, subject, found });
        }
    }
}

/// Every built-in rule, by theme.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    themes().flat_map(|(_, rules)| rules.iter())
}

/// The themes in the order of the documentation.
pub fn themes() -> impl Iterator<Item = (&'static str, &'static [Rule])> {
    [
        ("Reading the configuration", rules::reading::RULES),
        ("Transport", rules::transport::RULES),
        ("Certificates", rules::certificates::RULES),
        ("Keys and files", rules::keys::RULES),
        ("Root metadata", rules::metadata::RULES),
        ("Buses", rules::buses::RULES),
        ("ECUs", rules::ecus::RULES),
        ("Dialects", rules::dialects::RULES),
        ("Storage and sockets", rules::storage::RULES),
        ("Telemetry and log", rules::telemetry::RULES),
        ("Units", rules::units::RULES),
        ("Sandbox of the units", rules::sandbox::RULES),
    ]
    .into_iter()
}

/// The rule of that name.
pub fn by_id(id: &str) -> Option<&'static Rule> {
    all().find(|it| it.id.eq_ignore_ascii_case(id))
}
