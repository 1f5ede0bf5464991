//! What the kernel says of its tracepoints: their numbers, and where in a record which field lies. Read from the
//! `format` files of tracefs, so that nothing is built in of any kernel version.

use std::path::{Path, PathBuf};

use super::super::record::Raw;

/// Where tracefs is mounted: by itself, or within debugfs.
const ROOTS: [&str; 2] = ["/sys/kernel/tracing/events", "/sys/kernel/debug/tracing/events"];
/// Longest format file that is read; the longest known has 6 KiB.
const MAX_FORMAT: u64 = 64 * 1_024;

/// A tracepoint of this kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    /// Its number for `perf_event_open`.
    pub(super) id: u32,
    fields: Vec<(String, Field)>,
}

/// A field in a tracepoint's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    offset: usize,
    size: usize,
}

impl Field {
    /// Its value, without a sign.
    pub(super) fn of(self, raw: Raw<'_>) -> Option<u64> {
        raw.number(self.offset, self.size)
    }

    /// True if it lies there and is so long.
    #[cfg(feature = "bpf")]
    pub(super) fn is_at(self, offset: usize, size: usize) -> bool {
        (self.offset, self.size) == (offset, size)
    }

    /// Its first bytes.
    pub(super) fn bytes<const N: usize>(self, raw: Raw<'_>) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        for (at, byte) in bytes.iter_mut().enumerate().take(self.size) {
            *byte = raw.byte(self.offset + at)?;
        }
        Some(bytes)
    }
}

impl Format {
    /// Reads the format of `system`:`name`, or says why there is none.
    ///
    /// A service without the right to read tracefs gets the files as systemd credentials, under the name
    /// `SYSTEM.NAME`.
    pub(super) fn find(system: &str, name: &str) -> Result<Self, String> {
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
            .map(|directory| Path::new(&directory).join(format!("{system}.{name}")));
        let mounted = ROOTS.iter().map(|root| Path::new(root).join(system).join(name).join("format"));
        let mut reason = format!("{}: not found", ROOTS.first().unwrap_or(&""));
        for path in credential.into_iter().chain(mounted) {
            match read(&path) {
                Ok(text) if text.is_empty() => {}
                Ok(text) => {
                    return Self::parse(&text).ok_or_else(|| format!("{}: not a format", path.display()));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => reason = format!("{}: {error}", path.display()),
            }
        }
        Err(reason)
    }

    /// Takes a format file apart: a line `ID:`, and lines `field:TYPE NAME; offset:N; size:N; ...`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let id = text.lines().find_map(|line| line.strip_prefix("ID:"))?.trim().parse().ok()?;
        Some(Self { id, fields: text.lines().filter_map(field).collect() })
    }

    /// A field by its name.
    pub(super) fn field(&self, name: &str) -> Option<Field> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, field)| *field)
    }
}

fn read(path: &PathBuf) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FORMAT).read_to_string(&mut text)?;
    Ok(text)
}

fn field(line: &str) -> Option<(String, Field)> {
    let mut parts = line.trim().strip_prefix("field:")?.split(';').map(str::trim);
    let declared = parts.next()?;
    let (mut offset, mut size) = (None, None);
    for part in parts {
        match part.split_once(':') {
            Some(("offset", number)) => offset = number.parse().ok(),
            Some(("size", number)) => size = number.parse().ok(),
            _ => {}
        }
    }
    // The name stands last; an array's length stands behind it.
    let name = declared.rsplit([' ', '*']).next()?;
    let name = name.split('[').next()?;
    // No record is longer than 64 KiB.
    let within = |number: &usize| *number < 1 << 16;
    let field = Field { offset: offset.filter(within)?, size: size.filter(within)? };
    Some((name.to_owned(), field))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "name: sched_switch\nID: 372\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
                        \tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;\n\
                        \tfield:u32 * uaddr;\toffset:32;\tsize:8;\tsigned:0;\n\nprint fmt: \"prev_comm=%s\", REC->prev_comm\n";

    #[test]
    fn number_and_fields_are_read() {
        let format = Format::parse(TEXT).unwrap();
        assert_eq!(format.id, 372);
        assert_eq!(format.field("prev_pid"), Some(Field { offset: 24, size: 4 }));
        assert_eq!(format.field("prev_comm"), Some(Field { offset: 8, size: 16 }));
        assert_eq!(format.field("uaddr"), Some(Field { offset: 32, size: 8 }));
        assert_eq!(format.field("next_pid"), None);
    }

    #[test]
    fn a_text_without_a_number_is_no_format() {
        assert_eq!(Format::parse("format:\n\tfield:int a;\toffset:0;\tsize:4;"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}", offset in any::<u64>()) {
            let _ = Format::parse(&format!("ID: 1\n\tfield:int a;\toffset:{offset};\tsize:{offset};\n\tfield:{text}"));
        }
    }
}
