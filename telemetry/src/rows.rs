//! How a block tells its samples: rows of cells, and, if the window is timed, which row each sample belongs to.

use std::collections::HashMap;

use crate::decoder::Malformed;
use crate::dictionary::{Dictionary, at_most, entry};
use crate::interner::Interner;
use crate::limits::{MAX_WINDOW_FRAMES, MAX_WINDOW_SAMPLES, MAX_WINDOW_THREADS};
use crate::sample::{Sample, StackIndex, ThreadIndex};
use crate::window::Window;
use crate::wire::{Reader, put_len, put_signed, put_varint};

pub(crate) const TIMED: u8 = 0;
pub(crate) const AGGREGATED: u8 = 1;

/// The rows of one window: each cell once, those with a rank first, in order of rank.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) cells: Vec<u32>,
    /// How many of them have a rank.
    ranked: usize,
    /// Row of each (thread, stack) of the window.
    row_of: HashMap<(u32, u32), u32>,
}

impl Rows {
    /// Brings a window's threads and stacks into the dictionary. New cells come thread by thread, and on a thread in
    /// the order of the stacks they branch off from: neighbours then differ little.
    pub(crate) fn intern(window: &Window, interner: &mut Interner) -> Result<Self, Malformed> {
        let known = interner.dictionary.ranked();
        let threads = window.threads.iter().map(|it| interner.thread(it)).collect::<Result<Vec<_>, _>>()?;
        let prefixes: Vec<_> = window.stacks.iter().map(|stack| interner.known_prefix(stack)).collect();
        let of = |ids: &[u32], index: u32| ids.get(index as usize).copied().unwrap_or_default();
        let mut pairs: Vec<_> = window
            .samples
            .iter()
            .map(|it| (of(&threads, it.thread.0), of(&prefixes, it.stack.0), it.stack.0, it.thread.0))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut cells = Vec::with_capacity(pairs.len());
        for (thread, _, stack, thread_index) in pairs {
            let Some(frames) = window.stacks.get(stack as usize) else { continue };
            let node = interner.stack(frames)?;
            cells.push((interner.cell(thread, node)?, (thread_index, stack)));
        }
        // New cells have the highest numbers, in order of creation; the others go by rank.
        cells.sort_by_key(|(cell, _)| match interner.dictionary.rank_of_cell(*cell) {
            Some(rank) => (false, rank),
            None => (true, *cell),
        });
        let ranked = cells.iter().filter(|(cell, _)| (*cell as usize) < known).count();
        let row_of = (0_u32..).zip(&cells).map(|(row, (_, key))| (*key, row)).collect();
        Ok(Self { cells: cells.into_iter().map(|(cell, _)| cell).collect(), ranked, row_of })
    }

    /// Writes the rows of known cells, and what happened in all rows.
    pub(crate) fn put(&self, out: &mut Vec<u8>, window: &Window, dictionary: &mut Dictionary) {
        put_len(out, self.ranked);
        let mut next = 0;
        for cell in self.cells.iter().take(self.ranked) {
            let rank = dictionary.rank_of_cell(*cell).unwrap_or_default();
            put_varint(out, u64::from(rank - next));
            next = rank + 1;
        }
        out.push(if window.aggregated { AGGREGATED } else { TIMED });
        let samples: Vec<_> = window.samples.iter().map(|sample| (self.row(sample), sample)).collect();
        if window.aggregated {
            self.put_aggregated(out, samples, dictionary);
        } else {
            self.put_timed(out, &samples, dictionary);
        }
    }

    fn put_aggregated(
        &self,
        out: &mut Vec<u8>,
        mut samples: Vec<(u32, &Sample)>,
        dictionary: &mut Dictionary,
    ) {
        // An aggregated window has one sample per row.
        samples.sort_unstable_by_key(|(row, _)| *row);
        for (_, sample) in &samples {
            put_varint(out, u64::from(sample.count) - 1);
        }
        let mut unit_before = 0;
        for (row, sample) in samples {
            let unit = predicted_unit(dictionary, self.cell(row), row as usize >= self.ranked, unit_before);
            let predicted = unit.wrapping_mul(u64::from(sample.count));
            put_signed(out, sample.weight_ns.wrapping_sub(predicted).cast_signed());
            unit_before = sample.weight_ns / u64::from(sample.count);
            set_unit(dictionary, self.cell(row), unit_before);
        }
    }

    fn put_timed(&self, out: &mut Vec<u8>, samples: &[(u32, &Sample)], dictionary: &mut Dictionary) {
        put_len(out, samples.len());
        let mut previous = 0;
        for (_, sample) in samples {
            put_varint(out, u64::from(sample.at_ms - previous));
            previous = sample.at_ms;
        }
        for (row, _) in samples {
            put_varint(out, u64::from(*row));
        }
        let mut unit_before = 0;
        for (row, sample) in samples {
            let unit = predicted_unit(dictionary, self.cell(*row), *row as usize >= self.ranked, unit_before);
            put_signed(out, sample.weight_ns.wrapping_sub(unit).cast_signed());
            unit_before = sample.weight_ns;
            set_unit(dictionary, self.cell(*row), unit_before);
        }
    }

    fn row(&self, sample: &Sample) -> u32 {
        self.row_of.get(&(sample.thread.0, sample.stack.0)).copied().unwrap_or_default()
    }

    fn cell(&self, row: u32) -> u32 {
        self.cells.get(row as usize).copied().unwrap_or_default()
    }
}

/// What a row's samples weigh each: for a known cell as its last sample, for a new one as the sample before.
fn predicted_unit(dictionary: &Dictionary, cell: u32, new: bool, before: u64) -> u64 {
    let own = dictionary.cells.get(cell as usize).map_or(0, |cell| cell.unit_ns);
    if new { before } else { own }
}

fn set_unit(dictionary: &mut Dictionary, cell: u32, unit_ns: u64) {
    if let Some(cell) = dictionary.cells.get_mut(cell as usize) {
        cell.unit_ns = unit_ns;
    }
}

/// What a receiver learned about the cells of a block, to be told to the dictionary when the whole block is good.
#[derive(Debug)]
pub(crate) struct Learned {
    cells: Vec<u32>,
    units: Vec<u64>,
}

impl Learned {
    pub(crate) fn settle(self, dictionary: &mut Dictionary) {
        for (cell, unit_ns) in self.cells.iter().zip(self.units) {
            set_unit(dictionary, *cell, unit_ns);
        }
        dictionary.settle(&self.cells);
    }
}

/// Reads what [`Rows::put`] wrote, into `window`. The dictionary has the block's additions already, from cell
/// `first_new` on.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    dictionary: &Dictionary,
    first_new: usize,
    window: &mut Window,
) -> Result<Learned, Malformed> {
    let mut cells = Vec::new();
    let mut next = 0_u64;
    let ranked = reader.count("known cells", MAX_WINDOW_SAMPLES)?;
    for _ in 0..ranked {
        let rank = next.saturating_add(reader.varint()?);
        let refused = Malformed::Index { field: "rank", value: rank, len: dictionary.ranked() };
        let cell = u32::try_from(rank).ok().and_then(|rank| dictionary.cell_of_rank(rank));
        cells.push(cell.ok_or(refused)?);
        next = rank + 1;
    }
    cells.extend((first_new..dictionary.cells.len()).filter_map(|id| u32::try_from(id).ok()));
    at_most("cells of a window", cells.len(), MAX_WINDOW_SAMPLES)?;
    let places = places(dictionary, &cells, window)?;
    // A new cell has no unit of its own yet.
    let own: Vec<_> = (cells.iter().take(ranked))
        .map(|cell| entry(&dictionary.cells, *cell, "cell").map(|cell| Some(cell.unit_ns)))
        .chain(std::iter::repeat_n(Ok(None), cells.len() - ranked))
        .collect::<Result<_, _>>()?;
    window.aggregated = reader.byte_up_to("kind of samples", AGGREGATED)? == AGGREGATED;
    let units = if window.aggregated {
        read_aggregated(reader, &places, &own, window)?
    } else {
        read_timed(reader, &places, &own, window)?
    };
    Ok(Learned { cells, units })
}

type Place = (ThreadIndex, StackIndex);

/// Spells the threads and stacks of the cells out.
fn places(dictionary: &Dictionary, cells: &[u32], window: &mut Window) -> Result<Vec<Place>, Malformed> {
    let (mut threads, mut stacks) = (HashMap::new(), HashMap::new());
    let mut frames = 0;
    let mut places = Vec::with_capacity(cells.len());
    for cell in cells {
        let cell = entry(&dictionary.cells, *cell, "cell")?;
        // Both numbers are within the limits, so far below 2^32.
        let next = u32::try_from(threads.len()).unwrap_or(u32::MAX);
        let thread = *threads.entry(cell.thread).or_insert(next);
        if thread == next {
            at_most("threads of a window", threads.len(), MAX_WINDOW_THREADS)?;
            window.threads.push(entry(&dictionary.threads, cell.thread, "thread")?.clone());
        }
        let next = u32::try_from(stacks.len()).unwrap_or(u32::MAX);
        let stack = *stacks.entry(cell.stack).or_insert(next);
        if stack == next {
            frames += dictionary.depth(cell.stack);
            at_most("frames of a window", frames, MAX_WINDOW_FRAMES)?;
            window.stacks.push(dictionary.stack(cell.stack)?);
        }
        places.push((ThreadIndex(thread), StackIndex(stack)));
    }
    Ok(places)
}

fn read_aggregated(
    reader: &mut Reader<'_>,
    places: &[Place],
    own: &[Option<u64>],
    window: &mut Window,
) -> Result<Vec<u64>, Malformed> {
    let mut counts = Vec::with_capacity(places.len());
    for _ in places {
        let value = reader.varint()?;
        let limit = u64::from(u32::MAX);
        let count = value.checked_add(1).and_then(|count| u32::try_from(count).ok());
        counts.push(count.ok_or(Malformed::TooLarge { field: "samples of a cell", value, limit })?);
    }
    let mut units = Vec::with_capacity(places.len());
    let mut before = 0_u64;
    for (((thread, stack), own), count) in places.iter().zip(own).zip(counts) {
        let predicted = own.unwrap_or(before).wrapping_mul(u64::from(count));
        let weight_ns = predicted.wrapping_add(reader.signed()?.cast_unsigned());
        before = weight_ns / u64::from(count);
        units.push(before);
        window.samples.push(Sample { at_ms: 0, thread: *thread, stack: *stack, count, weight_ns });
    }
    Ok(units)
}

fn read_timed(
    reader: &mut Reader<'_>,
    places: &[Place],
    own: &[Option<u64>],
    window: &mut Window,
) -> Result<Vec<u64>, Malformed> {
    let count = reader.count("samples", MAX_WINDOW_SAMPLES)?;
    let moments = reader.moments(count)?;
    let rows = (0..count).map(|_| reader.index("row", places.len())).collect::<Result<Vec<_>, _>>()?;
    let mut units: Vec<_> = own.iter().map(|unit| unit.unwrap_or_default()).collect();
    let mut before = 0_u64;
    for (at_ms, row) in moments.into_iter().zip(rows) {
        let (thread, stack) = *entry(places, row, "row")?;
        let predicted = if entry(own, row, "row")?.is_some() { *entry(&units, row, "row")? } else { before };
        let weight_ns = predicted.wrapping_add(reader.signed()?.cast_unsigned());
        before = weight_ns;
        if let Some(unit) = units.get_mut(row as usize) {
            *unit = weight_ns;
        }
        window.samples.push(Sample { at_ms, thread, stack, count: 1, weight_ns });
    }
    Ok(units)
}
