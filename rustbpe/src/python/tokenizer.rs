//! Class `Tokenizer`: the API of PyPI's rustbpe package, with additions.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use pyo3::exceptions::{PyUnicodeDecodeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple, PyType};

use super::arrays::{array, ids_array};
use super::convert::take_texts;
use super::ingest::count_documents;
use super::model::{Model, compile, model_of_ranks};
use super::progress::Progress;
use super::training::{TrainingStats, merge_all, stats, wanted_merges};
use crate::gpt4::gpt4_pattern;

/// What a pickle holds: the pattern and the tokens.
type State<'py> = (String, Vec<Bound<'py, PyBytes>>);

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
        py: Python<'_>,
        ranks: Vec<(Bound<'_, PyBytes>, u32)>,
        pattern: String,
    ) -> PyResult<Tokenizer> {
        Ok(Tokenizer::from_model(model_of_ranks(py, &ranks, pattern)?))
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

    /// For pickle and copy: pattern and tokens. They encode as before; training statistics are not kept.
    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> (Bound<'py, PyType>, Bound<'py, PyTuple>, State<'py>) {
        let (py, model) = (slf.py(), slf.get().model());
        let tokens = model.vocab.iter().map(|bytes| PyBytes::new(py, bytes));
        (
            slf.get_type(),
            PyTuple::empty(py),
            (model.pattern.clone(), tokens.collect()),
        )
    }

    /// Raises ValueError as `from_mergeable_ranks` does.
    fn __setstate__(&self, py: Python<'_>, state: State<'_>) -> PyResult<()> {
        let (pattern, tokens) = state;
        let model = model_of_ranks(
            py,
            &tokens.into_iter().zip(0..).collect::<Vec<_>>(),
            pattern,
        )?;
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
            .detach(|| model.encode(text))
            .map_err(|error| pattern_failed(&error))?;
        model.id_objects(py).list(py, &ids)
    }

    /// The token ids of each text, on all cores.
    fn batch_encode<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyList>> {
        let owners = take_texts(texts)?;
        let texts = as_slices(&owners)?;
        let model = self.model();
        let encoded = py
            .detach(|| model.batch(&texts).encode(available_threads()))
            .map_err(PyValueError::new_err)?;
        let objects = model.id_objects(py);
        let lists = PyList::empty(py);
        let mut rest = encoded.ids.as_slice();
        for count in encoded.counts {
            let (ids, later) = rest.split_at(count as usize);
            lists.append(objects.list(py, ids)?)?;
            rest = later;
        }
        Ok(lists)
    }

    /// The token ids of `text` as a NumPy array of dtype uint32 and shape (n,).
    fn encode_to_numpy<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let text = text.to_str()?;
        let model = self.model();
        let ids = py
            .detach(|| model.encode(text))
            .map_err(|error| pattern_failed(&error))?;
        ids_array(py, ids)
    }

    /// The token ids of all texts in one uint32 array of shape (n,), and where each text's begin: a uint64
    /// array of shape (texts + 1,), so that text i is `ids[offsets[i]:offsets[i + 1]]`.
    #[pyo3(signature = (texts, num_threads=0))]
    fn encode_batch_to_numpy<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        num_threads: usize,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let owners = take_texts(texts)?;
        let texts = as_slices(&owners)?;
        let model = self.model();
        let threads = threads_of(num_threads);
        let encoded = py
            .detach(|| model.batch(&texts).encode(threads))
            .map_err(PyValueError::new_err)?;
        let mut offsets = Vec::with_capacity(encoded.counts.len() + 1);
        let mut end = 0;
        offsets.push(end);
        for count in encoded.counts {
            end += count;
            offsets.push(end);
        }
        let offsets = array(py, &offsets, offsets.len(), "uint64")?;
        Ok((ids_array(py, encoded.ids)?, offsets))
    }

    /// The number of token ids of `text`; none is stored.
    fn count(&self, py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let text = text.to_str()?;
        let model = self.model();
        py.detach(|| {
            let count = |cache: &mut _| model.encoder.count(&model.splitter, text, cache);
            model.caches.with(count)
        })
        .map_err(|error| pattern_failed(&error))
    }

    /// The number of token ids of each text, a uint64 array of shape (texts,); no id is stored.
    #[pyo3(signature = (texts, num_threads=0))]
    fn count_batch<'py>(
        &self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        num_threads: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let owners = take_texts(texts)?;
        let texts = as_slices(&owners)?;
        let model = self.model();
        let counts = py
            .detach(|| model.batch(&texts).count(threads_of(num_threads)))
            .map_err(PyValueError::new_err)?;
        array(py, &counts, counts.len(), "uint64")
    }

    /// The token ids of `text`, uint32 of shape (n,), and the bytes of its UTF-8 form that each stands for:
    /// first and end, uint64 of shape (n, 2).
    fn encode_with_offsets<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyString>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let text = text.to_str()?;
        let model = self.model();
        let (ids, spans) = py
            .detach(|| model.encode_with_offsets(text))
            .map_err(|error| pattern_failed(&error))?;
        let shape = (ids.len(), 2);
        Ok((
            array(py, &ids, ids.len(), "uint32")?,
            array(py, &spans, shape, "uint64")?,
        ))
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

fn as_slices<'t>(owners: &'t [Bound<'_, PyString>]) -> PyResult<Vec<&'t str>> {
    owners.iter().map(|owner| owner.to_str()).collect()
}

fn pattern_failed(error: &str) -> PyErr {
    PyValueError::new_err(format!("the pattern failed on the text: {error}"))
}

/// How many threads a caller means; 0 is all cores.
fn threads_of(num_threads: usize) -> usize {
    match num_threads {
        0 => available_threads(),
        threads => threads,
    }
}

fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
