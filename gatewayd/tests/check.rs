//! `gatewayd check` as a process: exit status, output, and rules of users that mean harm.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use gatewayd::config::reference;

struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        std::fs::write(directory.path().join("gatewayd.toml"), config).expect("configuration");
        std::fs::create_dir(directory.path().join("rules")).expect("folder");
        Self { directory }
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("gatewayd.toml")
    }

    fn rule(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.directory.path().join("rules").join(name), text).expect("rule");
        self
    }

    fn check(&self, more: &[&str]) -> Output {
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
        Command::new(env!("CARGO_BIN_EXE_gatewayd"))
            .args(["check", "--config"])
            .arg(self.config())
            .arg("--units")
            .arg(units)
            .args(more)
            .output()
            .expect("the binary is built")
    }

    fn with_rules(&self) -> Output {
        let rules = self.directory.path().join("rules");
        self.check(&["--quiet", "--rules", rules.to_str().expect("UTF-8")])
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Findings that a bench has by its nature: the file belongs to whoever runs the test.
fn without_bench(output: &str) -> Vec<&str> {
    output.lines().filter(|it| it.contains(": [") && !it.contains("[FIL-")).collect()
}

#[test]
fn the_reference_and_the_units_that_we_ship_have_no_errors() {
    let output = Scene::new(reference::TEXT).check(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let said = text(&output.stdout);
    assert!(said.lines().last().is_some_and(|it| it.starts_with("0 errors, ")), "{said}");
    assert!(said.contains("\n    fix: "), "{said}");
}

#[test]
fn an_error_ends_with_78_and_names_file_line_and_rule() {
    let scene = Scene::new(&reference::TEXT.replace("outbox = 4096", "outbox = 9000000"));
    let output = scene.check(&["--quiet"]);
    assert_eq!(output.status.code(), Some(78));
    let line = reference::TEXT.lines().position(|it| it.starts_with("outbox")).expect("it is there") + 1;
    let start = format!("{}:{line}: [MQT-102] ", scene.config().display());
    let said = text(&output.stdout);
    assert!(without_bench(&said).iter().any(|it| it.starts_with(&start)), "{said}");
    assert!(!said.contains("fix:"), "{said}");
}

#[test]
fn a_file_that_is_no_configuration_ends_with_78() {
    let output = Scene::new("vehicle = 1").check(&["--quiet"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stdout).contains("[CFG-002]"));
}

#[test]
fn json_has_the_same_findings() {
    let scene = Scene::new(reference::TEXT);
    let json: serde_json::Value = serde_json::from_slice(&scene.check(&["--json"]).stdout).expect("JSON");
    let findings = json["findings"].as_array().expect("a list");
    assert_eq!(json["errors"], 0);
    let lines = text(&scene.check(&["--quiet"]).stdout).lines().count() - 1;
    assert_eq!(findings.len(), lines);
    for key in ["rule", "severity", "file", "line", "message", "reason", "fix"] {
        assert!(findings.iter().all(|it| it.get(key).is_some()), "{key}");
    }
}

#[test]
fn a_rule_of_the_users_sees_values_in_base_units_and_gives_a_line() {
    let scene = Scene::new(reference::TEXT);
    scene.rule(
        "oem.rego",
        r#"package gatewayd
findings contains f if {
    input.config.cloud.stall_timeout > 5
    input.facts.units["gatewayd.service"].settings["Service.User"][0].value == "gatewayd"
    f := {"id": "OEM-001", "key": "cloud.stall_timeout", "message": "too patient"}
}
findings contains {"id": "OEM-002", "severity": "note", "message": sprintf("line %d", [input.lines.mqtt])}
"#,
    );
    let output = scene.with_rules();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(78), "{said}{}", text(&output.stderr));
    let line = |key: &str| reference::TEXT.lines().position(|it| it.starts_with(key)).expect("there") + 1;
    assert!(said.contains(&format!(":{}: [OEM-001] too patient", line("stall_timeout"))), "{said}");
    assert!(said.contains(&format!("[OEM-002] line {}", line("[mqtt]"))), "{said}");
}

#[test]
fn folders_of_rules_may_stand_in_the_configuration() {
    let scene = Scene::new(reference::TEXT);
    scene.rule("a.rego", "package gatewayd\nfindings contains {\"id\": \"A\", \"message\": \"m\"}\n");
    let folder = scene.directory.path().join("rules");
    let config = reference::TEXT.replace("rules = []", &format!("rules = [{:?}]", folder));
    std::fs::write(scene.config(), config).expect("configuration");
    assert!(text(&scene.check(&["--quiet"]).stdout).contains("[A] m"));
}

#[test]
fn rules_that_are_broken_end_with_one_clear_error() {
    for (rule, message) in [
        ("package gatewayd\nfindings contains f if {", "cannot be evaluated"),
        ("package other\nfindings contains 1", "package gatewayd"),
        ("package gatewayd\nfindings contains 1", "set of objects"),
        ("package gatewayd\nfindings contains {\"id\": \"a b\", \"message\": \"m\"}", "no rule id"),
        (
            "package gatewayd\nfindings contains {\"id\": \"A\", \"message\": \"m\", \"x\": 1}",
            "set of objects",
        ),
        ("package gatewayd\nfindings contains f if { f := http.send({}) }", "cannot be evaluated"),
    ] {
        let scene = Scene::new(reference::TEXT);
        let output = scene.rule("bad.rego", rule).with_rules();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{rule}: {said}{}", text(&output.stdout));
        assert!(said.contains(message) && said.trim().lines().count() == 1, "{rule}: {said}");
    }
}

#[test]
fn rules_that_mean_harm_are_stopped() {
    let nested = format!("package gatewayd\nx := {}1{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let loops = "package gatewayd\nfindings contains f if {\n some a in numbers.range(1, 100000)\n \
                 some b in numbers.range(1, 100000)\n a * b < 0\n f := {\"id\": \"A\", \"message\": \"m\"}\n}\n";
    let grows = "package gatewayd\nx contains s if { some i in numbers.range(1, 1000000)\n \
                 s := sprintf(\"%d%s\", [i, concat(\"\", [p | some j in numbers.range(1, 1000); p := \"xxxxxxxxxx\"])]) }\n\
                 findings contains {\"id\": \"A\", \"message\": \"m\"} if count(x) < 0\n";
    let huge = "package gatewayd\nx := numbers.range(1, 1000000000000)\n\
                findings contains {\"id\": \"A\", \"message\": \"m\"} if count(x) < 0\n";
    for (name, rule) in [("nested", nested.as_str()), ("loops", loops), ("grows", grows), ("huge", huge)] {
        let scene = Scene::new(reference::TEXT);
        let started = Instant::now();
        let output = scene.rule("hostile.rego", rule).with_rules();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{name}: {said}{}", text(&output.stdout));
        assert!(said.contains("the rules"), "{name}: {said}");
        // Far above the evaluator's own limits, for a busy machine.
        assert!(started.elapsed() < Duration::from_secs(60), "{name}");
    }
}

#[test]
fn too_many_and_too_long_rules_are_refused() {
    let scene = Scene::new(reference::TEXT);
    scene.rule("long.rego", &format!("package gatewayd\n#{}\n", "x".repeat(1 << 20)));
    assert!(text(&scene.with_rules().stderr).contains("too many or too long"));
    let scene = Scene::new(reference::TEXT);
    for at in 0..65 {
        scene.rule(&format!("{at}.rego"), "package gatewayd\n");
    }
    assert!(text(&scene.with_rules().stderr).contains("too many or too long"));
    assert!(text(&Scene::new(reference::TEXT).with_rules().stderr).contains("no .rego file"));
}

#[test]
fn rules_are_explained_and_listed() {
    let gatewayd = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_gatewayd")).arg("check").args(args).output().expect("it runs")
    };
    let explained = gatewayd(&["--explain", "key-101"]);
    assert_eq!(explained.status.code(), Some(0));
    assert!(text(&explained.stdout).contains("KEY-101 (error)"));
    assert_eq!(gatewayd(&["--explain", "NO-SUCH"]).status.code(), Some(65));
    assert!(text(&gatewayd(&["--list"]).stdout).lines().count() >= 37);
    assert_eq!(gatewayd(&[]).status.code(), Some(64));
}
