//! Profiles as text: folded stacks, and what `perf script` prints.

use std::collections::BTreeMap;
use std::fmt::Write;

use telemetry::ThreadInfo;

use super::profile::{Entry, Profile, slug};

/// Stacks and their sums: `vehicle;thread;outermost;...;innermost` and the dimension's value.
pub fn folded(profile: &Profile, vin: &str) -> BTreeMap<String, u64> {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for entry in &profile.entries {
        let sum = sums.entry(format!("{};{}", plain(vin), stack_line(profile, entry))).or_default();
        *sum = sum.saturating_add(entry.value);
    }
    sums
}

/// `thread;outermost;...;innermost`, without what would split a name.
pub fn stack_line(profile: &Profile, entry: &Entry) -> String {
    let mut line = plain(&entry.thread.name);
    for place in profile.stack(entry).rev() {
        for name in place.names().iter().rev() {
            line.push(';');
            line.push_str(&plain(name));
        }
    }
    line
}

/// The samples as `perf script` prints them, for the programs that read it (FlameGraph, speedscope, Firefox Profiler).
/// Of an aggregated window each line stands for all its samples, at the window's start.
pub fn perf_script(profile: &Profile) -> String {
    let mut text = String::new();
    for entry in &profile.entries {
        let at_ms = profile.start_unix_ms.saturating_add(u64::from(entry.at_ms.unwrap_or_default()));
        let ThreadInfo { pid, tid, name, .. } = &entry.thread;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{} {pid}/{tid} {}.{:03}000: {} {}-{}: ",
            word(name),
            at_ms / 1000,
            at_ms % 1000,
            entry.value,
            slug(profile.dimension),
            profile.unit(),
        );
        for place in profile.stack(entry) {
            let file = place.mapping.as_ref().map_or_else(|| "[unknown]".to_owned(), |it| word(&it.path));
            if place.functions.is_empty() {
                let _ = writeln!(text, "\t{:16x} [unknown] ({file})", place.offset);
            }
            for function in place.functions.iter() {
                let _ = writeln!(text, "\t{:16x} {} ({file})", place.offset, symbol(&function.name));
            }
        }
        text.push('\n');
    }
    text
}

/// A name without what separates frames, lines and counts in folded text.
fn plain(name: &str) -> String {
    let name: String = name.chars().map(|it| if it == ';' || it.is_control() { '_' } else { it }).collect();
    if name.is_empty() { "[unnamed]".to_owned() } else { name }
}

/// One word: readers split these lines at white space, and a path at its parentheses.
fn word(name: &str) -> String {
    let bad = |it: char| it.is_whitespace() || it.is_control() || matches!(it, '(' | ')' | ';');
    let name: String = name.chars().map(|it| if bad(it) { '_' } else { it }).collect();
    if name.is_empty() { "[unnamed]".to_owned() } else { name }
}

/// A symbol may hold blanks and parentheses (readers look for the last pair), but no line's end; a tail `+0x...` would
/// be taken for an offset.
fn symbol(name: &str) -> String {
    let name: String = name.chars().map(|it| if it == ';' || it.is_control() { '_' } else { it }).collect();
    if name.trim().is_empty() { "[unnamed]".to_owned() } else { name.trim().replace("+0x", "_0x") }
}
