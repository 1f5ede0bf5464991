//! Places in the kernel: told as a distance from `_stext`, which needs the kernel's symbols to be named and gives away
//! nothing of where this kernel lies in memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use telemetry::{BuildId, Frame, Mapping};

use super::super::maps::note_build_id;

/// How the kernel's own names for system calls begin, by architecture.
const SYSCALL_PREFIXES: [&str; 3] = ["__x64_sys_", "__arm64_sys_", "__riscv_sys_"];
/// Most system calls that are remembered; there are some 460.
const MAX_SYSCALLS: usize = 1_024;

/// What is known of the running kernel's code.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    layout: Option<Layout>,
    syscalls: Vec<Syscall>,
}

#[derive(Debug)]
struct Layout {
    start: u64,
    end: u64,
    mapping: Arc<Mapping>,
}

#[derive(Debug)]
struct Syscall {
    start: u64,
    end: u64,
    name: Arc<str>,
}

impl Kernel {
    /// Reads the symbols once. Where the kernel hides them, its frames are not told apart and system calls not named.
    pub(super) fn read() -> Self {
        let Ok(file) = File::open("/proc/kallsyms") else { return Self::default() };
        let notes = std::fs::read("/sys/kernel/notes").unwrap_or_default();
        Self::parse(BufReader::with_capacity(1 << 16, file), note_build_id(&notes).unwrap_or_default())
    }

    /// Lines of `kallsyms`: address in hexadecimal, type, name.
    fn parse(mut text: impl BufRead, build_id: BuildId) -> Self {
        let (mut start, mut end) = (0, 0);
        let mut syscalls: Vec<Syscall> = Vec::new();
        let mut line = String::new();
        while text.read_line(&mut line).is_ok_and(|len| len > 0) {
            let mut fields = line.split_ascii_whitespace();
            let address = fields.next().and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
            let name = fields.nth(1).unwrap_or_default();
            match name {
                "_stext" => start = address,
                "_etext" => end = address,
                _ => {}
            }
            if let Some(open) = syscalls.last_mut().filter(|open| open.end == 0 && address > open.start) {
                open.end = address;
            }
            let called = SYSCALL_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
            if let Some(called) = called.filter(|_| address > 0 && syscalls.len() < MAX_SYSCALLS) {
                syscalls.push(Syscall { start: address, end: 0, name: called.into() });
            }
            line.clear();
            // Modules' symbols come behind the kernel's own.
            if start > 0 && end > 0 && address > end {
                break;
            }
        }
        syscalls.retain(|it| it.end > it.start);
        syscalls.sort_unstable_by_key(|it| it.start);
        let layout = (start > 0 && end > start).then(|| Layout {
            start,
            end,
            mapping: Arc::new(Mapping { build_id, path: "[kernel]".into() }),
        });
        Self { layout, syscalls }
    }

    /// A place in the kernel; `None` where its layout is hidden, and for modules.
    pub(super) fn frame(&self, address: u64) -> Option<Frame> {
        let layout = self.layout.as_ref().filter(|it| (it.start..it.end).contains(&address))?;
        Some(Frame::Address { mapping: Arc::clone(&layout.mapping), offset: address - layout.start })
    }

    /// The system call that a call chain in the kernel is in.
    pub(super) fn syscall(&self, chain: &[u64]) -> Option<&Arc<str>> {
        chain.iter().rev().find_map(|address| {
            let at = self.syscalls.partition_point(|it| it.end <= *address);
            self.syscalls.get(at).filter(|it| it.start <= *address).map(|it| &it.name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "ffff0000 T _stext\nffff0100 T __x64_sys_fsync\nffff0140 T next\nffff0200 T _etext\nfffff000 t module\n";

    fn kernel() -> Kernel {
        Kernel::parse(SYMBOLS.as_bytes(), BuildId::default())
    }

    #[test]
    fn a_place_is_told_from_the_start_of_the_kernel_and_no_module_is() {
        let offset = |address| match kernel().frame(address) {
            Some(Frame::Address { offset, .. }) => Some(offset),
            _ => None,
        };
        assert_eq!((offset(0xffff_0000), offset(0xffff_01ff)), (Some(0), Some(0x1ff)));
        assert_eq!((offset(0xffff_0200), offset(0xfffe_ffff)), (None, None));
    }

    #[test]
    fn the_outermost_function_of_a_system_call_names_it() {
        assert_eq!(kernel().syscall(&[0xffff_0150, 0xffff_0110, 0xffff_0010]).map(|it| &**it), Some("fsync"));
        assert_eq!(kernel().syscall(&[0xffff_0150, 0xffff_0140]), None);
    }

    #[test]
    fn hidden_addresses_give_no_places() {
        let hidden = Kernel::parse(
            "0000000000000000 T _stext\n0000000000000000 T _etext\n".as_bytes(),
            BuildId::default(),
        );
        assert_eq!(hidden.frame(0), None);
    }
}
