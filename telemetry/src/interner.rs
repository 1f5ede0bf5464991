//! The sender's way into the dictionary: from a thing to its number.

use std::collections::HashMap;
use std::sync::Arc;

use crate::decoder::Malformed;
use crate::dictionary::Dictionary;
use crate::sample::{Frame, Mapping, ThreadInfo};
use crate::stacks::{Place, SYMBOL};

/// The dictionary and where each entry is. What it refuses has no room: the stream must start again with a keyframe.
#[derive(Debug)]
pub(crate) struct Interner {
    pub(crate) dictionary: Dictionary,
    strings: HashMap<Arc<str>, u32>,
    mappings: HashMap<Arc<Mapping>, u32>,
    threads: HashMap<ThreadInfo, u32>,
}

impl Interner {
    pub(crate) fn new() -> Self {
        Self {
            dictionary: Dictionary::of_sender(),
            strings: HashMap::new(),
            mappings: HashMap::new(),
            threads: HashMap::new(),
        }
    }

    pub(crate) fn string(&mut self, text: &Arc<str>) -> Result<u32, Malformed> {
        if let Some(id) = self.strings.get(text) {
            return Ok(*id);
        }
        let id = self.dictionary.add_string(Arc::clone(text))?;
        self.strings.insert(Arc::clone(text), id);
        Ok(id)
    }

    /// The number of a string that is in the dictionary because an entry names it.
    pub(crate) fn known_string(&self, text: &str) -> u32 {
        self.strings.get(text).copied().unwrap_or_default()
    }

    pub(crate) fn thread(&mut self, thread: &ThreadInfo) -> Result<u32, Malformed> {
        if let Some(id) = self.threads.get(thread) {
            return Ok(*id);
        }
        self.string(&thread.name)?;
        let id = self.dictionary.add_thread(thread.clone())?;
        self.threads.insert(thread.clone(), id);
        Ok(id)
    }

    /// Where a frame is, if its names are known.
    pub(crate) fn known_place(&self, frame: &Frame) -> Option<Place> {
        Some(match frame {
            Frame::Address { mapping, offset } => {
                Place { kind: self.mappings.get(mapping)? + SYMBOL + 1, value: *offset }
            }
            Frame::Symbol(name) => Place { kind: SYMBOL, value: (*self.strings.get(name)?).into() },
        })
    }

    /// Where a frame is; its names are known from now on.
    pub(crate) fn place(&mut self, frame: &Frame) -> Result<Place, Malformed> {
        Ok(match frame {
            Frame::Address { mapping, offset } => {
                Place { kind: self.mapping(mapping)? + SYMBOL + 1, value: *offset }
            }
            Frame::Symbol(name) => Place { kind: SYMBOL, value: self.string(name)?.into() },
        })
    }

    fn mapping(&mut self, mapping: &Arc<Mapping>) -> Result<u32, Malformed> {
        if let Some(id) = self.mappings.get(mapping) {
            return Ok(*id);
        }
        self.string(&mapping.path)?;
        let id = self.dictionary.add_mapping(Arc::clone(mapping))?;
        self.mappings.insert(Arc::clone(mapping), id);
        Ok(id)
    }
}
