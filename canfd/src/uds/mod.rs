//! Unified Diagnostic Services (ISO 14229-1), from a request to its answer.
//!
//! The contract in one sentence: PDUs and instants go in through `handle_*`, PDUs and events come out through
//! `poll_*`, and `poll_timeout` says when to call `handle_timeout`. Nothing here knows ISO-TP, CAN or IP, reads a
//! clock or waits, so the same code serves CAN FD and DoIP.
//!
//! * [`message`]: service identifiers, negative response codes, requests and responses
//! * [`client`]: one outstanding request with the timing of ISO 14229-2
//! * [`profile`]: the programming dialect of a kind of ECU, as data
//! * [`security`]: seed and key
//! * [`programming`]: the whole programming sequence of one ECU
//! * [`server`]: the ECU's side, for simulators and testers
//!
//! ```
//! use canfd::uds::client::{Client, ClientTimings, Event};
//! use canfd::uds::message::{DataIdentifier, Request};
//! use std::time::{Duration, Instant};
//!
//! let mut now = Instant::now();
//! let mut client = Client::new(ClientTimings::default());
//! client.request(now, Request::read_data(DataIdentifier(0xF195))).unwrap();
//! while let Some(outgoing) = client.poll_request() {
//!     assert_eq!(outgoing.pdu, [0x22, 0xF1, 0x95]); // hand it to the transport
//!     client.handle_sent(now); // the transport's confirmation
//! }
//! now += Duration::from_millis(3);
//! client.handle_response(now, &[0x62, 0xF1, 0x95, b'1']);
//! assert!(matches!(client.poll_event(), Some(Event::Answered { record, .. }) if record == b"1"));
//! assert_eq!(client.poll_timeout(), None);
//! ```

pub mod client;
pub mod duration;
pub mod message;
pub mod profile;
pub mod programming;
pub mod security;
pub mod server;
