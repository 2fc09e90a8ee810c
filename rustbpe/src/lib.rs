//! Byte-level byte-pair encoding: training and encoding.
//!
//! A text is cut into pieces by a split pattern ([`split`]), distinct pieces are counted
//! ([`count`]), merges are learned from the counts ([`train`]) and applied ([`encode`]).

mod ascii;
pub mod cache;
pub mod count;
mod cuts;
pub mod encode;
mod gpt2;
mod gpt4;
mod merge;
mod o200k;
mod pages;
mod pairs;
pub mod pool;
#[cfg(feature = "python")]
mod python;
mod queue;
mod scan;
pub mod sink;
pub mod split;
pub mod train;
mod unicode;
pub mod vocab;
mod work;
#[cfg(test)]
mod work_tests;

pub use gpt2::{GPT2_PATTERN, R50K_PATTERN};
pub use gpt4::{CL100K_PATTERN, gpt4_pattern};
pub use o200k::O200K_PATTERN;
