//! `DecodeKernel`: the steps and readings of `nanochat-decode` over Python's arrays.

use std::sync::{Mutex, PoisonError};

use nanochat_decode::{
    Batch, Buffers, Layer, Matrix, Model, Prompt, Reading, Shape, Table, WindowCache, instructions,
};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

type Array = PyBuffer<f32>;

/// The arrays of one block.
#[derive(FromPyObject)]
struct LayerArrays {
    qkv: Array,
    out: Array,
    up: Array,
    down: Array,
    value_table: Option<Array>,
    mix: (f32, f32),
    place: (usize, usize),
}

/// The arrays of the tracks of a batch.
#[derive(FromPyObject)]
struct TrackArrays {
    keys: Array,
    values: Array,
    end: usize,
    starts: Vec<usize>,
}

/// A prompt: how many of its tokens are read now and were before, and the arrays of each layer.
#[derive(FromPyObject)]
struct PromptArrays {
    start: usize,
    count: usize,
    keys: Vec<Array>,
    values: Vec<Array>,
    last: Option<Array>,
}

/// A model that decodes and reads prompts, in float32 on a CPU.
#[pyclass(frozen, module = "rustbpe._rustbpe")]
pub struct DecodeKernel {
    model: Model,
    buffers: Mutex<Buffers>,
    /// Keeps the memory of the tables alive.
    _tables: Vec<Array>,
}

#[pymethods]
impl DecodeKernel {
    #[new]
    #[pyo3(signature = (
        wte, head, layers, *, heads, kv_heads, dim, scale, softcap, mixes, smear=None, smear_scale=0.0, backout=None
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        wte: Array,
        head: Array,
        layers: Vec<LayerArrays>,
        heads: usize,
        kv_heads: usize,
        dim: usize,
        scale: f32,
        softcap: f32,
        mixes: bool,
        smear: Option<Vec<f32>>,
        smear_scale: f32,
        backout: Option<f32>,
    ) -> PyResult<Self> {
        let mut tables = Vec::new();
        let mut keep = |array: Array| {
            let made = table(&array);
            tables.push(array);
            made
        };
        let wte = keep(wte)?;
        let mut packed = Vec::new();
        for layer in layers {
            packed.push(Layer {
                qkv: matrix(py, &layer.qkv)?,
                out: matrix(py, &layer.out)?,
                up: matrix(py, &layer.up)?,
                down: matrix(py, &layer.down)?,
                value_table: layer.value_table.map(&mut keep).transpose()?,
                mix: layer.mix,
                place: layer.place,
            });
        }
        let shape = Shape {
            width: heads * dim,
            heads,
            kv_heads,
            dim,
            vocab: head.shape().get(1).copied().unwrap_or(0),
            scale,
            softcap,
            mixes,
        };
        let smear = smear.map(|gate| (gate, smear_scale));
        let model = Model::new(shape, packed, wte, matrix(py, &head)?, smear, backout)
            .map_err(PyValueError::new_err)?;
        Ok(Self {
            model,
            buffers: Mutex::default(),
            _tables: tables,
        })
    }

    /// The instruction set it runs in.
    #[getter]
    fn instructions(&self) -> &'static str {
        instructions()
    }

    /// Reads one token a row; fills `logits` (at least rows, vocab).
    #[pyo3(signature = (tokens, positions, tracks, *, last, angles, logits, threads))]
    #[allow(clippy::too_many_arguments)]
    fn step(
        &self,
        py: Python<'_>,
        tokens: Vec<usize>,
        positions: Vec<usize>,
        tracks: Vec<TrackArrays>,
        last: Array,
        angles: Array,
        logits: Array,
        threads: usize,
    ) -> PyResult<()> {
        let (shape, rows) = (self.model.shape(), tokens.len());
        let tracks = tracks
            .iter()
            .map(|track| self.track(track))
            .collect::<PyResult<Vec<_>>>()?;
        let batch = Batch {
            tokens: &tokens,
            positions: &positions,
            tracks: &tracks,
            last: writable(&last, rows * self.model.smear_width())?,
            angles: readable(&angles, 0)?,
            angle_rows: angles.item_count() / shape.dim,
            logits: writable(&logits, rows * shape.vocab)?,
        };
        py.detach(|| {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: sizes were checked and the arrays are held until the end of this call; the caller must
            // not use them meanwhile, as with any array passed to compiled code.
            unsafe { self.model.step(&batch, &mut buffers, threads) }
        })
        .map_err(PyValueError::new_err)
    }

    /// Reads tokens of prompts; fills `logits` (prompts, vocab), and `hidden` (tokens, width) if given.
    #[pyo3(signature = (tokens, prompts, *, windows, angles, logits, threads, hidden=None))]
    #[allow(clippy::too_many_arguments)]
    fn read(
        &self,
        py: Python<'_>,
        tokens: Vec<usize>,
        prompts: Vec<PromptArrays>,
        windows: Vec<Option<usize>>,
        angles: Array,
        logits: Array,
        threads: usize,
        hidden: Option<Array>,
    ) -> PyResult<()> {
        let shape = self.model.shape();
        let pointers = prompts
            .iter()
            .map(|prompt| self.pointers(prompt))
            .collect::<PyResult<Vec<_>>>()?;
        let mut all: Vec<_> = pointers
            .iter()
            .flat_map(|of| of.keys.iter().chain(&of.values))
            .collect();
        all.sort_unstable();
        if all.windows(2).any(|two| two[0] == two[1]) {
            return Err(PyValueError::new_err("two caches are the same array"));
        }
        let sequences: Vec<_> = prompts
            .iter()
            .zip(&pointers)
            .map(|(prompt, of)| Prompt {
                start: prompt.start,
                count: prompt.count,
                keys: &of.keys,
                values: &of.values,
                slots: of.slots,
                last: of.last,
            })
            .collect();
        let windows: Vec<_> = windows
            .into_iter()
            .map(|window| window.unwrap_or(usize::MAX))
            .collect();
        let hidden = match &hidden {
            Some(hidden) => writable(hidden, tokens.len() * shape.width)?,
            None => std::ptr::null_mut(),
        };
        let reading = Reading {
            tokens: &tokens,
            prompts: &sequences,
            windows: &windows,
            angles: readable(&angles, 0)?,
            angle_rows: angles.item_count() / shape.dim,
            logits: writable(&logits, prompts.len() * shape.vocab)?,
            hidden,
        };
        py.detach(|| {
            let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: as in `step`.
            unsafe { self.model.read(&reading, &mut buffers, threads) }
        })
        .map_err(PyValueError::new_err)
    }
}

/// Where a prompt's arrays lie.
struct PromptPointers {
    keys: Vec<*mut f32>,
    values: Vec<*mut f32>,
    slots: usize,
    last: *mut f32,
}

impl DecodeKernel {
    fn pointers(&self, prompt: &PromptArrays) -> PyResult<PromptPointers> {
        let shape = self.model.shape();
        let slots = prompt
            .keys
            .first()
            .map_or(0, |keys| keys.shape().get(1).copied().unwrap_or(0));
        let whole = |array: &Array| {
            if array.shape() != [shape.kv_heads, slots, shape.dim] {
                return Err(PyValueError::new_err(
                    "keys and values are (heads, slots, dim)",
                ));
            }
            writable(array, 0)
        };
        let last = match &prompt.last {
            Some(last) => writable(last, self.model.smear_width())?,
            None if self.model.smear_width() == 0 => std::ptr::null_mut(),
            None => return Err(PyValueError::new_err("smear needs the last embedding")),
        };
        Ok(PromptPointers {
            keys: prompt.keys.iter().map(whole).collect::<PyResult<_>>()?,
            values: prompt.values.iter().map(whole).collect::<PyResult<_>>()?,
            slots,
            last,
        })
    }

    fn track<'a>(&self, track: &'a TrackArrays) -> PyResult<WindowCache<'a>> {
        let &[layers, height, slots, dim] = track.keys.shape() else {
            return Err(PyValueError::new_err("keys are (layers, rows, slots, dim)"));
        };
        if dim != self.model.shape().dim {
            return Err(PyValueError::new_err("keys of another head dimension"));
        }
        let keys = writable(&track.keys, 0)?;
        let values = writable(&track.values, track.keys.item_count())?;
        if keys == values {
            return Err(PyValueError::new_err("keys and values are the same array"));
        }
        Ok(WindowCache {
            keys,
            values,
            layers,
            height,
            slots,
            end: track.end,
            starts: &track.starts,
        })
    }
}

/// The data of `array`. Raises ValueError unless it is contiguous and has `least` numbers or more.
fn readable(array: &Array, least: usize) -> PyResult<*const f32> {
    if !array.is_c_contiguous() || array.item_count() < least {
        return Err(PyValueError::new_err(
            "an array is not contiguous, or too small",
        ));
    }
    Ok(array.buf_ptr().cast())
}

/// As [`readable`], to write to.
fn writable(array: &Array, least: usize) -> PyResult<*mut f32> {
    if array.readonly() {
        return Err(PyValueError::new_err("an array is read-only"));
    }
    readable(array, least).map(<*const f32>::cast_mut)
}

/// A two-dimensional array, read in place.
fn table(array: &Array) -> PyResult<Table> {
    let data = readable(array, 0)?;
    match array.shape() {
        &[rows, width] => Ok(Table { data, rows, width }),
        _ => Err(PyValueError::new_err("a table has two dimensions")),
    }
}

/// A two-dimensional array, copied into the kernel's layout.
fn matrix(py: Python<'_>, array: &Array) -> PyResult<Matrix> {
    match array.shape() {
        &[inputs, outputs] => Ok(Matrix::pack(&array.to_vec(py)?, inputs, outputs)),
        _ => Err(PyValueError::new_err("a matrix has two dimensions")),
    }
}
