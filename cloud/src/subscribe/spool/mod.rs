//! Blocks on their way from the broker to the caller.
//!
//! A block refers to those before it, and the members of a group each get only some of them. So a block is first laid
//! into a store that all members share, acknowledged to the broker, and then decoded by whichever member holds the
//! stream's lock once all it refers to is there. The same store carries a stream over a restart: what its last
//! keyframe's run consists of stays in it, and which blocks were given out is written down beside them.

mod progress;
mod store;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use telemetry::request::MAX_RANGES;
use telemetry::topics::{Stream, VinSegment};
use telemetry::{BlockHeader, DecodeError, Decoded, Decoder, Window};

use super::seen::Seen;
use crate::fsio::FileError;
use progress::{Progress, Step};
use store::Guard;
pub(crate) use store::Store;

/// Dictionaries kept in memory; others are built again from the store when they are needed.
const MAX_DECODERS: usize = 256;

/// Lives of streams that the store holds in memory; the oldest is forgotten first.
const MAX_LIVES: usize = 4096;

/// Lives of one vehicle's streams that the store keeps, so that no vehicle fills it.
const MAX_VEHICLE_LIVES: usize = 64;

/// Blocks of one life that wait or are kept for its dictionary, and their bytes; the oldest are given up.
const MAX_BLOCKS: usize = 1024;
const MAX_BYTES: u64 = 16 << 20;

/// Lives of a vehicle's events that are told apart.
const MAX_EVENT_BOOTS: usize = 16;

/// A vehicle is not asked about the same stream more often than this.
pub(crate) const REBIRTH_INTERVAL: Duration = Duration::from_secs(2);

/// Times that a vehicle is asked for blocks that hold up nothing newer, each time after twice as long.
const MAX_ASKS: u32 = 6;

/// Times that it is asked about a life of which nothing comes any more.
const MAX_ASKS_IN_VAIN: u32 = 30;

/// How long a folder that another member holds is left alone before the next look.
const RETRY: Duration = Duration::from_millis(20);

const PROGRESS: &str = "progress";
const EVENTS: &str = "events";

/// One life of a stream of a vehicle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) vin: VinSegment,
    pub(crate) stream: Stream,
    pub(crate) boot: u64,
}

impl Life {
    fn folder(&self) -> String {
        format!("{}/{}/{:016x}", self.vin, levels(&self.stream), self.boot)
    }
}

/// A stream's levels as one: the dot is in no segment.
fn levels(stream: &Stream) -> String {
    stream.to_string().replace('/', ".")
}

/// What the spool has to say.
#[derive(Debug)]
pub(crate) enum Given {
    /// A window, once.
    Window { life: Life, header: BlockHeader, missed: u64, window: Box<Window> },
    /// A block that breaks a rule; it was thrown away.
    Refused { life: Life, reason: String },
    /// Blocks have not come although later ones have. The vehicle should be asked for them (first and last numbers), or
    /// for a keyframe.
    Gap { life: Life, missing: Option<Vec<(u64, u64)>> },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Spool {
    store: Store,
    /// How long a block may be missing before its vehicle is asked: in a group it may be with another member.
    grace: Duration,
    decoders: HashMap<Life, Ready>,
    used: VecDeque<Life>,
    /// Lives to look at, and not before when.
    dirty: VecDeque<(Life, Option<Instant>)>,
    waiting: HashMap<Life, Waiting>,
    /// Lives in memory, in the order in which they appeared.
    lives: VecDeque<Life>,
    open: Option<Open>,
    duplicates: u64,
}

/// A dictionary as it stands before block `next` of the run that began with `key`.
#[derive(Debug)]
struct Ready {
    key: u64,
    next: u64,
    decoder: Decoder,
}

/// The life being given out, and the step that is done once the caller asks for more.
#[derive(Debug)]
struct Open {
    life: Life,
    progress: Progress,
    at_hand: BTreeMap<u64, bool>,
    given: Option<Step>,
    _guard: Guard,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    asked: Option<Instant>,
    /// How often, about the newest block that is missing (`newest`).
    asks: u32,
    newest: u64,
    /// How often since something came.
    in_vain: u32,
}

impl Spool {
    /// Takes up what an earlier process left in the store.
    pub(crate) fn new(store: Store, grace: Duration) -> Result<Self, FileError> {
        let mut spool = Self {
            store,
            grace,
            decoders: HashMap::new(),
            used: VecDeque::new(),
            dirty: VecDeque::new(),
            waiting: HashMap::new(),
            lives: VecDeque::new(),
            open: None,
            duplicates: 0,
        };
        for vin in spool.store.folders("")? {
            let Ok(name) = VinSegment::new(&vin) else { continue };
            for stream in spool.store.folders(&vin)? {
                let Ok(parsed) = Stream::parse(&stream.replace('.', "/")) else { continue };
                for boot in spool.store.folders(&format!("{vin}/{stream}"))? {
                    let Ok(boot) = u64::from_str_radix(&boot, 16) else { continue };
                    let life = Life { vin: name.clone(), stream: parsed.clone(), boot };
                    spool.admit(&life)?;
                    spool.dirty.push_back((life, None));
                }
            }
        }
        Ok(spool)
    }

    /// Lays a block into the store; it is safe to acknowledge afterwards.
    pub(crate) fn offer(
        &mut self,
        vin: VinSegment,
        stream: Stream,
        block: &[u8],
    ) -> Result<Result<(), DecodeError>, FileError> {
        let header = match BlockHeader::parse(block) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        if block.len() > telemetry::limits::MAX_BLOCK_LEN {
            return Ok(Err(DecodeError::TooLong(block.len())));
        }
        let life = Life { vin, stream, boot: header.boot.0 };
        self.admit(&life)?;
        let folder = life.folder();
        // What is done stays done, so no lock is needed to look.
        let done = progress(&self.store, &folder)?.is_done(header.seq);
        if done || !self.store.put(&folder, &name(header.seq, header.keyframe), block)? {
            self.duplicates += 1;
        }
        if let Some(waiting) = self.waiting.get_mut(&life) {
            waiting.in_vain = 0;
        }
        self.mark_dirty(life, None);
        Ok(Ok(()))
    }

    /// Blocks that came once more, since the start.
    pub(crate) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The next thing to give out; `None` when all that is at hand was. Asking settles what was given before.
    pub(crate) fn poll(&mut self, now: Instant) -> Result<Option<Given>, FileError> {
        loop {
            self.settle()?;
            if let Some(given) = self.step()? {
                return Ok(Some(given));
            }
            if let Some(gap) = self.close(now)? {
                return Ok(Some(gap));
            }
            if !self.open_next(now)? {
                return Ok(None);
            }
        }
    }

    /// When to poll again although nothing came.
    pub(crate) fn next_wakeup(&self) -> Option<Instant> {
        self.dirty.iter().filter_map(|(_, at)| *at).min()
    }

    /// Whether an event is new. It is only remembered by [`Spool::remember_event`].
    pub(crate) fn is_new_event(&self, vin: &VinSegment, boot: &str, seq: u64) -> Result<bool, FileError> {
        Ok(self.seen_events(vin)?.is_new(&boot.to_owned(), seq))
    }

    /// An event was given out.
    pub(crate) fn remember_event(&mut self, vin: &VinSegment, boot: &str, seq: u64) -> Result<(), FileError> {
        let mut seen = self.seen_events(vin)?;
        seen.is_new(&boot.to_owned(), seq);
        self.store.replace(vin.as_str(), EVENTS, &seen.to_bytes())
    }

    fn seen_events(&self, vin: &VinSegment) -> Result<Seen<String>, FileError> {
        let bytes = self.store.get(vin.as_str(), EVENTS)?.unwrap_or_default();
        // A file that is none of ours costs duplicates, not events.
        Ok(Seen::from_bytes(&bytes, MAX_EVENT_BOOTS))
    }

    /// Forgets the oldest lives where there are too many.
    fn admit(&mut self, life: &Life) -> Result<(), FileError> {
        if self.lives.contains(life) {
            return Ok(());
        }
        let of_vehicle = |it: &Life| it.vin == life.vin;
        let crowded = self.lives.iter().filter(|it| of_vehicle(it)).count() >= MAX_VEHICLE_LIVES;
        let oldest = if crowded {
            self.lives.iter().position(of_vehicle)
        } else {
            (self.lives.len() >= MAX_LIVES).then_some(0)
        };
        if let Some(oldest) = oldest.and_then(|at| self.lives.remove(at)) {
            self.decoders.remove(&oldest);
            self.waiting.remove(&oldest);
            self.dirty.retain(|(it, _)| *it != oldest);
            // A directory keeps other vehicles' blocks for when they are heard of again.
            if crowded || matches!(self.store, Store::Memory(_)) {
                self.store.remove_folder(&oldest.folder())?;
            }
        }
        self.lives.push_back(life.clone());
        Ok(())
    }

    fn mark_dirty(&mut self, life: Life, at: Option<Instant>) {
        match self.dirty.iter_mut().find(|(it, _)| *it == life) {
            // Sooner wins: `None` is at once.
            Some((_, known)) => *known = known.zip(at).map(|(one, other)| one.min(other)),
            None => self.dirty.push_back((life, at)),
        }
    }

    /// Takes the lock of a life that is to be looked at. False when there is none now.
    fn open_next(&mut self, now: Instant) -> Result<bool, FileError> {
        while let Some(at) = self.dirty.iter().position(|(_, at)| at.is_none_or(|at| at <= now)) {
            let Some((life, _)) = self.dirty.remove(at) else { break };
            let folder = life.folder();
            let Some(guard) = self.store.try_lock(&folder)? else {
                self.dirty.push_back((life, Some(now + RETRY)));
                continue;
            };
            let progress = progress(&self.store, &folder)?;
            let at_hand = self.store.names(&folder)?.iter().filter_map(|it| parse_name(it)).collect();
            self.open = Some(Open { life, progress, at_hand, given: None, _guard: guard });
            return Ok(true);
        }
        Ok(false)
    }

    /// What was given last is done: writes that down, and drops what is no longer needed.
    fn settle(&mut self) -> Result<(), FileError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let Some(step) = open.given.take() else { return Ok(()) };
        open.progress.done(step);
        let folder = open.life.folder();
        save(&mut self.store, &folder, &open.progress)?;
        forget(&mut self.store, &folder, open)
    }

    /// Decodes the next block of the open life.
    fn step(&mut self) -> Result<Option<Given>, FileError> {
        loop {
            let Some(open) = &mut self.open else { return Ok(None) };
            let Some(step) = open.progress.step(&open.at_hand) else { return Ok(None) };
            let folder = open.life.folder();
            let life = open.life.clone();
            let Some(block) = self.store.get(&folder, &name(step.seq(), step.is_keyframe()))? else {
                open.at_hand.remove(&step.seq());
                continue;
            };
            let Some(mut decoder) = self.decoder(&life, step)? else {
                // The run's earlier blocks are gone: only a keyframe helps.
                let Some(open) = &mut self.open else { return Ok(None) };
                open.at_hand.remove(&step.seq());
                continue;
            };
            let outcome = decoder.decode(&block);
            let Some(open) = &mut self.open else { return Ok(None) };
            match outcome {
                Ok(Decoded::Window { header, window, .. }) => {
                    open.given = Some(step);
                    self.keep(&life, Ready { key: step.run.key, next: step.seq() + 1, decoder });
                    let window = Box::new(window);
                    return Ok(Some(Given::Window { life, header, missed: step.missed, window }));
                }
                // The decoder stands right before this block, so it is no duplicate.
                Ok(Decoded::Duplicate { .. }) => open.given = Some(step),
                Err(error) => {
                    open.at_hand.remove(&step.seq());
                    self.store.remove(&folder, &name(step.seq(), step.is_keyframe()))?;
                    return Ok(Some(Given::Refused { life, reason: error.to_string() }));
                }
            }
            self.settle()?;
        }
    }

    /// The dictionary that a step needs: at hand, or built from the run's blocks again.
    fn decoder(&mut self, life: &Life, step: Step) -> Result<Option<Decoder>, FileError> {
        if step.is_keyframe() {
            return Ok(Some(Decoder::new()));
        }
        self.used.retain(|it| it != life);
        if let Some(ready) = self.decoders.remove(life)
            && (ready.key, ready.next) == (step.run.key, step.run.next)
        {
            return Ok(Some(ready.decoder));
        }
        let mut decoder = Decoder::new();
        for seq in step.run.key..step.run.next {
            let block = self.store.get(&life.folder(), &name(seq, seq == step.run.key))?;
            let Some(block) = block else { return Ok(None) };
            if !matches!(decoder.decode(&block), Ok(Decoded::Window { .. })) {
                return Ok(None);
            }
        }
        Ok(Some(decoder))
    }

    fn keep(&mut self, life: &Life, ready: Ready) {
        if self.used.len() >= MAX_DECODERS
            && let Some(oldest) = self.used.pop_front()
        {
            self.decoders.remove(&oldest);
        }
        self.used.push_back(life.clone());
        self.decoders.insert(life.clone(), ready);
    }

    /// Gives the open life back; a gap when blocks of it are missing for too long.
    fn close(&mut self, now: Instant) -> Result<Option<Given>, FileError> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        let folder = open.life.folder();
        let progress = open.progress.clone();
        bound(&mut self.store, &folder, &mut open)?;
        if open.progress != progress {
            save(&mut self.store, &folder, &open.progress)?;
        }
        let life = open.life;
        let missing = open.progress.missing(&open.at_hand, MAX_RANGES);
        // Only what lies behind the newest run is healed by a keyframe; older runs wait for their late blocks.
        let newest = open.at_hand.keys().next_back();
        let blocked = newest.is_some_and(|&it| !open.progress.is_done(it));
        if missing.is_empty() && !blocked {
            self.waiting.remove(&life);
            return Ok(None);
        }
        let newest = missing.last().map_or(0, |&(_, last)| last);
        let new = Waiting { since: now, asked: None, asks: 0, newest, in_vain: 0 };
        let waiting = self.waiting.entry(life.clone()).or_insert(new);
        if newest > waiting.newest {
            (waiting.newest, waiting.asks) = (newest, 0);
        }
        if waiting.in_vain >= MAX_ASKS_IN_VAIN || !blocked && waiting.asks >= MAX_ASKS {
            return Ok(None);
        }
        let doubled = if blocked { 0 } else { waiting.asks.saturating_sub(1) };
        let due =
            waiting.asked.map_or(waiting.since + self.grace, |it| it + REBIRTH_INTERVAL * (1 << doubled));
        if due > now {
            self.mark_dirty(life, Some(due));
            return Ok(None);
        }
        waiting.asked = Some(now);
        waiting.asks += 1;
        waiting.in_vain += 1;
        // The blocks first: with them nothing is lost. A vehicle that has them no more is asked for a keyframe next.
        let keyframe = blocked && (missing.is_empty() || waiting.asks.is_multiple_of(2));
        self.mark_dirty(life.clone(), Some(now + REBIRTH_INTERVAL));
        Ok(Some(Given::Gap { life, missing: (!keyframe).then_some(missing) }))
    }
}

fn progress(store: &Store, folder: &str) -> Result<Progress, FileError> {
    let progress = store.get(folder, PROGRESS)?;
    Ok(progress.and_then(|it| serde_json::from_slice(&it).ok()).unwrap_or_default())
}

fn save(store: &mut Store, folder: &str, progress: &Progress) -> Result<(), FileError> {
    // Numbers and lists: it cannot fail.
    let bytes = serde_json::to_vec(progress).unwrap_or_default();
    store.replace(folder, PROGRESS, &bytes)
}

/// Removes the blocks that no run needs any more.
fn forget(store: &mut Store, folder: &str, open: &mut Open) -> Result<(), FileError> {
    let old: Vec<_> = (open.at_hand.iter())
        .filter(|(seq, _)| !open.progress.needs(**seq))
        .map(|(&seq, &keyframe)| (seq, keyframe))
        .collect();
    for (seq, keyframe) in old {
        store.remove(folder, &name(seq, keyframe))?;
        open.at_hand.remove(&seq);
    }
    Ok(())
}

/// Gives up the oldest blocks where too many lie in the folder.
fn bound(store: &mut Store, folder: &str, open: &mut Open) -> Result<(), FileError> {
    let mut bytes = 0;
    let mut keep_from = 0;
    for (count, (&seq, &keyframe)) in open.at_hand.iter().rev().enumerate() {
        bytes += store.len(folder, &name(seq, keyframe))?;
        if count >= MAX_BLOCKS || bytes > MAX_BYTES {
            keep_from = seq + 1;
            break;
        }
    }
    if keep_from > 0 {
        open.progress.give_up(keep_from);
        forget(store, folder, open)?;
    }
    Ok(())
}

fn name(seq: u64, keyframe: bool) -> String {
    format!("{seq:020}{}", if keyframe { 'k' } else { 'd' })
}

fn parse_name(name: &str) -> Option<(u64, bool)> {
    let keyframe = name.ends_with('k');
    let digits = name.strip_suffix(['k', 'd'])?;
    if digits.len() != 20 {
        return None;
    }
    Some((digits.parse().ok()?, keyframe))
}

#[cfg(test)]
mod tests;
