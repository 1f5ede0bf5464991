//! The built-in rules, one file per theme. Ids are never used twice: a rule that goes takes its id with it.

pub(super) mod buses;
pub(super) mod certificates;
pub(super) mod dialects;
pub(super) mod ecus;
pub(super) mod keys;
pub(super) mod metadata;
pub(super) mod reading;
pub(super) mod sandbox;
pub(super) mod storage;
pub(super) mod telemetry;
pub(super) mod transport;
pub(super) mod units;

use super::rule::{Check, Example, Report, Rule};
use super::subject::{DAEMON, PROFILER, Subject};
use crate::config::Severity;
