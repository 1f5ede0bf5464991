//! On which line of a TOML text each key stands.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::de::{DeTable, DeValue};

use crate::config::line_of;

/// Line numbers, counted from 1, by key path: `mqtt.url`, `ecu[0].bus`, `dialect.plain.timings.s3`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// The lines of every key and every array element of `text`; empty where it is no TOML.
    pub fn of(text: &str) -> Self {
        let mut lines = BTreeMap::new();
        if let Ok(table) = DeTable::parse(text) {
            walk_table(text, "", table.get_ref(), &mut lines);
        }
        Self(lines)
    }

    /// The line of `key`, or of the innermost table around it that is written down, or the first line.
    pub fn of_key(&self, key: &str) -> usize {
        let mut key = key;
        loop {
            if let Some(line) = self.0.get(key) {
                return *line;
            }
            // `a.b[3].c` -> `a.b[3]` -> `a.b` -> `a`
            match key.rfind(['.', '[']) {
                Some(at) => key = key.get(..at).unwrap_or_default(),
                None => return 1,
            }
        }
    }

    /// Whether `key` itself is written down.
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

fn walk_table(text: &str, path: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        lines.insert(path.clone(), line_of(text, key.span().start));
        walk_value(text, &path, value.get_ref(), lines);
    }
}

fn walk_value(text: &str, path: &str, value: &DeValue<'_>, lines: &mut BTreeMap<String, usize>) {
    match value {
        DeValue::Table(table) => walk_table(text, path, table, lines),
        DeValue::Array(array) => {
            for (at, element) in array.iter().enumerate() {
                let path = format!("{path}[{at}]");
                lines.insert(path.clone(), line_of(text, element.span().start));
                walk_value(text, &path, element.get_ref(), lines);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "[a]\nb = 1\nc.d = 2\n\n[[e]]\nf = [\n 1,\n 2]\n[[e]]\nf = [] # second\n[e.g]\nh = { i = 1 }\n";

    #[test]
    fn keys_of_nested_tables_and_arrays_are_found() {
        let lines = Lines::of(TEXT);
        for (key, line) in [
            ("a", 1),
            ("a.b", 2),
            ("a.c.d", 3),
            ("e[0]", 5),
            ("e[0].f", 6),
            ("e[0].f[1]", 8),
            ("e[1]", 9),
            ("e[1].f", 10),
            ("e[1].g", 11),
            ("e[1].g.h.i", 12),
        ] {
            assert_eq!(lines.of_key(key), line, "{key}");
            assert!(lines.contains(key), "{key}");
        }
    }

    #[test]
    fn a_key_that_is_not_written_stands_where_its_table_does() {
        let lines = Lines::of(TEXT);
        assert_eq!(lines.of_key("a.missing.deeper"), 1);
        assert_eq!(lines.of_key("e[1].missing"), 9);
        assert_eq!(lines.of_key("e[1].g.missing[7].x"), 11);
        assert_eq!(lines.of_key("nowhere.at.all"), 1);
        assert_eq!(Lines::of("= broken").of_key("a"), 1);
    }
}
