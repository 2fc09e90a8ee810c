//! Weights packed for products with some rows.

use std::ops::Range;

use crate::arch::{Arch, PANEL};

#[derive(Clone, Copy)]
#[repr(C, align(128))]
struct Line([f32; PANEL]);

/// A matrix of (inputs, outputs) in panels of [`PANEL`] columns, each input by input.
pub struct Matrix {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    lines: Vec<Line>,
}

impl Matrix {
    /// Packs `weight`, (inputs, outputs) row by row.
    ///
    /// # Panics
    /// When it is of another size.
    pub fn pack(weight: &[f32], inputs: usize, outputs: usize) -> Self {
        assert_eq!(weight.len(), inputs * outputs);
        let panels = outputs.div_ceil(PANEL);
        let mut lines = vec![Line([0.0; PANEL]); panels * inputs];
        for (input, row) in weight.chunks_exact(outputs.max(1)).enumerate() {
            for (panel, columns) in row.chunks(PANEL).enumerate() {
                lines[panel * inputs + input].0[..columns.len()].copy_from_slice(columns);
            }
        }
        Self {
            inputs,
            outputs,
            lines,
        }
    }

    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    /// For each of `rows` rows of `x` (rows, inputs) and each column of `panels`, `out` (rows, outputs) becomes
    /// `finish(product, what was there)`.
    ///
    /// # Safety
    /// `x` and `out` hold so many rows; nobody else touches these columns of `out`, or writes to `x`.
    #[inline(always)]
    pub(crate) unsafe fn multiply<A: Arch>(
        &self,
        panels: Range<usize>,
        rows: usize,
        x: *const f32,
        out: *mut f32,
        finish: impl Fn(f32, f32) -> f32 + Copy,
    ) {
        for panel in panels {
            let first = panel * PANEL;
            let x = Rows {
                first: x,
                stride: self.inputs,
                step: 1,
            };
            let lines = Lines {
                first: self.lines[panel * self.inputs..].as_ptr().cast(),
                stride: PANEL,
                count: self.inputs,
            };
            // SAFETY: the caller's; columns of this panel only.
            unsafe {
                let columns = Columns {
                    first: out.add(first),
                    stride: self.outputs,
                    width: PANEL.min(self.outputs - first),
                    finish,
                };
                product::<A>(rows, &x, &lines, &columns);
            }
        }
    }
}

/// Rows of a matrix `stride` numbers apart, whose numbers are `step` apart.
pub(crate) struct Rows {
    pub first: *const f32,
    pub stride: usize,
    pub step: usize,
}

/// [`PANEL`] columns of a matrix: `count` lines of it, `stride` numbers apart.
pub(crate) struct Lines {
    pub first: *const f32,
    pub stride: usize,
    pub count: usize,
}

/// What becomes of the sums of a row.
pub(crate) trait Store {
    /// # Safety
    /// There is such a row.
    unsafe fn store(&self, row: usize, sums: [f32; PANEL]);
}

/// The first `width` columns of a panel in a matrix whose rows are `stride` numbers apart.
struct Columns<F> {
    first: *mut f32,
    stride: usize,
    width: usize,
    finish: F,
}

impl<F: Fn(f32, f32) -> f32> Store for Columns<F> {
    #[inline(always)]
    unsafe fn store(&self, row: usize, sums: [f32; PANEL]) {
        // SAFETY: the caller's.
        let out = unsafe {
            std::slice::from_raw_parts_mut(self.first.add(row * self.stride), self.width)
        };
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = (self.finish)(sum, *out);
        }
    }
}

/// Stores for each of `rows` rows of `x` its product with `lines`.
///
/// # Safety
/// Each row of `x` has as many numbers as there are lines, each line [`PANEL`]; `store` has the rows.
#[inline(always)]
pub(crate) unsafe fn product<A: Arch>(rows: usize, x: &Rows, lines: &Lines, store: &impl Store) {
    let mut row = 0;
    while row < rows {
        let left = (rows - row).min(A::ROWS);
        // SAFETY: rows from `row` on are within both.
        unsafe {
            match left {
                1 => block::<A, 1>(row, x, lines, store),
                2 => block::<A, 2>(row, x, lines, store),
                3 => block::<A, 3>(row, x, lines, store),
                4 => block::<A, 4>(row, x, lines, store),
                5 => block::<A, 5>(row, x, lines, store),
                6 => block::<A, 6>(row, x, lines, store),
                7 => block::<A, 7>(row, x, lines, store),
                _ => block::<A, 8>(row, x, lines, store),
            }
        }
        row += left;
    }
}

/// `R` rows by one panel.
#[inline(always)]
unsafe fn block<A: Arch, const R: usize>(row: usize, x: &Rows, lines: &Lines, store: &impl Store) {
    if R > A::ROWS {
        return;
    }
    let mut sums = [A::zero(); R];
    // SAFETY: the caller's.
    unsafe {
        let first = x.first.add(row * x.stride);
        for k in 0..lines.count {
            let line = lines.first.add(k * lines.stride);
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = A::add(*first.add(r * x.stride + k * x.step), line, *sum);
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            store.store(row + r, A::numbers(sums));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{self, Work};

    struct Product<'a>(&'a Matrix, usize, &'a [f32], *mut f32);

    impl Work for Product<'_> {
        #[inline(always)]
        fn run<A: Arch>(&self, _: A) {
            let Self(matrix, rows, x, out) = self;
            // SAFETY: the test's arrays are of these sizes.
            unsafe {
                matrix.multiply::<A>(0..matrix.panels(), *rows, x.as_ptr(), *out, |new, old| {
                    new + old
                });
            }
        }
    }

    #[test]
    fn products_of_any_shape_are_those_of_plain_loops() {
        for (inputs, outputs) in [(1, 1), (24, 1), (7, 33), (64, 96), (130, 31), (5, 64)] {
            for rows in 1..20 {
                let weight: Vec<f32> = (0..inputs * outputs)
                    .map(|i| (i as f32 * 0.7).sin())
                    .collect();
                let x: Vec<f32> = (0..rows * inputs).map(|i| (i as f32 * 0.3).cos()).collect();
                let matrix = Matrix::pack(&weight, inputs, outputs);
                for name in arch::found() {
                    let mut out = vec![1.0; rows * outputs];
                    arch::run_as(name, &Product(&matrix, rows, &x, out.as_mut_ptr()));
                    for (place, ours) in out.into_iter().enumerate() {
                        let (row, column) = (place / outputs, place % outputs);
                        let products = (0..inputs).map(|k| {
                            f64::from(x[row * inputs + k]) * f64::from(weight[k * outputs + column])
                        });
                        let exact = 1.0 + products.sum::<f64>();
                        assert!(
                            (f64::from(ours) - exact).abs() < 1e-4,
                            "{name} {inputs} {outputs} {rows}"
                        );
                    }
                }
            }
        }
    }
}
