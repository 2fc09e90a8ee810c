//! A decoding step: one token for every row of a running batch.

use crate::arch::{self, Arch, PANEL};
use crate::math::{dot, softmax};
use crate::model::{Layer, Model, Shape};
use crate::pass::{self, Buffers, Pass, Places, Projected, row};
use crate::team::Member;

/// Keys and values of the layers that share a window: (layers, rows · kv_heads, slots, dim) each.
pub struct WindowCache<'a> {
    pub keys: *mut f32,
    pub values: *mut f32,
    pub layers: usize,
    /// Rows times key-value heads that there is room for.
    pub height: usize,
    pub slots: usize,
    /// The slot of the new token.
    pub end: usize,
    /// The first slot that each row sees.
    pub starts: &'a [usize],
}

/// One token for every row, and what is read and written on the way.
pub struct Batch<'a> {
    pub tokens: &'a [usize],
    pub positions: &'a [usize],
    pub tracks: &'a [WindowCache<'a>],
    /// Smear's last embedding of each row, (rows, width).
    pub last: *mut f32,
    /// The rotation of each position, (positions, dim / 2) complex numbers.
    pub angles: *const f32,
    pub angle_rows: usize,
    /// (rows, vocab).
    pub logits: *mut f32,
}

// SAFETY: the pointers are for the step alone, as its caller promises.
unsafe impl Send for WindowCache<'_> {}
// SAFETY: as above.
unsafe impl Sync for WindowCache<'_> {}
// SAFETY: as above.
unsafe impl Send for Batch<'_> {}
// SAFETY: as above.
unsafe impl Sync for Batch<'_> {}

impl Model {
    /// Reads one token a row and writes the logits of the next, with `threads` threads.
    ///
    /// # Safety
    /// The pointers of `batch` and of the model's tables are good for the sizes they come with and for the rows
    /// there are, no two of `batch` overlap, and nobody else writes there meanwhile.
    ///
    /// # Errors
    /// Says which number of `batch` lies outside what it points into.
    pub unsafe fn step(
        &self,
        batch: &Batch,
        buffers: &mut Buffers,
        threads: usize,
    ) -> Result<(), &'static str> {
        self.check(batch)?;
        // SAFETY: the caller's, and sizes are checked.
        unsafe { pass::run(self, batch, batch.logits, buffers, threads) };
        Ok(())
    }

    fn check(&self, batch: &Batch) -> Result<(), &'static str> {
        let (shape, rows) = (&self.shape, batch.tokens.len());
        let tokens = self.table_rows();
        let places = |layer: &Layer| {
            batch
                .tracks
                .get(layer.place.0)
                .is_some_and(|track| layer.place.1 < track.layers)
        };
        let tracks = || batch.tracks.iter();
        for (holds, otherwise) in [
            (batch.positions.len() == rows, "a position a row"),
            (
                batch.positions.iter().all(|p| *p < batch.angle_rows),
                "a position without a rotation",
            ),
            (
                batch.tokens.iter().all(|token| *token < tokens),
                "a token outside the tables",
            ),
            (tracks().all(|t| t.end < t.slots), "no slot left"),
            (
                tracks().all(|t| t.height >= rows * shape.kv_heads),
                "no room for so many rows",
            ),
            (
                tracks().all(|t| t.starts.len() == rows),
                "a first slot a row",
            ),
            (
                tracks().all(|t| t.starts.iter().all(|start| *start <= t.end)),
                "a row that begins after its end",
            ),
            (
                self.layers.iter().all(places),
                "a layer that has no place in the tracks",
            ),
        ] {
            if !holds {
                return Err(otherwise);
            }
        }
        Ok(())
    }
}

impl Places for Batch<'_> {
    fn tokens(&self) -> &[usize] {
        self.tokens
    }

    #[inline(always)]
    unsafe fn smear<A: Arch>(&self, model: &Model, number: usize, gate: f32, own: &mut [f32]) {
        // SAFETY: a row of as many.
        let last = unsafe { row(self.last, number, model.shape.width) };
        for (own, last) in own.iter_mut().zip(last) {
            let plain = *own;
            *own = A::fma(gate, *last, plain);
            *last = plain;
        }
    }

    #[inline(always)]
    unsafe fn attend<A: Arch>(
        &self,
        pass: &Pass<Self>,
        _: usize,
        layer: &Layer,
        member: &Member,
        scratch: &mut Vec<f32>,
    ) {
        let kv_heads = pass.model.shape.kv_heads;
        for item in member.share(self.tokens.len() * kv_heads) {
            // SAFETY: this head of this row is this member's.
            unsafe {
                self.attend_row::<A>(pass, layer, item / kv_heads, item % kv_heads, scratch);
            }
        }
    }

    #[inline(always)]
    unsafe fn outputs<A: Arch>(&self, pass: &Pass<Self>, _: &Member) -> (usize, *const f32) {
        (self.tokens.len(), pass.at.hidden)
    }
}

impl Batch<'_> {
    /// Attention of the queries that share one key-value head of one row; its key and value into their slots.
    #[inline(always)]
    unsafe fn attend_row<A: Arch>(
        &self,
        pass: &Pass<Self>,
        layer: &Layer,
        number: usize,
        kv: usize,
        scores: &mut Vec<f32>,
    ) {
        let Pass { model, at, .. } = pass;
        let Shape {
            heads,
            kv_heads,
            dim,
            ..
        } = model.shape;
        let group = heads / kv_heads;
        let track = &self.tracks[layer.place.0];
        let lane = (layer.place.1 * track.height + number * kv_heads + kv) * track.slots;
        let start = track.starts[number];
        let seen = track.end + 1 - start;
        // SAFETY: within buffers of checked sizes. This lane and these heads are this member's alone, and nobody
        // writes to queries, keys and values now.
        let (qkv, angle, keys, values, attended) = unsafe {
            (
                std::slice::from_raw_parts(
                    at.qkv.add(number * layer.qkv.outputs),
                    layer.qkv.outputs,
                ),
                std::slice::from_raw_parts(self.angles.add(self.positions[number] * dim), dim),
                std::slice::from_raw_parts_mut(track.keys.add((lane + start) * dim), seen * dim),
                std::slice::from_raw_parts_mut(track.values.add((lane + start) * dim), seen * dim),
                at.attended.add((number * heads + kv * group) * dim),
            )
        };
        let newest = (seen - 1) * dim;
        let projected = Projected {
            token: self.tokens[number],
            qkv,
            angle,
        };
        let (key, value) = (&mut keys[newest..], &mut values[newest..]);
        projected.key_and_value::<A>(model, layer, kv, key, value);
        scores.resize(seen + dim, 0.0);
        let (scores, query) = scores.split_at_mut(seen);
        for g in 0..group {
            projected.query::<A>(model, kv * group + g, query);
            for ((score, key), value) in scores
                .iter_mut()
                .zip(keys.chunks_exact(dim))
                .zip(values.chunks_exact(dim))
            {
                arch::prefetch(value.as_ptr(), 4 * dim);
                *score = dot::<A>(query, key);
            }
            let scale = softmax::<A>(scores);
            // SAFETY: the group's heads follow each other.
            let out = unsafe { row(attended, g, dim) };
            weighted_sum::<A>(scores, values, scale, out);
        }
    }
}

/// `out` (dim) = `scale` · Σ weight · value over `values` (weights, dim).
#[inline(always)]
fn weighted_sum<A: Arch>(weights: &[f32], values: &[f32], scale: f32, out: &mut [f32]) {
    let dim = out.len();
    assert_eq!(values.len(), weights.len() * dim);
    let (panels, rest) = out.as_chunks_mut::<PANEL>();
    let narrow = panels.len() * PANEL;
    for (i, panel) in panels.iter_mut().enumerate() {
        let mut sums = A::zero();
        for (j, weight) in weights.iter().enumerate() {
            // SAFETY: a panel of the j-th value.
            sums = unsafe { A::add(*weight, values.as_ptr().add(j * dim + i * PANEL), sums) };
        }
        *panel = A::numbers(sums).map(|sum| scale * sum);
    }
    for (i, out) in rest.iter_mut().enumerate() {
        let mut sum = 0.0;
        for (weight, value) in weights.iter().zip(values.chunks_exact(dim)) {
            sum = A::fma(*weight, value[narrow + i], sum);
        }
        *out = scale * sum;
    }
}
