#![forbid(unsafe_code)]
//! The other end of gatewayd, as a library: publish a campaign, serve it, subscribe to what vehicles say, report.
//!
//! * [`certs`]: certificates for the way between vehicle and cloud.
//! * [`export`]: telemetry in the forms that other programs read.
//! * [`publish`]: keys, encrypted images, signed metadata.
//! * [`report`]: a page about one campaign.
//! * [`serve`]: the development origin, HTTP/3 and HTTP/2 on one port.
//! * [`subscribe`]: what vehicles say, as typed messages and as files.
//!
//! The binary `gateway-cloud` only parses arguments and calls these.

pub mod certs;
pub mod export;
pub mod fsio;
pub mod publish;
pub mod report;
pub mod serve;
pub mod subscribe;
