//! Once warm, messages of any length cross a bus without a single allocation: all buffers are those of the messages before.

use std::time::Instant;

use canfd::frame::{CanId, CanIds};
use canfd::isotp::{Event, Link, LinkConfig};
use canfd::virtual_bus::{NodeId, VirtualBus, VirtualBusConfig};

const BLOCK: usize = 65_535;

/// A tester, an ECU, and a bus without bit timing between them.
struct Bench {
    now: Instant,
    bus: VirtualBus,
    ends: [(NodeId, Link); 2],
}

impl Bench {
    fn new() -> Self {
        let ids = CanIds {
            request: CanId::standard(0x7E0).expect("11 bits"),
            response: CanId::standard(0x7E8).expect("11 bits"),
        };
        let now = Instant::now();
        let mut bus = VirtualBus::new(now, VirtualBusConfig { timing: None, queue_len: 64 });
        let ends = [LinkConfig::tester(ids), LinkConfig::ecu(ids)];
        Self { now, ends: ends.map(|config| (bus.attach(), Link::new(config))), bus }
    }

    /// Sends a message from the tester to the ECU and returns its buffer; the ECU's goes back to its link.
    fn transfer(&mut self, message: Vec<u8>) -> Vec<u8> {
        let len = message.len();
        self.ends[0].1.send(self.now, message).expect("an idle link takes it");
        let (mut sent, mut received) = (None, false);
        loop {
            for (node, link) in &mut self.ends {
                while let Some(frame) = link.poll_transmit(self.now) {
                    self.bus.handle_transmit(self.now, *node, frame).expect("no more than the queue holds");
                }
            }
            while let Some(delivery) = self.bus.poll_delivery(self.now) {
                for (node, link) in &mut self.ends {
                    if delivery.from == *node {
                        link.handle_transmitted(self.now);
                    } else {
                        link.handle_frame(self.now, &delivery.frame);
                    }
                }
            }
            for (_, link) in &mut self.ends {
                while let Some(event) = link.poll_event() {
                    match event {
                        Event::Sent(buffer) => sent = Some(buffer),
                        Event::Received(message) => {
                            assert_eq!(message.len(), len);
                            received = true;
                            link.recycle(message);
                        }
                        Event::ReceptionStarted { .. } => {}
                        Event::Failed(error) => panic!("{error}"),
                    }
                }
            }
            if let Some(buffer) = sent.take_if(|_| received) {
                return buffer;
            }
        }
    }
}

#[test]
fn a_warm_link_allocates_for_no_frame_and_no_message() {
    let mut bench = Bench::new();
    let mut message = vec![0x5A; BLOCK];
    let cold = allocation_counter::measure(|| message = bench.transfer(std::mem::take(&mut message)));
    assert!(cold.count_total > 0, "the first message makes its buffer");
    let warm = allocation_counter::measure(|| {
        for len in [BLOCK, 1, 7, 62, 63, 4_095, 4_096, BLOCK] {
            message.resize(len, 0x5A);
            message = bench.transfer(std::mem::take(&mut message));
        }
    });
    assert_eq!((warm.count_total, warm.bytes_total), (0, 0));
}
