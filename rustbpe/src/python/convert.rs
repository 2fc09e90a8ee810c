//! Conversions between Python's objects and Rust's slices, and the caches of encoding threads.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PySequence, PyString};

use super::ingest::type_name;
use crate::cache::PieceCache;

/// One Python int for each token, made once: a list of ids is then a single allocation.
pub struct IdObjects(Vec<Py<PyInt>>);

impl IdObjects {
    pub fn new(py: Python<'_>, tokens: usize) -> IdObjects {
        let int = |id: usize| id.into_pyobject(py).map(Bound::unbind);
        let Ok(objects) = (0..tokens)
            .map(int)
            .collect::<Result<_, std::convert::Infallible>>();
        IdObjects(objects)
    }

    /// A Python list of ids.
    pub fn list<'py>(&self, py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
        PyList::new(
            py,
            ids.iter().map(|&id| self.0[id as usize].bind_borrowed(py)),
        )
    }
}

/// Caches not in use, for the next thread that encodes.
#[derive(Default)]
pub struct CachePool(Mutex<Vec<PieceCache>>);

impl CachePool {
    fn take(&self) -> PieceCache {
        let unused = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // Made without the lock: it takes milliseconds, and threads start together.
        unused.unwrap_or_default()
    }

    fn give_back(&self, cache: PieceCache) {
        let mut unused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        unused.push(cache);
    }

    /// Runs `work` with a cache of its own.
    pub fn with<T>(&self, work: impl FnOnce(&mut PieceCache) -> T) -> T {
        let mut cache = self.take();
        let result = work(&mut cache);
        self.give_back(cache);
        result
    }
}

/// The strings of a sequence; a single str is an error, since its characters are hardly meant as texts.
pub fn take_texts<'py>(texts: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyString>>> {
    if texts.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(
            "texts is one str, not a sequence of str",
        ));
    }
    let texts = texts.cast::<PySequence>()?;
    // No room is made for the length it claims: that of a range may be beyond all memory.
    let mut taken = Vec::new();
    for (index, item) in texts.try_iter()?.enumerate() {
        let text = item?.cast_into::<PyString>().map_err(|error| {
            let kind = type_name(&error.into_inner());
            PyTypeError::new_err(format!("item {index} of texts is {kind}, not str"))
        })?;
        taken.push(text);
    }
    Ok(taken)
}
