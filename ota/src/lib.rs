//! One update from announcement to report: Uptane metadata, campaigns, chunk trees, journal records.
#![forbid(unsafe_code)]

pub mod image;
mod name;
pub mod stage;
pub mod tree;
pub mod uptane;
