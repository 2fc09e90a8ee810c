//! The Python bindings: class `Tokenizer` and its training statistics; and the decoding kernel of `nanochat`,
//! which is a crate of its own and shares the extension module.

mod arrays;
mod batch;
mod convert;
mod decode;
mod ingest;
mod model;
mod progress;
mod tokenizer;
mod training;

use pyo3::prelude::*;

#[pymodule]
mod _rustbpe {
    #[pymodule_export]
    use super::decode::DecodeKernel;
    #[pymodule_export]
    use super::tokenizer::Tokenizer;
    #[pymodule_export]
    use super::training::TrainingStats;
}
