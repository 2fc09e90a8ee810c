//! Prompts being read: many tokens of some sequences in one pass, each sequence with keys and values of its own.

use crate::arch::{Arch, PANEL};
use crate::math::{norm, norm_factor, softmax};
use crate::matrix::{Lines, product};
use crate::model::{Layer, Model, Shape};
use crate::pass::{self, Buffers, Pass, Places, Projected, row};
use crate::team::Member;

/// Tokens of a prompt whose attention is computed together: they share each pass over its keys and values.
const BLOCK: usize = 32;

/// A prompt, and what was read of it before.
pub struct Prompt<'a> {
    /// Tokens of it that were read before; the first of this pass has this position, and this slot.
    pub start: usize,
    /// Its tokens in this pass, at least one.
    pub count: usize,
    /// Of each layer, (kv_heads, slots, dim) each.
    pub keys: &'a [*mut f32],
    pub values: &'a [*mut f32],
    pub slots: usize,
    /// Smear's last embedding, (width): zeros before the first token.
    pub last: *mut f32,
}

/// A pass over prompts, and what is read and written on the way.
pub struct Reading<'a> {
    /// The tokens of the first prompt, of the second, and so on.
    pub tokens: &'a [usize],
    pub prompts: &'a [Prompt<'a>],
    /// How many tokens before its own a token of each layer sees, at most.
    pub windows: &'a [usize],
    /// The rotation of each position, (positions, dim / 2) complex numbers.
    pub angles: *const f32,
    pub angle_rows: usize,
    /// (prompts, vocab): those of the token after each prompt's last.
    pub logits: *mut f32,
    /// (tokens, width): the normed stream before the head; null where nobody wants it.
    pub hidden: *mut f32,
}

/// Tokens of one prompt that follow each other.
struct Block {
    prompt: usize,
    /// The first of them, counted over all prompts.
    first: usize,
    position: usize,
    count: usize,
}

/// A reading with its tokens sorted out.
struct Plan<'a> {
    reading: &'a Reading<'a>,
    blocks: Vec<Block>,
    /// The block of each token.
    block_of: Vec<usize>,
    /// The last token of each prompt.
    last_of: Vec<usize>,
}

// SAFETY: the pointers are for the pass alone, as its caller promises.
unsafe impl Sync for Plan<'_> {}
// SAFETY: as above.
unsafe impl Send for Reading<'_> {}
// SAFETY: as above.
unsafe impl Sync for Reading<'_> {}

impl Model {
    /// Reads tokens of prompts and writes the logits of each prompt's next one, with `threads` threads.
    ///
    /// # Safety
    /// The pointers of `reading` and of the model's tables are good for the sizes they come with, no two of
    /// `reading` overlap, and nobody else writes there meanwhile.
    ///
    /// # Errors
    /// Says which number of `reading` lies outside what it points into.
    pub unsafe fn read(
        &self,
        reading: &Reading,
        buffers: &mut Buffers,
        threads: usize,
    ) -> Result<(), &'static str> {
        let layers = self.layers.len();
        let prompts = || reading.prompts.iter();
        let total = prompts().try_fold(0, |sum: usize, p| sum.checked_add(p.count));
        let fit = |most: fn(&Reading, &Prompt) -> usize| {
            prompts().all(|p| {
                let end = p.start.checked_add(p.count);
                end.is_some_and(|end| end <= most(reading, p))
            })
        };
        let tokens = self.table_rows();
        for (holds, otherwise) in [
            (
                prompts().all(|p| p.count > 0) && total == Some(reading.tokens.len()),
                "tokens of each prompt",
            ),
            (
                reading.tokens.iter().all(|token| *token < tokens),
                "a token outside the tables",
            ),
            (
                prompts().all(|p| p.keys.len() == layers && p.values.len() == layers),
                "keys and values of each layer",
            ),
            (reading.windows.len() == layers, "a window a layer"),
            (fit(|_, p| p.slots), "no slot left"),
            (fit(|of, _| of.angle_rows), "a position without a rotation"),
        ] {
            if !holds {
                return Err(otherwise);
            }
        }
        let plan = Plan::new(reading);
        // SAFETY: the caller's, and sizes are checked.
        unsafe { pass::run(self, &plan, reading.logits, buffers, threads) };
        Ok(())
    }
}

impl<'a> Plan<'a> {
    fn new(reading: &'a Reading<'a>) -> Self {
        let (mut blocks, mut block_of, mut last_of) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for (prompt, Prompt { start, count, .. }) in reading.prompts.iter().enumerate() {
            for done in (0..*count).step_by(BLOCK) {
                let count = BLOCK.min(count - done);
                block_of.resize(block_of.len() + count, blocks.len());
                blocks.push(Block {
                    prompt,
                    first: first + done,
                    position: start + done,
                    count,
                });
            }
            first += count;
            last_of.push(first - 1);
        }
        Self {
            reading,
            blocks,
            block_of,
            last_of,
        }
    }

    /// The key of a token into its slot and its value beside it; its queries of the same head to where the result
    /// of their attention will be.
    #[inline(always)]
    unsafe fn project<A: Arch>(
        &self,
        pass: &Pass<Self>,
        number: usize,
        layer: &Layer,
        token: usize,
        kv: usize,
    ) {
        let Pass { model, at, .. } = pass;
        let Shape {
            width,
            heads,
            kv_heads,
            dim,
            ..
        } = model.shape;
        let (reading, group) = (self.reading, heads / kv_heads);
        let block = &self.blocks[self.block_of[token]];
        let prompt = &reading.prompts[block.prompt];
        let position = block.position + token - block.first;
        let slot = kv * prompt.slots + position;
        // SAFETY: within arrays of checked sizes; this slot and these heads are this member's alone, and nobody
        // writes to qkv now.
        unsafe {
            let columns = layer.qkv.outputs;
            let projected = Projected {
                token: reading.tokens[token],
                qkv: std::slice::from_raw_parts(at.qkv.add(token * columns), columns),
                angle: std::slice::from_raw_parts(reading.angles.add(position * dim), dim),
            };
            let key = row(prompt.keys[number], slot, dim);
            let value = row(prompt.values[number], slot, dim);
            projected.key_and_value::<A>(model, layer, kv, key, value);
            for head in kv * group..(kv + 1) * group {
                let query = row(at.attended.add(token * width), head, dim);
                projected.query::<A>(model, head, query);
            }
        }
    }

    /// Attention of a block's queries of one key-value head, over their own keys and all before them.
    #[inline(always)]
    unsafe fn attend_block<A: Arch>(
        &self,
        pass: &Pass<Self>,
        number: usize,
        block: &Block,
        kv: usize,
        scratch: &mut Vec<f32>,
    ) {
        let Shape {
            width,
            heads,
            kv_heads,
            dim,
            ..
        } = pass.model.shape;
        let (group, prompt) = (heads / kv_heads, &self.reading.prompts[block.prompt]);
        let window = self.reading.windows[number];
        // The keys that any of them sees: the first query's window begins first.
        let low = block.position.saturating_sub(window);
        let seen = block.position + block.count - low;
        let padded = seen.next_multiple_of(PANEL);
        let rows = group * block.count;
        let needed = dim * PANEL + rows * (padded + 1);
        if scratch.len() < needed {
            scratch.resize(needed, 0.0);
        }
        let (panel, scratch) = scratch.split_at_mut(dim * PANEL);
        let (scores, scales) = scratch.split_at_mut(rows * padded);
        // SAFETY: these slots were written before, and nobody writes there now; these queries are this member's.
        let (keys, values, queries) = unsafe {
            let lane = (kv * prompt.slots + low) * dim;
            (
                std::slice::from_raw_parts(prompt.keys[number].add(lane), seen * dim),
                std::slice::from_raw_parts(prompt.values[number].add(lane), seen * dim),
                pass.at.attended.add(block.first * width + kv * group * dim),
            )
        };
        for (tile, keys) in keys.chunks(PANEL * dim).enumerate() {
            transpose(keys, dim, panel);
            let lines = Lines {
                first: panel.as_ptr(),
                stride: PANEL,
                count: dim,
            };
            for g in 0..group {
                let first = scores[g * block.count * padded..].as_mut_ptr();
                // SAFETY: rows of `padded` scores.
                unsafe {
                    product::<A>(
                        block.count,
                        queries.add(g * dim),
                        width,
                        &lines,
                        |row, sums| {
                            let place = first.add(row * padded + tile * PANEL);
                            place.cast::<[f32; PANEL]>().write_unaligned(sums);
                        },
                    );
                }
            }
        }
        let rows = scores.chunks_exact_mut(padded).zip(scales.iter_mut());
        for (place, (scores, scale)) in rows.enumerate() {
            let position = block.position + place % block.count;
            let (first, last) = (position.saturating_sub(window) - low, position - low);
            scores[..first].fill(0.0);
            scores[last + 1..].fill(0.0);
            *scale = softmax::<A>(&mut scores[first..=last]);
        }
        for g in 0..group {
            let weights = &scores[g * block.count * padded..][..block.count * padded];
            let scales = &scales[g * block.count..][..block.count];
            // SAFETY: the queries are no longer needed, and their places are this member's.
            unsafe {
                weighted_sums::<A>(weights, scales, values, dim, queries.add(g * dim), width)
            };
        }
    }
}

impl Places for Plan<'_> {
    fn tokens(&self) -> &[usize] {
        self.reading.tokens
    }

    #[inline(always)]
    unsafe fn smear<A: Arch>(&self, model: &Model, number: usize, gate: f32, own: &mut [f32]) {
        let block = &self.blocks[self.block_of[number]];
        let prompt = &self.reading.prompts[block.prompt];
        if number == block.first && block.position == prompt.start {
            // SAFETY: an array of this size, which is written to after all layers only.
            let last = unsafe { std::slice::from_raw_parts(prompt.last, model.shape.width) };
            for (own, last) in own.iter_mut().zip(last) {
                *own = A::fma(gate, *last, *own);
            }
        } else {
            let before = model.wte.row(self.reading.tokens[number - 1]);
            let factor = norm_factor::<A>(before);
            for (own, before) in own.iter_mut().zip(before) {
                *own = A::fma(gate, before * factor, *own);
            }
        }
    }

    #[inline(always)]
    unsafe fn attend<A: Arch>(
        &self,
        pass: &Pass<Self>,
        number: usize,
        layer: &Layer,
        member: &Member,
        scratch: &mut Vec<f32>,
    ) {
        let kv_heads = pass.model.shape.kv_heads;
        // SAFETY: each token's, then each block's part of one key-value head is one member's.
        unsafe {
            for item in member.share(self.block_of.len() * kv_heads) {
                self.project::<A>(pass, number, layer, item / kv_heads, item % kv_heads);
            }
            member.wait();
            // Not shares of neighbours: later blocks of a prompt see more.
            for item in (member.number..self.blocks.len() * kv_heads).step_by(member.count) {
                let block = &self.blocks[item % self.blocks.len()];
                self.attend_block::<A>(pass, number, block, item / self.blocks.len(), scratch);
            }
        }
    }

    #[inline(always)]
    unsafe fn outputs<A: Arch>(&self, pass: &Pass<Self>, member: &Member) -> (usize, *const f32) {
        let Pass { model, at, .. } = pass;
        let (width, prompts) = (model.shape.width, self.reading.prompts);
        // SAFETY: nobody needs attended any more, and these rows are this member's.
        unsafe {
            for number in member.share(prompts.len()) {
                let last = self.last_of[number];
                row(at.attended, number, width).copy_from_slice(row(at.hidden, last, width));
                if model.smear.is_some() {
                    let token = self.reading.tokens[last];
                    norm::<A>(model.wte.row(token), row(prompts[number].last, 0, width));
                }
            }
            if !self.reading.hidden.is_null() {
                for number in member.share(self.block_of.len()) {
                    row(self.reading.hidden, number, width)
                        .copy_from_slice(row(at.hidden, number, width));
                }
            }
        }
        member.wait();
        (prompts.len(), at.attended)
    }
}

/// `panel` (dim, [`PANEL`]) = the transpose of at most [`PANEL`] keys of `dim`, with zeros beyond them.
#[inline(always)]
fn transpose(keys: &[f32], dim: usize, panel: &mut [f32]) {
    let count = keys.len() / dim;
    for (channel, line) in panel.chunks_exact_mut(PANEL).enumerate() {
        for (number, place) in line[..count].iter_mut().enumerate() {
            *place = keys[number * dim + channel];
        }
        line[count..].fill(0.0);
    }
}

/// Of each row of `weights` (rows, padded) its sum of `values` (seen, dim), times its scale, into a row of `out`,
/// `stride` numbers apart.
///
/// # Safety
/// `out` has so many rows, and they are the caller's alone.
#[inline(always)]
unsafe fn weighted_sums<A: Arch>(
    weights: &[f32],
    scales: &[f32],
    values: &[f32],
    dim: usize,
    out: *mut f32,
    stride: usize,
) {
    let (rows, seen) = (scales.len(), values.len() / dim);
    let padded = weights.len() / rows;
    let whole = dim / PANEL * PANEL;
    for column in (0..whole).step_by(PANEL) {
        let lines = Lines {
            first: values[column..].as_ptr(),
            stride: dim,
            count: seen,
        };
        // SAFETY: so many weights and values; the caller's rows.
        unsafe {
            product::<A>(rows, weights.as_ptr(), padded, &lines, |number, sums| {
                let out = row(out.add(number * stride + column), 0, PANEL);
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = scales[number] * sum;
                }
            });
        }
    }
    for (number, scale) in scales.iter().enumerate() {
        // SAFETY: as above.
        let out = unsafe { row(out.add(number * stride), 0, dim) };
        for (column, out) in out.iter_mut().enumerate().skip(whole) {
            let mut sum = 0.0;
            for (weight, value) in weights[number * padded..]
                .iter()
                .zip(values.chunks_exact(dim))
            {
                sum = A::fma(*weight, value[column], sum);
            }
            *out = scale * sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{self, Work};

    struct Sums<'a> {
        weights: &'a [f32],
        scales: &'a [f32],
        values: &'a [f32],
        dim: usize,
        out: *mut f32,
    }

    impl Work for Sums<'_> {
        #[inline(always)]
        fn run<A: Arch>(&self, _: A) {
            // SAFETY: the test's arrays are of these sizes, rows of `out` two numbers apart.
            unsafe {
                let (dim, out) = (self.dim, self.out);
                weighted_sums::<A>(self.weights, self.scales, self.values, dim, out, dim + 2);
            }
        }
    }

    fn wave(count: usize, speed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * speed).sin()).collect()
    }

    #[test]
    fn weighted_sums_of_any_shape_are_those_of_plain_loops() {
        for (rows, seen, dim) in [
            (1, 1, 8),
            (5, 40, 32),
            (9, 33, 40),
            (32, 70, 64),
            (3, 7, 100),
        ] {
            let padded = seen + 3;
            let (weights, scales) = (wave(rows * padded, 0.7), wave(rows, 0.9));
            let values = wave(seen * dim, 0.3);
            for name in arch::found() {
                let mut out = vec![7.0; rows * (dim + 2)];
                let work = Sums {
                    weights: &weights,
                    scales: &scales,
                    values: &values,
                    dim,
                    out: out.as_mut_ptr(),
                };
                arch::run_as(name, &work);
                for (place, ours) in out.into_iter().enumerate() {
                    let (row, column) = (place / (dim + 2), place % (dim + 2));
                    let products = (0..seen).map(|k| {
                        f64::from(weights[row * padded + k])
                            * f64::from(values.get(k * dim + column).copied().unwrap_or(0.0))
                    });
                    let exact = match column < dim {
                        true => f64::from(scales[row]) * products.sum::<f64>(),
                        false => 7.0,
                    };
                    assert!(
                        (f64::from(ours) - exact).abs() < 1e-4,
                        "{name} {rows} {seen} {dim}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_panel_is_the_transpose_with_zeros_beyond_it() {
        for (count, dim) in [(1, 8), (32, 64), (31, 5)] {
            let keys = wave(count * dim, 0.3);
            let mut panel = vec![7.0; dim * PANEL];
            transpose(&keys, dim, &mut panel);
            for (place, ours) in panel.into_iter().enumerate() {
                let (channel, number) = (place / PANEL, place % PANEL);
                let exact = if number < count {
                    keys[number * dim + channel]
                } else {
                    0.0
                };
                assert_eq!(ours, exact);
            }
        }
    }
}
