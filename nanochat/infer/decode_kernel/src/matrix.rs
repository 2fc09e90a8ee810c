//! Weights packed for products with a few rows.

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
            let mut row = 0;
            while row < rows {
                let left = rows - row;
                // SAFETY: rows from `row` on are within both.
                unsafe {
                    match left.min(A::ROWS) {
                        1 => self.block::<A, 1>(panel, row, x, out, finish),
                        2 => self.block::<A, 2>(panel, row, x, out, finish),
                        3 => self.block::<A, 3>(panel, row, x, out, finish),
                        4 => self.block::<A, 4>(panel, row, x, out, finish),
                        5 => self.block::<A, 5>(panel, row, x, out, finish),
                        6 => self.block::<A, 6>(panel, row, x, out, finish),
                        7 => self.block::<A, 7>(panel, row, x, out, finish),
                        _ => self.block::<A, 8>(panel, row, x, out, finish),
                    }
                }
                row += left.min(A::ROWS);
            }
        }
    }

    /// `R` rows by one panel.
    #[inline(always)]
    unsafe fn block<A: Arch, const R: usize>(
        &self,
        panel: usize,
        row: usize,
        x: *const f32,
        out: *mut f32,
        finish: impl Fn(f32, f32) -> f32,
    ) {
        if R > A::ROWS {
            return;
        }
        let lines = &self.lines[panel * self.inputs..(panel + 1) * self.inputs];
        let mut sums = [A::zero(); R];
        // SAFETY: the caller's: rows of `inputs` numbers.
        unsafe {
            let x = x.add(row * self.inputs);
            for (k, line) in lines.iter().enumerate() {
                for (r, sum) in sums.iter_mut().enumerate() {
                    *sum = A::add(*x.add(r * self.inputs + k), line.0.as_ptr(), *sum);
                }
            }
        }
        let first = panel * PANEL;
        let width = PANEL.min(self.outputs - first);
        for (r, sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller's; columns of this panel only.
            let out = unsafe {
                std::slice::from_raw_parts_mut(out.add((row + r) * self.outputs + first), width)
            };
            for (out, sum) in out.iter_mut().zip(A::numbers(sums)) {
                *out = finish(sum, *out);
            }
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
