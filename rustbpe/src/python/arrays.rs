//! NumPy arrays from Rust's results.
//!
//! NumPy makes an array and we fill it: it owns its memory like any other, and no Python int is made.

use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

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

/// The array's memory as a slice, not written yet.
///
/// # Safety
/// The array must have been made by [`empty`] and not have been seen by anyone else.
unsafe fn memory<T: Element>(buffer: &mut PyBuffer<T>) -> &mut [MaybeUninit<T>] {
    if buffer.item_count() == 0 {
        return &mut [];
    }
    // SAFETY: NumPy's new arrays are contiguous, writable and aligned, and by the contract only ours.
    unsafe { std::slice::from_raw_parts_mut(buffer.buf_ptr().cast(), buffer.item_count()) }
}

fn write<T: Copy>(values: &[T], places: &mut [MaybeUninit<T>]) {
    // SAFETY: the layout is the same, and what is initialized may be read as what may not be.
    let values = unsafe { &*(std::ptr::from_ref(values) as *const [MaybeUninit<T>]) };
    places.copy_from_slice(values);
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
    write(values, unsafe { memory(&mut buffer) });
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

/// Copies the parts one behind the other, each by the next thread that is free.
fn copy(encoded: Vec<Encoded>, mut places: &mut [MaybeUninit<u32>], threads: usize) {
    let place = |part: Encoded| {
        let (mine, rest) = std::mem::take(&mut places).split_at_mut(part.ids.len());
        places = rest;
        (part, mine)
    };
    let jobs: Vec<_> = encoded.into_iter().map(place).collect();
    let threads = threads.min(jobs.len());
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        while let Some((part, mine)) = next() {
            write(&part.ids, mine);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system gives no thread, the others do its work.
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}
