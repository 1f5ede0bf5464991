//! What procfs tells of a process and its threads (`proc(5)`). Read errors of a thread mean that it ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use telemetry::{SchedulingClass, ThreadInfo};

/// Most threads of one process that are looked at; the rest is counted, not sampled.
pub(super) const MAX_THREADS: usize = 128;

/// The threads of a process.
#[derive(Debug)]
pub(super) struct Tasks {
    /// Up to [`MAX_THREADS`] thread ids, ascending.
    pub(super) tids: Vec<u32>,
    /// How many more there are.
    pub(super) beyond: usize,
}

pub(super) fn tasks(pid: u32) -> io::Result<Tasks> {
    let mut tids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        if let Some(tid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            tids.push(tid);
        }
    }
    tids.sort_unstable();
    let beyond = tids.len().saturating_sub(MAX_THREADS);
    tids.truncate(MAX_THREADS);
    Ok(Tasks { tids, beyond })
}

pub(super) fn task_dir(pid: u32, tid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join("task").join(tid.to_string())
}

/// Name, class and state of a thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ThreadStat {
    pub(super) info: ThreadInfo,
    /// `R`, `S`, `D` and so on.
    pub(super) state: char,
}

pub(super) fn thread_stat(pid: u32, tid: u32) -> io::Result<ThreadStat> {
    let text = fs::read_to_string(task_dir(pid, tid).join("stat"))?;
    parse_stat(pid, tid, &text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "thread's stat file"))
}

/// Fields by `proc_pid_stat(5)`: 2 name in parentheses, 3 state, 40 real-time priority, 41 policy. The name may hold
/// spaces and parentheses itself, so the fields are counted from the last one.
fn parse_stat(pid: u32, tid: u32, text: &str) -> Option<ThreadStat> {
    let (head, tail) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = tail.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let priority: u8 = fields.nth(36)?.parse().ok()?;
    let policy: u32 = fields.next()?.parse().ok()?;
    let class = match policy {
        // SCHED_FIFO and SCHED_RR; SCHED_DEADLINE.
        1 | 2 => SchedulingClass::Realtime(priority),
        6 => SchedulingClass::Realtime(100),
        _ => SchedulingClass::Normal,
    };
    Some(ThreadStat { info: ThreadInfo { pid, tid, name: name.into(), class }, state })
}

/// CPU time of a thread in nanoseconds: the first field of its `schedstat`.
pub(super) fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The ten-second average of a pressure file's `some` line, in parts per million of time.
pub(super) fn parse_pressure(text: &str) -> Option<i64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some.split_ascii_whitespace().find_map(|field| field.strip_prefix("avg10="))?;
    // "12.34" per cent with two decimals: 100 ppm each.
    let (whole, decimals) = average.split_once('.')?;
    let hundredths = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(decimals.parse().ok()?)?;
    hundredths.checked_mul(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, priority: u8, policy: u32) -> String {
        let middle = "1 ".repeat(36);
        format!("8 ({name}) R {middle}{priority} {policy} 0 0\n")
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_is_taken_whole() {
        let parsed = parse_stat(7, 8, &stat("opt (cgu) 0", 0, 0)).unwrap();
        assert_eq!(&*parsed.info.name, "opt (cgu) 0");
        assert_eq!((parsed.state, parsed.info.class), ('R', SchedulingClass::Normal));
    }

    #[test]
    fn real_time_policies_are_told_with_their_priority() {
        let class = |priority, policy| parse_stat(7, 8, &stat("x", priority, policy)).unwrap().info.class;
        assert_eq!(class(50, 1), SchedulingClass::Realtime(50));
        assert_eq!(class(99, 2), SchedulingClass::Realtime(99));
        assert_eq!(class(0, 6), SchedulingClass::Realtime(100));
        assert_eq!(class(0, 3), SchedulingClass::Normal);
    }

    #[test]
    fn a_cut_stat_file_is_refused() {
        let whole = stat("x", 50, 1);
        assert_eq!(parse_stat(7, 8, &whole[..whole.len() - 10]), None);
    }

    #[test]
    fn pressure_is_read_in_parts_per_million() {
        let text = "some avg10=12.34 avg60=0.71 avg300=0.66 total=8349556\nfull avg10=1.00 avg60=0 avg300=0 total=0\n";
        assert_eq!(parse_pressure(text), Some(123_400));
        assert_eq!(parse_pressure("full avg10=1.00"), None);
    }

    #[test]
    fn this_process_is_found_with_its_threads() {
        let pid = std::process::id();
        assert!(tasks(pid).unwrap().tids.contains(&pid));
        assert_eq!(thread_stat(pid, pid).unwrap().info.tid, pid);
    }
}
