//! Time in which a CPU ran no thread: idle, with and without I/O under way, or taken away by a hypervisor (`idle`, `iowait`
//! and `steal` of `/proc/stat`, `proc(5)`). The timer's samples share what is left.
//!
//! Samples of the idle loop could share it with them, but not on every machine do they come: on a virtual one the second CPU
//! gave none, and a task of 40 % read as 98. In stolen time no timer ticks at all, and a cyclic task does right after it
//! what it could not do meanwhile: with half of the time stolen, 40 % read as 80.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How often the accounts are read at most. The kernel adds up its interrupts for each reading, which takes it 0.02 ms and
/// more.
const EVERY: Duration = Duration::from_millis(450);
/// The CPUs stand before all else. A line is 60 bytes long, after years 150.
const LONGEST: usize = 32 << 10;

/// The kernel's accounts of its CPUs.
#[derive(Debug)]
pub(super) struct Spare {
    accounts: File,
    text: Vec<u8>,
    read_at: Option<Instant>,
    /// By the CPU's number: when first looked at, and now.
    totals: HashMap<u32, (Duration, Duration)>,
}

impl Spare {
    /// Begins to count.
    ///
    /// # Errors
    /// Those of opening `/proc/stat`, which some sandboxes hide.
    pub(super) fn open(now: Instant) -> io::Result<Self> {
        let accounts = File::open("/proc/stat")?;
        let mut spare = Self { accounts, text: vec![0; LONGEST], read_at: None, totals: HashMap::new() };
        spare.look(now);
        Ok(spare)
    }

    /// Reads the accounts if that is due; true where they are new.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        if self.read_at.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
            return false;
        }
        self.read_at = Some(now);
        // Accounts that cannot be read now leave things as they are.
        let Ok(len) = self.accounts.read_at(&mut self.text, 0) else { return false };
        for (cpu, total) in parse(self.text.get(..len).unwrap_or_default()) {
            self.totals.entry(cpu).or_insert((total, total)).1 = total;
        }
        true
    }

    /// For how long a CPU ran no thread since the start.
    pub(super) fn of(&self, cpu: u32) -> Duration {
        self.totals.get(&cpu).map_or(Duration::ZERO, |(first, now)| now.saturating_sub(*first))
    }
}

/// CPUs and how long they ran no thread since the machine's start: lines of a name and ten numbers, of which the fourth,
/// the fifth and the eighth count.
fn parse(text: &[u8]) -> impl Iterator<Item = (u32, Duration)> {
    text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| {
        let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let cpu = fields.next().filter(|_| !line.starts_with("cpu "))?.parse().ok()?;
        let mut ticks = |skipped| fields.nth(skipped)?.parse::<u64>().ok();
        let sum = ticks(3)?.saturating_add(ticks(0)?).saturating_add(ticks(2)?);
        Some((cpu, tick().saturating_mul(u32::try_from(sum).unwrap_or(u32::MAX))))
    })
}

/// What the kernel counts such times in.
fn tick() -> Duration {
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100).max(1);
    Duration::from_secs(1) / per_second
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &[u8] = b"cpu  219427 30111 13682 460340 1480 0 132 315 0 0\n\
        cpu0 109386 15521 6681 230244 708 0 46 153 0 0\n\
        cpu17 110041 14589 7001 230095 771 0 85 162 0 0\n\
        intr 1234 0 0\nctxt 99\ncpu18 1 2 3 4 5 6 7 8";

    #[test]
    fn idle_waiting_and_stolen_time_of_each_cpu_count_and_a_line_that_is_cut_does_not() {
        let found: Vec<_> = parse(STAT).collect();
        assert_eq!(found, [(0, tick() * (230_244 + 708 + 153)), (17, tick() * (230_095 + 771 + 162))]);
    }

    #[test]
    fn lines_that_are_not_a_cpus_or_too_short_are_passed_over() {
        for text in
            ["cpu\n", "cpu0\n", "cpu0 1 2 3\n", "cpux 1 2 3 4 5 6 7 8 9\n", "cpu0 1 2 3 4 5 6 7 -8 9\n", "\n"]
        {
            assert_eq!(parse(text.as_bytes()).count(), 0, "{text:?}");
        }
    }

    #[test]
    fn this_machine_has_an_account_of_each_cpu_that_counts_from_the_start_and_is_not_read_too_often() {
        let now = Instant::now();
        let mut spare = Spare::open(now).unwrap();
        let (cpu, first) = spare.totals.iter().next().map(|(cpu, total)| (*cpu, total.0)).unwrap();
        assert_eq!(spare.of(cpu), Duration::ZERO);
        assert!(!spare.look(now + EVERY / 2));
        spare.totals.insert(cpu, (first.saturating_sub(tick() * 30), first));
        assert_eq!(spare.of(cpu), tick() * 30);
        assert!(spare.look(now + EVERY));
        assert!(spare.of(cpu) >= tick() * 30);
        assert_eq!(spare.of(u32::MAX), Duration::ZERO);
    }
}
