//! Rules on the arrows between crates, on the manifests and on ARCHITECTURE.md.

use crate::rules::Finding;
use crate::source::root;
use std::process::Command;

/// Crates that others link.
pub(crate) const LIBRARIES: &[&str] = &["topology", "canfd", "crypto-offload", "ota", "telemetry"];

/// Libraries that must run without runtime and network.
pub(crate) const CORES: &[&str] = &["canfd", "ota", "telemetry"];

/// The one arrow between libraries.
const ARROWS: &[(&str, &str)] = &[("ota", "crypto-offload")];

/// What brings a runtime or a protocol stack with it. `rustls` and `h3` come with their own.
const RUNTIMES: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "mio",
    "quinn",
    "quinn-proto",
    "rumqttc",
    "rustls",
    "h3",
    "h2",
    "hyper",
    "redb",
];

/// Packages that `library` is built from on any target, tests not counted, one per line.
pub(crate) fn cargo_tree(library: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--target", "all"])
        .args(["--format", "{p}", "--package", library])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    if output.status.success() {
        return String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    }
    panic!("cargo tree --package {library} failed:\n{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn siblings(library: &str, tree: &str) -> Vec<Finding> {
    objections(library, tree, |name| {
        let forbidden = LIBRARIES.contains(&name) && name != library && !ARROWS.contains(&(library, name));
        forbidden.then(|| format!("{library} depends on its sibling {name}"))
    })
}

pub(crate) fn runtimes(core: &str, tree: &str) -> Vec<Finding> {
    objections(core, tree, |name| RUNTIMES.contains(&name).then(|| format!("{core} pulls in {name}")))
}

fn objections(package: &str, tree: &str, objection: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let names =
        tree.lines().enumerate().filter_map(|(n, line)| Some((n + 1, line.split_whitespace().next()?)));
    names.filter_map(|(n, name)| objection(name).map(|text| Finding::new(package, n, text))).collect()
}

/// Every code span that is a path of this tree leads somewhere, and every member is named with its slash.
pub(crate) fn architecture(text: &str, members: &[String], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let name = "ARCHITECTURE.md";
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        // Odd pieces of a line split at back ticks are the code spans.
        for span in line.split('`').skip(1).step_by(2) {
            let top = span.split('/').next().unwrap_or_default();
            let is_path = span.contains('/')
                && span.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c))
                && (members.iter().any(|member| member == top) || span.ends_with(".rs"));
            if is_path && !exists(span) {
                findings.push(Finding::new(name, number + 1, format!("`{span}` does not exist")));
            }
        }
    }
    for member in members.iter().filter(|member| !text.contains(&format!("`{member}/"))) {
        findings.push(Finding::new(name, 1, format!("member `{member}/` is not mentioned")));
    }
    findings
}

pub(crate) fn manifest(member: &str, text: &str) -> Vec<Finding> {
    let inherited = ["version", "edition", "rust-version", "license", "publish"]
        .map(|key| format!("{key}.workspace = true"));
    let wanted =
        inherited.into_iter().chain(["[lints]\nworkspace = true".to_owned(), "description = ".to_owned()]);
    wanted
        .filter(|line| !text.contains(line.as_str()))
        .map(|line| {
            Finding::new(
                &format!("{member}/Cargo.toml"),
                1,
                format!("`{}` is missing", line.replace('\n', " ")),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_sibling_is_found_and_the_one_arrow_is_not() {
        assert_eq!(siblings("canfd", "canfd v0.1.0 (x)\nota v0.1.0 (x)\nserde v1.0.0").len(), 1);
        assert!(siblings("ota", "ota v0.1.0 (x)\ncrypto-offload v0.1.0 (x)").is_empty());
        assert_eq!(siblings("crypto-offload", "crypto-offload v0.1.0\nota v0.1.0").len(), 1);
    }

    #[test]
    fn a_planted_runtime_is_found_and_a_name_that_contains_one_is_not() {
        assert_eq!(runtimes("ota", "ota v0.1.0\nserde v1\ntokio v1.54.0").len(), 1);
        assert!(runtimes("ota", "ota v0.1.0\nmiow v1\ntokio-nothing v1").is_empty());
    }

    #[test]
    fn a_planted_dead_path_and_an_unmentioned_member_are_found() {
        let members = ["canfd".to_owned(), "ota".to_owned()];
        let text = "`canfd/` and `canfd/src/gone.rs`, not `linux/can.h`, `a::b` or `canfd/<name>`";
        let found: Vec<String> = architecture(text, &members, |path| path == "canfd/")
            .into_iter()
            .map(|finding| finding.message)
            .collect();
        assert_eq!(found, ["`canfd/src/gone.rs` does not exist", "member `ota/` is not mentioned"]);
    }

    #[test]
    fn a_manifest_that_goes_its_own_way_is_found() {
        let findings =
            manifest("a", "[package]\nlicense = \"GPL\"\ndescription = \"b\"\n[lints]\nworkspace = true");
        assert_eq!(findings.len(), 5);
    }
}
