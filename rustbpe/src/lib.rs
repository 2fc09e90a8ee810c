//! Byte-level byte-pair encoding: training and encoding.
//!
//! A text is cut into pieces by a split pattern ([`split`]), distinct pieces are counted
//! ([`count`]), merges are learned from the counts ([`train`]) and applied ([`encode`]).

pub mod cache;
pub mod count;
pub mod encode;
mod gpt4;
mod merge;
mod pairs;
#[cfg(feature = "python")]
mod python;
mod queue;
pub mod sink;
pub mod split;
pub mod train;
mod unicode;
pub mod vocab;

pub use gpt4::{CL100K_PATTERN, gpt4_pattern};
