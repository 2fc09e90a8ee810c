//! Class `Tokenizer`: the API of PyPI's rustbpe package, with additions.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use hashbrown::HashSet;
use pyo3::exceptions::{PyOverflowError, PyUnicodeDecodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyString};

use super::convert::{CachePool, IdObjects, encode_all, take_texts};
use super::ingest::{Totals, count_documents};
use super::progress::Progress;
use crate::count::PieceCounts;
use crate::encode::Encoder;
use crate::gpt4::gpt4_pattern;
use crate::split::Splitter;
use crate::train::{Corpus, Pair, TrainError, learn_merges};
use crate::vocab::Vocab;

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

/// The state of a tokenizer between two trainings: never changed, only replaced as a whole.
struct Model {
    pattern: String,
    splitter: Splitter,
    vocab: Vocab,
    encoder: Encoder,
    caches: CachePool,
    id_objects: PyOnceLock<IdObjects>,
    stats: Option<TrainingStats>,
}

impl Model {
    fn new(pattern: String, splitter: Splitter, vocab: Vocab, encoder: Encoder) -> Model {
        Model {
            pattern,
            splitter,
            vocab,
            encoder,
            caches: CachePool::default(),
            id_objects: PyOnceLock::new(),
            stats: None,
        }
    }

    fn from_merges(pattern: String, splitter: Splitter, merges: &[Pair]) -> Model {
        let vocab = Vocab::from_merges(merges);
        let encoder = Encoder::from_merges(merges, &vocab);
        Model::new(pattern, splitter, vocab, encoder)
    }

    fn id_objects(&self, py: Python<'_>) -> &IdObjects {
        self.id_objects
            .get_or_init(py, || IdObjects::new(py, self.vocab.len()))
    }
}

/// A byte-level BPE tokenizer: trains merges from text, encodes and decodes.
#[pyclass(frozen, module = "rustbpe")]
pub struct Tokenizer {
    model: RwLock<Arc<Model>>,
}

impl Tokenizer {
    fn from_model(model: Model) -> Tokenizer {
        Tokenizer {
            model: RwLock::new(Arc::new(model)),
        }
    }

    fn model(&self) -> Arc<Model> {
        self.model
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[pymethods]
impl Tokenizer {
    /// An untrained tokenizer: 256 byte tokens and an empty pattern.
    #[new]
    fn new() -> PyResult<Tokenizer> {
        let splitter = compile("")?;
        Ok(Tokenizer::from_model(Model::from_merges(
            String::new(),
            splitter,
            &[],
        )))
    }

    /// A tokenizer with the given token bytes and ids; it encodes as tiktoken does with the same ranks.
    ///
    /// `ranks` is what `get_mergeable_ranks` returns, in any order; ids run from 0 without a gap.
    #[staticmethod]
    fn from_mergeable_ranks(
        ranks: Vec<(Bound<'_, PyBytes>, u32)>,
        pattern: String,
    ) -> PyResult<Tokenizer> {
        let splitter = compile(&pattern)?;
        let vocab = vocab_of_ranks(&ranks)?;
        let encoder = Encoder::from_ranks(&vocab).map_err(|byte| {
            PyValueError::new_err(format!("the ranks lack the byte 0x{byte:02x}"))
        })?;
        let model = Model::new(pattern, splitter, vocab, encoder);
        Ok(Tokenizer::from_model(model))
    }

    /// Learns merges from an iterator of documents until the vocabulary has `vocab_size` tokens.
    ///
    /// Documents are read in batches of at most `buffer_size`. `pattern` cuts them into the pieces
    /// that merges stay within; the default is GPT-4's. `progress(phase, done, total)` is called
    /// at most every 0.1 s and at the end of each phase: "count" with characters read and None,
    /// "merge" with merges learned and their final number. `threads` defaults to the available cores; the
    /// result does not depend on it. On any error the tokenizer stays as it was.
    #[pyo3(signature = (iterator, vocab_size, buffer_size=8192, pattern=None, *, progress=None, threads=None))]
    #[allow(clippy::too_many_arguments)] // the arguments of the Python method
    fn train_from_iterator(
        &self,
        py: Python<'_>,
        iterator: &Bound<'_, PyAny>,
        vocab_size: i64,
        buffer_size: usize,
        pattern: Option<String>,
        progress: Option<Py<PyAny>>,
        threads: Option<usize>,
    ) -> PyResult<()> {
        let pattern = pattern.unwrap_or_else(|| gpt4_pattern(3));
        let splitter = compile(&pattern)?;
        let wanted = wanted_merges(vocab_size)?;
        if buffer_size == 0 || threads == Some(0) {
            return Err(PyValueError::new_err(
                "buffer_size and threads must be at least 1",
            ));
        }
        let threads = threads.unwrap_or_else(available_threads);
        let mut progress = Progress::new(progress);
        let iterator = iterator.try_iter()?;

        let began = Instant::now();
        let (counts, totals) =
            count_documents(py, iterator, &splitter, buffer_size, threads, &mut progress)?;
        let count_seconds = began.elapsed().as_secs_f64();

        let distinct = counts.len() as u64;
        let began = Instant::now();
        let merges = py.detach(|| merge_all(counts, wanted, &mut progress))?;
        let merge_seconds = began.elapsed().as_secs_f64();
        progress.report(py, "merge", merges.len() as u64, Some(merges.len() as u64))?;

        let mut model = py.detach(|| Model::from_merges(pattern, splitter, &merges));
        model.stats = Some(stats(
            totals,
            distinct,
            merges.len(),
            count_seconds,
            merge_seconds,
        ));
        *self.model.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(model);
        Ok(())
    }

    /// Statistics of the last training; None for a tokenizer that was not trained here.
    #[getter]
    fn training_stats(&self) -> Option<TrainingStats> {
        self.model().stats
    }

    /// Number of tokens: 256 bytes and the merges.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.model().vocab.len()
    }

    /// The split pattern.
    fn get_pattern(&self) -> String {
        self.model().pattern.clone()
    }

    /// Bytes and id of every token in the order of ids, as tiktoken takes them.
    fn get_mergeable_ranks<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, u32)> {
        let model = self.model();
        model
            .vocab
            .iter()
            .map(|bytes| PyBytes::new(py, bytes))
            .zip(0..)
            .collect()
    }

    /// The token ids of `text`.
    fn encode<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyList>> {
        let text = text.to_str()?;
        let model = self.model();
        let ids = py
            .detach(|| {
                let mut ids = Vec::with_capacity(text.len() / 3);
                let encode =
                    |cache: &mut _| model.encoder.encode(&model.splitter, text, cache, &mut ids);
                model.caches.with(encode).map(|()| ids)
            })
            .map_err(|error| {
                PyValueError::new_err(format!("the pattern failed on the text: {error}"))
            })?;
        model.id_objects(py).list(py, &ids)
    }

    /// The token ids of each text, on all cores.
    fn batch_encode<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let owners = take_texts(texts)?;
        let texts: Vec<&str> = owners
            .iter()
            .map(|owner| owner.to_str())
            .collect::<PyResult<_>>()?;
        let model = self.model();
        let threads = available_threads();
        let all = py
            .detach(|| {
                encode_all(
                    &model.encoder,
                    &model.splitter,
                    &model.caches,
                    &texts,
                    threads,
                )
            })
            .map_err(PyValueError::new_err)?;
        let objects = model.id_objects(py);
        let lists = all
            .iter()
            .map(|ids| objects.list(py, ids))
            .collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, lists)
    }

    /// The text that `ids` spell.
    ///
    /// Raises ValueError for an unknown id and UnicodeDecodeError where the bytes are not UTF-8.
    fn decode(&self, py: Python<'_>, ids: Vec<u32>) -> PyResult<String> {
        let bytes = self
            .model()
            .vocab
            .decode(&ids)
            .map_err(|id| PyValueError::new_err(format!("Unknown token id: {id}")))?;
        String::from_utf8(bytes).map_err(|error| {
            let cause = PyUnicodeDecodeError::new_utf8(py, error.as_bytes(), error.utf8_error());
            cause.map_or_else(
                |failure| failure,
                |raised| PyErr::from_value(raised.into_any()),
            )
        })
    }
}

fn compile(pattern: &str) -> PyResult<Splitter> {
    Splitter::new(pattern)
        .map_err(|error| PyValueError::new_err(format!("Invalid regex pattern: {error}")))
}

/// The number of merges from 256 bytes to `vocab_size` tokens.
fn wanted_merges(vocab_size: i64) -> PyResult<usize> {
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

fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The merge phase, run without the GIL.
fn merge_all(counts: PieceCounts, wanted: usize, progress: &mut Progress) -> PyResult<Vec<Pair>> {
    let mut corpus = Corpus::default();
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

fn stats(totals: Totals, distinct: u64, merges: usize, count: f64, merge: f64) -> TrainingStats {
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

fn vocab_of_ranks(ranks: &[(Bound<'_, PyBytes>, u32)]) -> PyResult<Vocab> {
    let mut tokens: Vec<Option<&[u8]>> = vec![None; ranks.len()];
    let mut seen = HashSet::with_capacity(ranks.len());
    for (token, id) in ranks {
        let Some(slot) = tokens.get_mut(*id as usize) else {
            let message = format!("ids must run from 0 to {}; found {id}", ranks.len() - 1);
            return Err(PyValueError::new_err(message));
        };
        if slot.replace(token.as_bytes()).is_some() {
            return Err(PyValueError::new_err(format!("the id {id} is given twice")));
        }
        if !seen.insert(token.as_bytes()) {
            let message = format!("the token {} is given twice", token.repr()?);
            return Err(PyValueError::new_err(message));
        }
    }
    Ok(Vocab::from_tokens(tokens.into_iter().flatten()))
}
