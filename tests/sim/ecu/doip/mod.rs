//! A simulated ECU on Ethernet: DoIP (ISO 13400-2) below, and a thread that drives both.

mod node;
mod port;
#[cfg(test)]
mod tests;
pub mod tls;

pub use node::{DoipAddresses, DoipNode, DoipNodeConfig, DoipTls};
pub use port::{DoipFault, DoipPort};
