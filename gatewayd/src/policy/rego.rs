//! The user's rules, in Rego (openpolicyagent.org, version 1 of the language).
//!
//! A rule file may loop, recurse, eat memory or crash its evaluator. So it is evaluated in a process of its own
//! (`gatewayd rego-worker`) that has given up what it could do harm with: bounded address space and CPU time, no new
//! files, no environment; and a deadline from outside.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::child::{self, ChildError};
use super::review::Finding;
use super::subject::Subject;
use crate::config::Severity;

/// The most rule files.
pub const MAX_FILES: usize = 64;
/// The most bytes of all rule files together.
pub const MAX_BYTES: u64 = 1 << 20;
/// How long all rules together may take.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// CPU time of all rules together, in seconds.
const CPU_SECONDS: u64 = 5;
/// Address space of the evaluator in bytes.
const ADDRESS_SPACE: u64 = 512 << 20;
/// The most findings of all rules together.
pub const MAX_FINDINGS: usize = 1000;
/// The longest answer of the evaluator in bytes.
const MAX_ANSWER: u64 = 4 << 20;
/// The set that rules add their findings to.
const QUERY: &str = "data.gatewayd.findings";

/// One rule file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFile {
    /// Its path, for messages.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// A finding as a rule gives it. Everything but `id` and `message` may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserFinding {
    /// The rule's id, `[A-Z0-9-]`, at most 32 characters.
    pub id: String,
    /// What is wrong.
    pub message: String,
    /// How bad it is; an error where it is left out.
    #[serde(default = "UserFinding::default_severity")]
    pub severity: Severity,
    /// The key that is wrong: `mqtt.url`, `ecu[0].bus`. Its line is looked up.
    #[serde(default)]
    pub key: String,
    /// Another file than the configuration: a unit, for one.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// A line in that file.
    #[serde(default)]
    pub line: usize,
    /// Why that matters.
    #[serde(default)]
    pub reason: String,
    /// What to do.
    #[serde(default)]
    pub fix: String,
}

/// Why the user's rules say nothing.
#[derive(Debug, thiserror::Error)]
pub enum RegoError {
    /// A folder or file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A folder of rules without a rule: most likely the wrong folder.
    #[error("{} holds no .rego file", .0.display())]
    Empty(PathBuf),
    /// More than anybody needs.
    #[error(
        "the rule files are too many or too long: at most {MAX_FILES} files and {MAX_BYTES} bytes in all"
    )]
    TooMuch,
    /// The rules' fault: they do not parse, fail, or give something else than findings.
    #[error("the rules cannot be evaluated: {0}")]
    Rules(String),
    /// The rules' fault: they need too much.
    #[error("the rules were stopped: {0}; do they loop, recurse, or build large sets?")]
    Stopped(String),
    /// The machine's fault.
    #[error("cannot start the rule evaluator: {0}")]
    Start(#[source] ChildError),
}

/// What the evaluator is given.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    files: Vec<RuleFile>,
    input: Value,
}

/// What it gives back.
type Answer = Result<Vec<UserFinding>, String>;

/// Every `.rego` file of the folders, in order of their names.
///
/// # Errors
/// [`RegoError::Read`], [`RegoError::Empty`] or [`RegoError::TooMuch`].
pub fn read(folders: impl Iterator<Item = PathBuf>) -> Result<Vec<RuleFile>, RegoError> {
    let mut files = Vec::new();
    let mut bytes = 0;
    for folder in folders {
        let wrong = |source| RegoError::Read { path: folder.clone(), source };
        let entries = std::fs::read_dir(&folder).map_err(wrong)?;
        let mut paths =
            entries.map(|it| it.map(|it| it.path())).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        paths.retain(|it| it.extension().is_some_and(|it| it == "rego"));
        paths.sort();
        if paths.is_empty() {
            return Err(RegoError::Empty(folder));
        }
        for path in paths {
            let file = read_file(path, MAX_BYTES.saturating_sub(bytes))?;
            bytes += file.text.len() as u64;
            files.push(file);
            if files.len() > MAX_FILES {
                return Err(RegoError::TooMuch);
            }
        }
    }
    Ok(files)
}

fn read_file(path: PathBuf, most: u64) -> Result<RuleFile, RegoError> {
    use std::io::Read;
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(most + 1).read_to_string(&mut text));
    match read {
        Ok(len) if len as u64 > most => Err(RegoError::TooMuch),
        Ok(_) => Ok(RuleFile { path, text }),
        Err(source) => Err(RegoError::Read { path, source }),
    }
}

/// Evaluates the rules in a process of their own.
///
/// # Errors
/// [`RegoError::Rules`], [`RegoError::Stopped`] or [`RegoError::Start`].
pub fn run(files: Vec<RuleFile>, input: Value) -> Result<Vec<UserFinding>, RegoError> {
    let job = serde_json::to_vec(&Job { files, input }).map_err(|it| RegoError::Rules(it.to_string()))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("rego-worker").env_clear().current_dir("/");
    let outcome = child::run(&mut command, job, DEADLINE, MAX_ANSWER).map_err(|error| match error {
        error @ ChildError::Start { .. } => RegoError::Start(error),
        error => RegoError::Stopped(error.to_string()),
    })?;
    if let Some(signal) = outcome.status.signal() {
        return Err(RegoError::Stopped(why(signal)));
    }
    let answer: Answer = serde_json::from_slice(&outcome.output)
        .map_err(|error| RegoError::Rules(format!("the evaluator's answer is broken: {error}")))?;
    answer.map_err(RegoError::Rules)
}

fn why(signal: i32) -> String {
    match signal {
        libc::SIGXCPU | libc::SIGKILL => format!("more than {CPU_SECONDS} s of CPU time"),
        libc::SIGABRT => format!("more than {} MiB of memory, or nested too deep", ADDRESS_SPACE >> 20),
        libc::SIGSEGV => "nested too deep".to_owned(),
        other => format!("signal {other}"),
    }
}

/// The life of the evaluator: gives up what it does not need, reads a job, writes the answer.
///
/// # Errors
/// A sentence, where the job cannot be read or the answer not written.
pub fn worker() -> Result<(), String> {
    for (resource, limit) in [
        (Resource::Core, 0),
        (Resource::As, ADDRESS_SPACE),
        (Resource::Cpu, CPU_SECONDS),
        (Resource::Fsize, 0),
    ] {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        setrlimit(resource, limit).map_err(|error| format!("cannot limit the evaluator: {error}"))?;
    }
    let job: Job = serde_json::from_reader(std::io::stdin().lock()).map_err(|error| error.to_string())?;
    let answer: Answer = evaluate(job.files, job.input);
    serde_json::to_writer(std::io::stdout().lock(), &answer).map_err(|error| error.to_string())
}

/// Evaluates the rules here and now, without any bound.
fn evaluate(files: Vec<RuleFile>, input: Value) -> Answer {
    let mut engine = regorus::Engine::new();
    engine.set_strict_builtin_errors(true);
    for file in files {
        engine
            .add_policy(file.path.display().to_string(), file.text)
            .map_err(|error| one_line(&error.to_string()))?;
    }
    engine.set_input_json(&input.to_string()).map_err(|error| error.to_string())?;
    let packages = engine.get_packages().map_err(|error| error.to_string())?;
    if !packages.iter().any(|it| it == "data.gatewayd") {
        return Err("no file has `package gatewayd`".to_owned());
    }
    let found = engine.eval_rule(QUERY.to_owned()).map_err(|error| one_line(&error.to_string()))?;
    if found == regorus::Value::Undefined {
        return Ok(Vec::new());
    }
    let text = found.to_json_str().map_err(|error| error.to_string())?;
    let findings: Vec<UserFinding> = serde_json::from_str(&text)
        .map_err(|error| format!("{QUERY} must be a set of objects with `id` and `message`: {error}"))?;
    if findings.len() > MAX_FINDINGS {
        return Err(format!("{} findings; at most {MAX_FINDINGS} are taken", findings.len()));
    }
    if let Some(it) = findings.iter().find(|it| !is_id(&it.id)) {
        return Err(format!("`{}` is no rule id: 1 to 32 of A-Z, 0-9 and -", it.id.escape_default()));
    }
    Ok(findings)
}

fn is_id(id: &str) -> bool {
    (1..=32).contains(&id.len())
        && id.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'-')
}

/// Messages of the evaluator are little pictures; one line of them is enough for a list of findings.
fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().take(500).collect()
}

impl UserFinding {
    const fn default_severity() -> Severity {
        Severity::Error
    }

    /// With its file and line.
    pub fn placed(self, subject: &Subject) -> Finding {
        let (file, line) = match self.file {
            Some(file) if file != subject.path => (file, self.line.max(1)),
            _ if self.line > 0 => (subject.path.clone(), self.line),
            _ => (subject.path.clone(), subject.lines.of_key(&self.key)),
        };
        Finding {
            rule: self.id,
            severity: self.severity,
            file,
            line,
            message: one_line(&self.message),
            reason: self.reason,
            fix: self.fix,
        }
    }
}
