//! Diagnostics over IP (ISO 13400-2:2012 and :2019), from a byte stream to a diagnostic message and back.
//!
//! The contract in one sentence: bytes and instants go in through `handle_*`, bytes and events come out through
//! `poll_*`, and `poll_timeout` says when to call `handle_timeout`. Nothing here opens a socket, reads a clock or waits.
//! Whoever owns the TCP connection, with or without TLS, moves the bytes.
//!
//! * [`header`] and [`payload`]: the messages on the wire
//! * [`reader`]: messages out of a stream, in bounded memory
//! * [`client`]: the tester's end of one connection, from routing activation to diagnostic messages
//! * [`server`]: the vehicle's end of all its connections, for simulators
//! * [`discovery`]: vehicle identification by datagrams, the tester's end
//!
//! A tester hangs its UDS clients on a [`client::Client`] as it does on an ISO-TP link: a request goes to
//! [`client::Client::request`], its acknowledgement is the transport's confirmation, and what is received is an answer.
//!
//! ```
//! use canfd::doip::LogicalAddress;
//! use canfd::doip::client::{Client, ClientConfig, Event};
//! use canfd::doip::server::{self, Server, ServerConfig};
//! use std::time::Instant;
//!
//! let now = Instant::now(); // the stream stands since now
//! let (tester, ecu) = (LogicalAddress(0x0E80), LogicalAddress(0x1001));
//! let mut server = Server::new(ServerConfig::new(ecu));
//! let socket = server.handle_connected(now, false).unwrap();
//! let mut client = Client::new(now, ClientConfig::new(tester));
//! let answer = 'drive: loop {
//!     while let Some(bytes) = client.poll_transmit(now) {
//!         server.handle_bytes(now, socket, &bytes);
//!     }
//!     while let Some(event) = server.poll_event() {
//!         if let server::Event::Request(request) = event {
//!             server.respond(now, ecu, request.tester, &[0x62, 0xF1, 0x95, b'1']);
//!         }
//!     }
//!     while let Some((_socket, bytes)) = server.poll_transmit() {
//!         client.handle_bytes(now, &bytes);
//!     }
//!     while let Some(event) = client.poll_event() {
//!         match event {
//!             Event::Activated { .. } => client.request(ecu, vec![0x22, 0xF1, 0x95]).unwrap(),
//!             Event::Received { data, .. } => break 'drive data,
//!             Event::Acknowledged { target } => assert_eq!(target, ecu),
//!             other => panic!("{other:?}"),
//!         }
//!     }
//! };
//! assert_eq!(answer, b"\x62\xF1\x951");
//! ```

mod address;
pub mod client;
pub mod codes;
pub mod discovery;
pub mod header;
pub mod payload;
pub mod reader;
pub mod server;
#[cfg(test)]
mod tests;
mod timings;
mod url;

pub use address::{AddressKind, Eid, LogicalAddress, Vin};
pub use timings::Timings;
pub use url::{DoipUrl, DoipUrlError};

/// UDP and TCP port without TLS (ISO 13400-2:2019, clause 8: `UDP_DISCOVERY`, `TCP_DATA`).
pub const PORT: u16 = 13_400;
/// TCP port with TLS (ISO 13400-2:2019, clause 8: `TCP_DATA_TLS`).
pub const TLS_PORT: u16 = 3_496;
