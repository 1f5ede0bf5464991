//! From the bus to a UDS answer: CAN FD frames, ISO-TP, UDS, bus back ends.
//!
//! The contract in one sentence: frames and the time go in by `handle_*`, frames and events come out by `poll_*`, and
//! nothing in here waits, reads a clock or opens a socket, except the back ends in [`bus`].
//!
//! The drive loop of a link, here with two of them on a bus in memory, so that time is simulated. On a real bus the
//! deliveries come from [`bus::Bus::recv`], and the wait is poll(2) on [`bus::Bus::as_fd`].
//!
//! ```
//! use std::time::Instant;
//!
//! use canfd::bit_timing::BitTiming;
//! use canfd::frame::{CanId, CanIds};
//! use canfd::isotp::{Event, Link, LinkConfig};
//! use canfd::virtual_bus::{VirtualBus, VirtualBusConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ids = CanIds { request: CanId::standard(0x7E0)?, response: CanId::standard(0x7E8)? };
//! let start = Instant::now();
//! let mut now = start;
//! let config = VirtualBusConfig { timing: Some(BitTiming::FD_500K_2M), queue_len: 64 };
//! let mut bus = VirtualBus::new(now, config);
//! let mut ends =
//!     [LinkConfig::tester(ids), LinkConfig::ecu(ids)].map(|config| (bus.attach(), Link::new(config)));
//!
//! ends[0].1.send(now, vec![0x36; 4_095])?;
//! let received = 'drive: loop {
//!     // Everything that may go out goes out, every event is taken.
//!     for (node, link) in &mut ends {
//!         while let Some(frame) = link.poll_transmit(now) {
//!             bus.handle_transmit(now, *node, frame)?;
//!         }
//!         while let Some(event) = link.poll_event() {
//!             match event {
//!                 Event::Received(sdu) => break 'drive sdu,
//!                 Event::Sent(buffer) => link.recycle(buffer),
//!                 Event::ReceptionStarted { .. } => {}
//!                 Event::Failed(error) => return Err(error.into()),
//!             }
//!         }
//!     }
//!     // What the bus has delivered goes in: own frames as confirmations, the others as frames.
//!     if let Some(delivery) = bus.poll_delivery(now) {
//!         for (node, link) in &mut ends {
//!             if delivery.from == *node {
//!                 link.handle_transmitted(now);
//!             } else {
//!                 link.handle_frame(now, &delivery.frame);
//!             }
//!         }
//!         continue;
//!     }
//!     // Nothing is left to do at this instant: on to the next.
//!     let links = ends.iter().filter_map(|(_, link)| link.poll_timeout());
//!     now = links.chain(bus.poll_timeout()).min().ok_or("both ends wait for ever")?;
//!     for (_, link) in &mut ends {
//!         link.handle_timeout(now);
//!     }
//! };
//! assert_eq!(received, [0x36; 4_095]);
//! // 66 frames of 64 bytes and one of flow control, at 500 kbit/s and 2 Mbit/s.
//! assert!((20..25).contains(&(now - start).as_millis()));
//! # Ok(())
//! # }
//! ```
#![deny(unsafe_code)]

pub mod bit_timing;
pub mod bus;
pub mod doip;
pub mod frame;
pub mod isotp;
pub mod pacing;
mod random;
pub mod uds;
pub mod virtual_bus;
