//! One node of a hub, as the hub sees it: a socket, what was read from it, what is to be written to it.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use canfd::bus::{RECORD_LEN, Record};
use canfd::virtual_bus::{Delivery, NodeId, VirtualBus};

/// Records read at once.
const RX_RECORDS: usize = 400;
/// Records that may wait for a node: more than four seconds of a 500k/2M bus at full load.
const TX_RECORDS: usize = 13_000;

#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    node: NodeId,
    rx: Box<[u8]>,
    rx_len: usize,
    rx_ended: bool,
    tx: Vec<u8>,
    tx_written: usize,
    progress_at: Instant,
    overruns: u64,
    gone: bool,
}

impl Client {
    pub(super) fn new(stream: UnixStream, node: NodeId) -> Self {
        Self {
            stream,
            node,
            rx: vec![0; RX_RECORDS * RECORD_LEN].into_boxed_slice(),
            rx_len: 0,
            rx_ended: false,
            tx: Vec::new(),
            tx_written: 0,
            progress_at: Instant::now(),
            overruns: 0,
            gone: false,
        }
    }

    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Not while a whole record waits for room in the transmit queue: that is the node's back-pressure.
    pub(super) const fn wants_read(&self) -> bool {
        self.rx_len < RECORD_LEN && !self.rx_ended
    }

    pub(super) const fn wants_write(&self) -> bool {
        self.tx.len() > self.tx_written
    }

    /// Whether the node reads too slowly for another delivery.
    pub(super) const fn is_full(&self) -> bool {
        self.tx.len() - self.tx_written + RECORD_LEN > TX_RECORDS * RECORD_LEN
    }

    pub(super) const fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn take_overruns(&mut self) -> u64 {
        std::mem::take(&mut self.overruns)
    }

    /// Throws a node off that has not read anything for too long while others wait for it.
    pub(super) fn check_stall(&mut self, now: Instant, limit: Duration) {
        self.gone |= self.is_full() && now.saturating_duration_since(self.progress_at) >= limit;
    }

    /// The node is switched off; what waits for room in its queue is lost with it.
    pub(super) fn handle_hang_up(&mut self) {
        self.gone |= !self.wants_read();
    }

    pub(super) fn read(&mut self) {
        if !self.wants_read() {
            return;
        }
        let free = self.rx.get_mut(self.rx_len..).unwrap_or_default();
        match self.stream.read(free) {
            Ok(0) => self.rx_ended = true,
            Ok(count) => self.rx_len += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.rx_ended = true,
        }
    }

    /// Queues as many of the records read as there is room for; true where that were any.
    pub(super) fn queue_on(&mut self, now: Instant, bus: &mut VirtualBus) -> bool {
        let mut start = 0;
        while bus.room(self.node) > 0 {
            let Some(bytes) = self.rx.get(start..self.rx_len).and_then(<[u8]>::first_chunk::<RECORD_LEN>)
            else {
                break;
            };
            start += RECORD_LEN;
            match Record::from_bytes(bytes) {
                Ok(record) => {
                    // There is room, or the loop would have ended.
                    let _ = bus.handle_transmit(now, self.node, record.received().frame);
                }
                // A node that sends no frames speaks another protocol.
                Err(_) => self.gone = true,
            }
        }
        self.rx.copy_within(start..self.rx_len, 0);
        self.rx_len -= start;
        self.gone |= self.rx_ended && self.rx_len < RECORD_LEN;
        start > 0
    }

    pub(super) fn deliver(&mut self, delivery: &Delivery) {
        if !delivery.reaches(self.node) {
            return;
        }
        if self.is_full() {
            self.overruns += 1;
            return;
        }
        if !self.wants_write() {
            self.progress_at = Instant::now();
        }
        let record = Record::delivery(delivery.frame, delivery.bus_time, delivery.from == self.node);
        self.tx.extend_from_slice(&record.to_bytes());
    }

    pub(super) fn write(&mut self) {
        while let Some(rest @ [_, ..]) = self.tx.get(self.tx_written..) {
            match self.stream.write(rest) {
                Ok(count) => {
                    self.tx_written += count;
                    self.progress_at = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        if self.tx_written == self.tx.len() || self.tx_written > TX_RECORDS * RECORD_LEN / 2 {
            self.tx.drain(..self.tx_written);
            self.tx_written = 0;
        }
    }
}
