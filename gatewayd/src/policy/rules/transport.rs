//! The links to the origin and to the broker. TLS 1.3 and mutual authentication are no question: there is nothing else.

use std::time::Duration;

use super::{Check, Example, Report, Rule, Severity, Subject};

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "CLD-101",
        severity: Severity::Error,
        title: "no user name or password in a URL",
        reason: "URLs end up in logs, core files and support bundles",
        fix: "the gateway authenticates by its certificate; take them out",
        check: Check::Looking(credentials_in_url),
        examples: [
            Example::Config("cloud.url = \"https://fleet:secret@updates.example.com/\""),
            Example::Config("cloud.url = \"https://updates.example.com/a@b/\""),
        ],
    },
    Rule {
        id: "CLD-102",
        severity: Severity::Warning,
        title: "the origin has a name of its own",
        reason: "an address, or this machine, is a bench set-up; the certificate should prove a name that the fleet knows",
        fix: "write the origin's DNS name",
        check: Check::Looking(origin_name),
        examples: [
            Example::Config("cloud.url = \"https://127.0.0.1:4433/\""),
            Example::Config("cloud.url = \"https://updates.example.com:4433/\""),
        ],
    },
    Rule {
        id: "CLD-103",
        severity: Severity::Warning,
        title: "a silent answer is given up within a minute",
        reason: "an attacker who answers slowly keeps updates away (Uptane 2.1, slow retrieval)",
        fix: "write cloud.stall_timeout = \"10s\"",
        check: Check::Looking(stall),
        examples: [
            Example::Config("cloud.stall_timeout = \"61s\""),
            Example::Config("cloud.stall_timeout = \"60s\""),
        ],
    },
    Rule {
        id: "CLD-104",
        severity: Severity::Error,
        title: "timeouts leave time for a round trip",
        reason: "below 500 ms a mobile network never answers in time, and no update ever arrives",
        fix: "write cloud.connect_timeout = \"5s\" and cloud.stall_timeout = \"10s\"",
        check: Check::Looking(too_short),
        examples: [
            Example::Config("cloud.connect_timeout = \"499ms\""),
            Example::Config("cloud.connect_timeout = \"500ms\""),
        ],
    },
    Rule {
        id: "CLD-105",
        severity: Severity::Warning,
        title: "the Director is asked at least once a day",
        reason: "whoever drops the vehicle's MQTT traffic hides updates from it for that long (Uptane 2.1, freeze)",
        fix: "write cloud.poll_interval = \"1h\"",
        check: Check::Looking(polled_rarely),
        examples: [
            Example::Config("cloud.poll_interval = \"25h\""),
            Example::Config("cloud.poll_interval = \"24h\""),
        ],
    },
    Rule {
        id: "CLD-106",
        severity: Severity::Warning,
        title: "the Director is not asked more than once a minute",
        reason: "a fleet that asks in a loop is a denial of service of its own origin",
        fix: "write cloud.poll_interval = \"1h\"; a command over MQTT makes the gateway look at once",
        check: Check::Looking(polled_often),
        examples: [
            Example::Config("cloud.poll_interval = \"59s\""),
            Example::Config("cloud.poll_interval = \"1min\""),
        ],
    },
    Rule {
        id: "CLD-107",
        severity: Severity::Warning,
        title: "fetches are given up some time",
        reason: "an update that can never arrive holds its ECU's place in the campaign and says nothing",
        fix: "write cloud.attempts = 6",
        check: Check::Looking(attempts),
        examples: [Example::Config("cloud.attempts = 101"), Example::Config("cloud.attempts = 100")],
    },
    Rule {
        id: "LIM-101",
        severity: Severity::Error,
        title: "the read-ahead fits the daemon's memory",
        reason: "the kernel would end the daemon in the middle of a download, each time",
        fix: "lower cloud.read_ahead, or raise MemoryMax= in a drop-in",
        check: Check::Looking(read_ahead),
        examples: [
            Example::Config("cloud.read_ahead = \"65MiB\""),
            Example::Config("cloud.read_ahead = \"64MiB\""),
        ],
    },
    Rule {
        id: "MQT-101",
        severity: Severity::Warning,
        title: "a dead broker connection is noticed",
        reason: "without keep-alive, or with one longer than 20 minutes, middleboxes forget the connection and commands are lost",
        fix: "write mqtt.keep_alive = \"15s\"",
        check: Check::Looking(keep_alive),
        examples: [
            Example::Config("mqtt.keep_alive = \"0s\""),
            Example::Config("mqtt.keep_alive = \"20min\""),
        ],
    },
    Rule {
        id: "MQT-102",
        severity: Severity::Error,
        title: "the outbox has a bound that fits the medium",
        reason: "a bound of more than a million messages is none: a broker that stays away fills the journal's medium",
        fix: "write mqtt.outbox = 4096",
        check: Check::Looking(outbox_unbounded),
        examples: [Example::Config("mqtt.outbox = 1000001"), Example::Config("mqtt.outbox = 1000000")],
    },
    Rule {
        id: "MQT-103",
        severity: Severity::Warning,
        title: "the outbox holds the events of a campaign",
        reason: "each ECU reports a dozen stages; what does not fit is lost, and with it the record that R156 7.1.2.3 asks for",
        fix: "write mqtt.outbox = 4096",
        check: Check::Looking(outbox_small),
        examples: [Example::Config("mqtt.outbox = 127"), Example::Config("mqtt.outbox = 128")],
    },
];

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The host, with its port and brackets taken off.
fn host(url: &str) -> &str {
    let authority = authority(url);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

fn credentials_in_url(it: &Subject, report: &mut Report<'_>) {
    for (key, url) in [("cloud.url", &it.config.cloud.url), ("mqtt.url", &it.config.mqtt.url)] {
        if authority(url).contains('@') {
            report.at(key, format!("{key} carries a user name or password"));
        }
    }
}

fn origin_name(it: &Subject, report: &mut Report<'_>) {
    let host = host(&it.config.cloud.url);
    if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok() {
        report.at("cloud.url", format!("the origin is `{host}`, which is no name that the fleet knows"));
    }
}

fn stall(it: &Subject, report: &mut Report<'_>) {
    let span = it.config.cloud.stall_timeout;
    if span.get() > Duration::from_secs(60) {
        report.at("cloud.stall_timeout", format!("an answer may stay silent for {span}"));
    }
}

fn too_short(it: &Subject, report: &mut Report<'_>) {
    let cloud = &it.config.cloud;
    for (key, span) in
        [("cloud.connect_timeout", cloud.connect_timeout), ("cloud.stall_timeout", cloud.stall_timeout)]
    {
        if span.get() < Duration::from_millis(500) {
            report.at(key, format!("{key} is {span}"));
        }
    }
}

fn polled_rarely(it: &Subject, report: &mut Report<'_>) {
    let span = it.config.cloud.poll_interval;
    if span.get() > Duration::from_secs(86_400) {
        report.at("cloud.poll_interval", format!("the Director is asked every {span} only"));
    }
}

fn polled_often(it: &Subject, report: &mut Report<'_>) {
    let span = it.config.cloud.poll_interval;
    if span.get() < Duration::from_secs(60) {
        report.at("cloud.poll_interval", format!("the Director is asked every {span}"));
    }
}

fn attempts(it: &Subject, report: &mut Report<'_>) {
    if it.config.cloud.attempts > 100 {
        report.at("cloud.attempts", format!("{} attempts without a new byte", it.config.cloud.attempts));
    }
}

/// A quarter of the unit's limit, where it has one that is a number.
fn read_ahead(it: &Subject, report: &mut Report<'_>) {
    let limit = it.daemon().and_then(|unit| unit.last("Service.MemoryMax"));
    let Some(limit) = limit.and_then(|it| super::units::bytes(&it.value)) else { return };
    let ahead = it.config.cloud.read_ahead;
    if ahead.get() > limit / 4 {
        let message = format!("cloud.read_ahead is {ahead}; a quarter of MemoryMax= is {} MiB", limit >> 22);
        report.at("cloud.read_ahead", message);
    }
}

fn keep_alive(it: &Subject, report: &mut Report<'_>) {
    let span = it.config.mqtt.keep_alive;
    if span.get().is_zero() || span.get() > Duration::from_secs(1200) {
        report.at("mqtt.keep_alive", format!("mqtt.keep_alive is {span}"));
    }
}

fn outbox_unbounded(it: &Subject, report: &mut Report<'_>) {
    if it.config.mqtt.outbox > 1_000_000 {
        report.at("mqtt.outbox", format!("up to {} messages may wait on disk", it.config.mqtt.outbox));
    }
}

fn outbox_small(it: &Subject, report: &mut Report<'_>) {
    if (1..128).contains(&it.config.mqtt.outbox) {
        report.at("mqtt.outbox", format!("only {} messages may wait for the broker", it.config.mqtt.outbox));
    }
}
