//! TLS 1.3 with the suites of RFC 8998: handshakes in memory, what must be refused, and a peer.
#![cfg(all(feature = "tls", feature = "signing"))]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod handshake;
mod openssl;
mod refusals;
mod support;
mod tshark;
