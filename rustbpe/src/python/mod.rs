//! The Python bindings: class `Tokenizer` and its training statistics; and the decoding kernel of `nanochat`,
//! which is a crate of its own and shares the extension module.

mod convert;
mod decode;
mod ingest;
mod progress;
mod tokenizer;

use pyo3::prelude::*;

#[pymodule]
mod _rustbpe {
    #[pymodule_export]
    use super::decode::DecodeKernel;
    #[pymodule_export]
    use super::tokenizer::{Tokenizer, TrainingStats};
}
