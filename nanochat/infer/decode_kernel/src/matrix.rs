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
            let width = PANEL.min(self.outputs - first);
            let lines = &self.lines[panel * self.inputs..(panel + 1) * self.inputs];
            let lines = Lines {
                first: lines.as_ptr().cast(),
                stride: PANEL,
                count: self.inputs,
            };
            // SAFETY: the caller's; columns of this panel only.
            unsafe {
                product::<A>(rows, x, self.inputs, &lines, |row, sums| {
                    let out = out.add(row * self.outputs + first);
                    let out = std::slice::from_raw_parts_mut(out, width);
                    for (out, sum) in out.iter_mut().zip(sums) {
                        *out = finish(sum, *out);
                    }
                });
            }
        }
    }
}

/// [`PANEL`] columns of a matrix: `count` lines of it, `stride` numbers apart.
pub(crate) struct Lines {
    pub first: *const f32,
    pub stride: usize,
    pub count: usize,
}

/// For each of `rows` rows of `x`, `stride` numbers apart, `finish(row, its product with lines)`.
///
/// # Safety
/// Each row of `x` has as many numbers as there are lines, each line [`PANEL`].
#[inline(always)]
pub(crate) unsafe fn product<A: Arch>(
    rows: usize,
    x: *const f32,
    stride: usize,
    lines: &Lines,
    finish: impl Fn(usize, [f32; PANEL]) + Copy,
) {
    let mut row = 0;
    while row < rows {
        let left = (rows - row).min(A::ROWS);
        // SAFETY: rows from `row` on are within both.
        unsafe {
            match left {
                1 => block::<A, 1>(row, x, stride, lines, finish),
                2 => block::<A, 2>(row, x, stride, lines, finish),
                3 => block::<A, 3>(row, x, stride, lines, finish),
                4 => block::<A, 4>(row, x, stride, lines, finish),
                5 => block::<A, 5>(row, x, stride, lines, finish),
                6 => block::<A, 6>(row, x, stride, lines, finish),
                7 => block::<A, 7>(row, x, stride, lines, finish),
                _ => block::<A, 8>(row, x, stride, lines, finish),
            }
        }
        row += left;
    }
}

/// `R` rows by one panel.
#[inline(always)]
unsafe fn block<A: Arch, const R: usize>(
    row: usize,
    x: *const f32,
    stride: usize,
    lines: &Lines,
    finish: impl Fn(usize, [f32; PANEL]),
) {
    if R > A::ROWS {
        return;
    }
    let mut sums = [A::zero(); R];
    // SAFETY: the caller's.
    unsafe {
        let x = x.add(row * stride);
        for k in 0..lines.count {
            let line = lines.first.add(k * lines.stride);
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = A::add(*x.add(r * stride + k), line, *sum);
            }
        }
    }
    for (r, sums) in sums.into_iter().enumerate() {
        finish(row + r, A::numbers(sums));
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
