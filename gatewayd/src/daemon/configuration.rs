//! The configuration while the daemon runs: which text is in force, what a reload changes, what has to wait for a restart.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::config::{Config, Findings};
use crate::control::ConfigurationStatus;

/// Sections whose keys are taken over without a restart. `profile` is the profiling service's, which reloads by itself.
const LIVE: &[&str] = &["cloud", "log", "profile"];
/// The longest message about a file that was refused, in characters; `gatewayd check` tells the rest.
const MAX_REFUSAL: usize = 512;

/// The configuration in force and the file it came from.
#[derive(Debug)]
pub struct Configuration {
    path: PathBuf,
    /// What is in force, key by key.
    running: Table,
    /// The text that was accepted last.
    text: String,
    status: ConfigurationStatus,
}

/// A file that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// What it says.
    pub config: Config,
    /// Keys that change now, in the file's names.
    pub live: Vec<String>,
    text: String,
    table: Table,
}

impl Configuration {
    /// The configuration that `text`, which was accepted, brings into force at the start.
    pub fn new(path: &Path, text: String, fallback: bool) -> Self {
        let status = ConfigurationStatus {
            file: path.display().to_string(),
            fallback,
            ..ConfigurationStatus::default()
        };
        Self { path: path.to_owned(), running: table(&text), text, status }
    }

    /// Reads the file anew. Nothing is in force before [`Configuration::adopt`].
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn read(&self) -> Result<Accepted, String> {
        let text = Config::read(&self.path).map_err(|findings| first(&findings))?;
        self.accept(text)
    }

    fn accept(&self, text: String) -> Result<Accepted, String> {
        let (config, _) = Config::parse(&text, &self.path).map_err(|findings| first(&findings))?;
        let table = table(&text);
        let live = differences(&self.running, &table).into_iter().filter(|key| is_live(key)).collect();
        Ok(Accepted { config, live, text, table })
    }

    /// The live part of it is in force now; a sentence about it.
    pub fn adopt(&mut self, accepted: Accepted) -> String {
        for section in LIVE {
            match accepted.table.get(*section) {
                Some(value) => drop(self.running.insert((*section).to_owned(), value.clone())),
                None => drop(self.running.remove(*section)),
            }
        }
        self.text = accepted.text;
        self.status.reloads += 1;
        self.status.refused = None;
        self.status.fallback = false;
        self.status.needs_restart = differences(&self.running, &accepted.table);
        let live =
            if accepted.live.is_empty() { "nothing changed".to_owned() } else { accepted.live.join(", ") };
        match self.status.needs_restart.as_slice() {
            [] => format!("configuration reloaded: {live}"),
            waiting => format!("configuration reloaded: {live}; needs a restart: {}", waiting.join(", ")),
        }
    }

    /// It was not taken; a sentence about it.
    pub fn refuse(&mut self, reason: String) -> String {
        let sentence = format!("reload refused, the old configuration stays in force: {reason}");
        self.status.refused = Some(reason);
        sentence
    }

    /// The text that was accepted last.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// For `gatewayctl`.
    pub const fn status(&self) -> &ConfigurationStatus {
        &self.status
    }
}

/// Whether a key, with its section before it, is taken over without a restart.
pub(super) fn is_live(key: &str) -> bool {
    LIVE.contains(&key.split('.').next().unwrap_or(key))
}

/// Text that was accepted parses; an empty table would only make every key differ.
fn table(text: &str) -> Table {
    toml::from_str(text).unwrap_or_default()
}

fn first(findings: &Findings) -> String {
    let text = findings.to_string();
    text.lines().next().unwrap_or_default().chars().take(MAX_REFUSAL).collect()
}

/// The keys that differ, with their sections before them (`mqtt.url`); lists (`bus`, `ecu`) as a whole. A key that is left
/// out differs from one that states its default.
pub fn differences(one: &Table, other: &Table) -> Vec<String> {
    let mut found = Vec::new();
    compare("", one, other, &mut found);
    found
}

fn compare(prefix: &str, one: &Table, other: &Table, found: &mut Vec<String>) {
    let mut keys: Vec<_> = one.keys().chain(other.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let name = format!("{prefix}{key}");
        match (one.get(key), other.get(key)) {
            (Some(Value::Table(one)), Some(Value::Table(other))) => {
                compare(&format!("{name}."), one, other, found)
            }
            (one, other) if one == other => {}
            _ => found.push(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::reference;

    fn configuration() -> Configuration {
        Configuration::new(Path::new("test.toml"), reference::TEXT.to_owned(), false)
    }

    fn changed(from: &str, to: &str) -> String {
        assert!(reference::TEXT.contains(from));
        reference::TEXT.replace(from, to)
    }

    #[test]
    fn a_live_key_is_taken_over_and_named() {
        let mut it = configuration();
        let accepted =
            it.accept(changed("poll_interval = \"1h\"", "poll_interval = \"2h\"")).expect("accepted");
        assert_eq!(accepted.live, ["cloud.poll_interval"]);
        assert_eq!(it.adopt(accepted), "configuration reloaded: cloud.poll_interval");
        assert!(it.text().contains("2h") && it.status().needs_restart.is_empty());
    }

    #[test]
    fn a_key_that_needs_a_restart_stays_on_the_list_until_it_is_as_it_was() {
        let mut it = configuration();
        let text = changed("outbox = 4096", "outbox = 100");
        let accepted = it.accept(text.replace("filter = \"info\"", "filter = \"warn\"")).expect("accepted");
        let sentence = it.adopt(accepted);
        assert_eq!(sentence, "configuration reloaded: log.filter; needs a restart: mqtt.outbox");
        let accepted = it.accept(text).expect("accepted");
        assert_eq!(it.adopt(accepted), "configuration reloaded: log.filter; needs a restart: mqtt.outbox");
        let accepted = it.accept(reference::TEXT.to_owned()).expect("accepted");
        assert_eq!(it.adopt(accepted), "configuration reloaded: nothing changed");
    }

    #[test]
    fn a_broken_file_is_refused_with_its_line_and_changes_nothing() {
        let mut it = configuration();
        let refusal = it.accept(changed("[state]\n", "[state]\nquotta = 1\n")).expect_err("refused");
        assert!(refusal.starts_with("test.toml:") && refusal.contains("quotta"), "{refusal}");
        let sentence = it.refuse(refusal.clone());
        assert!(sentence.contains("stays in force") && sentence.contains(&refusal));
        assert_eq!(it.status().refused.as_deref(), Some(refusal.as_str()));
        assert_eq!((it.text(), it.status().reloads), (reference::TEXT, 0));
        let accepted = it.accept(reference::TEXT.to_owned()).expect("accepted");
        it.adopt(accepted);
        assert_eq!(it.status().refused, None, "mended");
    }

    #[test]
    fn lists_of_sections_differ_as_a_whole() {
        let accepted =
            configuration().accept(changed("request_id = 0x732", "request_id = 0x742")).expect("accepted");
        assert!(accepted.live.is_empty());
        let mut it = configuration();
        assert_eq!(it.adopt(accepted), "configuration reloaded: nothing changed; needs a restart: ecu");
    }
}
