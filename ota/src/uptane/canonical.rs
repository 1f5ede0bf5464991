//! Canonical JSON (the OLPC form that TUF signs), and a parser that refuses what two readers could read differently.
//!
//! In canonical form keys are sorted by code point, nothing is between tokens, strings escape `"` and `\` only, and
//! numbers are integers. Control characters stand raw in it, so it is a form to sign rather than to store: files use
//! [`to_file`], which is the same but for control characters, and therefore valid JSON.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What a parser may spend on one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Longest document, in bytes.
    pub max_len: usize,
    /// Deepest nesting of arrays and objects, at most 100.
    pub max_depth: usize,
    /// Most values (strings, numbers, arrays, objects...) in one document.
    pub max_values: usize,
}

impl Bounds {
    /// Bounds for a metadata file of at most `max_len` bytes.
    pub const fn metadata(max_len: usize) -> Self {
        Self { max_len, max_depth: 16, max_values: 200_000 }
    }
}

/// Why bytes are not a document. The sender is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Longer than its bound.
    #[error("{found} bytes where at most {max} are allowed")]
    TooLong {
        /// The bound.
        max: usize,
        /// Length of the document.
        found: usize,
    },
    /// Not JSON, or JSON with a duplicate key, a number that is no 64-bit integer, or beyond the bounds.
    #[error("not acceptable as JSON")]
    Json(#[source] serde_json::Error),
}

/// A value that has no canonical form: it holds a number that is not an integer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has no canonical form: numbers must be integers")]
pub struct NotCanonical(pub String);

/// Parses one document. Numbers are 64-bit integers, keys are unique, and nothing follows the value.
pub fn parse(bytes: &[u8], bounds: Bounds) -> Result<Value, ParseError> {
    if bytes.len() > bounds.max_len {
        return Err(ParseError::TooLong { max: bounds.max_len, found: bytes.len() });
    }
    let values_left = Cell::new(bounds.max_values);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = ValueSeed { depth_left: bounds.max_depth, values_left: &values_left }
        .deserialize(&mut deserializer)
        .map_err(ParseError::Json)?;
    deserializer.end().map_err(ParseError::Json)?;
    Ok(value)
}

/// The bytes that are signed and hashed.
pub fn to_canonical(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::new();
    write_value(&mut out, value, ControlCharacters::Raw)?;
    Ok(out)
}

/// The bytes of a metadata file: as [`to_canonical`], with control characters escaped.
pub fn to_file(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::new();
    write_value(&mut out, value, ControlCharacters::Escaped)?;
    Ok(out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ControlCharacters {
    Raw,
    Escaped,
}

fn write_value(out: &mut Vec<u8>, value: &Value, control: ControlCharacters) -> Result<(), NotCanonical> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_f64() => return Err(NotCanonical(number.to_string())),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(out, text, control),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item, control)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            // Sorted here, because another crate of the build may have switched the map to insertion order.
            // UTF-8 sorts by bytes as it does by code point.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_bytes());
            out.push(b'{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(out, key, control);
                out.push(b':');
                write_value(out, item, control)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(out: &mut Vec<u8>, text: &str, control: ControlCharacters) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 if control == ControlCharacters::Escaped => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

struct ValueSeed<'a> {
    depth_left: usize,
    values_left: &'a Cell<usize>,
}

impl ValueSeed<'_> {
    fn inner<E: de::Error>(&self) -> Result<Self, E> {
        let depth_left =
            self.depth_left.checked_sub(1).ok_or_else(|| E::custom("arrays and objects nest too deep"))?;
        Ok(Self { depth_left, values_left: self.values_left })
    }

    const fn again(&self) -> Self {
        Self { depth_left: self.depth_left, values_left: self.values_left }
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left =
            self.values_left.get().checked_sub(1).ok_or_else(|| de::Error::custom("too many values"))?;
        self.values_left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a 64-bit integer, a string, an array or an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(Number::from(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner.again())? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!("key {key:?} stands there twice")));
            }
            let value = entries.next_value_seed(inner.again())?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { max_len: 4096, max_depth: 3, max_values: 8 };

    fn refusal(text: &str) -> String {
        match parse(text.as_bytes(), BOUNDS).unwrap_err() {
            ParseError::Json(source) => source.to_string(),
            error @ ParseError::TooLong { .. } => error.to_string(),
        }
    }

    #[test]
    fn keys_are_sorted_and_only_quote_and_backslash_escaped() {
        let value = parse(
            br#" { "b" : [ 1, -2, true, null ], "\u00e9\n" : "a\"\\\/\t" , "B":{} } "#,
            Bounds::metadata(99),
        )
        .unwrap();
        assert_eq!(
            to_canonical(&value).unwrap(),
            "{\"B\":{},\"b\":[1,-2,true,null],\"\u{e9}\n\":\"a\\\"\\\\/\t\"}".as_bytes()
        );
        assert_eq!(
            to_file(&value).unwrap(),
            "{\"B\":{},\"b\":[1,-2,true,null],\"\u{e9}\\u000a\":\"a\\\"\\\\/\\u0009\"}".as_bytes()
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        assert!(refusal(r#"{"a":1,"\u0061":2}"#).contains("twice"));
        for number in ["1.0", "1e3", "-0", "18446744073709551616", "01"] {
            assert!(parse(number.as_bytes(), BOUNDS).is_err(), "{number}");
        }
        for text in ["", "{} {}", "\"\\ud800\"", "\"\n\"", "[1,]", "nul"] {
            assert!(parse(text.as_bytes(), BOUNDS).is_err(), "{text:?}");
        }
        assert!(parse(&[b'"', 0xff, b'"'], BOUNDS).is_err());
    }

    #[test]
    fn bounds_hold_at_their_last_value() {
        assert!(parse(b"[[[]]]", BOUNDS).is_ok());
        assert!(refusal("[[[[]]]]").contains("too deep"));
        assert!(parse(b"[1,2,3,4,5,6,7]", BOUNDS).is_ok());
        assert!(refusal("[1,2,3,4,5,6,7,8]").contains("too many"));
        assert!(parse(&[b' '; 4096], BOUNDS).is_err_and(|error| matches!(error, ParseError::Json(_))));
        assert!(
            parse(&[b' '; 4097], BOUNDS)
                .is_err_and(|error| matches!(error, ParseError::TooLong { max: 4096, found: 4097 }))
        );
    }

    #[test]
    fn a_float_has_no_canonical_form() {
        assert_eq!(to_canonical(&serde_json::json!({ "a": [1.5] })), Err(NotCanonical("1.5".to_owned())));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_written_file_reads_back_as_the_same_value(value in any_value()) {
            let file = to_file(&value).unwrap();
            let again = parse(&file, Bounds::metadata(1 << 20)).unwrap();
            prop_assert_eq!(to_canonical(&again).unwrap(), to_canonical(&value).unwrap());
            prop_assert_eq!(to_file(&again).unwrap(), file);
            prop_assert_eq!(again, value);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse(&bytes, BOUNDS);
        }
    }
}
