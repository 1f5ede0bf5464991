//! Names of places by build id, from a directory of debug files.
//!
//! `DIR/.build-id/xx/yyyy.debug` (what distributions and Yocto's `-dbg` packages install below `/usr/lib/debug`) or the
//! program itself as `DIR/.build-id/xx/yyyy`; `DIR/xx/...` is looked at too. The files are trusted: they are mapped into
//! memory, and a program that cuts one short while it is read ends this one.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use addr2line::Loader;
use object::read::elf::{ElfFile32, ElfFile64};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionKind};
use telemetry::Mapping;

use super::profile::Function;

/// Debug files kept open; the one not used for longest is closed first.
const MAX_FILES: usize = 32;

/// Build ids known to have no file; looked for again when that many others came.
const MAX_ABSENT: usize = 4096;

/// Places whose names are kept.
const MAX_PLACES: usize = 200_000;

/// Functions inlined at one place, and bytes of one name, that are kept.
const MAX_INLINED: usize = 32;
const MAX_NAME: usize = 1024;

type Functions = Arc<[Function]>;

/// The path that stands for the kernel: its offsets count from `_stext` (WIRE.md), whatever its file looks like.
const KERNEL: &str = "[kernel]";

/// Finds names; without a directory it finds none.
#[derive(Default)]
pub struct Symbols {
    dir: Option<PathBuf>,
    files: HashMap<Vec<u8>, Option<Program>>,
    used: VecDeque<Vec<u8>>,
    places: HashMap<(Vec<u8>, u64), Functions>,
    statistics: Statistics,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Places with a name.
    pub named: u64,
    /// Places without: no file, or nothing in it.
    pub unnamed: u64,
}

struct Program {
    loader: Loader,
    segments: Vec<Segment>,
    /// Of the kernel: where its code begins.
    stext: Option<u64>,
}

/// Where a stretch of the file lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    len: u64,
    address: u64,
}

impl std::fmt::Debug for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (dir, files, places) = (&self.dir, self.files.len(), self.places.len());
        f.debug_struct("Symbols").field("dir", dir).field("files", &files).field("places", &places).finish()
    }
}

impl Symbols {
    /// Names from the debug files below `dir`.
    pub fn from_dir(dir: &Path) -> Self {
        Self { dir: Some(dir.to_owned()), ..Self::default() }
    }

    /// What was found so far, each place counted once.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// The functions at an offset in a file, what was inlined first; none when they are not known.
    pub fn resolve(&mut self, mapping: &Mapping, offset: u64) -> Functions {
        let id = mapping.build_id.as_bytes();
        if self.dir.is_none() || id.len() < 2 {
            return Functions::default();
        }
        if let Some(known) = self.places.get(&(id.to_vec(), offset)) {
            return known.clone();
        }
        let kernel = &*mapping.path == KERNEL;
        let functions: Functions =
            self.program(id).map(|it| it.functions(offset, kernel)).unwrap_or_default().into();
        if functions.is_empty() {
            self.statistics.unnamed += 1;
        } else {
            self.statistics.named += 1;
        }
        if self.places.len() >= MAX_PLACES {
            self.places.clear();
        }
        self.places.insert((id.to_vec(), offset), functions.clone());
        functions
    }

    fn program(&mut self, id: &[u8]) -> Option<&Program> {
        if !self.files.contains_key(id) {
            if self.files.len() >= MAX_ABSENT {
                self.files.retain(|_, it| it.is_some());
            }
            let program = self.dir.as_deref().and_then(|dir| find(dir, id));
            if program.is_some() {
                if self.used.len() >= MAX_FILES
                    && let Some(oldest) = self.used.pop_front()
                {
                    self.files.remove(&oldest);
                }
                self.used.push_back(id.to_vec());
            }
            self.files.insert(id.to_vec(), program);
        } else if let Some(at) = self.used.iter().position(|it| it == id)
            && let Some(used) = self.used.remove(at)
        {
            self.used.push_back(used);
        }
        self.files.get(id)?.as_ref()
    }
}

impl Program {
    fn functions(&self, offset: u64, kernel: bool) -> Vec<Function> {
        let address = if kernel {
            self.stext.and_then(|it| it.checked_add(offset))
        } else {
            address_of(&self.segments, offset)
        };
        let Some(address) = address else { return Vec::new() };
        let mut functions = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let Some(name) = frame.function.as_ref().and_then(|it| it.demangle().ok()) else { continue };
                let location = frame.location.as_ref();
                let file = location.and_then(|it| it.file).map(short).unwrap_or_default();
                let line = location.and_then(|it| it.line).unwrap_or_default();
                functions.push(Function { name: short(&name), file, line });
                if functions.len() == MAX_INLINED {
                    break;
                }
            }
        }
        // Without functions in its debug information a file still has a table of symbols, and often one of lines.
        if functions.is_empty()
            && let Some(name) = self.loader.find_symbol(address)
        {
            let location = self.loader.find_location(address).ok().flatten();
            let file = location.as_ref().and_then(|it| it.file).map(short).unwrap_or_default();
            let line = location.and_then(|it| it.line).unwrap_or_default();
            let name = addr2line::demangle_auto(name.into(), None);
            functions.push(Function { name: short(&name), file, line });
        }
        functions
    }
}

fn short(text: &str) -> Arc<str> {
    let end = (0..=MAX_NAME.min(text.len())).rev().find(|it| text.is_char_boundary(*it)).unwrap_or_default();
    text.get(..end).unwrap_or_default().into()
}

/// The debug file of a build, and the program beside it where the debug file does not say how it is laid out.
fn find(dir: &Path, id: &[u8]) -> Option<Program> {
    let (first, rest) = id.split_first()?;
    let rest: String = rest.iter().map(|it| format!("{it:02x}")).collect();
    let candidates: Vec<PathBuf> = [dir.join(".build-id"), dir.to_owned()]
        .iter()
        .flat_map(|it| [it.join(format!("{first:02x}/{rest}.debug")), it.join(format!("{first:02x}/{rest}"))])
        .filter(|it| it.is_file())
        .collect();
    // A link may lead to a later build of the same file.
    let images: Vec<_> = candidates.iter().filter_map(|it| Some((it, image(it, id)?))).collect();
    let loader = images.iter().find_map(|(path, _)| Loader::new(path).ok())?;
    // The program itself says for sure how it is laid out.
    let (_, image) = images.into_iter().max_by_key(|(_, it)| it.has_code)?;
    let stext = image.stext;
    Some(Program { loader, segments: image.segments, stext })
}

struct Image {
    has_code: bool,
    segments: Vec<Segment>,
    stext: Option<u64>,
}

/// How a file is laid out, if it is an ELF file of this build.
fn image(path: &Path, id: &[u8]) -> Option<Image> {
    let file = fs::File::open(path).ok()?;
    let cache = object::ReadCache::new(file);
    if let Ok(elf) = ElfFile64::<object::Endianness, _>::parse(&cache) {
        layout(&elf, id)
    } else {
        layout(&ElfFile32::<object::Endianness, _>::parse(&cache).ok()?, id)
    }
}

fn layout<'a>(elf: &impl Object<'a>, id: &[u8]) -> Option<Image> {
    if elf.build_id().ok()?? != id {
        return None;
    }
    // A debug file's sections of code have no bytes.
    let has_code = elf
        .sections()
        .any(|it| it.kind() == SectionKind::Text && it.file_range().is_some_and(|(_, len)| len > 0));
    let segments: Vec<_> =
        elf.segments().map(|it| (it.file_range(), it.address(), it.size(), it.align())).collect();
    let segments = if has_code {
        let real = |&((offset, len), address, ..): &(_, _, _, _)| Segment { offset, len, address };
        segments.iter().map(real).collect()
    } else {
        assumed(segments.iter().map(|&(_, address, len, align)| (address, len, align)))
    };
    let stext = elf.symbols().find(|it| it.name() == Ok("_stext")).map(|it| it.address());
    Some(Image { has_code, segments, stext })
}

/// The layout of a program of which only the debug file is there: `objcopy --only-keep-debug` throws the offsets away.
/// GNU ld and lld lay each segment at the lowest offset behind the one before that is congruent to its address.
fn assumed(segments: impl Iterator<Item = (u64, u64, u64)>) -> Vec<Segment> {
    let mut end = 0_u64;
    let mut laid = Vec::new();
    for (address, len, align) in segments {
        let align = align.max(1);
        let offset = end.saturating_add((address % align + align - end % align) % align);
        laid.push(Segment { offset, len, address });
        end = offset.saturating_add(len);
    }
    laid
}

fn address_of(segments: &[Segment], offset: u64) -> Option<u64> {
    let segment = segments.iter().find(|it| offset >= it.offset && offset - it.offset < it.len)?;
    segment.address.checked_add(offset - segment.offset)
}

#[cfg(test)]
mod tests {
    use telemetry::BuildId;

    use super::*;

    #[test]
    fn the_layout_that_linkers_make_is_found_again() {
        // GNU ld with separate code, and lld; real files' segments (address, bytes, alignment) and offsets.
        for (segments, offsets) in [
            (
                vec![
                    (0, 0x618, 0x1000),
                    (0x1000, 0x18d, 0x1000),
                    (0x2000, 0xf8, 0x1000),
                    (0x3dd0, 0x248, 0x1000),
                ],
                vec![0, 0x1000, 0x2000, 0x2dd0],
            ),
            (
                vec![(0, 0x5f4, 0x1000), (0x1600, 0x190, 0x1000), (0x2790, 0x1a0, 0x1000)],
                vec![0, 0x600, 0x790],
            ),
        ] {
            let found: Vec<_> = assumed(segments.into_iter()).iter().map(|it| it.offset).collect();
            assert_eq!(found, offsets);
        }
    }

    #[test]
    fn the_last_byte_of_a_segment_has_an_address_and_the_next_has_none() {
        let segments = [Segment { offset: 0x1000, len: 0x10, address: 0x40_1000 }];
        assert_eq!(address_of(&segments, 0x100f), Some(0x40_100f));
        assert_eq!(address_of(&segments, 0x1010), None);
        assert_eq!(address_of(&segments, 0xfff), None);
    }

    #[test]
    fn our_own_functions_are_found_by_build_id_and_a_foreign_build_is_not() {
        let exe = std::env::current_exe().unwrap();
        let data = fs::read(&exe).unwrap();
        let elf = object::File::parse(&*data).unwrap();
        // A linker that writes no build id leaves nothing to check.
        let Some(id) = elf.build_id().unwrap() else { return };
        let dir = tempfile::tempdir().unwrap();
        let hex: String = id.iter().map(|it| format!("{it:02x}")).collect();
        let place = dir.path().join(".build-id").join(&hex[..2]);
        fs::create_dir_all(&place).unwrap();
        std::os::unix::fs::symlink(&exe, place.join(&hex[2..])).unwrap();
        std::os::unix::fs::symlink(&exe, place.join("00.debug")).unwrap();
        let mut symbols = Symbols::from_dir(dir.path());
        let mapping = |id: &[u8]| Mapping { build_id: BuildId::new(id).unwrap(), path: "x".into() };
        let symbol = elf.symbols().find(|it| it.name().is_ok_and(|it| it.contains("address_of"))).unwrap();
        let segment =
            elf.segments().find(|it| (it.address()..it.address() + it.size()).contains(&symbol.address()));
        let segment = segment.unwrap();
        let offset = segment.file_range().0 + (symbol.address() - segment.address());
        let found = symbols.resolve(&mapping(id), offset);
        assert!(found.last().is_some_and(|it| it.name.contains("address_of")), "{found:?}");
        assert!(found.last().is_some_and(|it| it.file.ends_with("symbols.rs") && it.line > 0), "{found:?}");
        assert!(symbols.resolve(&mapping(&[id[0], 0]), offset).is_empty());
        assert!(symbols.resolve(&mapping(id), u64::MAX).is_empty());
        assert_eq!(symbols.statistics(), Statistics { named: 1, unnamed: 2 });
    }
}
