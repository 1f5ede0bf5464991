//! Secrets: what kind, how long, and who may read them. Files that trust rests on: who may write them.

use std::collections::BTreeMap;

use crypto_offload::job::Cipher;
use crypto_offload::tls::Suites;

use super::{Check, DAEMON, Example, Report, Rule, Severity, Subject};
use crate::config::parts::Secret;
use crate::policy::subject::{credential_given_otherwise, credential_source};

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "KEY-101",
        severity: Severity::Error,
        title: "no secret is readable for everybody",
        reason: "R155 annex 5, 4.3.2: a private key that every process can read is no secret; it signs for the vehicle",
        fix: "chmod 0400, owner root; the service manager hands it to the daemon as a credential",
        check: Check::Looking(world_readable),
        examples: [
            Example::Facts("files.'cloud.key'.mode = 0o404"),
            Example::Facts("files.'cloud.key'.mode = 0o400"),
        ],
    },
    Rule {
        id: "KEY-102",
        severity: Severity::Warning,
        title: "no secret is readable for a group",
        reason: "group memberships grow; nobody reviews them against each file",
        fix: "chmod 0400",
        check: Check::Looking(group_readable),
        examples: [
            Example::Facts("files.'uptane.key_encryption_key[0].key'.mode = 0o440"),
            Example::Facts("files.'uptane.key_encryption_key[0].key'.mode = 0o400"),
        ],
    },
    Rule {
        id: "KEY-103",
        severity: Severity::Warning,
        title: "secrets are credentials of the service manager",
        reason: "a plain file must be readable for the daemon for as long as it lives, and so for whoever breaks into it; \
                 a credential may also be sealed to the TPM",
        fix: "write credential:NAME, and LoadCredential= (or LoadCredentialEncrypted=) in the unit",
        check: Check::Looking(plain_file),
        examples: [
            Example::Config("cloud.key = \"/etc/gatewayd/gateway.key\""),
            Example::Config("cloud.key = \"credential:gatewayd_gateway-key\""),
        ],
    },
    Rule {
        id: "KEY-104",
        severity: Severity::Error,
        title: "every credential is loaded by the unit",
        reason: "the daemon would not start",
        fix: "add LoadCredential=NAME:FILE to the unit; a folder ID:FOLDER gives credentials named ID_FILE",
        check: Check::Looking(not_loaded),
        examples: [
            Example::Config("cloud.key = \"credential:gateway-key\""),
            Example::Config("cloud.key = \"credential:gatewayd_other\""),
        ],
    },
    Rule {
        id: "KEY-105",
        severity: Severity::Error,
        title: "key-encryption keys are for a cipher that is built in",
        reason: "the daemon would not start",
        fix: "write aes-256-gcm, aes-128-gcm or sm4-gcm",
        check: Check::Looking(unknown_cipher),
        examples: [
            Example::Config("uptane.key_encryption_key = [{ cipher = \"none\" }]"),
            Example::Config("uptane.key_encryption_key = [{ cipher = \"sm4-gcm\" }]"),
        ],
    },
    Rule {
        id: "KEY-106",
        severity: Severity::Error,
        title: "key-encryption keys have their cipher's length",
        reason: "the daemon would not start; a hex or PEM file has the wrong length too",
        fix: "write the raw key: 16 bytes for aes-128-gcm and sm4-gcm, 32 for aes-256-gcm",
        check: Check::Looking(key_length),
        examples: [
            Example::Facts("files.'uptane.key_encryption_key[0].key'.len = 32"),
            Example::Facts("files.'uptane.key_encryption_key[0].key'.len = 16"),
        ],
    },
    Rule {
        id: "KEY-107",
        severity: Severity::Warning,
        title: "AES keys that wrap other keys have 256 bits",
        reason: "wrapped content keys are recorded today and attacked for as long as the vehicle's software is a secret",
        fix: "use aes-256-gcm; sm4-gcm, whose only size is 128 bits, where Chinese rules ask for it",
        check: Check::Looking(aes_128),
        examples: [
            Example::Config("uptane.key_encryption_key = [{ cipher = \"aes-128-gcm\" }]"),
            Example::Config("uptane.key_encryption_key = [{ cipher = \"sm4-gcm\" }]"),
        ],
    },
    Rule {
        id: "KEY-108",
        severity: Severity::Error,
        title: "key-encryption keys have names of their own",
        reason: "metadata names the key; of two with one name only one is ever tried",
        fix: "rename one of them, here and at the publisher",
        check: Check::Looking(same_name),
        examples: [
            Example::Config(
                "uptane.key_encryption_key = [{}, { id = \"kek-sm4\", cipher = \"aes-256-gcm\", key = \"credential:gatewayd_b\" }]",
            ),
            Example::Config(
                "uptane.key_encryption_key = [{}, { id = \"kek-aes\", cipher = \"aes-256-gcm\", key = \"credential:gatewayd_b\" }]",
            ),
        ],
    },
    Rule {
        id: "KEY-109",
        severity: Severity::Error,
        title: "one key is for one purpose",
        reason: "one secret in two places: a weakness of either use breaks both (NIST SP 800-57 part 1, 5.2)",
        fix: "make a key for each",
        check: Check::Looking(shared_key),
        examples: [
            Example::Config(
                "uptane.key_encryption_key = [{}, { id = \"b\", cipher = \"aes-128-gcm\", key = \"credential:gatewayd_kek-sm4\" }]",
            ),
            Example::Config(
                "uptane.key_encryption_key = [{}, { id = \"b\", cipher = \"aes-256-gcm\", key = \"credential:gatewayd_b\" }]",
            ),
        ],
    },
    Rule {
        id: "KEY-110",
        severity: Severity::Note,
        title: "encrypted images can be opened",
        reason: "without a key-encryption key every encrypted image is refused, and images travel readable",
        fix: "add a [[uptane.key_encryption_key]]",
        check: Check::Looking(no_kek),
        examples: [Example::File("without [[uptane.key_encryption_key]]"), Example::Reference],
    },
    Rule {
        id: "KEY-111",
        severity: Severity::Error,
        title: "a key in a token is of the family that the suites ask for",
        reason: "PKCS#11 has no SM2: the daemon would find no key for SM suites and not start",
        fix: "write suites = \"international\", or name a stored SM2 key in cloud.sm_key",
        check: Check::Looking(token_family),
        examples: [
            Example::Config(
                "cloud.suites = \"sm-only\"\ncloud.key = \"pkcs11:token=a;object=b?module-path=/c.so&pin-source=credential:gatewayd_pin\"",
            ),
            Example::Config(
                "cloud.key = \"pkcs11:token=a;object=b?module-path=/c.so&pin-source=credential:gatewayd_pin\"",
            ),
        ],
    },
    Rule {
        id: "FIL-101",
        severity: Severity::Error,
        title: "nobody but the owner may write what trust rests on",
        reason: "whoever writes the configuration, the anchors or a key decides what this vehicle installs",
        fix: "chmod go-w",
        check: Check::Looking(writable),
        examples: [
            Example::Facts("files.'uptane.image_root'.mode = 0o664"),
            Example::Facts("files.'uptane.image_root'.mode = 0o644"),
        ],
    },
    Rule {
        id: "FIL-102",
        severity: Severity::Warning,
        title: "what trust rests on belongs to root",
        reason: "a file of the daemon's own user can be rewritten by whoever breaks into the daemon",
        fix: "chown root",
        check: Check::Looking(owner),
        examples: [Example::Facts("files.config.uid = 999"), Example::Facts("files.config.uid = 0")],
    },
    Rule {
        id: "FIL-103",
        severity: Severity::Note,
        title: "everything that is named could be looked at",
        reason: "the rules about it said nothing",
        fix: "run the check on the vehicle as root, or with --root over its root file system",
        check: Check::Looking(unseen),
        examples: [
            Example::Facts(
                "unseen = [{ key = \"cloud.ca\", what = \"/etc/gatewayd/cloud-ca.pem\", reason = \"No such file\" }]",
            ),
            Example::Reference,
        ],
    },
];

fn secrets_with_mode(it: &Subject, report: &mut Report<'_>, mask: u32, who: &str) {
    for (key, _) in it.secrets() {
        if let Some(file) = it.facts.files.get(&key).filter(|it| it.mode & mask != 0) {
            report
                .at(&key, format!("{} is readable for {who} (mode {:04o})", file.path.display(), file.mode));
        }
    }
}

fn world_readable(it: &Subject, report: &mut Report<'_>) {
    secrets_with_mode(it, report, 0o004, "everybody");
}

fn group_readable(it: &Subject, report: &mut Report<'_>) {
    secrets_with_mode(it, report, 0o040, "its group");
}

fn plain_file(it: &Subject, report: &mut Report<'_>) {
    for (key, secret) in it.secrets() {
        if let Secret::File(path) = secret {
            report.at(&key, format!("{} is a plain file", path.display()));
        }
    }
}

fn not_loaded(it: &Subject, report: &mut Report<'_>) {
    let Some(unit) = it.daemon() else { return };
    for (key, secret) in it.secrets() {
        if let Secret::Credential(name) = secret
            && credential_source(unit, name).is_none()
            && !credential_given_otherwise(unit, name)
        {
            report.at(&key, format!("{DAEMON} loads no credential `{name}`"));
        }
    }
}

fn kek(at: usize, key: &str) -> String {
    format!("uptane.key_encryption_key[{at}].{key}")
}

fn unknown_cipher(it: &Subject, report: &mut Report<'_>) {
    for (at, key) in it.config.uptane.key_encryption_keys.iter().enumerate() {
        if Cipher::from_name(&key.cipher).is_none() {
            report.at(&kek(at, "cipher"), format!("`{}` is no cipher", key.cipher));
        }
    }
}

fn key_length(it: &Subject, report: &mut Report<'_>) {
    for (at, key) in it.config.uptane.key_encryption_keys.iter().enumerate() {
        let (Some(cipher), Some(file)) =
            (Cipher::from_name(&key.cipher), it.facts.files.get(&kek(at, "key")))
        else {
            continue;
        };
        if file.len != cipher.key_len() as u64 {
            let message =
                format!("key `{}` has {} bytes, {} takes {}", key.id, file.len, key.cipher, cipher.key_len());
            report.at(&kek(at, "key"), message);
        }
    }
}

fn aes_128(it: &Subject, report: &mut Report<'_>) {
    for (at, key) in it.config.uptane.key_encryption_keys.iter().enumerate() {
        if Cipher::from_name(&key.cipher) == Some(Cipher::Aes128Gcm) {
            report.at(&kek(at, "cipher"), format!("key `{}` wraps with {}", key.id, key.cipher));
        }
    }
}

fn same_name(it: &Subject, report: &mut Report<'_>) {
    let mut names = BTreeMap::new();
    for (at, key) in it.config.uptane.key_encryption_keys.iter().enumerate() {
        if names.insert(&key.id, at).is_some() {
            report.at(&kek(at, "id"), format!("there is another key-encryption key `{}`", key.id));
        }
    }
}

fn shared_key(it: &Subject, report: &mut Report<'_>) {
    // Keys in one token share its PIN, which is no key.
    let stored = it.secrets().into_iter().filter(|(key, _)| !key.ends_with(".pin"));
    let stored = stored.map(|(key, secret)| (key, String::from(secret.clone())));
    let in_tokens = it.private_keys().into_iter().filter_map(|(key, it)| {
        let uri = &it.token()?.uri;
        Some((key, format!("object {:?} of token {:?}", uri.object, uri.token)))
    });
    let mut before: Vec<(String, String)> = Vec::new();
    for (key, secret) in stored.chain(in_tokens) {
        if let Some((first, _)) = before.iter().find(|(_, it)| *it == secret) {
            report.at(&key, format!("{first} and {key} are one secret"));
        }
        before.push((key, secret));
    }
}

fn token_family(it: &Subject, report: &mut Report<'_>) {
    let cloud = &it.config.cloud;
    if cloud.suites == Suites::SmOnly && cloud.sm_key.is_none() && cloud.key.token().is_some() {
        report.at("cloud.key", "cloud.suites is sm-only, and the key in the token is for P-256".to_owned());
    }
}

fn no_kek(it: &Subject, report: &mut Report<'_>) {
    if it.config.uptane.key_encryption_keys.is_empty() {
        report.at("uptane", "there is no key-encryption key");
    }
}

fn writable(it: &Subject, report: &mut Report<'_>) {
    for (key, file) in &it.facts.files {
        if file.mode & 0o022 != 0 {
            report.at(
                key,
                format!("{} may be written by others (mode {:04o})", file.path.display(), file.mode),
            );
        }
    }
}

fn owner(it: &Subject, report: &mut Report<'_>) {
    for (key, file) in &it.facts.files {
        if file.uid != 0 {
            report.at(key, format!("{} belongs to user {}", file.path.display(), file.uid));
        }
    }
}

fn unseen(it: &Subject, report: &mut Report<'_>) {
    for one in &it.facts.unseen {
        report.at(&one.key, format!("not checked: {}: {}", one.what, one.reason));
    }
}
