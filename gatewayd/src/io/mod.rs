//! The outside world, one adapter per thing. Adapters move bytes; they decide nothing.

pub mod can;
pub mod cloud;
pub mod control;
pub mod crypto;
pub mod doip;
pub mod journal;
pub mod link;
pub mod mqtt;
pub mod outbox;
pub mod profile;
mod socket;
pub mod store;
pub mod tls;
mod worker;
