//! The files of the tree, and Rust source without what a rule must not see.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are built, downloaded or found by machines.
const SKIPPED: &[&str] = &["target", ".git", "corpus", "artifacts", "node_modules"];

/// Ends of names of text files that people write here. A file without a dot is looked at as well.
const TEXT: &[&str] = &[
    "rs", "toml", "md", "sh", "py", "yml", "yaml", "service", "socket", "slice", "link", "network", "conf",
    "bb", "bbappend", "bbclass", "inc", "cfg", "scc", "tmpfiles", "sysusers", "html",
];

/// One text file, by its path from the root of the tree.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

/// All text files of the tree.
pub(crate) struct Tree {
    root: PathBuf,
    files: BTreeMap<String, File>,
}

impl Tree {
    pub(crate) fn read() -> Self {
        let root = root();
        let mut files = BTreeMap::new();
        collect(&root, &root, &mut files);
        Self { root, files }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &File> {
        self.files.values()
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.all().filter(|file| file.path.ends_with(".rs"))
    }

    pub(crate) fn text(&self, path: &str) -> String {
        self.files.get(path).unwrap_or_else(|| panic!("{path} is missing")).text.clone()
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Folders of the workspace's members, as the root manifest lists them.
    pub(crate) fn members(&self) -> Vec<String> {
        let manifest = self.text("Cargo.toml");
        let list = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
        let (list, _) = list.expect("the root manifest lists its members");
        list.split(',')
            .map(|name| name.trim().trim_matches('"').to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is a folder of the root").to_owned()
}

pub(crate) fn is_library_root(path: &str) -> bool {
    path.ends_with("/src/lib.rs") && path.matches('/').count() == 2 && !path.starts_with("fuzz/")
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, File>) {
    for entry in fs::read_dir(folder).expect("the tree is readable").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect(root, &path, files);
            }
        } else if name.rsplit_once('.').is_none_or(|(_, end)| TEXT.contains(&end)) {
            // A file without a dot that is not text is a binary, and not ours to read.
            if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
                files.insert(path.clone(), File { path, text });
            }
        }
    }
}

/// The source with comments and the insides of literals blanked, line for line.
pub(crate) fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, keep) = token(rest, first, out.chars().next_back());
        let (head, tail) = rest.split_at(length);
        match keep {
            true => out.push_str(head),
            false => out.extend(head.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
        }
        rest = tail;
    }
    out
}

/// Length of the next piece and whether it is code.
fn token(rest: &str, first: char, before: Option<char>) -> (usize, bool) {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    if !in_word && let Some(length) = raw_string(rest) {
        return (length, false);
    }
    match first {
        '"' => (quoted(rest, '"'), false),
        // A lifetime is a quote without a second one right after one character or an escape.
        '\'' => match rest.chars().nth(1) {
            Some('\\') => (quoted(rest, '\''), false),
            Some(c) if rest.chars().nth(2) == Some('\'') => (2 + c.len_utf8(), false),
            _ => (1, true),
        },
        _ => (first.len_utf8(), true),
    }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('b').or_else(|| rest.strip_prefix('c')).unwrap_or(rest).strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let body = body[hashes..].strip_prefix('"')?;
    let start = rest.len() - body.len();
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(rest.len(), |at| start + at + end.len()))
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Code without the modules that are compiled for tests only. Takes what [`code`] gives.
pub(crate) fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        let end = item_end(tail);
        out.extend(tail[..end].chars().filter(|c| *c == '\n'));
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

/// Where the item that the attribute stands on ends: after its matching brace, or its semicolon.
fn item_end(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_line_for_line() {
        let text =
            "let a = \"x // \\\" y\"; // b\n/* c /* d */\n e */ let f = r#\"g \" h\"#; 'i: loop {} '\\'' 'j'";
        let code = code(text);
        assert_eq!(code.lines().count(), text.lines().count());
        for gone in ["x", "y", "b", "c", "d", "g", "h", "'j'"] {
            assert!(!code.contains(gone), "{gone} in {code}");
        }
        for kept in ["let a =", "let f =", "'i: loop {}"] {
            assert!(code.contains(kept), "{kept} not in {code}");
        }
    }

    #[test]
    fn test_modules_are_cut_and_what_follows_is_kept() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { {} }\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}";
        let code = without_tests(&code(text));
        assert!(code.contains("fn a") && code.contains("fn c") && code.contains("fn e"));
        assert!(!code.contains("fn b") && !code.contains("mod d"));
        assert_eq!(code.lines().count(), text.lines().count());
    }
}
