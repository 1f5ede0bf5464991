//! Every rule with an example that breaks it and one that does not, and the files that we ship.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::facts::{Facts, units};
use super::lines::Lines;
use super::review::built_in;
use super::rule::{self, Check, Example, Rule};
use super::subject::{DAEMON, PROFILER, Subject};
use super::{Finding, document, table};
use crate::config::{Config, Severity, reference};

const SHIPPED: [(&str, &str); 2] = [
    (DAEMON, include_str!("../../../systemd/gatewayd.service")),
    (PROFILER, include_str!("../../../systemd/gatewayd-profile.service")),
];
const CONFIG: &str = "/etc/gatewayd/gatewayd.toml";

/// What a check on a healthy vehicle finds, in January 2027.
const HEALTHY: &str = r#"
now = 1_800_000_000
state = { filesystem = "ext4", size = 16_000_000_000, mode = 0o700 }
[files]
config = { path = "/etc/gatewayd/gatewayd.toml", len = 3000, mode = 0o644 }
'cloud.ca' = { path = "/etc/gatewayd/cloud-ca.pem", len = 900, mode = 0o644 }
'cloud.certificate' = { path = "/etc/gatewayd/gateway.pem", len = 900, mode = 0o644 }
'cloud.key' = { path = "/etc/gatewayd/credentials/gateway-key", len = 240, mode = 0o400 }
'uptane.director_root' = { path = "/etc/gatewayd/director-root.json", len = 5000, mode = 0o644 }
'uptane.image_root' = { path = "/etc/gatewayd/image-root.json", len = 5000, mode = 0o644 }
'uptane.key_encryption_key[0].key' = { path = "/etc/gatewayd/credentials/kek-sm4", len = 16, mode = 0o400 }
[[certificates.'cloud.ca']]
line = 1
subject = "CN=fleet"
not_before = 1_700_000_000
not_after = 1_990_000_000
key_type = "ec"
key_bits = 256
signature_hash = "sha256"
authority = true
[[certificates.'cloud.certificate']]
line = 1
subject = "CN=LSVAG2180E2100001"
not_before = 1_700_000_000
not_after = 1_890_000_000
key_type = "ec"
key_bits = 256
signature_hash = "sha256"
authority = false
client_auth = true
[roots.'uptane.director_root']
version = 1
expires = 1_900_000_000
[roots.'uptane.director_root'.roles]
root = { threshold = 2, keys = { d1 = "sm2-sm3", d2 = "sm2-sm3" } }
targets = { threshold = 1, keys = { d3 = "sm2-sm3" } }
snapshot = { threshold = 1, keys = { d4 = "sm2-sm3" } }
timestamp = { threshold = 1, keys = { d4 = "sm2-sm3" } }
[roots.'uptane.image_root']
version = 1
expires = 1_900_000_000
[roots.'uptane.image_root'.roles]
root = { threshold = 2, keys = { i1 = "sm2-sm3", i2 = "sm2-sm3" } }
targets = { threshold = 1, keys = { i3 = "sm2-sm3" } }
snapshot = { threshold = 1, keys = { i4 = "sm2-sm3" } }
timestamp = { threshold = 1, keys = { i4 = "sm2-sm3" } }
"#;

/// Tables by key, arrays of tables element by element, everything else is replaced.
fn merge(base: &mut toml::Value, over: toml::Value) {
    match (base, over) {
        (toml::Value::Table(base), toml::Value::Table(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(slot) => merge(slot, value),
                    None => {
                        base.insert(key, value);
                    }
                }
            }
        }
        (toml::Value::Array(base), toml::Value::Array(over)) if over.iter().any(toml::Value::is_table) => {
            for (at, value) in over.into_iter().enumerate() {
                match base.get_mut(at) {
                    Some(slot) => merge(slot, value),
                    None => base.push(value),
                }
            }
        }
        (slot, value) => *slot = value,
    }
}

fn merged(base: &str, over: &str) -> toml::Value {
    let mut base = toml::Value::Table(toml::from_str(base).expect("the base is TOML"));
    merge(&mut base, toml::Value::Table(toml::from_str(over).unwrap_or_else(|it| panic!("{over}: {it}"))));
    base
}

/// The text, facts and drop-in that an example stands for.
fn scene(example: Example) -> (String, Facts, Option<(&'static str, &'static str)>) {
    let (config, facts, drop_in) = match example {
        Example::Config(config) => (Some(config), "", None),
        Example::Facts(facts) => (None, facts, None),
        Example::Both(config, facts) => (Some(config), facts, None),
        Example::DropIn(unit, text) => (None, "", Some((unit, text))),
        Example::File(_) | Example::Reference | Example::Missing => (None, "", None),
    };
    let mut text = match config {
        // As it is shipped where nothing is put over it, so that lines are those of the file.
        None => reference::TEXT.to_owned(),
        Some(config) => toml::to_string(&merged(reference::TEXT, config)).expect("TOML can be written"),
    };
    if let Example::File(without) = example {
        let key = without.trim_start_matches("without [[").trim_end_matches("]]");
        text = remove(key);
    }
    let mut facts: Facts = merged(HEALTHY, facts).try_into().unwrap_or_else(|it| panic!("{example:?}: {it}"));
    for (name, text) in SHIPPED {
        let unit = facts.units.entry(name.to_owned()).or_default();
        unit.path = Path::new("/usr/lib/systemd/system").join(name);
        units::apply(unit, &unit.path.clone(), text);
    }
    (text, facts, drop_in)
}

fn remove(key: &str) -> String {
    let mut table: toml::Table = toml::from_str(reference::TEXT).expect("the reference is TOML");
    match key.split_once('.') {
        Some((outer, inner)) => {
            table.get_mut(outer).and_then(|it| it.as_table_mut()).expect("there").remove(inner);
        }
        None => {
            table.remove(key);
        }
    }
    toml::to_string(&table).expect("TOML can be written")
}

fn findings(example: Example) -> Vec<Finding> {
    if example == Example::Missing {
        let options = super::Options::default();
        return super::review(Path::new("/no/such/file"), &options).expect("no rules of users").findings;
    }
    let (text, mut facts, drop_in) = scene(example);
    if let Some((unit, text)) = drop_in {
        // A file name stands for a drop-in of the daemon with that name.
        let (unit, file) = if unit.ends_with(".conf") { (DAEMON, unit) } else { (unit, "site.conf") };
        let file = PathBuf::from(format!("/etc/systemd/system/{unit}.d/{file}"));
        let unit = facts.units.get_mut(unit).expect("both are there");
        units::apply(unit, &file, text);
        unit.drop_ins.push(file);
    }
    let path = PathBuf::from(CONFIG);
    match Config::parse(&text, &path) {
        Err(found) => found.iter().map(|it| Finding::reading(&path, it)).collect(),
        Ok((config, found)) => {
            let found = found.iter().map(|it| Finding::reading(&path, it)).collect();
            built_in(&Subject { lines: Lines::of(&text), path, config, facts }, found).findings
        }
    }
}

fn broken(rule: &Rule, example: Example) -> Vec<Finding> {
    findings(example).into_iter().filter(|it| it.rule == rule.id).collect()
}

#[test]
fn every_rule_fails_on_its_first_example_and_passes_on_its_second() {
    let mut wrong = Vec::new();
    for rule in rule::all() {
        let [fails, passes] = rule.examples;
        let found = broken(rule, fails);
        if found.is_empty() {
            wrong.push(format!("{}: nothing found in {fails:?}", rule.id));
        }
        for it in broken(rule, passes) {
            wrong.push(format!("{}: found in {passes:?}: {it}", rule.id));
        }
        for it in found {
            let whole = it.severity == rule.severity && it.line > 0 && !it.message.is_empty();
            if !whole || it.message.ends_with('.') {
                wrong.push(format!("{it:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_healthy_vehicle_with_the_files_that_we_ship_has_no_errors() {
    let found = findings(Example::Reference);
    let errors: Vec<_> = found.iter().filter(|it| it.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn ids_are_unique_and_every_text_is_there() {
    let mut ids = BTreeSet::new();
    for rule in rule::all() {
        assert!(ids.insert(rule.id), "{} is there twice", rule.id);
        let (theme, number) = rule.id.split_once('-').expect("THEME-NUMBER");
        assert!(theme.len() == 3 && theme.bytes().all(|it| it.is_ascii_uppercase()), "{}", rule.id);
        assert!(number.len() == 3 && number.bytes().all(|it| it.is_ascii_digit()), "{}", rule.id);
        for text in [rule.title, rule.reason, rule.fix] {
            assert!(text.len() > 6 && !text.ends_with('.'), "{}: {text}", rule.id);
        }
    }
    assert!(ids.len() >= 37, "{} rules", ids.len());
}

#[test]
fn what_reading_finds_is_in_the_list() {
    let sources = [
        include_str!("../config/mod.rs"),
        include_str!("../config/check.rs"),
        include_str!("../config/bus_telemetry.rs"),
    ];
    let mut seen = BTreeSet::new();
    for word in sources.iter().flat_map(|it| it.split('"')) {
        let id = word.len() == 7 && word.as_bytes().get(3) == Some(&b'-');
        if id && word.bytes().take(3).all(|it| it.is_ascii_uppercase()) {
            seen.insert(word);
        }
    }
    let listed: BTreeSet<_> =
        rule::all().filter(|it| matches!(it.check, Check::Reading)).map(|it| it.id).collect();
    assert_eq!(seen, listed);
}

#[test]
fn findings_stand_at_the_line_of_their_key() {
    let text = reference::TEXT.replace("outbox = 4096", "outbox = 1000001");
    let line = text.lines().position(|it| it.starts_with("outbox")).expect("it is there") + 1;
    let path = PathBuf::from(CONFIG);
    let (config, _) = Config::parse(&text, &path).expect("it parses");
    let subject = Subject { lines: Lines::of(&text), path, config, facts: Facts::default() };
    let found = built_in(&subject, Vec::new()).findings;
    let found = found.iter().find(|it| it.rule == "MQT-102").expect("it is found");
    assert_eq!((found.line, found.file.as_path()), (line, Path::new(CONFIG)));
}

#[test]
fn a_setting_in_a_drop_in_is_found_there() {
    let found = findings(Example::DropIn(DAEMON, "[Service]\n\nNoNewPrivileges=no"));
    let found = found.iter().find(|it| it.rule == "SBX-103").expect("it is found");
    let file = "/etc/systemd/system/gatewayd.service.d/site.conf";
    assert_eq!((found.file.as_path(), found.line), (Path::new(file), 3));
}

#[test]
fn the_drop_in_for_developers_breaks_several_rules() {
    let text = include_str!("../../../systemd/development.conf");
    let rules: BTreeSet<_> =
        findings(Example::DropIn("development.conf", text)).into_iter().map(|it| it.rule).collect();
    for id in ["UNI-101", "UNI-103", "UNI-104", "UNI-105", "UNI-109"] {
        assert!(rules.contains(id), "{id}: {rules:?}");
    }
}

#[test]
fn without_units_no_rule_about_units_speaks() {
    let path = PathBuf::from(CONFIG);
    let (config, _) = Config::parse(reference::TEXT, &path).expect("it parses");
    let subject = Subject { lines: Lines::of(reference::TEXT), path, config, facts: Facts::default() };
    for it in built_in(&subject, Vec::new()).findings {
        assert!(!it.rule.starts_with("UNI") && !it.rule.starts_with("SBX"), "{it:?}");
    }
}

#[test]
fn the_document_has_base_units_and_every_key() {
    let (text, facts, _) = scene(Example::Reference);
    let path = PathBuf::from(CONFIG);
    let (config, _) = Config::parse(&text, &path).expect("it parses");
    let document = document::of(&Subject { lines: Lines::of(&text), path, config, facts });
    for (pointer, value) in [
        ("/config/cloud/stall_timeout", serde_json::json!(10.0)),
        ("/config/cloud/read_ahead", serde_json::json!(1 << 20)),
        ("/config/cloud/key", serde_json::json!("credential:gatewayd_gateway-key")),
        ("/config/profile/window", serde_json::json!(10.0)),
        ("/config/profile/budget", serde_json::json!(0.005)),
        ("/config/bus/0/nominal_bit_rate", serde_json::json!(500_000)),
        ("/config/ecu/1/serial", serde_json::json!("CLUSTER-0001")),
        ("/config/dialect/plain/timings/s3", serde_json::json!(2.0)),
        ("/facts/files/cloud.key/mode", serde_json::json!(0o400)),
        ("/lines/vehicle", serde_json::json!(text.lines().position(|it| it == "[vehicle]").map(|at| at + 1))),
    ] {
        assert_eq!(document.pointer(pointer), Some(&value), "{pointer}");
    }
}

#[test]
fn the_documentation_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/RULES.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let made = table::document();
    let differs = written.lines().zip(made.lines()).position(|(a, b)| a != b);
    let line = differs.unwrap_or_else(|| written.lines().count()) + 1;
    assert!(
        written == made,
        "docs/RULES.md differs from line {line}; run `gatewayd check --document > docs/RULES.md`"
    );
}

proptest::proptest! {
    /// Whatever a configuration holds, a check ends, and every finding has a line of the file.
    #[test]
    fn no_text_makes_a_check_panic(cut in 0..5000_usize, junk in "[ -~\n]{0,60}", at in 0..5000_usize) {
        let mut text: String = reference::TEXT.chars().take(cut).collect();
        let at = at.min(text.len());
        // The reference holds ASCII only, so that every index is a boundary.
        text.insert_str(at, &junk);
        check_text(&text)?;
    }

    /// A number or text somewhere else in a configuration that is right otherwise.
    #[test]
    fn no_value_makes_a_check_panic(
        line in 0..120_usize,
        value in proptest::prop_oneof![
            proptest::prelude::any::<i64>().prop_map(|it| it.to_string()),
            "[0-9]{1,20}(us|ms|s|min|h|d|B|KiB|GiB|TiB|%)".prop_map(|it| format!("\"{it}\"")),
            "\"[ -!#-\\[\\]-~]{0,40}\"",
            proptest::prelude::Just("[]".to_owned()),
            proptest::prelude::Just("{}".to_owned()),
        ],
    ) {
        let lines = reference::TEXT.lines().enumerate();
        let text: Vec<_> = lines.map(|(at, it)| match it.split_once(" = ") {
            Some((key, _)) if at == line && !it.starts_with('#') => format!("{key} = {value}"),
            _ => it.to_owned(),
        }).collect();
        check_text(&text.join("\n"))?;
    }
}

use proptest::strategy::Strategy;

fn check_text(text: &str) -> Result<(), proptest::test_runner::TestCaseError> {
    let path = PathBuf::from(CONFIG);
    let lines = text.lines().count().max(1);
    let found: Vec<_> = match Config::parse(text, &path) {
        Err(found) => found.iter().map(|it| Finding::reading(&path, it)).collect(),
        Ok((config, _)) => {
            let subject = Subject { lines: Lines::of(text), path, config, facts: Facts::default() };
            built_in(&subject, Vec::new()).findings
        }
    };
    for it in found {
        proptest::prop_assert!((1..=lines + 1).contains(&it.line), "{:?} in {} lines", it, lines);
    }
    Ok(())
}
