//! Between Python's objects and Rust's slices.

use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySequence, PyString};

use super::ingest::type_name;
use crate::encode::Encoder;
use crate::split::Splitter;

/// Texts below this many bytes in all are not worth a second thread.
const BYTES_PER_THREAD: usize = 64 << 10;

/// A Python list of ids.
pub fn id_list<'py>(py: Python<'py>, ids: &[u32]) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, ids)
}

/// The strings of a sequence; a lone str is refused, since its characters are hardly meant.
pub fn take_texts<'py>(texts: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyString>>> {
    if texts.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(
            "texts is one str, not a sequence of str",
        ));
    }
    let texts = texts.cast::<PySequence>()?;
    let mut taken = Vec::with_capacity(texts.len()?);
    for (index, item) in texts.try_iter()?.enumerate() {
        let text = item?.cast_into::<PyString>().map_err(|error| {
            let kind = type_name(&error.into_inner());
            PyTypeError::new_err(format!("item {index} of texts is {kind}, not str"))
        })?;
        taken.push(text);
    }
    Ok(taken)
}

/// Encodes all texts on up to `threads` threads, which take the next text when they are free.
pub fn encode_all(
    encoder: &Encoder,
    splitter: &Splitter,
    texts: &[&str],
    threads: usize,
) -> Result<Vec<Vec<u32>>, String> {
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let threads = threads.min(bytes / BYTES_PER_THREAD + 1).min(texts.len());
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Vec<u32>)>, String> {
        let splitter = splitter.clone();
        let mut encoded = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(text) = texts.get(index) else {
                return Ok(encoded);
            };
            let mut ids = Vec::with_capacity(text.len() / 3);
            encoder
                .encode(&splitter, text, &mut ids)
                .map_err(|error| format!("the pattern failed on item {index} of texts: {error}"))?;
            encoded.push((index, ids));
        }
    };
    let mut all = vec![Vec::new(); texts.len()];
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut parts = vec![work()?];
        for other in others {
            parts.push(
                other
                    .join()
                    .map_err(|_| "an encoding thread panicked".to_string())??,
            );
        }
        for (index, ids) in parts.into_iter().flatten() {
            all[index] = ids;
        }
        Ok::<(), String>(())
    })?;
    Ok(all)
}
