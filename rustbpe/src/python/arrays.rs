//! NumPy arrays from Rust's results.
//!
//! NumPy makes an array and we fill it: it owns its memory like any other, and no Python int is made.

use pyo3::buffer::{Element, PyBuffer};
use pyo3::prelude::*;

use super::batch::Encoded;

/// From this many ids on, several threads copy them: most of the time goes into the system's giving pages.
const SHARED_COPY: usize = 1 << 18;

/// A NumPy array of `shape` and the dtype that `name` is, and its memory.
fn empty<'py, T: Element>(
    py: Python<'py>,
    shape: impl IntoPyObject<'py>,
    name: &str,
) -> PyResult<(Bound<'py, PyAny>, PyBuffer<T>)> {
    let array = py.import("numpy")?.call_method1("empty", (shape, name))?;
    let buffer = PyBuffer::get(&array)?;
    Ok((array, buffer))
}

/// The array's memory as a slice.
///
/// # Safety
/// The array must have been made by [`empty`] and not have been seen by anyone else.
unsafe fn memory<T: Element>(buffer: &mut PyBuffer<T>) -> &mut [T] {
    if buffer.item_count() == 0 {
        return &mut [];
    }
    // SAFETY: NumPy's new arrays are contiguous, writable and aligned, and by the contract only ours. That
    // they are not initialized is no harm: every bit pattern of an integer is one, and all are written.
    unsafe { std::slice::from_raw_parts_mut(buffer.buf_ptr().cast(), buffer.item_count()) }
}

/// An array of `shape` that holds `values`, in C order; `name` is the dtype of T.
pub fn array<'py, T: Element + Copy>(
    py: Python<'py>,
    values: &[T],
    shape: impl IntoPyObject<'py>,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let (array, mut buffer) = empty::<T>(py, shape, name)?;
    // SAFETY: the array is new.
    unsafe { memory(&mut buffer) }.copy_from_slice(values);
    Ok(array)
}

/// All ids in order as one uint32 array, copied on up to `threads` threads.
pub fn ids_array<'py>(
    py: Python<'py>,
    encoded: Vec<Encoded>,
    threads: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let total = encoded.iter().map(|part| part.ids.len()).sum::<usize>();
    let (array, mut buffer) = empty::<u32>(py, total, "uint32")?;
    // SAFETY: the array is new.
    let places = unsafe { memory(&mut buffer) };
    let threads = if total < SHARED_COPY { 1 } else { threads };
    py.detach(|| copy(encoded, places, threads));
    Ok(array)
}

/// Copies the parts one behind the other.
fn copy(encoded: Vec<Encoded>, mut places: &mut [u32], threads: usize) {
    let share = encoded.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let mut encoded = encoded.into_iter();
        loop {
            let parts: Vec<Encoded> = encoded.by_ref().take(share).collect();
            let ids = parts.iter().map(|part| part.ids.len()).sum();
            let (mine, rest) = std::mem::take(&mut places).split_at_mut(ids);
            places = rest;
            if encoded.len() == 0 {
                return copy_parts(parts, mine);
            }
            scope.spawn(move || copy_parts(parts, mine));
        }
    });
}

fn copy_parts(parts: Vec<Encoded>, mut places: &mut [u32]) {
    for part in parts {
        let (mine, rest) = std::mem::take(&mut places).split_at_mut(part.ids.len());
        mine.copy_from_slice(&part.ids);
        places = rest;
    }
}
