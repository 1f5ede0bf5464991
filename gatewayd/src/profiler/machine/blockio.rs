//! Block input and output: from the request queue's tracepoints, how long requests waited, how long the device took, and
//! how long the thread then waited for a CPU; without the last "the disk is slow" would often be a false alarm.
//!
//! Classic tracepoints do not tell which request they are about, so requests are known by device and first sector. Two
//! that are under way for the same sector are confused; the earlier one is then left out. A flush has no sector, and is
//! paired with the oldest one under way on its device.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use telemetry::{Dimension, IoHistogram, IoOperation, IoTerm};

use super::measured::{Detail, Measured, Open, Place};

/// Most devices told apart; each may fill eight histograms.
const MAX_DEVICES: usize = 16;
/// Flushes under way on one device.
const MAX_FLUSHES: usize = 64;
/// Completions kept to be joined with the threads that they wake.
const MAX_COMPLETIONS: usize = 32;
/// A thread that is woken so long after a completion was woken by it; the interrupt's way is shorter.
const WOKEN_BY: u64 = 200_000;

/// A device by the kernel's number: major in the upper 12 bits, minor in the lower 20.
pub(super) type Device = u32;

/// What a request does, read from `rwbs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    operation: IoOperation,
    /// The device must write it, or its whole cache, to the medium before it answers.
    to_medium: bool,
}

impl Kind {
    /// `F` before the operation is a flush ahead of it, `F` behind it is FUA; the operation is `R`, `W`, `D` or `F`.
    pub(super) fn of_rwbs(rwbs: [u8; 8]) -> Option<Self> {
        let [first, second, third, ..] = rwbs;
        let (operation, behind) = match (first, second) {
            (b'F', b'F' | b'W' | b'R' | b'D') => (second, third),
            _ => (first, second),
        };
        let fua = behind == b'F';
        Some(match operation {
            b'R' => Self { operation: IoOperation::Read, to_medium: fua },
            b'W' => Self { operation: IoOperation::Write, to_medium: fua },
            b'D' => Self { operation: IoOperation::Discard, to_medium: fua },
            b'F' => Self { operation: IoOperation::Flush, to_medium: true },
            _ => return None,
        })
    }
}

/// Follows requests. No clock: times are the events'.
#[derive(Debug, Default)]
pub(super) struct BlockIo {
    requests: Open<(Device, u64), Request>,
    flushes: HashMap<Device, VecDeque<Request>>,
    completions: VecDeque<Completion>,
    histograms: BTreeMap<(Device, IoOperation, IoTerm), IoHistogram>,
}

#[derive(Debug)]
struct Request {
    made_ns: Option<u64>,
    issued_ns: Option<u64>,
    kind: Kind,
    place: Arc<Place>,
}

#[derive(Debug)]
struct Completion {
    ns: u64,
    device: Device,
    operation: IoOperation,
}

impl BlockIo {
    /// A request entered the queue; requests that go straight to the device do not.
    pub(super) fn handle_insert(
        &mut self,
        ns: u64,
        device: Device,
        sector: u64,
        kind: Kind,
        place: &Arc<Place>,
    ) {
        if kind.operation != IoOperation::Flush {
            let place = Arc::clone(place);
            self.requests
                .insert((device, sector), Request { made_ns: Some(ns), issued_ns: None, kind, place });
        }
    }

    /// A request was given to the device.
    pub(super) fn handle_issue(
        &mut self,
        ns: u64,
        device: Device,
        sector: u64,
        kind: Kind,
        place: &Arc<Place>,
    ) {
        let request = Request { made_ns: None, issued_ns: Some(ns), kind, place: Arc::clone(place) };
        if kind.operation == IoOperation::Flush {
            if self.flushes.len() < MAX_DEVICES || self.flushes.contains_key(&device) {
                let flushes = self.flushes.entry(device).or_default();
                if flushes.len() < MAX_FLUSHES {
                    flushes.push_back(request);
                }
            }
            return;
        }
        match self.requests.get_mut(&(device, sector)) {
            Some(known) if known.issued_ns.is_none() => known.issued_ns = Some(ns),
            _ => self.requests.insert((device, sector), request),
        }
    }

    /// The device is done with a request.
    pub(super) fn handle_complete(
        &mut self,
        ns: u64,
        device: Device,
        sector: u64,
        kind: Kind,
        out: &mut Vec<Measured>,
    ) {
        let request = if kind.operation == IoOperation::Flush {
            self.flushes.get_mut(&device).and_then(VecDeque::pop_front)
        } else {
            self.requests.remove(&(device, sector))
        };
        if self.completions.len() >= MAX_COMPLETIONS {
            self.completions.pop_front();
        }
        self.completions.push_back(Completion { ns, device, operation: kind.operation });
        let Some(Request { made_ns, issued_ns: Some(issued_ns), kind, place }) = request else { return };
        if let Some(made_ns) = made_ns {
            self.record(device, kind.operation, IoTerm::Queue, issued_ns.saturating_sub(made_ns));
        }
        let term = if kind.to_medium { IoTerm::Flush } else { IoTerm::Device };
        self.record(device, kind.operation, term, ns.saturating_sub(issued_ns));
        let amount = ns.saturating_sub(made_ns.unwrap_or(issued_ns));
        let (dimension, detail) = (Dimension::BlockIo, Detail::Device(device));
        out.push(Measured { dimension, detail, place, amount, span_ns: amount });
    }

    /// A thread that slept without being interruptible and was woken at `woken_ns` runs again at `ns`.
    pub(super) fn handle_resumed(&mut self, ns: u64, woken_ns: u64) {
        let by = self.completions.iter().rev().find(|it| it.ns <= woken_ns);
        let Some(&Completion { ns: done_ns, device, operation }) = by else { return };
        if woken_ns - done_ns <= WOKEN_BY {
            self.record(device, operation, IoTerm::RunQueue, ns.saturating_sub(done_ns));
        }
    }

    /// Events were missed from here on.
    pub(super) fn handle_gap(&mut self) {
        self.requests.clear();
        self.flushes.clear();
        self.completions.clear();
    }

    /// What was counted since the last call; `name` names a device.
    pub(super) fn poll_histograms(&mut self, mut name: impl FnMut(Device) -> Arc<str>) -> Vec<IoHistogram> {
        let named = |((device, operation, term), counted): (_, IoHistogram)| {
            let mut histogram = IoHistogram::new(name(device), operation, term);
            histogram.merge(&counted);
            histogram
        };
        std::mem::take(&mut self.histograms).into_iter().map(named).collect()
    }

    /// Requests that were not followed for want of room, since the last call.
    pub(super) fn take_refused(&mut self) -> u64 {
        self.requests.take_refused()
    }

    fn record(&mut self, device: Device, operation: IoOperation, term: IoTerm, ns: u64) {
        let key = (device, operation, term);
        if self.histograms.len() < MAX_DEVICES * 8 || self.histograms.contains_key(&key) {
            let new = || IoHistogram::new(Arc::from(""), operation, term);
            self.histograms.entry(key).or_insert_with(new).record(ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::measured::testing::place;
    use super::*;

    const DISK: Device = 8 << 20;

    fn kind(rwbs: &str) -> Kind {
        let mut bytes = [0; 8];
        bytes[..rwbs.len()].copy_from_slice(rwbs.as_bytes());
        Kind::of_rwbs(bytes).unwrap()
    }

    fn sums(io: &mut BlockIo) -> Vec<(IoOperation, IoTerm, u64)> {
        let all = io.poll_histograms(|_| "sda".into());
        all.iter().map(|it| (it.operation(), it.term(), it.sum_ns())).collect()
    }

    #[test]
    fn the_time_of_a_write_is_split_into_queue_device_and_wait_for_a_cpu() {
        let (mut io, mut out, write) = (BlockIo::default(), Vec::new(), kind("WS"));
        io.handle_insert(100, DISK, 64, write, &place(7));
        io.handle_issue(300, DISK, 64, write, &place(9));
        io.handle_complete(1_000, DISK, 64, write, &mut out);
        io.handle_resumed(2_250, 1_010);
        assert_eq!(
            sums(&mut io),
            [
                (IoOperation::Write, IoTerm::Queue, 200),
                (IoOperation::Write, IoTerm::Device, 700),
                (IoOperation::Write, IoTerm::RunQueue, 1_250)
            ]
        );
        assert_eq!((out[0].place.tid, out[0].amount), (7, 900), "on the stack that made it");
        assert!(sums(&mut io).is_empty(), "told once");
    }

    #[test]
    fn a_flush_is_paired_without_a_sector_and_fua_counts_as_flush() {
        let (mut io, mut out) = (BlockIo::default(), Vec::new());
        io.handle_issue(100, DISK, 0, kind("FF"), &place(7));
        io.handle_complete(400, DISK, u64::MAX, kind("FF"), &mut out);
        io.handle_issue(500, DISK, 8, kind("WFS"), &place(7));
        io.handle_complete(600, DISK, 8, kind("WFS"), &mut out);
        assert_eq!(
            sums(&mut io),
            [(IoOperation::Write, IoTerm::Flush, 100), (IoOperation::Flush, IoTerm::Flush, 300)]
        );
    }

    #[test]
    fn a_thread_woken_much_later_was_not_woken_by_the_device() {
        let (mut io, mut out, read) = (BlockIo::default(), Vec::new(), kind("R"));
        io.handle_issue(100, DISK, 64, read, &place(7));
        io.handle_complete(1_000, DISK, 64, read, &mut out);
        io.handle_resumed(500_000, 1_000 + WOKEN_BY + 1);
        assert_eq!(sums(&mut io), [(IoOperation::Read, IoTerm::Device, 900)]);
    }

    #[test]
    fn a_completion_of_an_unseen_request_is_not_told() {
        let (mut io, mut out, read) = (BlockIo::default(), Vec::new(), kind("RA"));
        io.handle_issue(100, DISK, 64, read, &place(7));
        io.handle_gap();
        io.handle_complete(200, DISK, 64, read, &mut out);
        assert!(sums(&mut io).is_empty() && out.is_empty());
    }

    #[test]
    fn requests_are_told_by_their_letters() {
        let of = |text| (kind(text).operation, kind(text).to_medium);
        assert_eq!((of("R"), of("WM")), ((IoOperation::Read, false), (IoOperation::Write, false)));
        assert_eq!((of("FWS"), of("WF")), ((IoOperation::Write, false), (IoOperation::Write, true)));
        assert_eq!((of("F"), of("FFS")), ((IoOperation::Flush, true), (IoOperation::Flush, true)));
        assert_eq!(Kind::of_rwbs(*b"N\0\0\0\0\0\0\0"), None);
    }
}
