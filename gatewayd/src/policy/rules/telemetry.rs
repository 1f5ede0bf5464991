//! Profiling and the log: enough to explain what happened, not so much that it costs or leaks.

use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{Check, Example, Report, Rule, Severity, Subject};
use crate::profiler::config::BackendChoice;

pub(in crate::policy) const RULES: &[Rule] = &[
    Rule {
        id: "TEL-101",
        severity: Severity::Warning,
        title: "the gateway is profiled",
        reason: "without a trace nobody sees an attack on its resources, or can explain a missed deadline",
        fix: "write profile.enabled = true; its cost is bounded by profile.budget",
        check: Check::Looking(disabled),
        examples: [Example::Config("profile.enabled = false"), Example::Config("profile.enabled = true")],
    },
    Rule {
        id: "TEL-102",
        severity: Severity::Warning,
        title: "profiling costs at most 1 % of a CPU",
        reason: "what measures must not be what makes deadlines late",
        fix: "write profile.budget = \"0.5%\"",
        check: Check::Looking(budget),
        examples: [Example::Config("profile.budget = \"1.1%\""), Example::Config("profile.budget = \"1%\"")],
    },
    Rule {
        id: "TEL-103",
        severity: Severity::Warning,
        title: "under load samples are fewer",
        reason: "the other way round profiling adds to the load that it sees",
        fix: "make profile.loaded longer than profile.base",
        check: Check::Looking(more_under_load),
        examples: [
            Example::Config("profile.loaded = \"99ms\""),
            Example::Config("profile.loaded = \"100ms\""),
        ],
    },
    Rule {
        id: "TEL-104",
        severity: Severity::Warning,
        title: "a block covers at least ten samples of a thread",
        reason: "fewer say nothing about where time goes, and cost a message all the same",
        fix: "make profile.window ten times profile.base or longer",
        check: Check::Looking(window),
        examples: [
            Example::Config("profile = { window = \"1s\", base = \"101ms\" }"),
            Example::Config("profile = { window = \"1s\", base = \"100ms\" }"),
        ],
    },
    Rule {
        id: "TEL-105",
        severity: Severity::Note,
        title: "profiles have stacks",
        reason: "procfs tells which thread took the time, not where",
        fix: "write profile.backend = \"auto\"",
        check: Check::Looking(procfs),
        examples: [
            Example::Config("profile.backend = \"procfs\""),
            Example::Config("profile.backend = \"auto\""),
        ],
    },
    Rule {
        id: "LOG-101",
        severity: Severity::Warning,
        title: "the log of a vehicle has no debug output",
        reason: "it names files, ids and messages that help an attacker, and wears the flash",
        fix: "write log.filter = \"info\"",
        check: Check::Looking(chatty),
        examples: [
            Example::Config("log.filter = \"info,gatewayd=debug\""),
            Example::Config("log.filter = \"info,gatewayd=warn\""),
        ],
    },
    Rule {
        id: "LOG-102",
        severity: Severity::Warning,
        title: "the log says what was installed",
        reason: "R156 7.1.2.3 asks for an auditable register, R155 7.2.2.2 (g) for data to look into attacks",
        fix: "write log.filter = \"info\"",
        check: Check::Looking(silent),
        examples: [Example::Config("log.filter = \"error\""), Example::Config("log.filter = \"warn\"")],
    },
    Rule {
        id: "LOG-103",
        severity: Severity::Error,
        title: "the log filter is one",
        reason: "the daemon would fall back to `info` without a word",
        fix: "write a level, or TARGET=LEVEL pairs with commas between them",
        check: Check::Looking(broken_filter),
        examples: [
            Example::Config("log.filter = \"gatewayd=loud\""),
            Example::Config("log.filter = \"gatewayd=info\""),
        ],
    },
];

fn disabled(it: &Subject, report: &mut Report<'_>) {
    if !it.config.profile.enabled {
        report.at("profile.enabled", "profiling is off");
    }
}

fn budget(it: &Subject, report: &mut Report<'_>) {
    let share = it.config.profile.budget;
    // A percentage has been divided by 100 on the way here.
    if share > 0.01 + 1e-9 {
        report.at("profile.budget", format!("profiling may take {:.2} % of a CPU", share * 100.0));
    }
}

fn more_under_load(it: &Subject, report: &mut Report<'_>) {
    let profile = &it.config.profile;
    if profile.loaded < profile.base {
        let message = format!("a sample every {:?}, and every {:?} under load", profile.base, profile.loaded);
        report.at("profile.loaded", message);
    }
}

fn window(it: &Subject, report: &mut Report<'_>) {
    let profile = &it.config.profile;
    if profile.window < profile.base.saturating_mul(10) && profile.base > Duration::ZERO {
        let message =
            format!("a block covers {:?}, a thread is sampled every {:?}", profile.window, profile.base);
        report.at("profile.window", message);
    }
}

fn procfs(it: &Subject, report: &mut Report<'_>) {
    if it.config.profile.backend == BackendChoice::Procfs {
        report.at("profile.backend", "samples come from procfs");
    }
}

/// The most that any part of a filter lets through; `None` where it is no filter.
pub(super) fn loudest(filter: &str) -> Option<LevelFilter> {
    let filter = EnvFilter::try_new(filter).ok()?;
    // Before it is part of a subscriber a filter gives no hint of what it lets through on its own.
    use tracing_subscriber::Layer;
    Layer::<tracing_subscriber::Registry>::max_level_hint(&filter)
}

fn chatty(it: &Subject, report: &mut Report<'_>) {
    if loudest(&it.config.log.filter).is_some_and(|it| it > LevelFilter::INFO) {
        report.at("log.filter", format!("log.filter is `{}`", it.config.log.filter));
    }
}

fn silent(it: &Subject, report: &mut Report<'_>) {
    if loudest(&it.config.log.filter).is_some_and(|it| it < LevelFilter::WARN) {
        report.at("log.filter", format!("log.filter is `{}`", it.config.log.filter));
    }
}

fn broken_filter(it: &Subject, report: &mut Report<'_>) {
    if let Err(error) = EnvFilter::try_new(&it.config.log.filter) {
        report.at("log.filter", format!("log.filter is `{}`: {error}", it.config.log.filter));
    }
}
