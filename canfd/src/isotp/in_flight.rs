//! Own frames handed to the bus and not yet confirmed, oldest first.

use std::time::{Duration, Instant};

use super::timing::Timing;

/// Most frames outstanding at once, flow control included.
const CAPACITY: usize = 512;

/// What an outstanding frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A piece of the message being sent.
    Data,
    /// Flow control for the message being received.
    FlowControl,
    /// Something given up since; its confirmation only frees the place.
    Stale,
}

/// A ring of the outstanding frames' kinds. One timer watches the oldest.
#[derive(Debug)]
pub(super) struct InFlight {
    kinds: [Kind; CAPACITY],
    head: usize,
    len: usize,
    data: usize,
    since: Option<Instant>,
}

impl InFlight {
    pub(super) const fn new() -> Self {
        Self { kinds: [Kind::Stale; CAPACITY], head: 0, len: 0, data: 0, since: None }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len == CAPACITY
    }

    /// Frames of the message being sent.
    pub(super) const fn data(&self) -> usize {
        self.data
    }

    /// Every frame, whatever its kind.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, now: Instant, kind: Kind) {
        debug_assert!(!self.is_full(), "the caller asks for room first");
        self.kinds[(self.head + self.len) % CAPACITY] = kind;
        self.len += 1;
        self.data += usize::from(kind == Kind::Data);
        self.since.get_or_insert(now);
    }

    /// The oldest frame was confirmed.
    pub(super) fn confirm(&mut self, now: Instant) -> Option<Kind> {
        if self.len == 0 {
            return None;
        }
        let kind = self.kinds[self.head];
        self.head = (self.head + 1) % CAPACITY;
        self.len -= 1;
        self.data -= usize::from(kind == Kind::Data);
        // The next one can only go out after this one, so its time starts here.
        self.since = (self.len > 0).then_some(now);
        Some(kind)
    }

    /// The transfer these frames belonged to is over.
    pub(super) fn abandon(&mut self, kind: Kind) {
        for offset in 0..self.len {
            let slot = &mut self.kinds[(self.head + offset) % CAPACITY];
            if *slot == kind {
                *slot = Kind::Stale;
            }
        }
        if kind == Kind::Data {
            self.data = 0;
        }
    }

    /// When the oldest frame counts as lost.
    pub(super) fn deadline(&self, timing: &Timing) -> Option<Instant> {
        self.since.map(|since| since + self.limit(timing))
    }

    fn limit(&self, timing: &Timing) -> Duration {
        match self.kinds[self.head] {
            Kind::Data | Kind::Stale => timing.n_as,
            Kind::FlowControl => timing.n_ar,
        }
    }

    /// Forgets all frames and says whether data and flow control were among them.
    pub(super) fn clear(&mut self) -> Lost {
        let mut lost = Lost { data: false, flow_control: false };
        while let Some(kind) = self.len.checked_sub(1).map(|last| self.kinds[(self.head + last) % CAPACITY]) {
            self.len -= 1;
            lost.data |= kind == Kind::Data;
            lost.flow_control |= kind == Kind::FlowControl;
        }
        self.data = 0;
        self.since = None;
        lost
    }
}

/// What [`InFlight::clear`] gave up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub(super) data: bool,
    pub(super) flow_control: bool,
}
