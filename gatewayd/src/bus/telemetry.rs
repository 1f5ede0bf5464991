//! Telemetry on a CAN FD bus: blocks of others put together for the broker, our own cut into frames. Sans-io.
//!
//! Who sends is known by CAN id alone, from the configuration; nothing in a frame can change the name. Memory is bounded:
//! one block under way for each sender, a few that wait to go on.

use std::collections::VecDeque;
use std::sync::Arc;

use canfd::bus::Received;
use canfd::frame::{CanId, FdFrame, FrameFormat};
use telemetry::fragment::{self, Fragmenter, Reassembler};
use telemetry::topics::EcuSegment;
use telemetry::{BlockHeader, StreamId};

/// Blocks of our own, and requests, that wait for the bus.
const WAITING: usize = 8;
/// Whole blocks that wait to be taken, and their bytes: more than come while a busy machine leaves the bus alone.
const WHOLE: usize = 64;
const WHOLE_BYTES: usize = 256 << 10;

/// Who else sends blocks on the bus.
#[derive(Clone, Debug)]
pub struct TelemetrySource {
    /// Its name in topics.
    pub name: EcuSegment,
    /// The identifier of its fragments.
    pub id: CanId,
    /// The identifier under which it is asked for a keyframe.
    pub ask: Option<CanId>,
}

/// A block from the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBlock {
    /// Who sent it.
    pub name: EcuSegment,
    /// The block.
    pub bytes: Vec<u8>,
}

/// See the module. Call [`TelemetryPort::handle_frame`] with every frame of the bus, then drain
/// [`TelemetryPort::poll_block`]; give what [`TelemetryPort::poll_frame`] has to the bus when it has room.
#[derive(Debug, Default)]
pub struct TelemetryPort {
    send: Option<CanId>,
    sources: Vec<(TelemetrySource, Reassembler)>,
    whole: VecDeque<SourceBlock>,
    own: VecDeque<Fragmenter>,
    /// Frames to go before those of our own blocks: requests, and a frame that the bus had no room for.
    ready: VecDeque<FdFrame>,
}

impl TelemetryPort {
    /// Sends own blocks under `send`, where there is one, and takes those of `sources`.
    pub fn new(send: Option<CanId>, sources: Vec<TelemetrySource>) -> Self {
        let sources = sources.into_iter().map(|it| (it, Reassembler::new())).collect();
        Self { send, sources, ..Self::default() }
    }

    /// The identifiers it listens to, and the one it sends blocks with.
    pub fn ids(&self) -> impl Iterator<Item = CanId> + '_ {
        self.send.into_iter().chain(self.sources.iter().map(|(source, _)| source.id))
    }

    /// Whether blocks of our own go out here.
    pub const fn sends(&self) -> bool {
        self.send.is_some()
    }

    /// A frame from the bus.
    pub fn handle_frame(&mut self, received: &Received) {
        if received.own {
            return;
        }
        let frame = &received.frame;
        let Some((source, reassembler)) = self.sources.iter_mut().find(|(it, _)| it.id == frame.id()) else {
            return;
        };
        let block = match reassembler.handle_frame(frame.data()) {
            Ok(Some(block)) => block,
            Ok(None) => return,
            // Its numbers tell the cloud, which asks.
            Err(error) => {
                return tracing::debug!(source = %source.name, %error, "a block of telemetry is lost");
            }
        };
        if let Err(error) = BlockHeader::parse(&block) {
            return tracing::debug!(source = %source.name, %error, "not a block of telemetry");
        }
        self.whole.push_back(SourceBlock { name: source.name.clone(), bytes: block });
        let mut bytes: usize = self.whole.iter().map(|it| it.bytes.len()).sum();
        while self.whole.len() > WHOLE || bytes > WHOLE_BYTES {
            bytes -= self.whole.pop_front().map_or(bytes, |it| it.bytes.len());
        }
    }

    /// The next whole block.
    pub fn poll_block(&mut self) -> Option<SourceBlock> {
        self.whole.pop_front()
    }

    /// A block of our own. Where too many wait, the oldest that has not begun makes room: receivers see the gap.
    pub fn handle_block(&mut self, block: &[u8]) {
        if self.send.is_none() {
            return;
        }
        let Ok(header) = BlockHeader::parse(block) else { return };
        // The streams of this machine have small numbers.
        let stream = u8::try_from(header.stream.0).unwrap_or_default();
        match Fragmenter::new(stream, header.seq, block) {
            Ok(fragmenter) => {
                if self.own.len() >= WAITING {
                    self.own.remove(1);
                }
                self.own.push_back(fragmenter);
            }
            Err(error) => tracing::debug!(%error, "a block of telemetry does not go over CAN"),
        }
    }

    /// Somebody wants a keyframe of that sender's streams, or of all senders'. Nothing happens where one cannot be asked.
    pub fn handle_rebirth(&mut self, name: Option<&EcuSegment>) {
        let wanted = self.sources.iter().filter(|(it, _)| name.is_none_or(|name| it.name == *name));
        let request = fragment::rebirth_request(StreamId(0));
        let frames: Vec<_> = wanted.filter_map(|(it, _)| frame(it.ask?, &request)).collect();
        // One request of each that still waits is enough.
        let new = frames.into_iter().filter(|it| !self.ready.contains(it)).collect::<Vec<_>>();
        self.ready.extend(new);
    }

    /// The next frame for the bus.
    pub fn poll_frame(&mut self) -> Option<FdFrame> {
        if let Some(frame) = self.ready.pop_front() {
            return Some(frame);
        }
        let id = self.send?;
        loop {
            match self.own.front_mut()?.poll_frame() {
                Some(data) => return frame(id, &data),
                None => drop(self.own.pop_front()),
            }
        }
    }

    /// The bus had no room for what [`TelemetryPort::poll_frame`] gave: it is the next again.
    pub fn give_back(&mut self, frame: FdFrame) {
        self.ready.push_front(frame);
    }

    /// The bus is away: what was half way is lost.
    pub fn handle_bus_down(&mut self) {
        self.own.clear();
        self.ready.clear();
        for (_, reassembler) in &mut self.sources {
            *reassembler = Reassembler::new();
        }
    }
}

fn frame(id: CanId, data: &[u8]) -> Option<FdFrame> {
    // Fragments have lengths that CAN FD has.
    FdFrame::new(id, FrameFormat::Fd { brs: true }, data).ok()
}

/// What the event loop asks of all buses.
#[derive(Clone, Debug)]
pub enum TelemetryOrder {
    /// Send a block of our own.
    Send(Arc<[u8]>),
    /// Ask this sender, or all of them, for a keyframe.
    Rebirth(Option<EcuSegment>),
}

#[cfg(test)]
mod tests {
    use telemetry::{BootId, Encoder, WindowBuilder};

    use super::*;

    fn id(raw: u16) -> CanId {
        CanId::standard(raw).unwrap()
    }

    fn source(name: &str, raw: u16) -> TelemetrySource {
        TelemetrySource { name: EcuSegment::new(name).unwrap(), id: id(raw), ask: Some(id(raw + 8)) }
    }

    fn block(seq: u64) -> Vec<u8> {
        let mut encoder = Encoder::new(BootId(1), StreamId::FIRST_ECU).unwrap();
        let mut block = Vec::new();
        for at in 0..=seq {
            let mut builder = WindowBuilder::new(at);
            let names: Vec<_> = (0..40).map(|it| format!("metric_{it}_{at}_bytes")).collect();
            let row: Vec<_> = names.iter().map(|name| (name.as_str(), 7)).collect();
            builder.push_metrics(0, &row).unwrap();
            block = encoder.encode(&builder.finish(1)).unwrap();
        }
        block
    }

    /// What a sender under that identifier puts on the bus.
    fn fragments(raw: u16, block: &[u8]) -> Vec<Received> {
        let mut sender = TelemetryPort::new(Some(id(raw)), Vec::new());
        sender.handle_block(block);
        let frames = std::iter::from_fn(|| sender.poll_frame());
        frames.map(|frame| Received { frame, own: false, timestamp: None }).collect()
    }

    #[test]
    fn blocks_of_two_senders_that_interleave_come_out_under_their_names() {
        let mut port = TelemetryPort::new(None, vec![source("A", 0x6F1), source("B", 0x6F2)]);
        let (first, second) = (block(0), block(1));
        let (a, b) = (fragments(0x6F1, &first), fragments(0x6F2, &second));
        assert!(a.len() > 2 && b.len() > 2, "{} and {}", a.len(), b.len());
        for at in 0..a.len().max(b.len()) {
            for frame in a.get(at).into_iter().chain(b.get(at)) {
                port.handle_frame(frame);
            }
        }
        let mut blocks: Vec<_> = std::iter::from_fn(|| port.poll_block()).collect();
        blocks.sort_by(|one, other| one.name.cmp(&other.name));
        let names: Vec<_> = blocks.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["A", "B"]);
        assert_eq!([&blocks[0].bytes, &blocks[1].bytes], [&first, &second]);
    }

    #[test]
    fn own_frames_strangers_and_what_is_no_block_are_passed_over() {
        let mut port = TelemetryPort::new(Some(id(0x7F0)), vec![source("A", 0x6F1)]);
        for frame in fragments(0x6F3, &block(0)) {
            port.handle_frame(&frame);
        }
        for frame in fragments(0x6F1, &block(0)) {
            port.handle_frame(&Received { own: true, ..frame });
        }
        let mut fragmenter = Fragmenter::new(1, 0, b"no block").unwrap();
        while let Some(data) = fragmenter.poll_frame() {
            let frame = frame(id(0x6F1), &data).unwrap();
            port.handle_frame(&Received { frame, own: false, timestamp: None });
        }
        assert_eq!(port.poll_block(), None);
    }

    #[test]
    fn blocks_that_nobody_takes_are_bounded_the_newest_kept() {
        let mut port = TelemetryPort::new(None, vec![source("A", 0x6F1)]);
        let blocks: Vec<_> = (0..=WHOLE as u64).map(block).collect();
        for frame in blocks.iter().flat_map(|it| fragments(0x6F1, it)) {
            port.handle_frame(&frame);
        }
        let taken: Vec<_> = std::iter::from_fn(|| port.poll_block()).map(|it| it.bytes).collect();
        assert_eq!(taken, blocks[1..]);
    }

    #[test]
    fn a_sender_is_asked_under_its_own_identifier_before_blocks_go_on() {
        let mut port = TelemetryPort::new(Some(id(0x7F0)), vec![source("A", 0x6F1)]);
        port.handle_block(&block(0));
        let first = port.poll_frame().unwrap();
        port.give_back(first);
        port.handle_rebirth(Some(&EcuSegment::new("B").unwrap()));
        port.handle_rebirth(Some(&EcuSegment::new("A").unwrap()));
        port.handle_rebirth(None);
        assert_eq!(port.poll_frame(), Some(first), "its block has begun");
        let asked = port.poll_frame().unwrap();
        assert_eq!(asked.id(), id(0x6F9));
        assert_eq!(fragment::parse_rebirth(asked.data()), Some(StreamId(0)));
        assert_eq!(port.poll_frame().unwrap().id(), id(0x7F0));
        port.handle_bus_down();
        assert_eq!(port.poll_frame(), None);
    }
}
