//! The step itself: every member of a team runs it, and all wait for each other between its phases.

use crate::arch::{self, Arch, PANEL, Work};
use crate::math::{dot, norm, norm_factor, sigmoid, softmax, tanh};
use crate::model::{Layer, Model, Shape};
use crate::team::{self, Member};

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

/// The buffers of a step; they grow to the largest batch.
#[derive(Default)]
pub struct Buffers {
    data: Vec<f32>,
}

/// Where each buffer begins: x (rows, width), x0 (rows, width), hidden (rows, width), backout (rows, width),
/// attended (rows, heads · dim), qkv (rows, its columns), up (rows, 4 · width).
struct Pointers {
    x: *mut f32,
    x0: *mut f32,
    hidden: *mut f32,
    backout: *mut f32,
    attended: *mut f32,
    qkv: *mut f32,
    up: *mut f32,
}

struct Step<'a> {
    model: &'a Model,
    batch: &'a Batch<'a>,
    at: Pointers,
}

// SAFETY: between two waits each member writes to parts of its own.
unsafe impl Sync for Step<'_> {}

struct StepWork<'a>(&'a Step<'a>, &'a Member<'a>);

impl Work for StepWork<'_> {
    #[inline(always)]
    fn run<A: Arch>(&self, _: A) {
        // SAFETY: `Model::new` and `Model::step` have checked sizes.
        unsafe { self.0.run_layers::<A>(self.1) }
    }
}

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
        let (shape, rows) = (&self.shape, batch.tokens.len());
        self.check(batch)?;
        let qkv = self
            .layers
            .iter()
            .map(|layer| layer.qkv.outputs)
            .max()
            .unwrap_or(0);
        let up = self
            .layers
            .iter()
            .map(|layer| layer.up.outputs)
            .max()
            .unwrap_or(0);
        let sizes = [
            shape.width,
            shape.width,
            shape.width,
            shape.width,
            shape.width,
            qkv,
            up,
        ];
        let needed = rows * sizes.iter().sum::<usize>();
        if buffers.data.len() < needed {
            buffers.data.resize(needed, 0.0);
        }
        let mut next = buffers.data.as_mut_ptr();
        let [x, x0, hidden, backout, attended, qkv, up] = sizes.map(|size| {
            let place = next;
            // SAFETY: their sum is what there is.
            next = unsafe { next.add(rows * size) };
            place
        });
        let at = Pointers {
            x,
            x0,
            hidden,
            backout,
            attended,
            qkv,
            up,
        };
        let step = Step {
            model: self,
            batch,
            at,
        };
        team::run(threads.max(1), |member| arch::run(&StepWork(&step, member)));
        Ok(())
    }

    fn check(&self, batch: &Batch) -> Result<(), &'static str> {
        let (shape, rows) = (&self.shape, batch.tokens.len());
        let heights = self
            .layers
            .iter()
            .filter_map(|layer| layer.value_table.as_ref())
            .chain([&self.wte]);
        let tokens = heights.map(|table| table.rows).min().unwrap_or(0);
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

/// A row of a buffer.
#[inline(always)]
unsafe fn row<'a>(buffer: *mut f32, number: usize, width: usize) -> &'a mut [f32] {
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts_mut(buffer.add(number * width), width) }
}

impl Step<'_> {
    #[inline(always)]
    unsafe fn run_layers<A: Arch>(&self, member: &Member) {
        let Self { model, batch, at } = self;
        let (shape, rows) = (&model.shape, batch.tokens.len());
        let middle = model.layers.len() / 2;
        let mut scores = Vec::new();
        // SAFETY: in each phase a member writes to its own rows, columns or heads.
        unsafe {
            for number in member.share(rows) {
                self.embed::<A>(number);
                self.begin_layer::<A>(number, model.layers.first());
            }
            member.wait();
            for (i, layer) in model.layers.iter().enumerate() {
                let share = member.share(layer.qkv.panels());
                layer
                    .qkv
                    .multiply::<A>(share, rows, at.hidden, at.qkv, |new, _| new);
                member.wait();
                for item in member.share(rows * shape.kv_heads) {
                    self.attend::<A>(
                        layer,
                        item / shape.kv_heads,
                        item % shape.kv_heads,
                        &mut scores,
                    );
                }
                member.wait();
                let share = member.share(layer.out.panels());
                layer
                    .out
                    .multiply::<A>(share, rows, at.attended, at.x, |new, old| old + new);
                member.wait();
                for number in member.share(rows) {
                    norm::<A>(
                        row(at.x, number, shape.width),
                        row(at.hidden, number, shape.width),
                    );
                }
                member.wait();
                let share = member.share(layer.up.panels());
                layer
                    .up
                    .multiply::<A>(share, rows, at.hidden, at.up, |new, _| {
                        // A NaN stays one.
                        let kept = if new < 0.0 { 0.0 } else { new };
                        kept * kept
                    });
                member.wait();
                let share = member.share(layer.down.panels());
                layer
                    .down
                    .multiply::<A>(share, rows, at.up, at.x, |new, old| old + new);
                member.wait();
                for number in member.share(rows) {
                    if i == middle {
                        row(at.backout, number, shape.width).copy_from_slice(row(
                            at.x,
                            number,
                            shape.width,
                        ));
                    }
                    self.begin_layer::<A>(number, model.layers.get(i + 1));
                }
                member.wait();
            }
            let (share, cap) = (member.share(model.head.panels()), shape.softcap);
            model
                .head
                .multiply::<A>(share, rows, at.hidden, batch.logits, |new, _| {
                    cap * tanh::<A>(new / cap)
                });
        }
    }

    /// The normed and smeared embedding of a row, into x0 and x.
    #[inline(always)]
    unsafe fn embed<A: Arch>(&self, number: usize) {
        let Self { model, batch, at } = self;
        let width = model.shape.width;
        // SAFETY: a row of each.
        let (x0, x) = unsafe { (row(at.x0, number, width), row(at.x, number, width)) };
        norm::<A>(model.wte.row(batch.tokens[number]), x0);
        if let Some((gate, scale)) = &model.smear {
            // SAFETY: as above.
            let last = unsafe { row(batch.last, number, width) };
            let gate = scale * sigmoid::<A>(dot::<A>(&x0[..gate.len()], gate));
            for (x0, last) in x0.iter_mut().zip(last) {
                let own = *x0;
                *x0 = A::fma(gate, *last, own);
                *last = own;
            }
        }
        x.copy_from_slice(x0);
    }

    /// The input of `layer`, normed, into hidden; after the last layer the input of the head.
    #[inline(always)]
    unsafe fn begin_layer<A: Arch>(&self, number: usize, layer: Option<&Layer>) {
        let Self { model, at, .. } = self;
        let width = model.shape.width;
        // SAFETY: a row of each.
        let (x, x0, backout, hidden) = unsafe {
            (
                row(at.x, number, width),
                row(at.x0, number, width),
                row(at.backout, number, width),
                row(at.hidden, number, width),
            )
        };
        match (layer, model.backout) {
            (Some(layer), _) if model.shape.mixes => {
                let (resid, scale) = layer.mix;
                for (x, x0) in x.iter_mut().zip(x0) {
                    *x = A::fma(resid, *x, scale * *x0);
                }
            }
            (None, Some(scale)) => {
                for (x, middle) in x.iter_mut().zip(backout) {
                    *x = A::fma(-scale, *middle, *x);
                }
            }
            _ => {}
        }
        norm::<A>(x, hidden);
    }

    /// Attention of the queries that share one key-value head of one row; its key and value into their slots.
    #[inline(always)]
    unsafe fn attend<A: Arch>(
        &self,
        layer: &Layer,
        number: usize,
        kv: usize,
        scores: &mut Vec<f32>,
    ) {
        let Self { model, batch, at } = self;
        let Shape {
            width,
            heads,
            kv_heads,
            dim,
            scale,
            ..
        } = model.shape;
        let (token, group, kv_dim) = (batch.tokens[number], heads / kv_heads, model.shape.kv_dim());
        let track = &batch.tracks[layer.place.0];
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
                std::slice::from_raw_parts(batch.angles.add(batch.positions[number] * dim), dim),
                std::slice::from_raw_parts_mut(track.keys.add((lane + start) * dim), seen * dim),
                std::slice::from_raw_parts_mut(track.values.add((lane + start) * dim), seen * dim),
                at.attended.add((number * heads + kv * group) * dim),
            )
        };
        let newest = (seen - 1) * dim;
        let key = &mut keys[newest..];
        rotate_and_norm::<A>(&qkv[width + kv * dim..][..dim], angle, key);
        let value = &mut values[newest..];
        let own = &qkv[width + kv_dim + kv * dim..][..dim];
        match &layer.value_table {
            None => value.copy_from_slice(own),
            Some(table) => {
                let gate = 3.0 * sigmoid::<A>(qkv[width + 2 * kv_dim + kv]);
                let embedded = &table.row(token)[kv * dim..][..dim];
                for ((value, own), embedded) in value.iter_mut().zip(own).zip(embedded) {
                    *value = A::fma(gate, *embedded, *own);
                }
            }
        }
        scores.resize(seen + dim, 0.0);
        let (scores, query) = scores.split_at_mut(seen);
        for g in 0..group {
            rotate_and_norm::<A>(&qkv[(kv * group + g) * dim..][..dim], angle, query);
            for q in query.iter_mut() {
                *q *= scale;
            }
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

/// `out` = `x` rotated by `angle`, pair by pair, then normed: (dim) each.
#[inline(always)]
fn rotate_and_norm<A: Arch>(x: &[f32], angle: &[f32], out: &mut [f32]) {
    let pairs = x.as_chunks::<2>().0.iter().zip(angle.as_chunks::<2>().0);
    for (out, ([x, y], [re, im])) in out.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
        *out = [x * re - y * im, x * im + y * re];
    }
    let factor = norm_factor::<A>(out);
    for out in out {
        *out *= factor;
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
