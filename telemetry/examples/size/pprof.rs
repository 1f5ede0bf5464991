//! The peer: one window as pprof writes it, a gzipped `Profile` message (`profile.proto` of google/pprof).

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use telemetry::{Frame, Window};

/// A window as `count` and `cpu` in nanoseconds per stack and thread, with the thread as a label; gzip level 6.
pub(crate) fn gzipped(window: &Window) -> std::io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
    gzip.write_all(&profile(window))?;
    gzip.finish()
}

#[derive(Default)]
struct Strings(Numbers<String>);

impl Strings {
    fn id(&mut self, text: &str) -> u64 {
        self.0.number(text.to_owned())
    }
}

/// Numbers things in order of first use, from 0.
struct Numbers<T>(HashMap<T, u64>, Vec<T>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(HashMap::new(), Vec::new())
    }
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    fn number(&mut self, thing: T) -> u64 {
        let next = self.1.len() as u64;
        *self.0.entry(thing).or_insert_with_key(|thing| {
            self.1.push(thing.clone());
            next
        })
    }
}

fn profile(window: &Window) -> Vec<u8> {
    let mut out = Vec::new();
    let mut strings = Strings::default();
    strings.id("");
    for (kind, unit) in [("samples", "count"), ("cpu", "nanoseconds")] {
        let value_type = message(&[(1, strings.id(kind)), (2, strings.id(unit))]);
        bytes_field(&mut out, 1, &value_type);
    }
    let thread_key = strings.id("thread");
    let mut locations = Numbers::default();
    let aggregated = window.clone().aggregate();
    for sample in aggregated.samples() {
        let frames = aggregated.stack_of(sample).into_iter().flat_map(|stack| stack.iter());
        let ids: Vec<_> = frames.map(|frame| locations.number(frame.clone()) + 1).collect();
        let name = aggregated.thread_of(sample).map_or("", |thread| &thread.name);
        let mut one = Vec::new();
        bytes_field(&mut one, 1, &packed(&ids));
        bytes_field(&mut one, 2, &packed(&[u64::from(sample.count), sample.weight_ns]));
        bytes_field(&mut one, 3, &message(&[(1, thread_key), (2, strings.id(name))]));
        bytes_field(&mut out, 2, &one);
    }
    let (mut mappings, mut functions) = (Numbers::default(), Numbers::default());
    for (id, frame) in (1..).zip(&locations.1) {
        let mut location = message(&[(1, id)]);
        match frame {
            Frame::Address { mapping, offset } => {
                varint_field(&mut location, 2, mappings.number(mapping.clone()) + 1);
                varint_field(&mut location, 3, *offset);
            }
            Frame::Symbol(name) => {
                let line = message(&[(1, functions.number(name.clone()) + 1)]);
                bytes_field(&mut location, 4, &line);
            }
        }
        bytes_field(&mut out, 4, &location);
    }
    for (id, mapping) in (1..).zip(&mappings.1) {
        let build_id: String = mapping.build_id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let fields = [(1, id), (5, strings.id(&mapping.path)), (6, strings.id(&build_id))];
        bytes_field(&mut out, 3, &message(&fields));
    }
    for (id, name) in (1..).zip(&functions.1) {
        bytes_field(&mut out, 5, &message(&[(1, id), (2, strings.id(name))]));
    }
    for text in &strings.0.1 {
        bytes_field(&mut out, 6, text.as_bytes());
    }
    varint_field(&mut out, 9, window.start_unix_ms() * 1_000_000);
    varint_field(&mut out, 10, u64::from(window.duration_ms()) * 1_000_000);
    out
}

fn message(fields: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (field, value) in fields {
        varint_field(&mut out, *field, *value);
    }
    out
}

fn varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    out.extend(packed(&[field << 3, value]));
}

fn bytes_field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    out.extend(packed(&[field << 3 | 2, bytes.len() as u64]));
    out.extend_from_slice(bytes);
}

fn packed(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        let mut value = *value;
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
    }
    out
}
