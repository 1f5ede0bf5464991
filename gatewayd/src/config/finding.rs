//! What is wrong with a configuration, in a form that editors and people can follow: `FILE:LINE: [RULE-ID] message`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The daemon does not start.
    Error,
    /// The daemon starts; a review would ask about it.
    Warning,
    /// Worth knowing; nothing has to be done.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One finding of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The rule's name, stable across versions.
    pub rule: &'static str,
    /// Line in the file, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl Finding {
    /// A finding that stops the start.
    pub const fn error(rule: &'static str, line: usize, message: String) -> Self {
        Self { severity: Severity::Error, rule, line, message }
    }

    /// A finding that does not.
    pub const fn warning(rule: &'static str, line: usize, message: String) -> Self {
        Self { severity: Severity::Warning, rule, line, message }
    }
}

/// All findings for one file, in line order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    path: PathBuf,
    list: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(mut list: Vec<Finding>, path: &Path) -> Self {
        list.sort_by_key(|it| it.line);
        Self { path: path.to_owned(), list }
    }

    pub(super) fn one(finding: Finding, path: &Path) -> Self {
        Self::new(vec![finding], path)
    }

    /// Whether any of them stops the start.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|it| it.severity == Severity::Error)
    }

    /// The findings.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.list.iter()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, it) in self.list.iter().enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}: [{}] {}", self.path.display(), it.line, it.rule, it.message.trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}
