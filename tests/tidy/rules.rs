//! Rules on one file each.

use crate::source::{File, code, without_tests};
use std::fmt;

/// Most lines of a source file.
const MAX_LINES: usize = 600;

/// Lines above an `unsafe` in which its `SAFETY:` must begin.
const SAFETY_WITHIN: usize = 8;

/// What no core may name outside its tests.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "thread::sleep",
    "thread::spawn",
    "std::net",
    "std::os::unix::net",
    "tokio::",
    "async fn",
];

/// Something a rule objects to.
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}:{}: {}", self.path, self.line, self.message)
    }
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

pub(crate) fn length(file: &File) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if lines <= MAX_LINES {
        return Vec::new();
    }
    vec![Finding::new(&file.path, lines, format!("{lines} lines, at most {MAX_LINES}"))]
}

pub(crate) fn unfinished(file: &File) -> Vec<Finding> {
    // In two pieces each, so that the rule does not find itself.
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimple", "mented!(")];
    on_lines(&file.path, &file.text, |line| {
        words.iter().find(|word| has_word(line, word)).map(|word| format!("`{word}`"))
    })
}

pub(crate) fn allow_without_reason(file: &File) -> Vec<Finding> {
    let code = code(&file.text);
    let mut findings = Vec::new();
    for (at, _) in code.match_indices("#[").chain(code.match_indices("#![")) {
        let inside = code[at..].find('[').map_or("", |bracket| &code[at + bracket + 1..]).trim_start();
        let is_allowance = ["allow", "expect"]
            .iter()
            .any(|word| inside.strip_prefix(word).is_some_and(|rest| rest.trim_start().starts_with('(')));
        let attribute = &inside[..inside.find(")]").unwrap_or(inside.len())];
        if is_allowance && !attribute.contains("reason =") {
            findings.push(Finding::new(&file.path, line_of(&code, at), "no reason given"));
        }
    }
    findings
}

pub(crate) fn has_unsafe(file: &File) -> bool {
    code(&file.text).lines().any(is_unsafe)
}

pub(crate) fn unsafe_code(file: &File, allowed: &[&str]) -> Vec<Finding> {
    let code = code(&file.text);
    let lines: Vec<&str> = file.text.lines().collect();
    let mut findings = Vec::new();
    for (number, _) in code.lines().enumerate().filter(|(_, line)| is_unsafe(line)) {
        if !allowed.contains(&file.path.as_str()) {
            findings.push(Finding::new(&file.path, number + 1, "unsafe in a file that is not on the list"));
        } else if !lines[number.saturating_sub(SAFETY_WITHIN)..=number]
            .iter()
            .any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
        {
            findings.push(Finding::new(&file.path, number + 1, "unsafe without SAFETY: above it"));
        }
    }
    findings
}

pub(crate) fn impure(file: &File) -> Vec<Finding> {
    if is_test_file(&file.path) {
        return Vec::new();
    }
    on_lines(&file.path, &without_tests(&code(&file.text)), |line| {
        IMPURE.iter().find(|word| line.contains(**word)).map(|word| format!("`{word}` in a core"))
    })
}

pub(crate) fn beyond_job_types(file: &File) -> Vec<Finding> {
    if is_test_file(&file.path) {
        return Vec::new();
    }
    let code = without_tests(&code(&file.text));
    let beyond = |at: &usize| {
        let rest = &code[at + "crypto_offload".len()..];
        rest.strip_prefix("::job")
            .is_none_or(|rest| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    code.match_indices("crypto_offload")
        .map(|(at, _)| at)
        .filter(beyond)
        .map(|at| Finding::new(&file.path, line_of(&code, at), "reaches beyond `crypto_offload::job`"))
        .collect()
}

pub(crate) fn spdx(file: &File) -> Vec<Finding> {
    let tag = "SPDX-License-Identifier: ";
    match file.text.lines().take(3).any(|line| line.contains(tag)) || file.text.is_empty() {
        true => Vec::new(),
        false => vec![Finding::new(&file.path, 1, "no SPDX line among the first three")],
    }
}

pub(crate) fn machine_path(file: &File) -> Vec<Finding> {
    // In two pieces each, so that the rule does not find itself.
    let folders =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/ho", "me/")];
    on_lines(&file.path, &file.text, |line| {
        folders
            .iter()
            .find(|folder| {
                line.match_indices(**folder).any(|(at, _)| {
                    // `a/work/b` is a relative path, `/home/$USER` nobody's.
                    let before = line[..at].chars().next_back();
                    let after = line[at + folder.len()..].chars().next();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._-}/".contains(c))
                        && after.is_some_and(char::is_alphanumeric)
                })
            })
            .map(|folder| format!("`{folder}...`"))
    })
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn is_unsafe(line: &str) -> bool {
    line.match_indices("unsafe").any(|(at, word)| {
        let rest = line[at + word.len()..].trim_start();
        let starts_word = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        // The type of a foreign function does nothing; calling one needs a block.
        let is_type =
            rest.starts_with("extern") && rest.split('{').next().is_some_and(|it| it.contains("fn("));
        starts_word
            && !is_type
            && (rest.is_empty()
                || ["{", "fn", "impl", "extern", "trait"].iter().any(|next| rest.starts_with(next)))
    })
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let is_letter = |c: char| c.is_alphanumeric() || c == '_';
        !line[..at].ends_with(is_letter) && !line[at + word.len()..].starts_with(is_letter)
    })
}

fn on_lines(path: &str, text: &str, objection: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let lines = text.lines().enumerate();
    lines.filter_map(|(n, line)| objection(line).map(|message| Finding::new(path, n + 1, message))).collect()
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }

    fn file(text: &str) -> File {
        File::new("a/src/b.rs", text)
    }

    #[test]
    fn the_longest_file_passes_and_one_line_more_does_not() {
        assert!(length(&file(&"\n".repeat(600))).is_empty());
        assert_eq!(lines(&length(&file(&"\n".repeat(601)))), [601]);
    }

    #[test]
    fn planted_reminders_are_found_and_words_that_contain_them_are_not() {
        let planted = format!("a\n// {}: later\nmas{}n", concat!("TO", "DO"), concat!("TO", "DO"));
        assert_eq!(lines(&unfinished(&file(&planted))), [2]);
        assert_eq!(lines(&unfinished(&file(concat!("fn a() { todo", "!() }")))), [1]);
    }

    #[test]
    fn a_planted_allowance_without_reason_is_found() {
        let planted = "#[allow(dead_code)]\n#![allow(a, reason = \"b\")]\n#[expect(\n  c\n)]\n// #[allow(d)]\n#[allowed(e)]";
        assert_eq!(lines(&allow_without_reason(&file(planted))), [1, 3]);
    }

    #[test]
    fn planted_unsafe_is_found_outside_the_list_and_without_its_reason() {
        let planted =
            "// unsafe { }\nlet a = \"unsafe {\";\nlet b = unsafe { c() };\n#![forbid(unsafe_code)]";
        assert_eq!(lines(&unsafe_code(&file(planted), &[])), [3]);
        assert_eq!(lines(&unsafe_code(&file(planted), &["a/src/b.rs"])), [3]);
        let explained = "// SAFETY: because.\nlet b = unsafe { c() };";
        assert!(unsafe_code(&file(explained), &["a/src/b.rs"]).is_empty());
        assert_eq!(lines(&unsafe_code(&file("unsafe impl Send for A {}"), &[])), [1]);
        let promised = "/// # Safety\n/// `b` is open.\nunsafe fn a(b: B) {}";
        assert!(unsafe_code(&file(promised), &["a/src/b.rs"]).is_empty());
        assert!(unsafe_code(&file("type A = unsafe extern \"C\" fn(u8);"), &[]).is_empty());
        assert_eq!(lines(&unsafe_code(&file("unsafe extern \"C\" { fn a(); }"), &[])), [1]);
    }

    #[test]
    fn planted_clocks_and_sockets_are_found_outside_tests_only() {
        let planted = "fn a() { Instant::now(); }\nuse std::net::UdpSocket;\n#[cfg(test)]\nmod tests {\n Instant::now();\n}";
        assert_eq!(lines(&impure(&file(planted))), [1, 2]);
        assert!(impure(&File::new("a/src/b/tests.rs", planted)).is_empty());
        assert!(impure(&file("/// `Instant::now` is the caller's.")).is_empty());
    }

    #[test]
    fn planted_imports_beyond_the_job_types_are_found() {
        let planted = "use crypto_offload::job::Job;\nuse crypto_offload::software::Software;\nuse crypto_offload::{job};\nuse crypto_offload::jobs;";
        assert_eq!(lines(&beyond_job_types(&file(planted))), [2, 3, 4]);
    }

    #[test]
    fn a_missing_spdx_line_is_found() {
        assert!(spdx(&file("#!/bin/sh\n# SPDX-License-Identifier: MIT\n")).is_empty());
        assert_eq!(lines(&spdx(&file("#!/bin/sh\n"))), [1]);
    }

    #[test]
    fn a_planted_path_of_one_machine_is_found() {
        let planted = format!(
            "a {}x\nb{}x\n{}$USER",
            concat!("/wo", "rk/"),
            concat!("/ro", "ot/"),
            concat!("/ho", "me/")
        );
        assert_eq!(lines(&machine_path(&file(&planted))), [1]);
    }
}
