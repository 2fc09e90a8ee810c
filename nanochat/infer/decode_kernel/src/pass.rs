//! The way of some tokens through the layers: every member of a team runs it, and all wait for each other
//! between its phases. What tokens they are, and where their keys and values lie, is told by [`Places`].

use crate::arch::{self, Arch, Work};
use crate::math::{dot, norm, norm_factor, sigmoid, tanh};
use crate::model::{Layer, Model, Shape};
use crate::team::{self, Member};

/// The tokens of a pass and the sequences they go on.
pub(crate) trait Places: Sync + Sized {
    /// The tokens, sequence by sequence.
    fn tokens(&self) -> &[usize];

    /// Adds `gate` times the embedding before token `number` to its own.
    ///
    /// # Safety
    /// No other member has this token.
    unsafe fn smear<A: Arch>(&self, model: &Model, number: usize, gate: f32, own: &mut [f32]);

    /// Keys and values of `layer`, the `number`-th, to where they are kept, and the member's share of attention.
    ///
    /// # Safety
    /// All members are in it, and the pass's qkv is whole.
    unsafe fn attend<A: Arch>(
        &self,
        pass: &Pass<Self>,
        number: usize,
        layer: &Layer,
        member: &Member,
        scratch: &mut Vec<f32>,
    );

    /// The rows (so many, width) whose logits are wanted, of which every member has seen the pass's hidden.
    ///
    /// # Safety
    /// All members are in it.
    unsafe fn outputs<A: Arch>(&self, pass: &Pass<Self>, member: &Member) -> (usize, *const f32);
}

/// The buffers of a pass; they grow to the largest.
#[derive(Default)]
pub struct Buffers {
    data: Vec<f32>,
}

/// Where each buffer begins: (tokens, width) each, but qkv (tokens, its columns), up (tokens, 4 · width).
pub(crate) struct Pointers {
    pub x: *mut f32,
    pub x0: *mut f32,
    pub hidden: *mut f32,
    pub backout: *mut f32,
    /// (tokens, heads · dim).
    pub attended: *mut f32,
    pub qkv: *mut f32,
    pub up: *mut f32,
}

pub(crate) struct Pass<'a, P> {
    pub model: &'a Model,
    pub at: Pointers,
    places: &'a P,
    /// (wanted, vocab).
    logits: *mut f32,
}

// SAFETY: between two waits each member writes to parts of its own.
unsafe impl<P: Sync> Sync for Pass<'_, P> {}

struct PassWork<'a, P>(&'a Pass<'a, P>, &'a Member<'a>);

impl<P: Places> Work for PassWork<'_, P> {
    #[inline(always)]
    fn run<A: Arch>(&self, _: A) {
        // SAFETY: `Model::new` and the callers of `run` have checked sizes.
        unsafe { self.0.run_layers::<A>(self.1) }
    }
}

/// Takes the tokens of `places` through the layers and writes `logits`, with `threads` threads.
///
/// # Safety
/// The pointers of `places` and of the model's tables are good for the sizes they come with, `logits` for the
/// rows that are wanted, and nobody else writes there meanwhile.
pub(crate) unsafe fn run<P: Places>(
    model: &Model,
    places: &P,
    logits: *mut f32,
    buffers: &mut Buffers,
    threads: usize,
) {
    let (width, rows) = (model.shape.width, places.tokens().len());
    let widest = |of: fn(&Layer) -> usize| model.layers.iter().map(of).max().unwrap_or(0);
    let qkv = widest(|layer| layer.qkv.outputs);
    let up = widest(|layer| layer.up.outputs);
    let sizes = [width, width, width, width, width, qkv, up];
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
    let pass = Pass {
        model,
        at,
        places,
        logits,
    };
    team::run(threads.max(1), |member| arch::run(&PassWork(&pass, member)));
}

/// A row of a buffer.
#[inline(always)]
pub(crate) unsafe fn row<'a>(buffer: *mut f32, number: usize, width: usize) -> &'a mut [f32] {
    // SAFETY: the caller's.
    unsafe { std::slice::from_raw_parts_mut(buffer.add(number * width), width) }
}

impl<P: Places> Pass<'_, P> {
    #[inline(always)]
    unsafe fn run_layers<A: Arch>(&self, member: &Member) {
        let Self {
            model, at, places, ..
        } = self;
        let (shape, rows) = (&model.shape, places.tokens().len());
        let middle = model.layers.len() / 2;
        let mut scratch = Vec::new();
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
                places.attend::<A>(self, i, layer, member, &mut scratch);
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
            let (wanted, x) = places.outputs::<A>(self, member);
            let (share, cap) = (member.share(model.head.panels()), shape.softcap);
            model
                .head
                .multiply::<A>(share, wanted, x, self.logits, |new, _| {
                    cap * tanh::<A>(new / cap)
                });
        }
    }

    /// The normed and smeared embedding of a token, into x0 and x.
    #[inline(always)]
    unsafe fn embed<A: Arch>(&self, number: usize) {
        let Self {
            model, at, places, ..
        } = self;
        let width = model.shape.width;
        // SAFETY: a row of each.
        let (x0, x) = unsafe { (row(at.x0, number, width), row(at.x, number, width)) };
        norm::<A>(model.wte.row(places.tokens()[number]), x0);
        if let Some((gate, scale)) = &model.smear {
            let gate = scale * sigmoid::<A>(dot::<A>(&x0[..gate.len()], gate));
            // SAFETY: this token is this member's.
            unsafe { places.smear::<A>(model, number, gate, x0) };
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
}

/// A token in a layer: its row of qkv, and the rotation of its position.
pub(crate) struct Projected<'a> {
    pub token: usize,
    pub qkv: &'a [f32],
    pub angle: &'a [f32],
}

impl Projected<'_> {
    /// Its key and value (dim) for one key-value head.
    #[inline(always)]
    pub(crate) fn key_and_value<A: Arch>(
        &self,
        model: &Model,
        layer: &Layer,
        kv: usize,
        key: &mut [f32],
        value: &mut [f32],
    ) {
        let Shape { width, dim, .. } = model.shape;
        let (qkv, kv_dim) = (self.qkv, model.shape.kv_dim());
        rotate_and_norm::<A>(&qkv[width + kv * dim..][..dim], self.angle, key);
        let own = &qkv[width + kv_dim + kv * dim..][..dim];
        match &layer.value_table {
            None => value.copy_from_slice(own),
            Some(table) => {
                let gate = 3.0 * sigmoid::<A>(qkv[width + 2 * kv_dim + kv]);
                let embedded = &table.row(self.token)[kv * dim..][..dim];
                for ((value, own), embedded) in value.iter_mut().zip(own).zip(embedded) {
                    *value = A::fma(gate, *embedded, *own);
                }
            }
        }
    }

    /// The query (dim) of a head, times the scale of scores.
    #[inline(always)]
    pub(crate) fn query<A: Arch>(&self, model: &Model, head: usize, out: &mut [f32]) {
        let Shape { dim, scale, .. } = model.shape;
        rotate_and_norm::<A>(&self.qkv[head * dim..][..dim], self.angle, out);
        for out in out {
            *out *= scale;
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
