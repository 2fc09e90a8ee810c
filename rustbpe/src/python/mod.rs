//! The Python face: class `Tokenizer` and its training statistics.

mod convert;
mod ingest;
mod progress;
mod tokenizer;

use pyo3::prelude::*;

#[pymodule]
mod _rustbpe {
    #[pymodule_export]
    use super::tokenizer::{Tokenizer, TrainingStats};
}
