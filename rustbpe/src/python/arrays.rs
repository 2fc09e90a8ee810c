//! NumPy arrays from Rust's results.
//!
//! A short array is made by NumPy and filled here; a long one is Rust's memory, handed over. No Python int
//! is made.

use std::cell::UnsafeCell;
use std::ffi::c_int;
use std::mem::MaybeUninit;

use pyo3::buffer::{Element, PyBuffer};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::sink::write;

/// From this many ids on they are not copied: what takes the time is the system's giving of new pages.
const HANDED_OVER: usize = 1 << 16;

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

/// The ids as a uint32 array of shape (n,).
pub fn ids_array(py: Python<'_>, mut ids: Vec<u32>) -> PyResult<Bound<'_, PyAny>> {
    if ids.len() < HANDED_OVER {
        return array(py, &ids, ids.len(), "uint32");
    }
    ids.shrink_to_fit();
    let memory = Bound::new(py, Memory(UnsafeCell::new(ids.into())))?;
    let numpy = py.import("numpy")?;
    numpy.call_method1("frombuffer", (memory, "uint32"))
}

/// The memory of an array that Rust has made: NumPy holds it and frees it, and nobody else can reach it.
#[pyclass(frozen, module = "rustbpe._rustbpe")]
struct Memory(UnsafeCell<Box<[u32]>>);

// SAFETY: Rust never reads or writes the memory once it is here; Python's rules of shared buffers hold.
unsafe impl Sync for Memory {}

#[pymethods]
impl Memory {
    /// Writable bytes, as those of any array.
    ///
    /// # Safety
    /// Called by Python's buffer protocol with a `view` to fill.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let memory = slf.get().0.get();
        // SAFETY: no reference to the memory exists, it stays where it is, and `view` comes to hold the object,
        // which therefore lives as long as the view.
        let filled = unsafe {
            let (data, bytes) = ((*memory).as_mut_ptr(), size_of_val(&**memory));
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), data.cast(), bytes as isize, 0, flags)
        };
        match filled {
            0 => Ok(()),
            _ => Err(PyErr::fetch(slf.py())),
        }
    }
}
