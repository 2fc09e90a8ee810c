//! Elementwise functions and sums, written so that loops over them become vector instructions.

use crate::arch::{Arch, PANEL};

/// Running sums that a long sum is parted into: one vector register, or two.
const LANES: usize = 16;

/// Float32's epsilon, which RMSNorm adds to the mean square.
pub const EPS: f32 = f32::EPSILON;

/// e^x within 3e-7 of it, for x from −87 to 88: others are taken as the nearest of these.
#[inline(always)]
pub fn exp<A: Arch>(x: f32) -> f32 {
    // Adding 1.5 · 2²³ leaves the nearest whole number in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = A::fma(x, std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    // x − n ln 2, ln 2 in two parts: the first, 355/512, is exact.
    let r = A::fma(n, -355.0 / 512.0, x);
    let r = A::fma(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_66,
        0.5,
    ] {
        p = A::fma(p, r, c);
    }
    let y = A::fma(p * r, r, r) + 1.0;
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

#[inline(always)]
pub fn sigmoid<A: Arch>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<A>(-x))
}

/// tanh x within 2e-7.
#[inline(always)]
pub fn tanh<A: Arch>(x: f32) -> f32 {
    1.0 - 2.0 / (exp::<A>(2.0 * x) + 1.0)
}

/// Σ a·b.
#[inline(always)]
pub fn dot<A: Arch>(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let whole = a.len() / PANEL * PANEL;
    let mut sums = A::zero();
    let mut first = 0;
    while first < whole {
        // SAFETY: a panel of each begins here.
        sums = unsafe { A::add_product(a.as_ptr().add(first), b.as_ptr().add(first), sums) };
        first += PANEL;
    }
    let mut rest = 0.0;
    for (a, b) in a[whole..].iter().zip(&b[whole..]) {
        rest = A::fma(*a, *b, rest);
    }
    rest + A::total(sums)
}

/// The lanes added pairwise.
#[inline(always)]
fn sum(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for j in 0..width {
            lanes[j] += lanes[j + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// What RMSNorm multiplies `x` with: 1 / √(mean of squares + ε).
#[inline(always)]
pub fn norm_factor<A: Arch>(x: &[f32]) -> f32 {
    1.0 / (dot::<A>(x, x) / x.len() as f32 + EPS).sqrt()
}

/// `out` = RMSNorm of `x`.
#[inline(always)]
pub fn norm<A: Arch>(x: &[f32], out: &mut [f32]) {
    let factor = norm_factor::<A>(x);
    for (out, x) in out.iter_mut().zip(x) {
        *out = x * factor;
    }
}

/// Turns `scores` into their softmax's numerators; returns one over their sum.
#[inline(always)]
pub fn softmax<A: Arch>(scores: &mut [f32]) -> f32 {
    let mut tops = [f32::NEG_INFINITY; LANES];
    let (head, tail) = scores.as_chunks::<LANES>();
    for chunk in head {
        for j in 0..LANES {
            tops[j] = tops[j].max(chunk[j]);
        }
    }
    let top = tops
        .iter()
        .chain(tail)
        .fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let mut sums = [0.0; LANES];
    let (head, tail) = scores.as_chunks_mut::<LANES>();
    for chunk in head {
        for j in 0..LANES {
            chunk[j] = exp::<A>(chunk[j] - top);
            sums[j] += chunk[j];
        }
    }
    let mut total = sum(sums);
    for score in tail {
        *score = exp::<A>(*score - top);
        total += *score;
    }
    1.0 / total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{self, Work};

    struct Exponentials;

    impl Work for Exponentials {
        #[inline(always)]
        fn run<A: Arch>(&self, _: A) {
            for i in -8700..=8800 {
                let x = i as f32 / 100.0;
                let (ours, exact) = (exp::<A>(x), f64::from(x).exp());
                assert!(
                    (f64::from(ours) - exact).abs() <= 3e-7 * exact,
                    "{x}: {ours} {exact}"
                );
                let (ours, exact) = (tanh::<A>(x), f64::from(x).tanh());
                assert!(
                    (f64::from(ours) - exact).abs() < 2e-7,
                    "{x}: {ours} {exact}"
                );
            }
            assert!(exp::<A>(f32::NEG_INFINITY) < 1e-37);
        }
    }

    struct Sums;

    impl Work for Sums {
        #[inline(always)]
        fn run<A: Arch>(&self, _: A) {
            for length in 0..150 {
                let a: Vec<f32> = (0..length).map(|i| (i as f32).sin()).collect();
                let b: Vec<f32> = (0..length).map(|i| (i as f32).cos()).collect();
                let exact: f64 = a
                    .iter()
                    .zip(&b)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum();
                assert!((f64::from(dot::<A>(&a, &b)) - exact).abs() < 1e-5);
                if length > 0 {
                    let mut scores = a.clone();
                    let share = softmax::<A>(&mut scores);
                    let norm: f64 = a.iter().map(|x| f64::from(*x).exp()).sum();
                    for (score, x) in scores.iter().zip(&a) {
                        let exact = f64::from(*x).exp() / norm;
                        assert!((f64::from(score * share) - exact).abs() < 1e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn exponentials_are_those_of_the_library() {
        arch::found()
            .iter()
            .for_each(|name| arch::run_as(name, &Exponentials));
    }

    #[test]
    fn sums_and_softmax_of_any_length() {
        arch::found()
            .iter()
            .for_each(|name| arch::run_as(name, &Sums));
    }
}
