//! One run over one configuration, and what came of it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::facts::Places;
use super::lines::Lines;
use super::rego::{self, RegoError};
use super::rule::{self, Rule};
use super::subject::Subject;
use super::{document, facts};
use crate::config::{self, Config, Severity};

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Put before every absolute path that the configuration or a unit names: a root file system being built.
    pub root: Option<PathBuf>,
    /// Folders with units and their drop-in folders, the most important first; empty: those of systemd.
    pub units: Vec<PathBuf>,
    /// Folders with the user's `.rego` files, besides `policy.rules` of the configuration.
    pub rules: Vec<PathBuf>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's id.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// The file it is in.
    pub file: PathBuf,
    /// Line, counted from 1; 1 where a file as a whole is meant.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// Why that matters.
    pub reason: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    pub(super) fn of(rule: &Rule, file: PathBuf, line: usize, message: String) -> Self {
        Self {
            rule: rule.id.to_owned(),
            severity: rule.severity,
            file,
            line,
            message,
            reason: rule.reason.to_owned(),
            fix: rule.fix.to_owned(),
        }
    }

    pub(super) fn reading(path: &Path, found: &config::Finding) -> Self {
        let rule = rule::by_id(found.rule);
        Self {
            rule: found.rule.to_owned(),
            severity: found.severity,
            file: path.to_owned(),
            line: found.line.max(1),
            message: found.message.trim_end().to_owned(),
            reason: rule.map_or("", |it| it.reason).to_owned(),
            fix: rule.map_or("", |it| it.fix).to_owned(),
        }
    }
}

/// All findings of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Findings by file and line.
    pub findings: Vec<Finding>,
}

impl Review {
    /// How many findings are that bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|it| it.severity == severity).count()
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// `FILE:LINE: [RULE-ID] message`, then reason and fix unless `quiet`.
    pub fn text(&self, quiet: bool) -> String {
        let mut text = String::new();
        for it in &self.findings {
            text += &format!("{it}\n");
            if !quiet {
                text += &format!("    {}: {}\n    fix: {}\n", it.severity, it.reason, it.fix);
            }
        }
        let [errors, warnings, notes] =
            [Severity::Error, Severity::Warning, Severity::Note].map(|it| self.count(it));
        text + &format!("{errors} errors, {warnings} warnings, {notes} notes")
    }

    /// The findings and how many there are of each kind. Fields are only ever added.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "notes": self.count(Severity::Note),
            "findings": self.findings,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.file.display(), self.line, self.rule, self.message)
    }
}

/// Reads the configuration and runs every rule over it.
///
/// # Errors
/// The user's rules cannot be read or run. What is wrong with the configuration itself is a finding.
pub fn review(path: &Path, options: &Options) -> Result<Review, RegoError> {
    let (config, findings, text) = match read(path) {
        Ok(read) => read,
        Err(findings) => return Ok(Review { findings }),
    };
    let places = Places { root: options.root.clone(), units: options.units.clone() };
    let subject = Subject {
        facts: facts::gather(&config, path, &places),
        lines: Lines::of(&text),
        path: path.to_owned(),
        config,
    };
    let mut review = built_in(&subject, findings);
    let folders = subject.config.policy.rules.iter().map(|it| places.real(it)).chain(options.rules.clone());
    let files = rego::read(folders)?;
    if !files.is_empty() {
        let document = document::of(&subject);
        review.findings.extend(rego::run(files, document)?.into_iter().map(|it| it.placed(&subject)));
    }
    review.sort();
    Ok(review)
}

/// The configuration with its warnings and its text, or what is wrong with it.
fn read(path: &Path) -> Result<(Config, Vec<Finding>, String), Vec<Finding>> {
    let list = |it: &config::Findings| it.iter().map(|it| Finding::reading(path, it)).collect::<Vec<_>>();
    let text = Config::read(path).map_err(|it| list(&it))?;
    let (config, findings) = Config::parse(&text, path).map_err(|it| list(&it))?;
    Ok((config, list(&findings), text))
}

/// Runs the built-in rules; `findings` are those of reading.
pub(super) fn built_in(subject: &Subject, mut findings: Vec<Finding>) -> Review {
    for rule in rule::all() {
        rule.run(subject, &mut findings);
    }
    let mut review = Review { findings };
    review.sort();
    review
}

impl Review {
    fn sort(&mut self) {
        self.findings.sort_by(|a, b| (&a.file, a.line, &a.rule).cmp(&(&b.file, b.line, &b.rule)));
    }
}
