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
    encoded: &Encoded,
    threads: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let total = encoded.len();
    let (array, mut buffer) = empty::<u32>(py, total, "uint32")?;
    // SAFETY: the array is new.
    let places = unsafe { memory(&mut buffer) };
    let threads = if total < SHARED_COPY { 1 } else { threads };
    py.detach(|| copy(encoded, places, threads));
    Ok(array)
}

/// Copies the units one behind the other, an equal number of them on each thread.
fn copy(encoded: &Encoded, mut places: &mut [u32], threads: usize) {
    let mut units = encoded.units().map(|(ids, _)| ids);
    let share = units.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        loop {
            let mine: Vec<&[u32]> = units.by_ref().take(share).collect();
            let total = mine.iter().map(|ids| ids.len()).sum();
            let (here, rest) = std::mem::take(&mut places).split_at_mut(total);
            places = rest;
            if units.len() == 0 {
                return copy_units(&mine, here);
            }
            scope.spawn(move || copy_units(&mine, here));
        }
    });
}

fn copy_units(units: &[&[u32]], mut places: &mut [u32]) {
    for ids in units {
        let (here, rest) = std::mem::take(&mut places).split_at_mut(ids.len());
        here.copy_from_slice(ids);
        places = rest;
    }
}
