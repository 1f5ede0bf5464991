//! A made-up gateway, seeded: programs with functions, call sites and threads, and what a profiler sees of them.
//!
//! The parameters come from a recorded run of a gateway-like process beside a broker: 61 windows of 10 s, 75 samples
//! each, stacks 11.5 frames deep in the mean, 895 different ones by symbol and 1,843 by address. They are set to give
//! these counts, and are not to be moved for the sake of a figure.

use std::sync::Arc;

use telemetry::{BuildId, Frame, Mapping, SchedulingClass, ThreadInfo, Window, WindowBuilder};

pub(crate) const WINDOWS: u32 = 61;
pub(crate) const SAMPLES_PER_WINDOW: u32 = 75;
/// Stacks (by symbol) that a program can show, and how steeply their popularity falls with rank.
const STACKS: usize = 2500;
const POPULARITY_EXPONENT: f64 = 1.19;
/// Of a function's addresses the innermost frame shows this many at most, the first ones more often.
const HOT_ADDRESSES: usize = 11;

/// Name, size of its code in bytes, functions that are seen, longest name in path segments.
const FILES: [(&str, usize, usize, usize); 6] = [
    ("/usr/bin/gatewayd", 6 << 20, 700, 6),
    ("/usr/lib/x86_64-linux-gnu/libc.so.6", 3 << 19, 120, 1),
    ("/usr/lib/x86_64-linux-gnu/libzstd.so.1", 3 << 18, 50, 1),
    ("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", 4 << 20, 60, 1),
    ("/usr/sbin/mosquitto", 1 << 18, 90, 1),
    ("[kernel]", 20 << 20, 350, 1),
];
const MOSQUITTO: usize = 4;
/// Name, first of its files, real-time priority, share of all samples in per cent.
const THREADS: [(&str, usize, u8, usize); 8] = [
    ("tokio-rt-worker", 0, 0, 28),
    ("tokio-rt-worker", 0, 0, 26),
    ("can-rx", 0, 0, 10),
    ("uds-server", 0, 0, 8),
    ("logger", 0, 0, 6),
    ("cyclic-10ms", 0, 50, 8),
    ("rumqttc", 0, 0, 5),
    ("mosquitto", MOSQUITTO, 0, 9),
];
const WORDS: [&str; 48] = [
    "tokio",
    "runtime",
    "task",
    "scheduler",
    "multi_thread",
    "worker",
    "core",
    "alloc",
    "raw",
    "poll",
    "harness",
    "context",
    "future",
    "ops",
    "function",
    "call_once",
    "sync",
    "mpsc",
    "block",
    "rx",
    "tx",
    "list",
    "serde",
    "json",
    "de",
    "value",
    "map",
    "net",
    "udp",
    "socket",
    "recv",
    "send",
    "io",
    "driver",
    "time",
    "wheel",
    "std",
    "sys",
    "thread",
    "local",
    "with",
    "codec",
    "frame",
    "encode",
    "decode",
    "session",
    "handler",
    "publish",
];

struct Function {
    file: usize,
    offset: u64,
    size: u64,
    name: Arc<str>,
}

/// Innermost first: function and, for callers, the return address; 0 where the innermost one is to be drawn.
type Path = Vec<(usize, u64)>;

pub(crate) struct Program {
    mappings: Vec<Arc<Mapping>>,
    functions: Vec<Function>,
    /// Per role (a thread's name), each in order of popularity.
    stacks: Vec<Vec<Path>>,
    threads: Vec<ThreadInfo>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Address,
    Symbol,
}

impl Program {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = SplitMix64(seed);
        let mappings = FILES.iter().map(|(path, ..)| mapping(path, &mut random)).collect();
        let mut functions = Vec::new();
        for (file, (_, size, count, segments)) in FILES.iter().enumerate() {
            for _ in 0..*count {
                let own = 32 << random.below(8);
                let offset = (random.below(*size) & !15) as u64;
                let name = name(*segments, &mut random);
                functions.push(Function { file, offset, size: own + random.below(16) as u64, name });
            }
        }
        let threads = (0..).zip(THREADS).map(|(index, (name, file, priority, _))| ThreadInfo {
            pid: if file == MOSQUITTO { 611 } else { 742 },
            tid: 742 + index,
            name: name.into(),
            class: if priority > 0 { SchedulingClass::Realtime(priority) } else { SchedulingClass::Normal },
        });
        let threads = threads.collect();
        let stacks = THREADS.iter().map(|(_, file, _, share)| {
            let count = (STACKS * share / 100).max(8);
            role(*file, count, &functions, &mut random)
        });
        let mut stacks: Vec<_> = stacks.collect();
        // The workers of one runtime run the same code.
        if let [first, second, ..] = &mut stacks[..] {
            first.append(second);
            *second = first.clone();
        }
        Self { mappings, functions, stacks, threads }
    }

    /// The windows of one run; the seed says which stacks are hit when.
    pub(crate) fn run(&self, kind: Kind, seed: u64, windows: u32) -> Result<Vec<Window>, telemetry::Refused> {
        let mut random = SplitMix64(seed);
        (0..windows).map(|number| self.window(number, kind, &mut random)).collect()
    }

    fn window(&self, number: u32, kind: Kind, random: &mut SplitMix64) -> Result<Window, telemetry::Refused> {
        let mut builder = WindowBuilder::new(1_700_000_000_000 + u64::from(number) * 10_000);
        for _ in 0..SAMPLES_PER_WINDOW {
            let mut point = random.below(100);
            let drawn = THREADS.iter().position(|(.., share)| {
                let here = point < *share;
                point = point.saturating_sub(*share);
                here
            });
            let role = drawn.unwrap_or_default();
            let stacks = &self.stacks[role];
            let frames = self.frames(&stacks[zipf(stacks.len(), random)], kind, random);
            let weight =
                if self.threads[role].class == SchedulingClass::Normal { 100_000_000 } else { 20_000_000 };
            let at_ms = u32::try_from(random.below(10_000)).unwrap_or_default();
            builder.push(at_ms, &self.threads[role], &frames, weight)?;
        }
        Ok(builder.finish(10_000))
    }

    fn frames(&self, path: &Path, kind: Kind, random: &mut SplitMix64) -> Vec<Frame> {
        let frame = |(function, address): &(usize, u64)| {
            let function = &self.functions[*function];
            match kind {
                Kind::Symbol => Frame::Symbol(Arc::clone(&function.name)),
                Kind::Address => {
                    let mapping = Arc::clone(&self.mappings[function.file]);
                    let offset = if *address > 0 { *address } else { hot_address(function, random) };
                    Frame::Address { mapping, offset }
                }
            }
        };
        path.iter().map(frame).collect()
    }
}

/// An instruction of the innermost function: few addresses take most samples.
fn hot_address(function: &Function, random: &mut SplitMix64) -> u64 {
    let places = HOT_ADDRESSES.min(usize::try_from(function.size / 8).unwrap_or(1));
    let mut place = SplitMix64(function.offset ^ (zipf(places, random) as u64) << 40);
    function.offset + place.below(usize::try_from(function.size).unwrap_or(1)) as u64
}

/// The stacks of one role: a trunk of runtime frames, then a tree of calls.
fn role(file: usize, count: usize, functions: &[Function], random: &mut SplitMix64) -> Vec<Path> {
    let mut outermost_first: Vec<Path> = Vec::new();
    let mut trunk = Path::new();
    for _ in 0..6 + random.below(3) {
        extend(&mut trunk, file, functions, random);
    }
    outermost_first.push(trunk.clone());
    while outermost_first.len() < count {
        let mut stack = outermost_first[random.below(outermost_first.len())].clone();
        let keep = trunk.len() + random.below(stack.len() + 1 - trunk.len());
        stack.truncate(keep);
        for _ in 0..1 + random.below(4) {
            extend(&mut stack, file, functions, random);
        }
        outermost_first.push(stack);
    }
    // The order of making is not the order of popularity.
    for at in (1..outermost_first.len()).rev() {
        outermost_first.swap(at, random.below(at + 1));
    }
    for stack in &mut outermost_first {
        if let Some(innermost) = stack.last_mut() {
            innermost.1 = 0;
        }
        stack.reverse();
    }
    outermost_first
}

/// Calls one more function. Code of a library calls its own or the kernel's, the kernel only its own.
fn extend(stack: &mut Path, file: usize, functions: &[Function], random: &mut SplitMix64) {
    let caller = stack.last().map_or(file, |(function, _)| functions[*function].file);
    let kernel = FILES.len() - 1;
    let callee = match (caller, random.below(100)) {
        (5, _) => kernel,
        (_, 0..80) => caller,
        (_, 80..92) => 1,
        (_, 92..96) => kernel,
        (0, 96..98) => 2,
        (0, _) => 3,
        _ => kernel,
    };
    let candidates: Vec<_> = (0..functions.len()).filter(|id| functions[*id].file == callee).collect();
    let function = candidates[zipf(candidates.len(), random)];
    // Where in the function the next call is made from: fixed by the place in the tree.
    let site = functions[function].offset
        + 1
        + random.below(usize::try_from(functions[function].size).unwrap_or(1)) as u64;
    stack.push((function, site));
}

fn mapping(path: &str, random: &mut SplitMix64) -> Arc<Mapping> {
    let bytes: Vec<_> = (0..20).filter_map(|_| u8::try_from(random.below(256)).ok()).collect();
    Arc::new(Mapping { build_id: BuildId::new(&bytes).unwrap_or_default(), path: path.into() })
}

/// A path of common words that ends in words of its own, as names of functions and their types do.
fn name(segments: usize, random: &mut SplitMix64) -> Arc<str> {
    let own = own_word(random);
    if segments == 1 {
        return format!("{}_{own}_{}", WORDS[random.below(WORDS.len())], own_word(random)).into();
    }
    let path: Vec<_> = (1..segments).map(|_| WORDS[random.below(WORDS.len())]).collect();
    format!("<{}::{own} as {}>::{}_{}", path.join("::"), own_word(random), own_word(random), own_word(random))
        .into()
}

fn own_word(random: &mut SplitMix64) -> String {
    let letter = |letters: &[u8], random: &mut SplitMix64| char::from(letters[random.below(letters.len())]);
    let syllable = |_| [letter(b"bcdfghklmnprstvw", random), letter(b"aeiou", random)];
    (0..3).flat_map(syllable).collect()
}

/// A rank below `len`, by Zipf's law.
fn zipf(len: usize, random: &mut SplitMix64) -> usize {
    let weight = |rank: usize| ((rank + 1) as f64).powf(-POPULARITY_EXPONENT);
    let all: f64 = (0..len).map(weight).sum();
    let mut point = random.below(1 << 30) as f64 / f64::from(1 << 30) * all;
    (0..len)
        .find(|rank| {
            point -= weight(*rank);
            point < 0.0
        })
        .unwrap_or_default()
}

pub(crate) struct SplitMix64(pub(crate) u64);

impl SplitMix64 {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        // The remainder is below the bound, which is a usize.
        usize::try_from((mixed ^ (mixed >> 31)) % (bound.max(1) as u64)).unwrap_or_default()
    }
}
