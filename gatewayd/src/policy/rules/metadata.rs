//! Root metadata as it came from the factory: thresholds, keys, expiry (Uptane 2.1, 5.2 and 5.4; TUF 1.0, 4.3).

use std::collections::BTreeSet;

use super::super::facts::{RoleFact, RootFact};
use super::{Check, Example, Report, Rule, Severity, Subject};

const DIRECTOR: &str = "uptane.director_root";
const IMAGE: &str = "uptane.image_root";

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "ROT-101",
        severity: Severity::Error,
        title: "root metadata is what it says",
        reason: "everything the vehicle will ever install is checked against it",
        fix: "put the file there that `gateway-cloud publish keys` made",
        check: Check::Looking(broken),
        examples: [
            Example::Facts("roots.'uptane.image_root'.error = \"0 valid signatures\""),
            Example::Reference,
        ],
    },
    Rule {
        id: "ROT-102",
        severity: Severity::Warning,
        title: "the first root has not expired",
        reason: "a vehicle fresh from the line cannot verify anything until it has fetched a chain of newer roots",
        fix: "build images with the current root of each repository",
        check: Check::Looking(expired),
        examples: [
            Example::Facts("roots.'uptane.director_root'.expires = 1_799_999_999"),
            Example::Facts("roots.'uptane.director_root'.expires = 1_800_000_001"),
        ],
    },
    Rule {
        id: "ROT-103",
        severity: Severity::Warning,
        title: "it takes two keys to change the root",
        reason: "one stolen key would take the repository over for good (TUF 1.0, root role)",
        fix: "give the root role two keys or more and a threshold of 2 or more, kept offline",
        check: Check::Looking(threshold),
        examples: [
            Example::Facts("roots.'uptane.image_root'.roles.root.threshold = 1"),
            Example::Facts("roots.'uptane.image_root'.roles.root.threshold = 2"),
        ],
    },
    Rule {
        id: "ROT-104",
        severity: Severity::Error,
        title: "every threshold can be met",
        reason: "a role with fewer usable keys than its threshold never verifies: no update, ever",
        fix: "add keys of ed25519, ecdsa-sha2-nistp256, rsassa-pss-sha256 or sm2-sm3, or lower the threshold",
        check: Check::Looking(unmeetable),
        examples: [
            Example::Facts("roots.'uptane.image_root'.roles.targets.threshold = 2"),
            Example::Facts("roots.'uptane.image_root'.roles.targets.threshold = 1"),
        ],
    },
    Rule {
        id: "ROT-105",
        severity: Severity::Error,
        title: "root keys are not also online keys",
        reason: "timestamp and snapshot keys lie on a server; a root key beside them is as lost as they are",
        fix: "make root keys of their own",
        check: Check::Looking(online_root),
        examples: [
            Example::Facts("roots.'uptane.director_root'.roles.timestamp.keys.d1 = \"ed25519\""),
            Example::Facts("roots.'uptane.director_root'.roles.timestamp.keys.d9 = \"ed25519\""),
        ],
    },
    Rule {
        id: "ROT-106",
        severity: Severity::Error,
        title: "the two repositories share no key",
        reason: "two repositories protect only as long as it takes two break-ins (Uptane 2.1, 5.2)",
        fix: "make keys for each repository",
        check: Check::Looking(shared),
        examples: [
            Example::Facts("roots.'uptane.image_root'.roles.targets.keys.d3 = \"ed25519\""),
            Example::Facts("roots.'uptane.image_root'.roles.targets.keys.i9 = \"ed25519\""),
        ],
    },
    Rule {
        id: "ROT-107",
        severity: Severity::Error,
        title: "the two repositories have a root each",
        reason: "one root for both makes the second repository a copy of the first",
        fix: "name the Director's root and the Image repository's root",
        check: Check::Looking(same_file),
        examples: [
            Example::Config("uptane.image_root = \"/etc/gatewayd/director-root.json\""),
            Example::Config("uptane.image_root = \"/etc/gatewayd/image.json\""),
        ],
    },
    Rule {
        id: "ROT-108",
        severity: Severity::Note,
        title: "image encryption and signatures follow one national suite",
        reason: "where commercial cryptography rules ask for SM4 they ask for SM2 signatures too",
        fix: "sign both repositories with sm2-sm3, or drop sm4-gcm where the rules do not hold",
        check: Check::Looking(mixed_suite),
        examples: [
            Example::Facts("roots.'uptane.image_root'.roles.targets.keys.i3 = \"ed25519\""),
            Example::Facts("roots.'uptane.image_root'.roles.targets.keys.i3 = \"sm2-sm3\""),
        ],
    },
];

fn both(it: &Subject) -> impl Iterator<Item = (&'static str, &RootFact)> {
    [DIRECTOR, IMAGE].into_iter().filter_map(|key| Some((key, it.facts.roots.get(key)?)))
}

/// Those that could be read.
fn whole(it: &Subject) -> impl Iterator<Item = (&'static str, &RootFact)> {
    both(it).filter(|(_, root)| root.error.is_none())
}

fn keys(roles: &RootFact, of: &[&str]) -> BTreeSet<String> {
    let roles = of.iter().filter_map(|name| roles.roles.get(*name));
    roles.flat_map(|it: &RoleFact| it.keys.keys().cloned()).collect()
}

fn broken(it: &Subject, report: &mut Report<'_>) {
    for (key, root) in both(it) {
        if let Some(error) = &root.error {
            report.at(key, format!("the file of {key} is no root metadata: {error}"));
        }
    }
}

fn expired(it: &Subject, report: &mut Report<'_>) {
    for (key, root) in whole(it).filter(|(_, root)| root.expires < it.facts.now) {
        report.at(key, format!("version {} of {key} has expired", root.version));
    }
}

fn threshold(it: &Subject, report: &mut Report<'_>) {
    for (key, root) in whole(it) {
        if root.roles.get("root").is_some_and(|role| role.threshold < 2) {
            report.at(key, format!("one key alone may replace the root of {key}"));
        }
    }
}

fn unmeetable(it: &Subject, report: &mut Report<'_>) {
    for (key, root) in whole(it) {
        for (name, role) in &root.roles {
            if (role.keys.len() as u64) < u64::from(role.threshold) {
                let (count, threshold) = (role.keys.len(), role.threshold);
                report.at(key, format!("role {name} of {key} has {count} usable keys and needs {threshold}"));
            }
        }
    }
}

fn online_root(it: &Subject, report: &mut Report<'_>) {
    for (key, root) in whole(it) {
        let online = keys(root, &["timestamp", "snapshot"]);
        if let Some(id) = keys(root, &["root"]).intersection(&online).next() {
            report.at(key, format!("key {} of {key} signs roots and timestamps or snapshots", short(id)));
        }
    }
}

fn shared(it: &Subject, report: &mut Report<'_>) {
    let all = ["root", "timestamp", "snapshot", "targets"];
    let mut sets = whole(it).map(|(_, root)| keys(root, &all));
    if let (Some(director), Some(image)) = (sets.next(), sets.next())
        && let Some(id) = director.intersection(&image).next()
    {
        report.at(IMAGE, format!("key {} speaks in both repositories", short(id)));
    }
}

fn same_file(it: &Subject, report: &mut Report<'_>) {
    if it.config.uptane.director_root == it.config.uptane.image_root {
        report.at(IMAGE, "both repositories have one root file");
    }
}

fn mixed_suite(it: &Subject, report: &mut Report<'_>) {
    if !it.config.uptane.key_encryption_keys.iter().any(|key| key.cipher == "sm4-gcm") {
        return;
    }
    for (key, root) in whole(it) {
        let schemes = root.roles.get("targets").map(|role| role.keys.values()).into_iter().flatten();
        if let Some(scheme) = schemes.into_iter().find(|it| *it != "sm2-sm3") {
            report
                .at(key, format!("images are encrypted with sm4-gcm and their targets signed with {scheme}"));
        }
    }
}

/// Enough of a key id to find it.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
