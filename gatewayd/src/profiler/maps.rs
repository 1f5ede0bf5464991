//! From an address in a process to a place in a file: `/proc/PID/maps` and the ELF build id note.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use telemetry::{BuildId, Mapping};

/// Most executable mappings of a process that are kept.
const MAX_AREAS: usize = 1_024;
/// Longest program header table and longest note segment that are read.
const MAX_READ: usize = 64 * 1_024;

/// The executable parts of a process' memory.
#[derive(Debug, Default)]
pub(super) struct Maps {
    /// In order of their start.
    areas: Vec<Area>,
}

#[derive(Debug)]
struct Area {
    start: u64,
    end: u64,
    /// Where in the file the area begins.
    offset: u64,
    mapping: Arc<Mapping>,
}

impl Maps {
    /// Reads the maps of process `pid`.
    pub(super) fn read(pid: u32, files: &mut Files) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let areas = text
            .lines()
            .filter_map(parse_line)
            .take(MAX_AREAS)
            .map(|line| Area {
                start: line.start,
                end: line.end,
                offset: line.offset,
                mapping: files.of_line(pid, &line),
            })
            .collect();
        Ok(Self { areas })
    }

    /// Takes note of code that was mapped just now. What it covers of older code is gone.
    pub(super) fn insert(&mut self, start: u64, len: u64, offset: u64, mapping: Arc<Mapping>) {
        let Some(end) = start.checked_add(len) else { return };
        self.areas.retain(|area| area.end <= start || area.start >= end);
        if self.areas.len() < MAX_AREAS {
            let at = self.areas.partition_point(|area| area.end <= start);
            self.areas.insert(at, Area { start, end, offset, mapping });
        }
    }

    /// The file and the offset in it that an address was mapped from; `None` outside all code.
    pub(super) fn find(&self, address: u64) -> Option<(&Arc<Mapping>, u64)> {
        let at = self.areas.partition_point(|area| area.end <= address);
        let area = self.areas.get(at).filter(|area| area.start <= address)?;
        Some((&area.mapping, (address - area.start).wrapping_add(area.offset)))
    }
}

/// Most files that are remembered.
const MAX_FILES: usize = 2_048;

/// The executable files met so far: each is opened once, however many processes map it, and its name is kept once.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By device and inode, as the maps write them, and path.
    known: HashMap<(String, Box<str>), Arc<Mapping>>,
}

impl Files {
    fn of_line(&mut self, pid: u32, line: &Line<'_>) -> Arc<Mapping> {
        self.intern(line.file, line.path, || {
            // Through the process' own root, so that a container's files are found.
            let id = File::open(format!("/proc/{pid}/root{}", line.path)).and_then(|file| build_id(&file));
            id.ok().flatten().unwrap_or_default()
        })
    }

    /// A file whose build id the kernel told.
    pub(super) fn of_build_id(&mut self, id: BuildId, path: &str) -> Arc<Mapping> {
        let key: String = id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        self.intern(&key, path, || id)
    }

    fn intern(&mut self, key: &str, path: &str, id: impl FnOnce() -> BuildId) -> Arc<Mapping> {
        if self.known.len() >= MAX_FILES {
            // Those in use are found again soon.
            self.known.clear();
        }
        let entry = self.known.entry((key.to_owned(), path.into()));
        Arc::clone(entry.or_insert_with(|| Arc::new(Mapping { build_id: id(), path: path.into() })))
    }
}

#[derive(Debug, PartialEq)]
struct Line<'a> {
    start: u64,
    end: u64,
    offset: u64,
    /// Device and inode.
    file: &'a str,
    path: &'a str,
}

/// A line of `maps` (`proc_pid_maps(5)`) that describes code: start-end, rights, offset, device, inode, path.
fn parse_line(line: &str) -> Option<Line<'_>> {
    let mut fields = line.splitn(4, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    if rights.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let rest = fields.next()?;
    // Device and inode, then blanks and the path, which may hold blanks itself.
    let inode = rest.find(' ')? + 1;
    let len = rest.get(inode..)?.find(' ').map_or(rest.len(), |end| inode + end);
    let (file, path) = rest.split_at_checked(len)?;
    let path = path.trim();
    Some(Line {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset,
        file,
        path: if path.is_empty() { "[anonymous]" } else { path },
    })
}

/// The GNU build id of an ELF file of either width, little endian; `None` when it has none.
fn build_id(file: &File) -> io::Result<Option<BuildId>> {
    let mut head = [0; 64];
    let len = file.read_at(&mut head, 0)?;
    let Some(table) = head.get(..len).and_then(program_headers) else { return Ok(None) };
    for (offset, len) in table.notes(&read_at(file, table.offset, table.len())?) {
        if let Some(id) = note_build_id(&read_at(file, offset, len)?) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len.min(MAX_READ)];
    let read = file.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Where an ELF file's program header table lies (gABI, chapter 5).
struct ProgramHeaders {
    wide: bool,
    offset: u64,
    entry_len: usize,
    count: usize,
}

fn program_headers(head: &[u8]) -> Option<ProgramHeaders> {
    let (magic, class, data) = (head.get(..4)?, head.get(4)?, head.get(5)?);
    // ELFDATA2LSB: every CPU the product supports is little endian.
    if magic != b"\x7fELF" || *data != 1 {
        return None;
    }
    let wide = match class {
        1 => false,
        2 => true,
        _ => return None,
    };
    let (offset, entry_len, count) = if wide {
        (word(head, 32, true)?, half(head, 54)?, half(head, 56)?)
    } else {
        (word(head, 28, false)?, half(head, 42)?, half(head, 44)?)
    };
    Some(ProgramHeaders { wide, offset, entry_len, count })
}

impl ProgramHeaders {
    fn len(&self) -> usize {
        self.entry_len * self.count
    }

    /// Offset and length of each note segment (`PT_NOTE`).
    fn notes(&self, table: &[u8]) -> Vec<(u64, usize)> {
        let note = |entry: &[u8]| {
            if word(entry, 0, false)? != 4 {
                return None;
            }
            let (offset, len) = if self.wide {
                (word(entry, 8, true)?, word(entry, 32, true)?)
            } else {
                (word(entry, 4, false)?, word(entry, 16, false)?)
            };
            Some((offset, usize::try_from(len).ok()?))
        };
        table.chunks_exact(self.entry_len.max(1)).filter_map(note).collect()
    }
}

/// Searches a note segment for the note `GNU`, type 3. Notes are padded to four bytes.
pub(super) fn note_build_id(mut notes: &[u8]) -> Option<BuildId> {
    loop {
        let name_len = usize::try_from(word(notes, 0, false)?).ok()?;
        let id_len = usize::try_from(word(notes, 4, false)?).ok()?;
        let kind = word(notes, 8, false)?;
        let id_at = 12_usize.checked_add(name_len.checked_next_multiple_of(4)?)?;
        let next = id_at.checked_add(id_len.checked_next_multiple_of(4)?)?;
        if kind == 3 && notes.get(12..)?.get(..name_len)? == b"GNU\0" {
            return BuildId::new(notes.get(id_at..)?.get(..id_len)?);
        }
        notes = notes.get(next..)?;
    }
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?)))
}

fn word(bytes: &[u8], at: usize, wide: bool) -> Option<u64> {
    let rest = bytes.get(at..)?;
    Some(if wide {
        u64::from_le_bytes(*rest.first_chunk()?)
    } else {
        u64::from(u32::from_le_bytes(*rest.first_chunk()?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn code_is_taken_and_data_is_not() {
        let code = "55d0c0de1000-55d0c0de9000 r-xp 00003000 fd:00 1234   /usr/bin/a program (deleted)";
        let expected = Line {
            start: 0x55d0_c0de_1000,
            end: 0x55d0_c0de_9000,
            offset: 0x3000,
            file: "fd:00 1234",
            path: "/usr/bin/a program (deleted)",
        };
        assert_eq!(parse_line(code), Some(expected));
        assert_eq!(parse_line(&code.replace("r-xp", "r--p")), None);
        assert_eq!(parse_line("7f00-7f10 r-xp 0 00:00 0").unwrap().path, "[anonymous]");
    }

    #[test]
    fn an_address_is_found_from_the_first_byte_to_the_last() {
        let mapping = Arc::new(Mapping { build_id: BuildId::default(), path: "/x".into() });
        let maps = Maps { areas: vec![Area { start: 0x1000, end: 0x2000, offset: 0x400, mapping }] };
        let offset = |address| maps.find(address).map(|(_, offset)| offset);
        assert_eq!(offset(0x1000), Some(0x400));
        assert_eq!(offset(0x1FFF), Some(0x13FF));
        assert_eq!((offset(0xFFF), offset(0x2000)), (None, None));
    }

    #[test]
    fn new_code_takes_the_place_of_old_code_under_it() {
        let mapping = Arc::new(Mapping { build_id: BuildId::default(), path: "/x".into() });
        let mut maps = Maps::default();
        maps.insert(0x2000, 0x1000, 0, Arc::clone(&mapping));
        maps.insert(0x1000, 0x1000, 0x10, Arc::clone(&mapping));
        maps.insert(0x2800, 0x100, 0x99, mapping);
        let offset = |address| maps.find(address).map(|(_, offset)| offset);
        assert_eq!((offset(0x1FFF), offset(0x2000), offset(0x2800)), (Some(0x100F), None, Some(0x99)));
    }

    #[test]
    fn a_build_id_is_found_behind_another_note() {
        let mut notes = vec![4, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0];
        notes.extend(b"GNU\0\x01\x02\0\0");
        notes.extend([4, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0]);
        notes.extend(b"GNU\0\xAA\xBB\xCC\0");
        assert_eq!(note_build_id(&notes).unwrap().as_bytes(), [0xAA, 0xBB, 0xCC]);
        assert_eq!(note_build_id(&notes[..notes.len() - 2]), None);
    }

    #[test]
    fn a_function_of_this_program_is_found_in_its_file() {
        let address = parse_line as fn(&'static str) -> Option<Line<'static>> as usize as u64;
        let maps = Maps::read(std::process::id(), &mut Files::default()).unwrap();
        let (mapping, _) = maps.find(address).unwrap();
        assert_eq!(std::path::Path::new(&*mapping.path), std::env::current_exe().unwrap());
    }

    proptest! {
        #[test]
        fn no_file_makes_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = note_build_id(&bytes);
            let mut head = b"\x7fELF\x02\x01".to_vec();
            head.extend(&bytes);
            if let Some(table) = program_headers(&head) {
                let _ = table.notes(&bytes);
            }
        }
    }
}
