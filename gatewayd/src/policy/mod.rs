//! Policy as code: what a security review would ask about this configuration, and the files and units around it.
//!
//! [`review()`] reads the configuration, looks at the files and units that it names ([`facts`]), runs the built-in
//! [`rule`]s and the user's Rego rules ([`rego`]), and gives back a [`Review`]. It changes nothing and connects to
//! nothing. `docs/RULES.md` is made from the same table ([`table`]).

pub mod child;
pub mod document;
pub mod facts;
pub mod lines;
pub mod rego;
pub mod review;
pub mod rule;
mod rules;
pub mod subject;
pub mod table;

#[cfg(test)]
mod tests;

pub use self::review::{Finding, Options, Review, review};
pub use self::rule::{Rule, all, by_id};
pub use self::subject::Subject;
