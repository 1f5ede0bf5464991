//! From a request's path to a file below the root, and nowhere else.

use std::path::{Path, PathBuf};

/// The longest path accepted, in bytes.
const MAX_PATH: usize = 1024;

/// The path below the root that a request names, with `/` between its parts; `None` where the path leaves the root,
/// names something hidden, or cannot be a path of ours.
pub(crate) fn relative(request_path: &str) -> Option<String> {
    if request_path.len() > MAX_PATH {
        return None;
    }
    let decoded = percent_decode(request_path.strip_prefix('/')?)?;
    let ordinary = |part: &str| {
        // A leading dot covers `.`, `..`, hidden files and files that are still being written.
        !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0'])
    };
    decoded.split('/').all(ordinary).then_some(decoded)
}

/// The file itself, after symbolic links, unless it lies outside `root` (which must be canonical).
pub(crate) fn below(root: &Path, relative: &str) -> Option<PathBuf> {
    let path = root.join(relative).canonicalize().ok()?;
    path.starts_with(root).then_some(path)
}

/// Decodes once: `%252e` stays `%2e`.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        assert_eq!(relative("/image/timestamp.json").as_deref(), Some("image/timestamp.json"));
        assert_eq!(relative("/image/targets/ab.a%20b.bin").as_deref(), Some("image/targets/ab.a b.bin"));
        assert_eq!(relative("/a%252e").as_deref(), Some("a%2e"));
    }

    #[test]
    fn paths_that_leave_the_root_or_name_hidden_files_do_not() {
        for path in [
            "/../etc/passwd",
            "/a/../../b",
            "/%2e%2e/x",
            "/a/%2E%2E/x",
            "/a%2f..%2fb",
            "/..%5cx",
            "/a\\b",
            "//etc",
            "/",
            "",
            "relative",
            "/a//b",
            "/a/",
            "/.hidden",
            "/a/.x.tmp",
            "/%00",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
        ] {
            assert_eq!(relative(path), None, "{path}");
        }
        assert!(relative(&format!("/{}", "a".repeat(MAX_PATH - 1))).is_some());
        assert_eq!(relative(&format!("/{}", "a".repeat(MAX_PATH))), None);
    }

    #[test]
    fn a_symbolic_link_out_of_the_root_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("inside"), b"x").unwrap();
        std::fs::write(dir.path().join("outside"), b"x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), root.join("link")).unwrap();
        std::os::unix::fs::symlink(root.join("inside"), root.join("alias")).unwrap();
        assert!(below(&root, "alias").is_some());
        assert_eq!(below(&root, "link"), None);
        assert_eq!(below(&root, "absent"), None);
    }
}
