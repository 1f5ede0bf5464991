//! pprof's `profile.proto`, compressed with gzip: what `go tool pprof` and most profile viewers read.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use telemetry::Mapping;

use super::profile::{Function, Place, Profile, Source, class};
use super::protobuf::{Message, Strings};

// Fields of `Profile`.
const SAMPLE_TYPE: u32 = 1;
const SAMPLE: u32 = 2;
const MAPPING: u32 = 3;
const LOCATION: u32 = 4;
const FUNCTION: u32 = 5;
const STRING: u32 = 6;
const TIME_NANOS: u32 = 9;
const DURATION_NANOS: u32 = 10;
const COMMENT: u32 = 13;
const DEFAULT_SAMPLE_TYPE: u32 = 14;

/// One profile as the bytes of a `.pb.gz` file. Values: samples, and what they stand for. Labels: thread, thread id,
/// process id, scheduling class.
pub fn pprof(profile: &Profile, source: &Source<'_>) -> Vec<u8> {
    let mut tables = Tables::new();
    let mut out = Message::default();
    let value = super::slug(profile.dimension);
    for (kind, unit) in [("samples", "count"), (value, profile.unit())] {
        let (kind, unit) = (tables.strings.number(kind), tables.strings.number(unit));
        out.message(SAMPLE_TYPE, |it| {
            it.uint(1, kind).uint(2, unit);
        });
    }
    let locations: Vec<u64> = profile.places.iter().map(|it| tables.location(it)).collect();
    for entry in &profile.entries {
        let ids = entry.places.iter().filter_map(|it| locations.get(*it)).copied();
        let thread = &entry.thread;
        let texts = [("thread", thread.name.to_string()), ("scheduling", class(thread))]
            .map(|(key, text)| (tables.strings.number(key), tables.strings.number(&text)));
        let numbers = [("tid", thread.tid), ("pid", thread.pid)]
            .map(|(key, number)| (tables.strings.number(key), u64::from(number)));
        out.message(SAMPLE, |it| {
            it.packed(1, ids).packed(2, [entry.count, signed(entry.value)]);
            for (key, text) in texts {
                it.message(3, |it| {
                    it.uint(1, key).uint(2, text);
                });
            }
            for (key, number) in numbers {
                it.message(3, |it| {
                    it.uint(1, key).uint(3, number);
                });
            }
        });
    }
    let comment =
        format!("vehicle {}, {}, boot {:016x}, block {}", source.vin, source.stream, source.boot, source.seq);
    let comment = tables.strings.number(&comment);
    let default = tables.strings.number(value);
    tables.put(&mut out);
    out.uint(TIME_NANOS, signed(profile.start_unix_ms.saturating_mul(1_000_000)))
        .uint(DURATION_NANOS, u64::from(profile.duration_ms) * 1_000_000)
        .packed(COMMENT, [comment])
        .uint(DEFAULT_SAMPLE_TYPE, default);
    gzip(&out.into_bytes())
}

/// What pprof's signed numbers can hold.
fn signed(value: u64) -> u64 {
    value.min(i64::MAX.cast_unsigned())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// A location: the position of its mapping, its place, its functions and their lines.
type Location<'a> = (Option<usize>, &'a Place, Vec<(u64, u32)>);

/// Mappings, locations and functions; all are numbered from 1.
struct Tables<'a> {
    strings: Strings,
    mappings: Vec<(&'a Mapping, u64)>,
    locations: Vec<Location<'a>>,
    functions: HashMap<(u64, u64), u64>,
    function_order: Vec<(u64, u64)>,
}

impl<'a> Tables<'a> {
    fn new() -> Self {
        Self {
            strings: Strings::new(),
            mappings: Vec::new(),
            locations: Vec::new(),
            functions: HashMap::new(),
            function_order: Vec::new(),
        }
    }

    fn location(&mut self, place: &'a Place) -> u64 {
        let mapping = place.mapping.as_deref().map(|mapping| {
            let at = self.mappings.iter().position(|(it, _)| *it == mapping).unwrap_or_else(|| {
                self.mappings.push((mapping, 0));
                self.mappings.len() - 1
            });
            if let Some((_, limit)) = self.mappings.get_mut(at) {
                *limit = (*limit).max(place.offset.saturating_add(1));
            }
            at
        });
        let lines = place.functions.iter().map(|it| (self.function(it), it.line)).collect();
        self.locations.push((mapping, place, lines));
        self.locations.len() as u64
    }

    fn function(&mut self, function: &Function) -> u64 {
        let key = (self.strings.number(&function.name), self.strings.number(&function.file));
        *self.functions.entry(key).or_insert_with(|| {
            self.function_order.push(key);
            self.function_order.len() as u64
        })
    }

    fn put(mut self, out: &mut Message) {
        for (id, (mapping, limit)) in (1..).zip(&self.mappings) {
            let path = self.strings.number(&mapping.path);
            let build_id = self.strings.number(&hex(mapping.build_id.as_bytes()));
            let of_mapping = |it: &&Location<'_>| it.0.is_some_and(|it| it as u64 + 1 == id);
            let has_functions = self.locations.iter().filter(of_mapping).any(|it| !it.2.is_empty());
            out.message(MAPPING, |it| {
                // Addresses are offsets in the file: as if it were mapped from its first byte to address 0.
                it.uint(1, id).uint(3, *limit).uint(5, path).uint(6, build_id).uint(7, has_functions.into());
            });
        }
        for (id, (mapping, place, lines)) in (1..).zip(&self.locations) {
            out.message(LOCATION, |it| {
                it.uint(1, id).uint(2, mapping.map_or(0, |it| it as u64 + 1)).uint(3, place.offset);
                for (function, line) in lines {
                    it.message(4, |it| {
                        it.uint(1, *function).uint(2, u64::from(*line));
                    });
                }
            });
        }
        for (id, (name, file)) in (1..).zip(&self.function_order) {
            out.message(FUNCTION, |it| {
                it.uint(1, id).uint(2, *name).uint(3, *name).uint(4, *file);
            });
        }
        for text in self.strings.texts() {
            out.bytes(STRING, text.as_bytes());
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}
