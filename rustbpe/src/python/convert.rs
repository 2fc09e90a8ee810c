//! Conversions between Python's objects and Rust's slices.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList, PySequence, PyString};

use super::ingest::type_name;

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
