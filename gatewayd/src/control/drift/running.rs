//! What the daemon says about itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use topology::Role;

use crate::config::{Config, Source, sha256};
use crate::policy::document;
use crate::runtime::Layout;

/// What the daemon runs with. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Version of the daemon.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// The program's file; ends in ` (deleted)` once it was replaced.
    pub program: String,
    /// The configuration file as it was read.
    pub configuration: FileState,
    /// Every key and its value, defaults included; spans are seconds, sizes bytes.
    pub values: BTreeMap<String, Value>,
    /// Files that trust rests on as they were at the start, by key. Secrets are not among them.
    pub files: BTreeMap<String, FileState>,
    /// CAN interfaces with their nominal and data bit rates in bit/s.
    pub links: Vec<LinkState>,
    /// Threads that were asked to run somewhere.
    pub threads: Vec<ThreadState>,
}

/// A file at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 in hex; empty where it could not be read.
    pub sha256: String,
}

/// A CAN link as the configuration describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    /// Interface.
    pub interface: String,
    /// In bit/s.
    pub nominal_bit_rate: u32,
    /// In bit/s.
    pub data_bit_rate: u32,
}

/// A thread and its CPUs, as cpulists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadState {
    /// Its name.
    pub name: String,
    /// Where the placement wants it.
    pub asked: String,
    /// Where the kernel lets it run now; `None` where the thread is gone.
    pub now: Option<String>,
}

/// What was true at the start.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    running: Running,
}

impl Baseline {
    /// Takes down what the daemon starts with. Reads the trust anchors once more; they are small.
    pub fn take(config: &Config, layout: &Layout) -> Self {
        let mut asked =
            vec![("gatewayd".to_owned(), Role::ControlLoop, 0), ("crypto-0".to_owned(), Role::Crypto, 0)];
        for (at, bus) in config.buses.iter().enumerate() {
            asked.push((format!("bus-{}", bus.get_ref().name), Role::Bus, at));
        }
        let threads = asked.into_iter().filter_map(|(name, role, at)| {
            Some(ThreadState { name, asked: layout.pin(role, at).asked()?, now: None })
        });
        let running = Running {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            threads: threads.collect(),
            ..Running::default()
        };
        let mut baseline = Self { running };
        baseline.source(&config.source);
        baseline.reloaded(config, |_| true);
        baseline.running.links = links(config);
        baseline
    }

    /// The keys that `is_live` names are in force from now on, and the files that they name.
    pub fn reloaded(&mut self, config: &Config, is_live: impl Fn(&str) -> bool) {
        // A configuration always has a JSON form: its keys are texts.
        let values = document::flat(&serde_json::to_value(config).unwrap_or_default());
        replace(&mut self.running.values, values, &is_live);
        replace(&mut self.running.files, anchors(config), &is_live);
    }

    /// Everything that this file says is in force.
    pub fn source(&mut self, source: &Source) {
        self.running.configuration = FileState { path: source.path.clone(), sha256: source.sha256.clone() };
    }

    /// The same, with what may have changed since: the program's file and the threads' CPUs.
    pub fn now(&self) -> Running {
        let mut running = self.running.clone();
        running.program =
            fs::read_link("/proc/self/exe").map(|it| it.display().to_string()).unwrap_or_default();
        let cpus = cpus_of_threads(Path::new("/proc/self/task"), running.pid);
        for thread in &mut running.threads {
            thread.now = cpus.get(comm(&thread.name)).cloned();
        }
        running
    }
}

fn replace<T>(old: &mut BTreeMap<String, T>, new: BTreeMap<String, T>, which: impl Fn(&str) -> bool) {
    old.retain(|key, _| !which(key));
    old.extend(new.into_iter().filter(|(key, _)| which(key)));
}

/// What the kernel keeps of a thread's name: 15 bytes.
fn comm(name: &str) -> &str {
    let end = (0..=name.len().min(15)).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    name.get(..end).unwrap_or(name)
}

fn anchors(config: &Config) -> BTreeMap<String, FileState> {
    let named = [
        ("cloud.ca", &config.cloud.ca),
        ("cloud.certificate", &config.cloud.certificate),
        ("uptane.director_root", &config.uptane.director_root),
        ("uptane.image_root", &config.uptane.image_root),
    ];
    let optional = [
        ("cloud.sm_certificate", &config.cloud.sm_certificate),
        ("mqtt.ca", &config.mqtt.ca),
        ("mqtt.certificate", &config.mqtt.certificate),
    ];
    let optional = optional.into_iter().filter_map(|(key, path)| Some((key, path.as_ref()?)));
    let named = named.into_iter().chain(optional).map(|(key, path)| (key.to_owned(), file(path)));
    let buses = config.buses.iter().map(|it| it.get_ref()).enumerate();
    let of_buses = buses.flat_map(|(at, bus)| {
        let files = [("ca", &bus.ca), ("certificate", &bus.certificate)].into_iter();
        files.filter_map(move |(name, path)| Some((format!("bus[{at}].{name}"), file(path.as_ref()?))))
    });
    named.chain(of_buses).collect()
}

/// The longest trust anchor whose digest is taken.
const MAX_LEN: u64 = 4 << 20;

/// A file as it is now.
pub(super) fn file(path: &Path) -> FileState {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(MAX_LEN).read_to_end(&mut bytes));
    let sha256 = read.map(|_| sha256(&bytes)).unwrap_or_default();
    FileState { path: path.to_owned(), sha256 }
}

fn links(config: &Config) -> Vec<LinkState> {
    let buses = config.buses.iter().map(|it| it.get_ref());
    buses
        .filter_map(|bus| match bus.url.parse() {
            Ok(canfd::bus::BusUrl::Can(interface)) => Some(LinkState {
                interface,
                nominal_bit_rate: bus.nominal_bit_rate,
                data_bit_rate: bus.data_bit_rate,
            }),
            _ => None,
        })
        .collect()
}

/// `Cpus_allowed_list` of every thread, by name (proc(5)). A thread that has not named itself yet bears the name of the
/// `leader`, whose own it is.
fn cpus_of_threads(tasks: &Path, leader: u32) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(tasks) else { return BTreeMap::new() };
    let status = |task: PathBuf| fs::read_to_string(task.join("status")).ok();
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).map(|it| it.trim().to_owned())
    };
    let others = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let threads = others.chain([tasks.join(leader.to_string())]).filter_map(status);
    threads.filter_map(|it| Some((field(&it, "Name:")?, field(&it, "Cpus_allowed_list:")?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_without_a_name_of_its_own_yet_is_not_taken_for_the_leader() {
        let tasks = tempfile::tempdir().unwrap();
        for (tid, cpus) in [("41", "0-7"), ("42", "3"), ("43", "0-7")] {
            fs::create_dir(tasks.path().join(tid)).unwrap();
            let status = format!("Name:\tgatewayd\nCpus_allowed_list:\t{cpus}\n");
            fs::write(tasks.path().join(tid).join("status"), status).unwrap();
        }
        let found = cpus_of_threads(tasks.path(), 42);
        assert_eq!(found.get("gatewayd").map(String::as_str), Some("3"));
    }

    #[test]
    fn a_thread_is_found_by_the_name_that_the_kernel_keeps() {
        let name = "bus-with-a-long-name";
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(|| {
            cpus_of_threads(Path::new("/proc/self/task"), 1).get(comm("bus-with-a-long-name")).cloned()
        });
        let cpus = thread.unwrap().join().unwrap().expect("the thread sees itself");
        assert!(cpus.starts_with(|c: char| c.is_ascii_digit()), "{cpus}");
    }

    #[test]
    fn a_reload_changes_live_keys_and_their_files_only() {
        let parse = |text: &str| Config::parse(text, Path::new("gatewayd.toml")).expect("it parses").0;
        let text = crate::config::reference::TEXT;
        let mut baseline = Baseline::default();
        baseline.reloaded(&parse(text), |_| true);
        let before = baseline.running.clone();
        let changed = text.replace("attempts = 6", "attempts = 7").replace("outbox = 4096", "outbox = 100");
        baseline.reloaded(&parse(&changed), |key| key.starts_with("cloud."));
        let differing: Vec<_> = before
            .values
            .iter()
            .filter(|(key, value)| baseline.running.values.get(*key) != Some(value))
            .collect();
        assert_eq!(differing, [(&"cloud.attempts".to_owned(), &Value::from(6))]);
        assert_eq!(before.files, baseline.running.files);
    }

    #[test]
    fn a_file_that_is_not_there_has_no_digest() {
        assert_eq!(file(Path::new("/no/such/file")).sha256, "");
    }
}
