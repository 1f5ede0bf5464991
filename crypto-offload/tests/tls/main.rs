//! TLS 1.3 with the suites of RFC 8998: handshakes in memory, what must be refused, and a peer.
#![cfg(all(feature = "tls", feature = "signing"))]

mod handshake;
mod openssl;
mod refusals;
mod support;
