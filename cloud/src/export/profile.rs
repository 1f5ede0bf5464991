//! The samples of one window in one dimension, with names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use telemetry::{Dimension, Frame, Mapping, SchedulingClass, ThreadInfo, WeightUnit, Window};

use super::symbols::Symbols;

/// Where a window came from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The vehicle.
    pub vin: &'a str,
    /// The stream's levels, such as `profile` or `ecu/brake-01`.
    pub stream: &'a str,
    /// The sender's life.
    pub boot: u64,
    /// The block's number.
    pub seq: u64,
}

/// A function by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its name, demangled.
    pub name: Arc<str>,
    /// Source file; empty when unknown.
    pub file: Arc<str>,
    /// Line in it, from 1; 0 when unknown.
    pub line: u32,
}

/// A place in a program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The functions there, what was inlined first; empty when unknown.
    pub functions: Arc<[Function]>,
    /// The file; none for a place that the vehicle itself named.
    pub mapping: Option<Arc<Mapping>>,
    /// Offset in the file in bytes.
    pub offset: u64,
}

/// Samples of one thread on one stack.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The thread.
    pub thread: ThreadInfo,
    /// Numbers of the places, innermost first.
    pub places: Vec<usize>,
    /// How many samples.
    pub count: u64,
    /// What they stand for, in the dimension's unit.
    pub value: u64,
    /// Milliseconds since the window's start; none in an aggregated window.
    pub at_ms: Option<u32>,
}

/// The samples of one window in one dimension.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What is measured.
    pub dimension: Dimension,
    /// Start of the window in milliseconds since 1970-01-01 UTC, by the vehicle's clock.
    pub start_unix_ms: u64,
    /// Its duration in milliseconds.
    pub duration_ms: u32,
    /// The places that [`Entry::places`] numbers.
    pub places: Vec<Place>,
    /// The samples.
    pub entries: Vec<Entry>,
}

/// The dimension's name in file names, labels and addresses of the page.
pub const fn slug(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Cpu => "cpu",
        Dimension::Heap => "heap",
        Dimension::Pages => "pages",
        Dimension::Blocked => "blocked",
        Dimension::RunQueue => "run-queue",
        Dimension::BlockIo => "block-io",
        Dimension::Lock => "lock",
    }
}

impl Profile {
    /// `nanoseconds` or `bytes`.
    pub fn unit(&self) -> &'static str {
        match self.dimension.unit() {
            WeightUnit::Nanoseconds => "nanoseconds",
            WeightUnit::Bytes => "bytes",
        }
    }

    /// Sum of all values.
    pub fn total(&self) -> u64 {
        self.entries.iter().fold(0, |sum, it| sum.saturating_add(it.value))
    }

    /// The places of an entry, innermost first.
    pub fn stack<'a>(&'a self, entry: &'a Entry) -> impl DoubleEndedIterator<Item = &'a Place> {
        entry.places.iter().filter_map(|it| self.places.get(*it))
    }
}

impl Place {
    /// The names to show, innermost first: of the functions, else file and offset.
    pub fn names(&self) -> Vec<String> {
        if !self.functions.is_empty() {
            return self.functions.iter().map(|it| it.name.to_string()).collect();
        }
        let file = self.mapping.as_ref().map_or("[unknown]", |it| it.path.as_ref());
        let file = file.rsplit('/').next().unwrap_or_default();
        vec![format!("{file}+{:#x}", self.offset)]
    }
}

/// Takes a window apart by dimension; dimensions without a sample do not appear.
pub fn profiles(window: &Window, symbols: &mut Symbols) -> Vec<Profile> {
    let mut by_dimension: BTreeMap<Dimension, (Profile, HashMap<Frame, usize>)> = BTreeMap::new();
    for sample in window.samples() {
        let (Some(thread), Some(stack)) = (window.thread_of(sample), window.stack_of(sample)) else {
            continue;
        };
        let (dimension, frames) = Dimension::of(stack);
        let (profile, numbers) = by_dimension.entry(dimension).or_insert_with(|| {
            let (start_unix_ms, duration_ms) = (window.start_unix_ms(), window.duration_ms());
            let profile =
                Profile { dimension, start_unix_ms, duration_ms, places: Vec::new(), entries: Vec::new() };
            (profile, HashMap::new())
        });
        let places = frames.iter().map(|frame| match numbers.get(frame) {
            Some(number) => *number,
            None => {
                let number = profile.places.len();
                profile.places.push(place(frame, symbols));
                numbers.insert(frame.clone(), number);
                number
            }
        });
        let entry = Entry {
            thread: thread.clone(),
            places: places.collect(),
            count: u64::from(sample.count),
            value: sample.weight_ns,
            at_ms: (!window.is_aggregated()).then_some(sample.at_ms),
        };
        profile.entries.push(entry);
    }
    by_dimension.into_values().map(|(profile, _)| profile).collect()
}

fn place(frame: &Frame, symbols: &mut Symbols) -> Place {
    match frame {
        Frame::Symbol(name) => {
            let function = Function { name: name.clone(), file: "".into(), line: 0 };
            Place { functions: [function].into(), mapping: None, offset: 0 }
        }
        Frame::Address { mapping, offset } => Place {
            functions: symbols.resolve(mapping, *offset),
            mapping: Some(mapping.clone()),
            offset: *offset,
        },
    }
}

/// How a thread is scheduled, as a label.
pub(super) fn class(thread: &ThreadInfo) -> String {
    match thread.class {
        SchedulingClass::Normal => "normal".to_owned(),
        SchedulingClass::Realtime(100) => "deadline".to_owned(),
        SchedulingClass::Realtime(priority) => format!("realtime {priority}"),
    }
}
