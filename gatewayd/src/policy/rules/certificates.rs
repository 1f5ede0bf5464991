//! What the certificates on disk say.

use super::super::facts::CertificateFact;
use super::{Check, Example, Report, Rule, Severity, Subject};

/// Thirty days in seconds: time enough to renew.
const SOON: i64 = 30 * 86_400;

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "CRT-101",
        severity: Severity::Error,
        title: "certificates have not expired",
        reason: "an expired certificate ends every connection: the vehicle is cut off from security updates",
        fix: "renew it; check the vehicle's clock first",
        check: Check::Looking(expired),
        examples: [
            Example::Facts("certificates.'cloud.certificate' = [{ not_after = 1_799_999_999 }]"),
            Example::Facts("certificates.'cloud.certificate' = [{ not_after = 1_899_999_999 }]"),
        ],
    },
    Rule {
        id: "CRT-102",
        severity: Severity::Error,
        title: "certificates are valid already",
        reason: "either the certificate is for later, or the vehicle's clock is in the past and no metadata can be judged",
        fix: "set the clock, or wait with the roll-out",
        check: Check::Looking(not_yet),
        examples: [
            Example::Facts("certificates.'cloud.ca' = [{ not_before = 1_800_000_001 }]"),
            Example::Facts("certificates.'cloud.ca' = [{ not_before = 1_800_000_000 }]"),
        ],
    },
    Rule {
        id: "CRT-103",
        severity: Severity::Warning,
        title: "certificates do not expire within 30 days",
        reason: "a vehicle may stand in a garage for weeks, and come back cut off",
        fix: "renew it now",
        check: Check::Looking(expires_soon),
        examples: [
            Example::Facts("certificates.'cloud.certificate' = [{ not_after = 1_802_591_999 }]"),
            Example::Facts("certificates.'cloud.certificate' = [{ not_after = 1_802_592_001 }]"),
        ],
    },
    Rule {
        id: "CRT-104",
        severity: Severity::Error,
        title: "keys are long enough",
        reason: "RSA below 3072 bits and curves below 256 bits do not reach the 128 bits of strength that a vehicle's life needs",
        fix: "issue certificates with P-256, Ed25519 or RSA of 3072 bits",
        check: Check::Looking(short_key),
        examples: [
            Example::Facts("certificates.'cloud.certificate' = [{ key_type = \"rsa\", key_bits = 3071 }]"),
            Example::Facts("certificates.'cloud.certificate' = [{ key_type = \"rsa\", key_bits = 3072 }]"),
        ],
    },
    Rule {
        id: "CRT-105",
        severity: Severity::Error,
        title: "no signature rests on a broken hash",
        reason: "MD5 and SHA-1 collide: certificates signed over them can be forged",
        fix: "issue it again with SHA-256 or better",
        check: Check::Looking(weak_hash),
        examples: [
            Example::Facts("certificates.'cloud.ca' = [{ signature_hash = \"sha1\" }]"),
            Example::Facts("certificates.'cloud.ca' = [{ signature_hash = \"sha384\" }]"),
        ],
    },
    Rule {
        id: "CRT-106",
        severity: Severity::Warning,
        title: "cloud.ca holds authorities",
        reason: "a server's own certificate as anchor must be replaced on every vehicle whenever the server's is",
        fix: "put the certificate of the authority there",
        check: Check::Looking(leaf_as_anchor),
        examples: [
            Example::Facts("certificates.'cloud.ca' = [{ authority = false }]"),
            Example::Facts("certificates.'cloud.ca' = [{ authority = true }]"),
        ],
    },
    Rule {
        id: "CRT-107",
        severity: Severity::Warning,
        title: "only the fleet's own authorities are trusted",
        reason: "with a public bundle any web authority in the world can speak for the origin",
        fix: "put the one or two certificates of the fleet's authority there",
        check: Check::Looking(bundle),
        examples: [
            Example::Facts(
                "certificates.'cloud.ca' = [{}, {authority=true}, {authority=true}, {authority=true}, {authority=true}]",
            ),
            Example::Facts("certificates.'cloud.ca' = [{}, {authority=true}]"),
        ],
    },
    Rule {
        id: "CRT-108",
        severity: Severity::Error,
        title: "the gateway's certificate is no authority",
        reason: "whoever breaks into one vehicle could issue certificates for all",
        fix: "issue it with CA:FALSE",
        check: Check::Looking(gateway_is_authority),
        examples: [
            Example::Facts("certificates.'cloud.certificate' = [{ authority = true }]"),
            Example::Facts("certificates.'cloud.certificate' = [{ authority = false }]"),
        ],
    },
    Rule {
        id: "CRT-109",
        severity: Severity::Error,
        title: "the gateway's certificate is for TLS clients",
        reason: "a careful origin refuses a certificate whose extended key usage leaves clients out",
        fix: "issue it with extendedKeyUsage = clientAuth",
        check: Check::Looking(not_for_clients),
        examples: [
            Example::Facts("certificates.'cloud.certificate' = [{ client_auth = false }]"),
            Example::Facts("certificates.'cloud.certificate' = [{ client_auth = true }]"),
        ],
    },
    Rule {
        id: "CRT-110",
        severity: Severity::Error,
        title: "the files hold certificates",
        reason: "the daemon would not start",
        fix: "put PEM blocks named CERTIFICATE there",
        check: Check::Looking(none),
        examples: [Example::Facts("certificates.'cloud.certificate' = []\n"), Example::Reference],
    },
    Rule {
        id: "CLK-101",
        severity: Severity::Warning,
        title: "the clock is sane",
        reason: "expiry of metadata and certificates is judged by it: a clock of the past accepts what is long withdrawn",
        fix: "let time-sync.target mean something: enable systemd-timesyncd, or set the clock from a trusted source",
        check: Check::Looking(clock),
        examples: [Example::Facts("now = 1_735_689_599"), Example::Facts("now = 1_800_000_000")],
    },
];

/// 2025-01-01: nobody built this daemon before.
const NOT_BEFORE: u64 = 1_735_689_600;

fn each(
    it: &Subject,
    report: &mut Report<'_>,
    mut judge: impl FnMut(&str, &CertificateFact) -> Option<String>,
) {
    for (key, list) in &it.facts.certificates {
        let Some(file) = it.facts.files.get(key) else { continue };
        for certificate in list {
            if let Some(message) = judge(key, certificate) {
                report.in_file(
                    &file.path,
                    certificate.line.max(1),
                    format!("`{}` {message}", certificate.subject),
                );
            }
        }
    }
}

fn now(it: &Subject) -> i64 {
    i64::try_from(it.facts.now).unwrap_or(i64::MAX)
}

fn expired(it: &Subject, report: &mut Report<'_>) {
    each(it, report, |_, one| (one.not_after < now(it)).then(|| "has expired".to_owned()));
}

fn not_yet(it: &Subject, report: &mut Report<'_>) {
    each(it, report, |_, one| (one.not_before > now(it)).then(|| "is not valid yet".to_owned()));
}

fn expires_soon(it: &Subject, report: &mut Report<'_>) {
    each(it, report, |_, one| {
        let left = one.not_after.saturating_sub(now(it));
        (0..SOON).contains(&left).then(|| format!("expires in {} days", left / 86_400))
    });
}

fn short_key(it: &Subject, report: &mut Report<'_>) {
    each(it, report, |_, one| {
        let least = match one.key_type.as_str() {
            "rsa" => 3072,
            "ec" => 256,
            _ => return None,
        };
        (one.key_bits < least).then(|| format!("has a key of {} bits ({})", one.key_bits, one.key_type))
    });
}

fn weak_hash(it: &Subject, report: &mut Report<'_>) {
    each(it, report, |_, one| {
        matches!(one.signature_hash.as_str(), "md5" | "sha1")
            .then(|| format!("is signed over {}", one.signature_hash))
    });
}

fn leaf_as_anchor(it: &Subject, report: &mut Report<'_>) {
    each(it, report, |key, one| (key == "cloud.ca" && !one.authority).then(|| "is no authority".to_owned()));
}

fn bundle(it: &Subject, report: &mut Report<'_>) {
    let count = it.facts.certificates.get("cloud.ca").map_or(0, Vec::len);
    if count > 4 {
        report.at("cloud.ca", format!("{count} authorities may speak for the origin"));
    }
}

fn gateway_is_authority(it: &Subject, report: &mut Report<'_>) {
    // The rest of the chain are authorities rightly.
    if let (Some(file), Some(own)) = (it.facts.files.get("cloud.certificate"), own(it))
        && own.authority
    {
        let message = format!("`{}` may sign other certificates", own.subject);
        report.in_file(&file.path, own.line.max(1), message);
    }
}

fn not_for_clients(it: &Subject, report: &mut Report<'_>) {
    if let (Some(file), Some(own)) = (it.facts.files.get("cloud.certificate"), own(it))
        && own.client_auth == Some(false)
    {
        report.in_file(&file.path, own.line.max(1), format!("`{}` is not for TLS clients", own.subject));
    }
}

fn own(it: &Subject) -> Option<&CertificateFact> {
    it.facts.certificates.get("cloud.certificate")?.first()
}

fn none(it: &Subject, report: &mut Report<'_>) {
    for (key, list) in &it.facts.certificates {
        if list.is_empty() {
            report.at(key, format!("the file of {key} holds no certificate"));
        }
    }
}

fn clock(it: &Subject, report: &mut Report<'_>) {
    if it.facts.now < NOT_BEFORE {
        report.at("vehicle", "the clock of this machine says that it is before 2025");
    }
}
