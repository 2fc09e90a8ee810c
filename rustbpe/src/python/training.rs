//! What a training is asked for and says: the size, the merge phase, statistics.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

use super::ingest::Totals;
use super::progress::Progress;
use crate::count::PieceCounts;
use crate::train::{Corpus, Pair, TrainError, learn_merges};

/// Counts and times of the last training.
#[pyclass(frozen, get_all, module = "rustbpe")]
#[derive(Clone, Copy)]
pub struct TrainingStats {
    /// Documents taken from the iterator.
    documents: u64,
    /// Characters (Unicode code points) in them.
    characters: u64,
    /// Bytes of their UTF-8 form.
    bytes: u64,
    /// Pieces that the split pattern cuts them into.
    pretokens: u64,
    /// Distinct pieces among these.
    distinct_pretokens: u64,
    /// Merges learned.
    merges: u64,
    /// Seconds spent on reading, splitting and counting.
    count_seconds: f64,
    /// Seconds spent on learning merges.
    merge_seconds: f64,
}

#[pymethods]
impl TrainingStats {
    fn __repr__(&self) -> String {
        format!(
            "TrainingStats(documents={}, characters={}, bytes={}, pretokens={}, distinct_pretokens={}, \
             merges={}, count_seconds={:.3}, merge_seconds={:.3})",
            self.documents,
            self.characters,
            self.bytes,
            self.pretokens,
            self.distinct_pretokens,
            self.merges,
            self.count_seconds,
            self.merge_seconds,
        )
    }
}

/// The number of merges from 256 bytes to `vocab_size` tokens.
pub fn wanted_merges(vocab_size: i64) -> PyResult<usize> {
    if vocab_size < 256 {
        let message =
            format!("vocab_size must be at least 256 (one token a byte), not {vocab_size}");
        return Err(PyValueError::new_err(message));
    }
    // Ids have 32 bits, and the trainer uses the two highest as markers.
    if vocab_size > i64::from(i32::MAX) {
        return Err(PyOverflowError::new_err(format!(
            "vocab_size {vocab_size} is over 2^31 - 1"
        )));
    }
    Ok((vocab_size - 256) as usize)
}

/// The merge phase, run without the GIL.
pub fn merge_all(
    counts: PieceCounts,
    wanted: usize,
    progress: &mut Progress,
) -> PyResult<Vec<Pair>> {
    let mut corpus = Corpus::default();
    corpus.reserve(counts.bytes());
    counts.for_each(|piece, count| corpus.push(piece, count));
    drop(counts);
    let learned = learn_merges(corpus, wanted, |done| {
        if progress.is_due() {
            Python::attach(|py| progress.tick(py, "merge", done as u64, Some(wanted as u64)))?;
        }
        Ok(())
    });
    learned.map_err(|error| match error {
        TrainError::Stopped(raised) => raised,
        TrainError::TooManyBytes(bytes) => PyOverflowError::new_err(format!(
            "the distinct pieces of this corpus have {bytes} bytes, over the limit of 2^32; \
             train on less text or cut documents shorter"
        )),
    })
}

pub fn stats(
    totals: Totals,
    distinct: u64,
    merges: usize,
    count: f64,
    merge: f64,
) -> TrainingStats {
    TrainingStats {
        documents: totals.documents,
        characters: totals.characters,
        bytes: totals.bytes,
        pretokens: totals.pieces,
        distinct_pretokens: distinct,
        merges: merges as u64,
        count_seconds: count,
        merge_seconds: merge,
    }
}
