//! The transformer on a CPU, in float32: one token for each row of a running batch, or prompts being read.
//!
//! A step of a small model is some hundred tiny operations, and a framework spends more time on starting each
//! of them than on computing it. Here a step is one call: matrices are packed once ([`matrix`]), the rows of a
//! batch share each pass over the weights, and a team of threads ([`team`]) goes through the layers together.
//!
//! Everything is written as plain loops that the compiler vectorises, once for each instruction set in
//! [`arch`]; which one runs is decided by what the processor has.

mod arch;
mod math;
mod matrix;
mod model;
mod pass;
mod read;
mod step;
mod team;

pub use arch::name as instructions;
pub use matrix::Matrix;
pub use model::{Layer, Model, Shape, Table};
pub use pass::Buffers;
pub use read::{Prompt, Reading};
pub use step::{Batch, WindowCache};
