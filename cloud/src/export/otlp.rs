//! OpenTelemetry profiles (`opentelemetry.proto.profiles.v1development`, as of opentelemetry-proto 1.9 to 1.10). The
//! form is not stable yet: all that knows it is in this file.

use std::collections::HashMap;

use telemetry::Mapping;

use super::pprof::hex;
use super::profile::{Profile, Source, class};
use super::protobuf::{Message, Strings};

/// What one `ProfilesDictionary` holds. Number 0 of each table is its zero value.
struct Dictionary {
    strings: Strings,
    mappings: Table<Mapping>,
    locations: Vec<Message>,
    functions: Table<(u64, u64)>,
    attributes: Table<(String, Value)>,
    stacks: Table<Vec<u64>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Value {
    Text(String),
    Number(u64),
}

struct Table<T>(HashMap<T, u64>, Vec<T>);

impl<T: Clone + Eq + std::hash::Hash> Table<T> {
    fn new() -> Self {
        Self(HashMap::new(), Vec::new())
    }

    /// The number of an entry, from 1.
    fn number(&mut self, entry: T) -> u64 {
        let next = self.1.len() as u64 + 1;
        match self.0.get(&entry) {
            Some(number) => *number,
            None => {
                self.0.insert(entry.clone(), next);
                self.1.push(entry);
                next
            }
        }
    }
}

/// All profiles of one window as the bytes of one `ProfilesData` (which are those of an `ExportProfilesServiceRequest`
/// too).
pub fn otlp(profiles: &[Profile], source: &Source<'_>) -> Vec<u8> {
    let mut dictionary = Dictionary {
        strings: Strings::new(),
        mappings: Table::new(),
        locations: Vec::new(),
        functions: Table::new(),
        attributes: Table::new(),
        stacks: Table::new(),
    };
    let mut scope = Message::default();
    scope.message(1, |it| {
        it.bytes(1, b"gatewayd");
    });
    for profile in profiles {
        let message = dictionary.profile(profile, source);
        scope.bytes(2, &message.into_bytes());
    }
    let mut data = Message::default();
    data.message(1, |resource_profiles| {
        resource_profiles.message(1, |resource| {
            attribute(resource, 1, "service.name", &Value::Text("gatewayd".to_owned()));
            attribute(resource, 1, "vehicle.vin", &Value::Text(source.vin.to_owned()));
            attribute(resource, 1, "gatewayd.stream", &Value::Text(source.stream.to_owned()));
        });
        resource_profiles.bytes(2, &scope.into_bytes());
    });
    data.bytes(2, &dictionary.finish().into_bytes());
    data.into_bytes()
}

impl Dictionary {
    fn profile(&mut self, profile: &Profile, source: &Source<'_>) -> Message {
        let first_location = self.locations.len() as u64 + 1;
        for place in &profile.places {
            let mut location = Message::default();
            if let Some(mapping) = &place.mapping {
                location.uint(1, self.mappings.number(Mapping::clone(mapping)));
            }
            location.uint(2, place.offset);
            for function in place.functions.iter() {
                let key = (self.strings.number(&function.name), self.strings.number(&function.file));
                let number = self.functions.number(key);
                location.message(3, |it| {
                    it.uint(1, number).uint(2, u64::from(function.line));
                });
            }
            self.locations.push(location);
        }
        let mut out = Message::default();
        let kind = self.strings.number(super::slug(profile.dimension));
        let unit = self.strings.number(profile.unit());
        out.message(1, |it| {
            it.uint(1, kind).uint(2, unit);
        });
        for entry in &profile.entries {
            let stack = entry.places.iter().map(|it| first_location + *it as u64).collect();
            let stack = self.stacks.number(stack);
            let thread = &entry.thread;
            let attributes = [
                ("thread.name", Value::Text(thread.name.to_string())),
                ("thread.id", Value::Number(u64::from(thread.tid))),
                ("process.pid", Value::Number(u64::from(thread.pid))),
                ("gatewayd.scheduling", Value::Text(class(thread))),
                ("gatewayd.samples", Value::Number(entry.count)),
            ];
            let attributes = attributes.map(|(key, value)| self.attributes.number((key.to_owned(), value)));
            let start = profile.start_unix_ms;
            out.message(2, |it| {
                it.uint(1, stack)
                    .packed(2, attributes)
                    .packed(4, [entry.value.min(i64::MAX.cast_unsigned())]);
                if let Some(at) = entry.at_ms {
                    let at = start.saturating_add(u64::from(at)).saturating_mul(1_000_000);
                    it.bytes(5, &at.to_le_bytes());
                }
            });
        }
        out.fixed64(3, profile.start_unix_ms.saturating_mul(1_000_000))
            .uint(4, u64::from(profile.duration_ms) * 1_000_000)
            .bytes(7, &id(profile, source));
        out
    }

    fn finish(mut self) -> Message {
        let mut out = Message::default();
        let zero = |it: &mut Message, table| {
            it.bytes(table, &[]);
        };
        zero(&mut out, 1);
        for mapping in std::mem::take(&mut self.mappings.1) {
            let path = self.strings.number(&mapping.path);
            let build_id = hex(mapping.build_id.as_bytes());
            let key = "process.executable.build_id.gnu".to_owned();
            let attribute = self.attributes.number((key, Value::Text(build_id)));
            out.message(1, |it| {
                it.uint(4, path).packed(5, [attribute]);
            });
        }
        zero(&mut out, 2);
        for location in self.locations {
            out.bytes(2, &location.into_bytes());
        }
        zero(&mut out, 3);
        for (name, file) in &self.functions.1 {
            out.message(3, |it| {
                it.uint(1, *name).uint(2, *name).uint(3, *file);
            });
        }
        zero(&mut out, 4);
        zero(&mut out, 6);
        for (key, value) in &self.attributes.1 {
            let key = self.strings.number(key);
            out.message(6, |it| {
                it.uint(1, key).message(2, |it| any_value(it, value));
            });
        }
        zero(&mut out, 7);
        for stack in &self.stacks.1 {
            out.message(7, |it| {
                it.packed(1, stack.iter().copied());
            });
        }
        for text in self.strings.texts() {
            out.bytes(5, text.as_bytes());
        }
        out
    }
}

/// The same for the same window and dimension, however often it is exported.
fn id(profile: &Profile, source: &Source<'_>) -> [u8; 16] {
    let tail = source.seq << 3 | profile.dimension as u64;
    let mut id = [0; 16];
    for (byte, value) in id.iter_mut().zip(source.boot.to_be_bytes().into_iter().chain(tail.to_be_bytes())) {
        *byte = value;
    }
    id
}

fn attribute(out: &mut Message, field: u32, key: &str, value: &Value) {
    out.message(field, |it| {
        it.bytes(1, key.as_bytes()).message(2, |it| any_value(it, value));
    });
}

fn any_value(out: &mut Message, value: &Value) {
    match value {
        Value::Text(text) => out.bytes(1, text.as_bytes()),
        // In a choice of fields 0 is said too.
        Value::Number(0) => out.zero(3),
        Value::Number(number) => out.uint(3, *number),
    };
}
