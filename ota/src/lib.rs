//! One update from announcement to report: Uptane metadata, campaigns, chunk trees, journal records.
#![forbid(unsafe_code)]

pub mod image;
pub mod journal;
mod name;
pub mod stage;
pub mod tree;
pub mod uptane;
