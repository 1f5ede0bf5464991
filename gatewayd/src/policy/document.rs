//! What Rego rules are given as `input`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::subject::Subject;

/// `config`, `lines`, `facts` and `path`; docs/RULES.md describes them.
pub fn of(subject: &Subject) -> Value {
    json!({
        "path": subject.path,
        "config": subject.config,
        "lines": subject.lines,
        "facts": subject.facts,
    })
}

/// Key paths and values of a configuration, flat: `mqtt.outbox` -> 4096. Spans are seconds, sizes bytes.
pub fn flat(value: &Value) -> BTreeMap<String, Value> {
    let mut flat = BTreeMap::new();
    walk("", value, &mut flat);
    flat
}

fn walk(path: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, value, flat);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (at, value) in list.iter().enumerate() {
                walk(&format!("{path}[{at}]"), value, flat);
            }
        }
        leaf => {
            flat.insert(path.to_owned(), leaf.clone());
        }
    }
}
