//! Prompts being read: many tokens of some sequences in one pass, each sequence with keys and values of its own.

use crate::arch::{Arch, PANEL};
use crate::math::{exp, norm, norm_factor};
use crate::matrix::{Lines, Rows, Store, product};
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
    ///
    /// Queries are the columns: [`PANEL`] of them meet a key at a time, and keys and values stay as they lie.
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
        let needed = (dim + seen) * PANEL;
        if scratch.len() < needed {
            scratch.resize(needed, 0.0);
        }
        let (panel, scores) = scratch[..needed].split_at_mut(dim * PANEL);
        let lane = (kv * prompt.slots + low) * dim;
        for first in (0..group * block.count).step_by(PANEL) {
            let count = PANEL.min(group * block.count - first);
            // SAFETY: these slots were written before, and nobody writes there now; these queries are this
            // member's, and each is read before its place is written to.
            unsafe {
                let query = |number: usize| {
                    let (g, token) = (number / block.count, number % block.count);
                    let head = kv * group + g;
                    pass.at
                        .attended
                        .add((block.first + token) * width + head * dim)
                };
                for place in 0..count {
                    let query = std::slice::from_raw_parts(query(first + place), dim);
                    for (line, channel) in panel.chunks_exact_mut(PANEL).zip(query) {
                        line[place] = *channel;
                    }
                }
                let keys = Rows {
                    first: prompt.keys[number].add(lane),
                    stride: dim,
                    step: 1,
                };
                let lines = Lines {
                    first: panel.as_ptr(),
                    stride: PANEL,
                    count: dim,
                };
                product::<A>(seen, &keys, &lines, &Scores(scores.as_mut_ptr()));
                let mut ranges = [(0, 0); PANEL];
                for (place, range) in ranges[..count].iter_mut().enumerate() {
                    let position = block.position + (first + place) % block.count;
                    *range = (position.saturating_sub(window) - low, position - low);
                }
                let scales = softmax_columns::<A>(scores, &ranges[..count]);
                let values = prompt.values[number].add(lane);
                let mut outputs = [std::ptr::null_mut(); PANEL];
                for (place, output) in outputs[..count].iter_mut().enumerate() {
                    *output = query(first + place);
                }
                weighted_sums::<A>(scores, values, dim, &outputs[..count], &scales);
            }
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

/// The scores of one key for all queries of a panel.
struct Scores(*mut f32);

impl Store for Scores {
    #[inline(always)]
    unsafe fn store(&self, row: usize, sums: [f32; PANEL]) {
        // SAFETY: the caller's.
        unsafe { self.0.add(row * PANEL).cast::<[f32; PANEL]>().write(sums) };
    }
}

/// Turns each column of `scores` (keys, [`PANEL`]) into its softmax's numerators over the keys that it sees, first
/// and last, and into zeros elsewhere; returns one over their sums.
#[inline(always)]
fn softmax_columns<A: Arch>(scores: &mut [f32], seen: &[(usize, usize)]) -> [f32; PANEL] {
    let rows = scores.as_chunks_mut::<PANEL>().0;
    // Only the keys at the ends are not seen by all.
    let all_from = seen.iter().map(|(first, _)| *first).max().unwrap_or(0);
    let all_to = seen.iter().map(|(_, last)| *last).min().unwrap_or(0);
    let edges = (0..all_from).chain(all_to + 1..rows.len());
    for key in edges {
        for (score, (first, last)) in rows[key].iter_mut().zip(seen) {
            if key < *first || key > *last {
                *score = f32::NEG_INFINITY;
            }
        }
    }
    let mut tops = [f32::NEG_INFINITY; PANEL];
    for row in rows.iter() {
        for (top, score) in tops.iter_mut().zip(row) {
            *top = top.max(*score);
        }
    }
    let mut sums = [0.0; PANEL];
    for row in rows.iter_mut() {
        for ((score, top), sum) in row.iter_mut().zip(&tops).zip(&mut sums) {
            let unseen = *score == f32::NEG_INFINITY;
            let numerator = exp::<A>(*score - top);
            *score = if unseen { 0.0 } else { numerator };
            *sum += *score;
        }
    }
    sums.map(|sum| 1.0 / sum)
}

/// [`PANEL`] columns of some outputs, each at a place of its own.
struct Outputs<'a> {
    places: &'a [*mut f32],
    scales: &'a [f32; PANEL],
    column: usize,
}

impl Store for Outputs<'_> {
    #[inline(always)]
    unsafe fn store(&self, row: usize, sums: [f32; PANEL]) {
        // SAFETY: the caller's.
        let out = unsafe { self.places[row].add(self.column).cast::<[f32; PANEL]>() };
        let scale = self.scales[row];
        // SAFETY: as above.
        unsafe { out.write_unaligned(sums.map(|sum| scale * sum)) };
    }
}

/// Of each column of `weights` (keys, [`PANEL`]) its sum of `values` (keys, dim), times its scale, to its place in
/// `outputs` (dim each).
///
/// # Safety
/// There are so many values, and the outputs are the caller's alone.
#[inline(always)]
unsafe fn weighted_sums<A: Arch>(
    weights: &[f32],
    values: *const f32,
    dim: usize,
    outputs: &[*mut f32],
    scales: &[f32; PANEL],
) {
    let keys = weights.len() / PANEL;
    let whole = dim / PANEL * PANEL;
    let columns = Rows {
        first: weights.as_ptr(),
        stride: 1,
        step: PANEL,
    };
    for column in (0..whole).step_by(PANEL) {
        // SAFETY: so many weights and values; the caller's outputs.
        unsafe {
            let lines = Lines {
                first: values.add(column),
                stride: dim,
                count: keys,
            };
            let store = Outputs {
                places: outputs,
                scales,
                column,
            };
            product::<A>(outputs.len(), &columns, &lines, &store);
        }
    }
    for (number, output) in outputs.iter().enumerate() {
        for column in whole..dim {
            let mut sum = 0.0;
            for key in 0..keys {
                // SAFETY: as above.
                sum = A::fma(
                    weights[key * PANEL + number],
                    unsafe { *values.add(key * dim + column) },
                    sum,
                );
            }
            // SAFETY: as above.
            unsafe { *output.add(column) = scales[number] * sum };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{self, Work};

    fn wave(count: usize, speed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * speed).sin()).collect()
    }

    struct Attention<'a> {
        scores: &'a [f32],
        seen: &'a [(usize, usize)],
        values: &'a [f32],
        dim: usize,
        outputs: &'a [*mut f32],
    }

    impl Work for Attention<'_> {
        #[inline(always)]
        fn run<A: Arch>(&self, _: A) {
            let mut weights = self.scores.to_vec();
            let scales = softmax_columns::<A>(&mut weights, self.seen);
            let values = self.values.as_ptr();
            // SAFETY: the test's arrays are of these sizes.
            unsafe { weighted_sums::<A>(&weights, values, self.dim, self.outputs, &scales) };
        }
    }

    #[test]
    fn attention_of_any_shape_is_that_of_plain_loops() {
        for (count, keys, dim, window) in [
            (1, 1, 8, 9),
            (5, 40, 32, 99),
            (32, 33, 40, 4),
            (32, 70, 64, 20),
            (3, 7, 100, 0),
        ] {
            let (scores, values) = (wave(keys * PANEL, 0.7), wave(keys * dim, 0.3));
            let seen: Vec<_> = (keys - count..keys)
                .map(|last| (last.saturating_sub(window), last))
                .collect();
            for name in arch::found() {
                let mut out = vec![7.0; count * dim];
                let outputs: Vec<_> = out.chunks_mut(dim).map(|row| row.as_mut_ptr()).collect();
                let work = Attention {
                    scores: &scores,
                    seen: &seen,
                    values: &values,
                    dim,
                    outputs: &outputs,
                };
                arch::run_as(name, &work);
                for (place, ours) in out.into_iter().enumerate() {
                    let (query, column) = (place / dim, place % dim);
                    let (first, last) = seen[query];
                    let weight = |key: usize| f64::from(scores[key * PANEL + query]).exp();
                    let total: f64 = (first..=last).map(weight).sum();
                    let products = (first..=last)
                        .map(|key| weight(key) * f64::from(values[key * dim + column]));
                    let exact = products.sum::<f64>() / total;
                    assert!(
                        (f64::from(ours) - exact).abs() < 1e-5,
                        "{name} {count} {keys} {dim}"
                    );
                }
            }
        }
    }
}
