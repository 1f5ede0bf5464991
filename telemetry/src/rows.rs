//! How a block tells its samples: which cells, and what happened in them. A cell and what is told of it make a row.

use std::collections::{HashMap, HashSet};

use crate::contexts::{Tag, bit_len};
use crate::decoder::Malformed;
use crate::dictionary::{Dictionary, at_most, entry};
use crate::interner::Interner;
use crate::limits::{MAX_WINDOW_FRAMES, MAX_WINDOW_SAMPLES, MAX_WINDOW_THREADS};
use crate::ranges::{Coder, Receiver, Sender};
use crate::sample::{Sample, StackIndex, ThreadIndex};
use crate::stacks::{Bounds, Place, Stacks};
use crate::window::Window;
use crate::wire::{unzigzag, zigzag};

/// The rows of one window: each cell once, those that were named before first, in order of number.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    named: Vec<u32>,
    /// Threads and places (outermost first) of new cells, in the order in which they are told.
    new: Vec<(u32, Vec<Place>)>,
    /// Row of each (thread, stack) of the window.
    row_of: HashMap<(u32, u32), usize>,
}

impl Rows {
    /// Brings a window's names into the dictionary. New cells come thread by thread, and on a thread in the order of the
    /// stacks they branch off from: neighbours then share much of their way.
    pub(crate) fn intern(window: &Window, interner: &mut Interner) -> Result<Self, Malformed> {
        let threads = window.threads.iter().map(|it| interner.thread(it)).collect::<Result<Vec<_>, _>>()?;
        let stacks: Vec<_> = (window.stacks.iter())
            .map(|stack| {
                let places = stack.iter().rev().map(|frame| interner.known_place(frame));
                let (node, known) = interner.dictionary.stacks.known(places);
                (node, known == stack.len())
            })
            .collect();
        let (mut named, mut new) = (Vec::new(), Vec::new());
        for sample in &window.samples {
            let key = (sample.thread.0, sample.stack.0);
            let (Some(thread), Some((node, whole))) =
                (threads.get(key.0 as usize), stacks.get(key.1 as usize))
            else {
                continue;
            };
            match interner.dictionary.stacks.cell(*thread, *node).filter(|_| *whole) {
                Some(cell) => named.push((cell, key)),
                None => new.push((*thread, *node, key)),
            }
        }
        named.sort_unstable();
        named.dedup();
        new.sort_unstable();
        new.dedup();
        let keys = named.iter().map(|(_, key)| *key).chain(new.iter().map(|(.., key)| *key));
        let row_of = keys.zip(0..).collect();
        let places = |interner: &mut Interner, stack: u32| {
            let frames = window.stacks.get(stack as usize).into_iter().flat_map(|it| it.iter().rev());
            frames.map(|frame| interner.place(frame)).collect::<Result<Vec<_>, _>>()
        };
        let new = new.into_iter().map(|(thread, _, (_, stack))| Ok((thread, places(interner, stack)?)));
        let new = new.collect::<Result<_, Malformed>>()?;
        Ok(Self { named: named.into_iter().map(|(cell, _)| cell).collect(), new, row_of })
    }

    /// The bytes that tell the samples, none for a timed window where there are none.
    pub(crate) fn put(&self, window: &Window, dictionary: &mut Dictionary) -> Result<Vec<u8>, Malformed> {
        let bounds = dictionary.bounds();
        let stacks = &mut dictionary.stacks;
        if window.samples.is_empty() && !window.aggregated {
            stacks.settle(&[]);
            return Ok(Vec::new());
        }
        let mut sender = Sender::new();
        stacks.contexts.bit(&mut sender, Tag::Timed, 0, 0, !window.aggregated);
        let told = Told { named: &self.named, new: &self.new };
        let table = Table::code(&mut sender, stacks, bounds, &told)?;
        let row = |sample: &Sample| {
            self.row_of.get(&(sample.thread.0, sample.stack.0)).copied().unwrap_or_default()
        };
        let mut rows: Vec<_> = window.samples.iter().map(|sample| (row(sample), sample)).collect();
        if window.aggregated {
            // An aggregated window has one sample per row.
            rows.sort_unstable_by_key(|(row, _)| *row);
            let rows = rows.iter().map(|(_, sample)| (sample.count, sample.weight_ns));
            table.code_aggregated(&mut sender, stacks, rows.map(Some));
        } else {
            let told = rows.iter().map(|(row, sample)| (sample.at_ms, *row, sample.weight_ns));
            stacks.contexts.number(&mut sender, Tag::Samples, 0, rows.len() as u64);
            // A sender's own rows are rows, and its times are in order.
            table.code_timed(&mut sender, stacks, told.map(Some))?;
        }
        stacks.settle(&table.cells);
        Ok(sender.finish())
    }
}

/// Reads what [`Rows::put`] wrote, into `window`. The dictionary has the block's other additions already; `stacks` are
/// its own, to be changed.
pub(crate) fn read(
    bytes: &[u8],
    dictionary: &Dictionary,
    stacks: &mut Stacks,
    window: &mut Window,
) -> Result<(), Malformed> {
    if bytes.is_empty() {
        stacks.settle(&[]);
        return Ok(());
    }
    if bytes.len() > 1 && bytes.last() == Some(&0) {
        return Err(Malformed::LeftOver(1));
    }
    let mut receiver = Receiver::new(bytes);
    window.aggregated = !stacks.contexts.bit(&mut receiver, Tag::Timed, 0, 0, false);
    let table = Table::code(&mut receiver, stacks, dictionary.bounds(), &Told::default())?;
    let places = places(dictionary, stacks, &table.cells, window)?;
    if window.aggregated {
        let rows = table.code_aggregated(&mut receiver, stacks, std::iter::repeat(None));
        for ((count, weight_ns), (thread, stack)) in rows.into_iter().zip(&places) {
            let limit = u64::from(u32::MAX);
            let count = u32::try_from(count).map_err(|_| Malformed::TooLarge {
                field: "samples of a cell",
                value: count,
                limit,
            })?;
            window.samples.push(Sample { at_ms: 0, thread: *thread, stack: *stack, count, weight_ns });
        }
    } else {
        let count = stacks.contexts.number(&mut receiver, Tag::Samples, 0, 0);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        at_most("samples", count, MAX_WINDOW_SAMPLES)?;
        for (at_ms, row, weight_ns) in
            table.code_timed(&mut receiver, stacks, std::iter::repeat_n(None, count))?
        {
            let (thread, stack) = *entry(&places, u32::try_from(row).unwrap_or(u32::MAX), "row")?;
            window.samples.push(Sample { at_ms, thread, stack, count: 1, weight_ns });
        }
    }
    if !receiver.rest().is_empty() {
        return Err(Malformed::LeftOver(receiver.rest().len()));
    }
    stacks.settle(&table.cells);
    Ok(())
}

/// What a sender says of the rows; nothing at a receiver.
#[derive(Default)]
struct Told<'a> {
    named: &'a [u32],
    new: &'a [(u32, Vec<Place>)],
}

/// The cells of the rows.
struct Table {
    cells: Vec<u32>,
    /// How many of them were named before.
    known: usize,
}

impl Table {
    fn code(
        coder: &mut impl Coder,
        stacks: &mut Stacks,
        bounds: Bounds,
        told: &Told<'_>,
    ) -> Result<Self, Malformed> {
        let mut cells = stacks.named(coder, told.named);
        let known = cells.len();
        let new = stacks.contexts.number(coder, Tag::NewCells, 0, told.new.len() as u64);
        let new = usize::try_from(new).unwrap_or(usize::MAX);
        at_most("cells of a window", new.saturating_add(known), MAX_WINDOW_SAMPLES)?;
        let mut thread_before = 0;
        for at in 0..new {
            let wanted = told.new.get(at).map_or((0, &[][..]), |(thread, places)| (*thread, &places[..]));
            let cell = stacks.add_cell(coder, bounds, thread_before, wanted)?;
            thread_before = stacks.cells.get(cell as usize).map_or(0, |it| it.thread);
            cells.push(cell);
        }
        Ok(Self { cells, known })
    }

    /// Codes count and weight of each row.
    fn code_aggregated(
        &self,
        coder: &mut impl Coder,
        stacks: &mut Stacks,
        told: impl Iterator<Item = Option<(u32, u64)>>,
    ) -> Vec<(u64, u64)> {
        let mut before = 0;
        let mut rows = Vec::with_capacity(self.cells.len());
        for (row, told) in (0..self.cells.len()).zip(told) {
            let (count, weight) = told.unwrap_or((1, 0));
            let habit = self.cells.get(row).map_or(0, |cell| stacks.habit(*cell));
            let count = stacks.contexts.number(coder, Tag::Count, habit, u64::from(count.saturating_sub(1)));
            let count = count.saturating_add(1);
            let (unit, about) = self.unit(stacks, row, before);
            let predicted = unit.wrapping_mul(count);
            let difference = zigzag(weight.wrapping_sub(predicted).cast_signed());
            let difference = stacks.contexts.number(coder, Tag::Weight, about, difference);
            let weight = predicted.wrapping_add(unzigzag(difference).cast_unsigned());
            before = weight / count;
            self.set_unit(stacks, row, before);
            rows.push((count, weight));
        }
        rows
    }

    /// Codes time, row and weight of each sample.
    fn code_timed(
        &self,
        coder: &mut impl Coder,
        stacks: &mut Stacks,
        told: impl Iterator<Item = Option<(u32, usize, u64)>>,
    ) -> Result<Vec<(u32, usize, u64)>, Malformed> {
        let bits = bit_len(self.cells.len().saturating_sub(1) as u64);
        let (mut at_before, mut before, mut samples) = (0_u32, 0, Vec::new());
        for told in told {
            let (at, row, weight) = told.unwrap_or((at_before, 0, 0));
            let step = u64::from(at.saturating_sub(at_before));
            let step = stacks.contexts.number(coder, Tag::Time, 0, step);
            let at = u64::from(at_before).saturating_add(step);
            let limit = u64::from(u32::MAX);
            at_before = u32::try_from(at).map_err(|_| Malformed::TooLarge {
                field: "time in the window",
                value: at,
                limit,
            })?;
            let row = stacks.contexts.tree(coder, Tag::Row, bits.into(), bits, row as u64);
            let row = usize::try_from(row).unwrap_or(usize::MAX);
            let (unit, about) = self.unit(stacks, row, before);
            let difference = zigzag(weight.wrapping_sub(unit).cast_signed());
            let difference = stacks.contexts.number(coder, Tag::TimedWeight, about, difference);
            before = unit.wrapping_add(unzigzag(difference).cast_unsigned());
            self.set_unit(stacks, row, before);
            samples.push((at_before, row, before));
        }
        Ok(samples)
    }

    /// What a row's samples weigh each, and whether that is a guess: for a known cell as its last sample, for a new one
    /// as the sample before.
    fn unit(&self, stacks: &Stacks, row: usize, before: u64) -> (u64, u64) {
        let cell = self.cells.get(row).and_then(|cell| stacks.cells.get(*cell as usize));
        if row < self.known { (cell.map_or(0, |it| it.unit), 0) } else { (before, 1) }
    }

    fn set_unit(&self, stacks: &mut Stacks, row: usize, unit: u64) {
        if let Some(cell) = self.cells.get(row).and_then(|cell| stacks.cells.get_mut(*cell as usize)) {
            cell.unit = unit;
        }
    }
}

type PlaceInWindow = (ThreadIndex, StackIndex);

/// Spells the threads and stacks of the cells out.
fn places(
    dictionary: &Dictionary,
    stacks: &Stacks,
    cells: &[u32],
    window: &mut Window,
) -> Result<Vec<PlaceInWindow>, Malformed> {
    let (mut threads, mut known, mut numbers) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut frames = 0;
    let mut seen = HashSet::with_capacity(cells.len());
    let mut places = Vec::with_capacity(cells.len());
    for cell in cells {
        let cell = entry(&stacks.cells, *cell, "cell")?;
        // Told apart by what they are: a hostile sender may have numbered the same thing twice. All numbers are within the
        // limits, so far below 2^32.
        let thread = entry(&dictionary.threads, cell.thread, "thread")?;
        let next = u32::try_from(threads.len()).unwrap_or(u32::MAX);
        let thread_number = *threads.entry(thread).or_insert(next);
        if thread_number == next {
            at_most("threads of a window", threads.len(), MAX_WINDOW_THREADS)?;
            window.threads.push(thread.clone());
        }
        let stack = match known.get(&cell.stack) {
            Some(stack) => *stack,
            None => {
                frames += stacks.depth(cell.stack);
                at_most("frames of a window", frames, MAX_WINDOW_FRAMES)?;
                let frames = dictionary.frames(stacks, cell.stack)?;
                let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                let stack = *numbers.entry(frames.clone()).or_insert(next);
                if stack == next {
                    window.stacks.push(frames);
                }
                known.insert(cell.stack, stack);
                stack
            }
        };
        if !seen.insert((thread_number, stack)) {
            return Err(Malformed::Order("cells"));
        }
        places.push((ThreadIndex(thread_number), StackIndex(stack)));
    }
    Ok(places)
}
