//! Byte ranges of one representation (RFC 9110, section 14).

use std::ops::Range;

/// What a `Range` header asks for, given the length of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// No range, or one we may ignore (RFC 9110, 14.2: another unit, several ranges, malformed): send everything.
    Whole,
    /// `206`: these bytes, never empty.
    Part(Range<u64>),
    /// `416`: starts at or after the end.
    Unsatisfiable,
}

/// Reads a `Range` header's value for a file of `len` bytes.
pub(crate) fn select(header: Option<&[u8]>, len: u64) -> Selection {
    let spec =
        header.and_then(|it| std::str::from_utf8(it).ok()).and_then(|it| it.trim().strip_prefix("bytes="));
    let Some((first, last)) = spec.and_then(|it| it.trim().split_once('-')) else {
        return Selection::Whole;
    };
    match (number(first), number(last)) {
        (Bound::Value(first), Bound::Value(last)) if last < first => Selection::Whole,
        (Bound::Value(first), Bound::Absent | Bound::Value(_)) if first >= len => Selection::Unsatisfiable,
        (Bound::Value(first), Bound::Absent) => Selection::Part(first..len),
        (Bound::Value(first), Bound::Value(last)) => Selection::Part(first..last.saturating_add(1).min(len)),
        (Bound::Absent, Bound::Value(suffix)) if suffix == 0 || len == 0 => Selection::Unsatisfiable,
        (Bound::Absent, Bound::Value(suffix)) => Selection::Part(len.saturating_sub(suffix)..len),
        _ => Selection::Whole,
    }
}

enum Bound {
    Absent,
    Value(u64),
    Malformed,
}

fn number(text: &str) -> Bound {
    if text.is_empty() {
        Bound::Absent
    } else if text.bytes().all(|it| it.is_ascii_digit()) {
        // More digits than 64 bits hold is a position no file reaches.
        Bound::Value(text.parse().unwrap_or(u64::MAX))
    } else {
        Bound::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::Selection::{Part, Unsatisfiable, Whole};
    use super::*;

    #[test]
    fn single_ranges_select_what_rfc_9110_says() {
        let cases: [(&str, Selection); 20] = [
            ("bytes=0-0", Part(0..1)),
            ("bytes=0-99", Part(0..100)),
            ("bytes=0-100", Part(0..100)),
            ("bytes=99-", Part(99..100)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=99-99", Part(99..100)),
            ("bytes=100-100", Unsatisfiable),
            ("bytes=-1", Part(99..100)),
            ("bytes=-100", Part(0..100)),
            ("bytes=-101", Part(0..100)),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-4", Whole),
            ("bytes=-", Whole),
            ("bytes=", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=0-1,3-4", Whole),
            ("lines=0-1", Whole),
            ("bytes=0-18446744073709551615", Part(0..100)),
            ("bytes=99999999999999999999999-", Unsatisfiable),
        ];
        for (header, expected) in cases {
            assert_eq!(select(Some(header.as_bytes()), 100), expected, "{header}");
        }
        assert_eq!(select(None, 100), Whole);
        assert_eq!(select(Some(&[0xff, b'=']), 100), Whole);
    }

    #[test]
    fn an_empty_file_satisfies_no_range() {
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(select(Some(header.as_bytes()), 0), Unsatisfiable, "{header}");
        }
    }
}
