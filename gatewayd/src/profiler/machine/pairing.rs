//! Events to the one who pairs them.

use std::collections::HashMap;
use std::sync::Arc;

use telemetry::{Dimension, IoHistogram};

use super::super::poisson::{self, SplitMix64};
use super::blocking::Blocking;
use super::blockio::{BlockIo, Device};
use super::events::{Event, Group, What};
use super::locks::Locks;
use super::measured::{Detail, Measured};

/// Mean distance of the marks by which measurements are chosen, in nanoseconds: what is longer is almost always told,
/// what is shorter now and then.
const SLEEP: u64 = 10_000_000;
const RUN_QUEUE: u64 = 1_000_000;
const LOCK: u64 = 500_000;
const REQUEST: u64 = 1_000_000;
/// Most names of devices that are remembered.
const MAX_NAMES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Pairing {
    blocking: Blocking,
    locks: Locks,
    blockio: BlockIo,
    names: HashMap<Device, Arc<str>>,
}

impl Pairing {
    /// Takes the next event, in order of time.
    pub(super) fn handle(&mut self, event: &Event, out: &mut Vec<Measured>) {
        let (ns, place) = (event.ns, &event.place);
        match event.what {
            What::Switch { why, next } => {
                if let Some(resumed) = self.blocking.handle_switch(ns, why, place, next, out) {
                    self.blockio.handle_resumed(ns, resumed.woken_ns);
                }
            }
            What::Wakeup { tid } => self.blocking.handle_wakeup(ns, tid),
            What::Contention { flags } => self.locks.handle_contention(ns, flags, place),
            What::ContentionEnd => self.locks.handle_contention_end(ns, place.tid, out),
            What::Futex => self.locks.handle_futex(ns, place),
            What::FutexEnd => self.locks.handle_futex_end(ns, place.tid, out),
            What::Pages { bytes } => out.push(Measured {
                dimension: Dimension::Pages,
                detail: Detail::None,
                place: Arc::clone(place),
                amount: bytes,
                span_ns: 0,
            }),
            What::Insert(it) => self.blockio.handle_insert(ns, it.device, it.sector, it.kind, place),
            What::Issue(it) => self.blockio.handle_issue(ns, it.device, it.sector, it.kind, place),
            What::Complete(it) => self.blockio.handle_complete(ns, it.device, it.sector, it.kind, out),
        }
    }

    /// Events of a group are missed from here on.
    pub(super) fn handle_gap(&mut self, group: Group) {
        match group {
            Group::Blocking => self.blocking.handle_gap(),
            Group::Locks => self.locks.handle_gap(),
            Group::BlockIo => self.blockio.handle_gap(),
            Group::Memory => {}
        }
    }

    /// The histograms since the last call.
    pub(super) fn poll_histograms(&mut self) -> Vec<IoHistogram> {
        let names = &mut self.names;
        self.blockio.poll_histograms(|device| {
            if names.len() >= MAX_NAMES {
                names.clear();
            }
            Arc::clone(names.entry(device).or_insert_with(|| read_name(device)))
        })
    }

    /// The name of a device.
    pub(super) fn device_name(&self, device: Device) -> Arc<str> {
        self.names.get(&device).map_or_else(|| read_name(device), Arc::clone)
    }

    /// What was not followed for want of room, since the last call.
    pub(super) fn take_refused(&mut self) -> u64 {
        self.blocking.take_refused() + self.locks.take_refused() + self.blockio.take_refused()
    }
}

/// Chooses measurements to be told by their size: what one counts for, if chosen.
pub(super) fn choose(measured: &Measured, random: &mut SplitMix64) -> Option<u64> {
    let mean = match measured.dimension {
        Dimension::Blocked => SLEEP,
        Dimension::RunQueue => RUN_QUEUE,
        Dimension::Lock => LOCK,
        Dimension::BlockIo => REQUEST,
        // The kernel has left out most of them already.
        Dimension::Cpu | Dimension::Pages | Dimension::Heap => return Some(measured.amount),
    };
    poisson::choose(measured.amount, mean, random)
}

/// From sysfs, where a link named by the number points to the device.
fn read_name(device: Device) -> Arc<str> {
    let number = format!("{}:{}", device >> 20, device & 0xF_FFFF);
    let link = std::fs::read_link(format!("/sys/dev/block/{number}"));
    let name = link.ok().and_then(|path| path.file_name()?.to_str().map(Arc::from));
    name.unwrap_or_else(|| number.into())
}
