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
    pub(crate) fn kv_dim(&self) -> usize {
        self.kv_heads * self.dim
    }
}

/// Rows of float32 that somebody else owns.
pub struct Table {
    pub data: *const f32,
    pub rows: usize,
    pub width: usize,
}

// SAFETY: a step only reads it, and whoever calls `Model::step` promises that nobody writes meanwhile.
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

/// Smear: the gate's weights over the embedding's first channels, and its scale.
pub type Smear = (Vec<f32>, f32);

/// All of it.
pub struct Model {
    pub(crate) shape: Shape,
    pub(crate) layers: Vec<Layer>,
    pub(crate) wte: Table,
    pub(crate) head: Matrix,
    pub(crate) smear: Option<Smear>,
    pub(crate) backout: Option<f32>,
}

impl Model {
    /// `backout`: how much of the middle layer's output is taken off the last's.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn new(
        shape: Shape,
        layers: Vec<Layer>,
        wte: Table,
        head: Matrix,
        smear: Option<Smear>,
        backout: Option<f32>,
    ) -> Result<Self, &'static str> {
        let Shape {
            width,
            heads,
            kv_heads,
            dim,
            vocab,
            ..
        } = shape;
        let is =
            |matrix: &Matrix, inputs, outputs| (matrix.inputs, matrix.outputs) == (inputs, outputs);
        // A last column that nobody reads may make their number even.
        let needed = |layer: &Layer| {
            let gates = if layer.value_table.is_some() {
                kv_heads
            } else {
                0
            };
            width + 2 * shape.kv_dim() + gates
        };
        let value_width = |layer: &Layer| {
            layer
                .value_table
                .as_ref()
                .is_none_or(|table| table.width == shape.kv_dim())
        };
        for (holds, otherwise) in [
            (
                heads.is_multiple_of(kv_heads) && heads > 0 && dim.is_multiple_of(2) && dim > 0,
                "heads must be a multiple of kv_heads, dim even",
            ),
            (
                heads * dim == width && wte.width == width,
                "the embedding has another width",
            ),
            (is(&head, width, vocab), "the head has another shape"),
            (
                layers.iter().all(|l| l.qkv.inputs == width),
                "qkv has another height",
            ),
            (
                layers.iter().all(|l| l.qkv.outputs >= needed(l)),
                "qkv has too few columns",
            ),
            (
                layers.iter().all(|l| is(&l.out, width, width)),
                "a block must give what it takes",
            ),
            (
                layers
                    .iter()
                    .all(|l| l.up.inputs == width && is(&l.down, l.up.outputs, width)),
                "up and down do not fit",
            ),
            (
                layers.iter().all(value_width),
                "a value table of another width",
            ),
            (
                smear.as_ref().is_none_or(|(gate, _)| gate.len() <= width),
                "smear reads more channels than there are",
            ),
        ] {
            if !holds {
                return Err(otherwise);
            }
        }
        Ok(Self {
            shape,
            layers,
            wte,
            head,
            smear,
            backout,
        })
    }

    /// Sizes and constants.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many tokens every table has.
    pub(crate) fn table_rows(&self) -> usize {
        let values = self
            .layers
            .iter()
            .filter_map(|layer| layer.value_table.as_ref());
        values
            .chain([&self.wte])
            .map(|table| table.rows)
            .min()
            .unwrap_or(0)
    }

    /// Channels of a row's last embedding that smear keeps; 0 without it.
    pub fn smear_width(&self) -> usize {
        if self.smear.is_some() {
            self.shape.width
        } else {
            0
        }
    }
}
