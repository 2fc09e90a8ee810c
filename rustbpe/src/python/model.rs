//! The state of a tokenizer between two trainings.

use hashbrown::HashSet;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use super::batch::Batch;
use super::convert::IdObjects;
use super::training::TrainingStats;
use crate::encode::{Encoder, ids_at_first};
use crate::pool::CachePool;
use crate::split::Splitter;
use crate::train::Pair;
use crate::vocab::Vocab;

/// The state of a tokenizer between two trainings: never changed, only replaced as a whole.
pub struct Model {
    pub pattern: String,
    pub splitter: Splitter,
    pub vocab: Vocab,
    pub encoder: Encoder,
    pub caches: CachePool,
    pub id_objects: PyOnceLock<IdObjects>,
    pub stats: Option<TrainingStats>,
}

impl Model {
    pub fn new(pattern: String, splitter: Splitter, vocab: Vocab, encoder: Encoder) -> Model {
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

    pub fn from_merges(pattern: String, splitter: Splitter, merges: &[Pair]) -> Model {
        let vocab = Vocab::from_merges(merges);
        let encoder = Encoder::from_merges(merges, &vocab);
        Model::new(pattern, splitter, vocab, encoder)
    }

    pub fn batch<'t>(&'t self, texts: &[&'t str]) -> Batch<'t> {
        Batch::new(&self.encoder, &self.splitter, &self.caches, texts)
    }

    pub fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut ids = Vec::with_capacity(ids_at_first(text.len()));
        let encode = |cache: &mut _| self.encoder.encode(&self.splitter, text, cache, &mut ids);
        self.caches.with(encode).map(|()| ids)
    }

    /// The ids, and for each the bytes it stands for: first and end.
    pub fn encode_with_offsets(&self, text: &str) -> Result<(Vec<u32>, Vec<u64>), String> {
        let (mut ids, mut spans) = (Vec::new(), Vec::new());
        let take = |start: usize, piece: &[u32]| {
            let mut at = start;
            for &id in piece {
                let end = at + self.vocab.get(id).map_or(0, <[u8]>::len);
                ids.push(id);
                spans.extend([at as u64, end as u64]);
                at = end;
            }
        };
        self.caches.with(|cache| {
            self.encoder
                .encode_pieces(&self.splitter, text, cache, take)
        })?;
        Ok((ids, spans))
    }

    pub fn id_objects(&self, py: Python<'_>) -> &IdObjects {
        self.id_objects
            .get_or_init(py, || IdObjects::new(py, self.vocab.len()))
    }
}

pub fn compile(pattern: &str) -> PyResult<Splitter> {
    Splitter::new(pattern)
        .map_err(|error| PyValueError::new_err(format!("Invalid regex pattern: {error}")))
}

/// A model that encodes as tiktoken does with these ranks.
pub fn model_of_ranks(
    py: Python<'_>,
    ranks: &[(Bound<'_, PyBytes>, u32)],
    pattern: String,
) -> PyResult<Model> {
    let splitter = compile(&pattern)?;
    let vocab = vocab_of_ranks(ranks)?;
    let encoder = py
        .detach(|| Encoder::from_ranks(&vocab))
        .map_err(|byte| PyValueError::new_err(format!("the ranks lack the byte 0x{byte:02x}")))?;
    Ok(Model::new(pattern, splitter, vocab, encoder))
}

fn vocab_of_ranks(ranks: &[(Bound<'_, PyBytes>, u32)]) -> PyResult<Vocab> {
    let mut tokens: Vec<Option<&[u8]>> = vec![None; ranks.len()];
    let mut seen = HashSet::with_capacity(ranks.len());
    for (token, id) in ranks {
        let Some(slot) = tokens.get_mut(*id as usize) else {
            let message = format!("ids must run from 0 to {}; found {id}", ranks.len() - 1);
            return Err(PyValueError::new_err(message));
        };
        if token.as_bytes().is_empty() {
            let message = format!("the token {id} is empty");
            return Err(PyValueError::new_err(message));
        }
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
