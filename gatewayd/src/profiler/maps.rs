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
    pub(super) fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let mut mappings: HashMap<&str, Arc<Mapping>> = HashMap::new();
        let areas = text
            .lines()
            .filter_map(parse_line)
            .take(MAX_AREAS)
            .map(|line| {
                let mapping = mappings.entry(line.path).or_insert_with(|| {
                    // Through the process' own root, so that a container's files are found.
                    let build_id = File::open(format!("/proc/{pid}/root{}", line.path))
                        .and_then(|file| build_id(&file))
                        .ok()
                        .flatten()
                        .unwrap_or_default();
                    Arc::new(Mapping { build_id, path: line.path.into() })
                });
                Area { start: line.start, end: line.end, offset: line.offset, mapping: Arc::clone(mapping) }
            })
            .collect();
        Ok(Self { areas })
    }

    /// The file and the offset in it that an address was mapped from; `None` outside all code.
    pub(super) fn find(&self, address: u64) -> Option<(&Arc<Mapping>, u64)> {
        let at = self.areas.partition_point(|area| area.end <= address);
        let area = self.areas.get(at).filter(|area| area.start <= address)?;
        Some((&area.mapping, (address - area.start).wrapping_add(area.offset)))
    }
}

#[derive(Debug, PartialEq)]
struct Line<'a> {
    start: u64,
    end: u64,
    offset: u64,
    path: &'a str,
}

/// A line of `maps` (`proc_pid_maps(5)`) that describes code: start-end, rights, offset, device, inode, path.
fn parse_line(line: &str) -> Option<Line<'_>> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    if rights.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (_device, _inode) = (fields.next()?, fields.next()?);
    let path = fields.next().map_or("", str::trim);
    Some(Line {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        offset,
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
fn note_build_id(mut notes: &[u8]) -> Option<BuildId> {
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
        let maps = Maps::read(std::process::id()).unwrap();
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
