//! A CAN bus in memory: arbitration, exact bit timing, faults on demand. It knows no clock and no socket.

mod fault;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::bit_timing::BitTiming;
use crate::frame::FdFrame;

pub use fault::{Fault, RandomFaults};

/// A node on one bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(usize);

/// Configuration of one bus.
#[derive(Clone, Copy, Debug)]
pub struct VirtualBusConfig {
    /// Bit rates, or `None` for a bus on which frames take no time.
    pub timing: Option<BitTiming>,
    /// Frames a node may have queued; the head of each queue takes part in arbitration.
    pub queue_len: usize,
}

/// A frame that came to its end on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Who sent it.
    pub from: NodeId,
    /// The frame.
    pub frame: FdFrame,
    /// When its end of frame was seen.
    pub at: Instant,
    /// The same since the bus began.
    pub bus_time: Duration,
    receivers: bool,
    sender: bool,
}

impl Delivery {
    /// Whether this node sees it: every node does, the sender as its transmit confirmation, unless a fault decides
    /// otherwise.
    pub fn reaches(&self, node: NodeId) -> bool {
        if self.from == node { self.sender } else { self.receivers }
    }
}

/// What a bus has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusStatistics {
    /// Frames that came to their end.
    pub frames: u64,
    /// Bytes in their data fields.
    pub bytes: u64,
    /// Time the bus was held, intermissions included; zero on an untimed bus.
    pub busy: Duration,
}

/// A frame for which there is no room; it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transmit queue of the node is full or the node is gone")]
pub struct QueueFull(pub FdFrame);

#[derive(Debug)]
struct Queued {
    frame: FdFrame,
    since: Instant,
}

#[derive(Debug)]
struct Transmission {
    delivery: Delivery,
    repeat: bool,
}

type FaultFilter = Box<dyn FnMut(NodeId, &FdFrame) -> Fault + Send>;

/// One bus and the transmit queues of its nodes.
///
/// After every call that takes `&mut self`, drain [`Self::poll_delivery`]; then [`Self::poll_timeout`] says when the
/// next frame ends. The bus keeps its own time: frames follow each other without a gap as long as one is queued, even
/// if `now` comes late.
pub struct VirtualBus {
    config: VirtualBusConfig,
    epoch: Instant,
    queues: Vec<Option<VecDeque<Queued>>>,
    queued: usize,
    current: Option<Transmission>,
    free_at: Instant,
    statistics: BusStatistics,
    fault: Option<FaultFilter>,
}

impl VirtualBus {
    /// A silent bus whose time begins at `now`.
    pub fn new(now: Instant, config: VirtualBusConfig) -> Self {
        Self {
            config,
            epoch: now,
            queues: Vec::new(),
            queued: 0,
            current: None,
            free_at: now,
            statistics: BusStatistics::default(),
            fault: None,
        }
    }

    /// A new node.
    pub fn attach(&mut self) -> NodeId {
        let free = self.queues.iter().position(Option::is_none).unwrap_or(self.queues.len());
        if free == self.queues.len() {
            self.queues.push(None);
        }
        if let Some(slot) = self.queues.get_mut(free) {
            *slot = Some(VecDeque::new());
        }
        NodeId(free)
    }

    /// The node is gone, with all it has queued. A frame of it that is on the wire comes to its end.
    pub fn detach(&mut self, node: NodeId) {
        if let Some(queue) = self.queues.get_mut(node.0).and_then(Option::take) {
            self.queued -= queue.len();
        }
    }

    /// Puts a filter between sender and receivers: it is asked once for each frame that wins the bus.
    pub fn set_fault(&mut self, fault: impl FnMut(NodeId, &FdFrame) -> Fault + Send + 'static) {
        self.fault = Some(Box::new(fault));
    }

    /// Queues a frame of a node.
    ///
    /// # Errors
    /// [`QueueFull`] gives the frame back.
    pub fn handle_transmit(&mut self, now: Instant, node: NodeId, frame: FdFrame) -> Result<(), QueueFull> {
        match self.queues.get_mut(node.0) {
            Some(Some(queue)) if queue.len() < self.config.queue_len => {
                queue.push_back(Queued { frame, since: now });
                self.queued += 1;
                Ok(())
            }
            _ => Err(QueueFull(frame)),
        }
    }

    /// Frames the node may still queue.
    pub fn room(&self, node: NodeId) -> usize {
        match self.queues.get(node.0) {
            Some(Some(queue)) => self.config.queue_len.saturating_sub(queue.len()),
            _ => 0,
        }
    }

    /// The next frame whose end has been seen by `now`.
    pub fn poll_delivery(&mut self, now: Instant) -> Option<Delivery> {
        loop {
            self.arbitrate(now);
            let due = self.current.as_ref().is_some_and(|it| it.delivery.at <= now);
            if !due {
                return None;
            }
            let Transmission { delivery, repeat } = self.current.take()?;
            if repeat {
                self.transmit(self.free_at, delivery.from, delivery.frame, Fault::None);
            }
            if delivery.sender || delivery.receivers {
                return Some(delivery);
            }
        }
    }

    /// When [`Self::poll_delivery`] has something, or `None` on a silent bus.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.current {
            Some(transmission) => Some(transmission.delivery.at),
            // Before the end of the next frame comes its arbitration.
            None => self.earliest().map(|since| since.max(self.free_at)),
        }
    }

    /// What the bus has done so far.
    pub const fn statistics(&self) -> BusStatistics {
        self.statistics
    }

    /// Bus time at `now`.
    pub fn bus_time(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    fn heads(&self) -> impl Iterator<Item = (usize, &Queued)> {
        let head = |(node, queue): (usize, &'_ Option<VecDeque<Queued>>)| {
            queue.as_ref().and_then(VecDeque::front).map(|_| node)
        };
        let nodes = self.queues.iter().enumerate().filter_map(head);
        nodes.filter_map(|node| Some((node, self.queues.get(node)?.as_ref()?.front()?)))
    }

    fn earliest(&self) -> Option<Instant> {
        if self.queued == 0 { None } else { self.heads().map(|(_, head)| head.since).min() }
    }

    /// Starts the next frame if the bus is free: of the heads of queues that were there in time, the lowest
    /// identifier wins.
    fn arbitrate(&mut self, now: Instant) {
        if self.current.is_some() {
            return;
        }
        let Some(start) = self.earliest().map(|since| since.max(self.free_at)) else { return };
        if start > now {
            return;
        }
        let contenders = self.heads().filter(|(_, head)| head.since <= start);
        let winner =
            contenders.min_by_key(|(_, head)| head.frame.id().arbitration_key()).map(|(node, _)| node);
        let queue = winner.and_then(|node| Some((node, self.queues.get_mut(node)?.as_mut()?)));
        let Some((node, Some(won))) = queue.map(|(node, queue)| (node, queue.pop_front())) else { return };
        self.queued -= 1;
        let from = NodeId(node);
        let fault = self.fault.as_mut().map_or(Fault::None, |fault| fault(from, &won.frame));
        self.transmit(start, from, won.frame, fault);
    }

    fn transmit(&mut self, start: Instant, from: NodeId, frame: FdFrame, fault: Fault) {
        let (held, end) = self.config.timing.map_or((Duration::ZERO, Duration::ZERO), |timing| {
            let held = timing.frame_duration(&frame);
            (held, held.saturating_sub(timing.intermission()))
        });
        self.free_at = start + held;
        self.statistics.frames += 1;
        self.statistics.bytes += u64::from(frame.dlc().len_byte());
        self.statistics.busy += held;
        let at = start + end;
        self.current = Some(Transmission {
            delivery: Delivery {
                from,
                frame,
                at,
                bus_time: at.saturating_duration_since(self.epoch),
                receivers: !matches!(fault, Fault::Drop | Fault::DropAll),
                sender: !matches!(fault, Fault::DropAll),
            },
            repeat: fault == Fault::Duplicate,
        });
    }
}

impl fmt::Debug for VirtualBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualBus")
            .field("config", &self.config)
            .field("queued", &self.queued)
            .field("current", &self.current)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{CanId, FrameFormat};

    fn frame(raw_id: u16, len: usize) -> FdFrame {
        FdFrame::new(CanId::standard(raw_id).unwrap(), FrameFormat::Fd { brs: true }, &vec![0xA5; len])
            .unwrap()
    }

    fn bus(timing: Option<BitTiming>) -> (VirtualBus, Instant) {
        let base = Instant::now();
        (VirtualBus::new(base, VirtualBusConfig { timing, queue_len: 4 }), base)
    }

    fn drain(bus: &mut VirtualBus, now: Instant) -> Vec<Delivery> {
        std::iter::from_fn(|| bus.poll_delivery(now)).collect()
    }

    const TIMING: BitTiming = BitTiming::FD_500K_2M;

    #[test]
    fn a_frame_is_seen_an_intermission_before_the_bus_is_free() {
        let (mut bus, base) = bus(Some(TIMING));
        let node = bus.attach();
        let held = TIMING.frame_duration(&frame(0x100, 64));
        let end = held - TIMING.intermission();
        bus.handle_transmit(base, node, frame(0x100, 64)).unwrap();
        assert_eq!(bus.poll_delivery(base + end - Duration::from_nanos(1)), None);
        assert_eq!(bus.poll_timeout(), Some(base + end));
        let delivery = bus.poll_delivery(base + end).unwrap();
        assert_eq!((delivery.at, delivery.bus_time), (base + end, end));
        assert_eq!(bus.statistics(), BusStatistics { frames: 1, bytes: 64, busy: held });
    }

    #[test]
    fn a_late_caller_finds_the_frames_back_to_back() {
        let (mut bus, base) = bus(Some(TIMING));
        let node = bus.attach();
        for _ in 0..4 {
            bus.handle_transmit(base, node, frame(0x100, 64)).unwrap();
        }
        assert_eq!(bus.handle_transmit(base, node, frame(1, 0)), Err(QueueFull(frame(1, 0))));
        let held = TIMING.frame_duration(&frame(0x100, 64));
        let times: Vec<_> =
            drain(&mut bus, base + Duration::from_secs(1)).iter().map(|it| it.bus_time).collect();
        let first = held - TIMING.intermission();
        assert_eq!(times, [first, first + held, first + held * 2, first + held * 3]);
    }

    #[test]
    fn the_lowest_identifier_wins_but_does_not_interrupt() {
        let (mut bus, base) = bus(Some(TIMING));
        let (low, high) = (bus.attach(), bus.attach());
        bus.handle_transmit(base, low, frame(0x300, 8)).unwrap();
        assert_eq!(bus.poll_delivery(base), None);
        let later = base + Duration::from_micros(1);
        bus.handle_transmit(later, low, frame(0x200, 8)).unwrap();
        bus.handle_transmit(later, high, frame(0x100, 8)).unwrap();
        let order: Vec<_> =
            drain(&mut bus, base + Duration::from_secs(1)).iter().map(|it| it.frame.id()).collect();
        assert_eq!(order, [0x300, 0x100, 0x200].map(|raw| CanId::standard(raw).unwrap()));
    }

    #[test]
    fn an_untimed_bus_delivers_at_once_to_everyone() {
        let (mut bus, base) = bus(None);
        let (sender, receiver) = (bus.attach(), bus.attach());
        bus.handle_transmit(base, sender, frame(0x100, 64)).unwrap();
        let delivery = bus.poll_delivery(base).unwrap();
        assert!(delivery.reaches(sender) && delivery.reaches(receiver));
        assert_eq!(bus.poll_timeout(), None);
        assert_eq!(bus.statistics().busy, Duration::ZERO);
    }

    #[test]
    fn faults_decide_who_sees_a_frame_and_how_often() {
        let (mut bus, base) = bus(Some(TIMING));
        let (sender, receiver) = (bus.attach(), bus.attach());
        let mut faults = [Fault::Drop, Fault::DropAll, Fault::Duplicate, Fault::None].into_iter();
        bus.set_fault(move |_, _| faults.next().unwrap());
        for raw in 0..4 {
            bus.handle_transmit(base, sender, frame(raw, 0)).unwrap();
        }
        let seen = drain(&mut bus, base + Duration::from_secs(1));
        let ids = |node| -> Vec<u32> {
            seen.iter().filter(|it| it.reaches(node)).map(|it| it.frame.id().to_can_id()).collect()
        };
        assert_eq!(ids(receiver), [2, 2, 3]);
        assert_eq!(ids(sender), [0, 2, 2, 3]);
        assert_eq!(bus.statistics().frames, 5);
    }

    #[test]
    fn a_node_that_leaves_takes_its_queue_along_and_its_place_is_used_again() {
        let (mut bus, base) = bus(Some(TIMING));
        let node = bus.attach();
        bus.handle_transmit(base, node, frame(1, 0)).unwrap();
        bus.detach(node);
        assert_eq!(bus.poll_timeout(), None);
        assert_eq!(bus.handle_transmit(base, node, frame(1, 0)), Err(QueueFull(frame(1, 0))));
        assert_eq!(bus.attach(), node);
        assert_eq!(bus.room(node), 4);
    }
}
