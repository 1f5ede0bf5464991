//! A stream's dictionary: what earlier blocks said. Sender and receiver hold the same one and change it by the same
//! steps, so what one end predicts the other predicts too.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decoder::Malformed;
use crate::limits::{MAX_MAPPINGS, MAX_STRING_BYTES, MAX_STRINGS, MAX_THREADS};
use crate::sample::{Frame, Mapping, ThreadInfo};
use crate::stacks::{Bounds, Place, SYMBOL, Stacks};
use crate::window::Stack;

/// Last value of a metric and its last difference.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Trend {
    pub(crate) value: i64,
    pub(crate) delta: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    pub(crate) strings: Vec<Arc<str>>,
    string_bytes: usize,
    pub(crate) mappings: Vec<Arc<Mapping>>,
    pub(crate) threads: Vec<ThreadInfo>,
    pub(crate) stacks: Stacks,
    /// End of the window before in milliseconds since 1970.
    pub(crate) end_unix_ms: u64,
    pub(crate) trends: HashMap<u32, Trend>,
}

/// How long the tables were: where the new entries begin, and where to return to when a block turns out to be bad.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) strings: usize,
    string_bytes: usize,
    pub(crate) mappings: usize,
    pub(crate) threads: usize,
}

impl Dictionary {
    /// What a sender begins with.
    pub(crate) fn of_sender() -> Self {
        Self { stacks: Stacks::of_sender(), ..Self::default() }
    }

    /// The state at a block's start.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            strings: self.strings.len(),
            string_bytes: self.string_bytes,
            mappings: self.mappings.len(),
            threads: self.threads.len(),
        }
    }

    /// Returns to the last mark.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.strings.truncate(mark.strings);
        self.string_bytes = mark.string_bytes;
        self.mappings.truncate(mark.mappings);
        self.threads.truncate(mark.threads);
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { strings: self.strings.len(), mappings: self.mappings.len(), threads: self.threads.len() }
    }

    pub(crate) fn add_string(&mut self, text: Arc<str>) -> Result<u32, Malformed> {
        let bytes = self.string_bytes + text.len();
        at_most("bytes of strings", bytes, MAX_STRING_BYTES)?;
        let id = add(&mut self.strings, text, "strings", MAX_STRINGS)?;
        self.string_bytes = bytes;
        Ok(id)
    }

    pub(crate) fn add_mapping(&mut self, mapping: Arc<Mapping>) -> Result<u32, Malformed> {
        add(&mut self.mappings, mapping, "mappings", MAX_MAPPINGS)
    }

    pub(crate) fn add_thread(&mut self, thread: ThreadInfo) -> Result<u32, Malformed> {
        add(&mut self.threads, thread, "threads", MAX_THREADS)
    }

    /// The frames of a stack of `stacks`, innermost first.
    pub(crate) fn frames(&self, stacks: &Stacks, stack: u32) -> Result<Stack, Malformed> {
        stacks.places(stack)?.into_iter().map(|place| self.frame(place)).collect()
    }

    fn frame(&self, place: Place) -> Result<Frame, Malformed> {
        match place.kind.checked_sub(SYMBOL + 1) {
            Some(mapping) => Ok(Frame::Address {
                mapping: Arc::clone(entry(&self.mappings, mapping, "mapping")?),
                offset: place.value,
            }),
            None => {
                // A symbol's string is one of the table.
                let string = u32::try_from(place.value).unwrap_or(u32::MAX);
                Ok(Frame::Symbol(Arc::clone(entry(&self.strings, string, "string")?)))
            }
        }
    }
}

pub(crate) fn add<T>(
    entries: &mut Vec<T>,
    new: T,
    field: &'static str,
    limit: usize,
) -> Result<u32, Malformed> {
    let id = entries.len();
    at_most(field, id + 1, limit)?;
    entries.push(new);
    // All limits are far below 2^32.
    Ok(u32::try_from(id).unwrap_or(u32::MAX))
}

pub(crate) fn at_most(field: &'static str, value: usize, limit: usize) -> Result<(), Malformed> {
    if value > limit {
        return Err(Malformed::TooLarge { field, value: value as u64, limit: limit as u64 });
    }
    Ok(())
}

pub(crate) fn entry<'a, T>(entries: &'a [T], id: u32, field: &'static str) -> Result<&'a T, Malformed> {
    entries.get(id as usize).ok_or_else(|| Malformed::Index {
        field,
        value: u64::from(id),
        len: entries.len(),
    })
}
