//! A model's weights as a step reads them.

use crate::matrix::Matrix;

/// Sizes and constants.
#[derive(Clone, Debug)]
pub struct Shape {
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
    pub vocab: usize,
    /// What scores are multiplied with.
    pub scale: f32,
    /// Logits are kept within ± this.
    pub softcap: f32,
    /// Whether a layer begins with a mix of its input and the first embedding.
    pub mixes: bool,
}

impl Shape {
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.dim
    }
}

/// Rows of float32 that somebody else owns.
pub struct Table {
    pub data: *const f32,
    pub rows: usize,
    pub width: usize,
}

// SAFETY: a table is only read, and its owner promises that it stays.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    #[inline(always)]
    pub(crate) fn row(&self, number: usize) -> &[f32] {
        // SAFETY: a step checks its tokens.
        unsafe { std::slice::from_raw_parts(self.data.add(number * self.width), self.width) }
    }
}

/// A block. Queries and keys have the channels of a rotated pair beside each other.
pub struct Layer {
    /// Queries, keys, values and, with a value table, one gate logit a key-value head.
    pub qkv: Matrix,
    pub out: Matrix,
    pub up: Matrix,
    pub down: Matrix,
    pub value_table: Option<Table>,
    /// Shares of the layer's input and of the first embedding in what it begins with.
    pub mix: (f32, f32),
    /// Which of a batch's tracks holds its keys and values, and where in it.
    pub place: (usize, usize),
}

/// All of it.
pub struct Model {
    pub shape: Shape,
    pub layers: Vec<Layer>,
    pub wte: Table,
    pub head: Matrix,
    /// Smear: the gate's weights over the embedding's first channels, and its scale.
    pub smear: Option<(Vec<f32>, f32)>,
    /// How much of the middle layer's output is taken off the last's.
    pub backout: Option<f32>,
}
