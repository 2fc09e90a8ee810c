//! Instruction sets, and the choice among them.

use std::sync::OnceLock;

/// Columns of a matrix that lie together, and are computed together.
pub const PANEL: usize = 32;

/// What differs between instruction sets. Loops over plain numbers are left to the compiler to vectorise; the
/// sums of a matrix product must stay in registers, so their vectors are named.
pub trait Arch: Copy {
    /// Rows of a product whose sums fit in registers.
    const ROWS: usize;

    /// [`PANEL`] numbers in registers.
    type Panel: Copy;

    /// a · b + c, in one rounding where there is an instruction for it.
    fn fma(a: f32, b: f32, c: f32) -> f32;

    /// Zeros.
    fn zero() -> Self::Panel;

    /// `sum` + `factor` · the numbers at `weights`.
    ///
    /// # Safety
    /// [`PANEL`] numbers are there.
    unsafe fn add(factor: f32, weights: *const f32, sum: Self::Panel) -> Self::Panel;

    /// `sum` + the numbers at `a` · those at `b`.
    ///
    /// # Safety
    /// [`PANEL`] numbers are at both.
    unsafe fn add_product(a: *const f32, b: *const f32, sum: Self::Panel) -> Self::Panel;

    /// The sum of the numbers.
    fn total(panel: Self::Panel) -> f32;

    /// The numbers.
    fn numbers(panel: Self::Panel) -> [f32; PANEL];
}

/// Tells the processor that the `bytes` from `at` on will soon be read.
#[inline(always)]
pub fn prefetch(at: *const f32, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        // SAFETY: a hint: any address may be given.
        unsafe { x86::_mm_prefetch::<{ x86::_MM_HINT_T0 }>(at.wrapping_byte_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}

/// Work that is compiled for each instruction set.
pub trait Work {
    fn run<A: Arch>(&self, arch: A);
}

/// No instruction set is known: plain loops.
#[derive(Clone, Copy)]
pub struct Plain;

impl Arch for Plain {
    const ROWS: usize = 1;
    type Panel = [f32; PANEL];

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        // Without an instruction for it a fused product would be a call of a function.
        if cfg!(target_arch = "aarch64") {
            a.mul_add(b, c)
        } else {
            a * b + c
        }
    }

    #[inline(always)]
    fn zero() -> Self::Panel {
        [0.0; PANEL]
    }

    #[inline(always)]
    unsafe fn add(factor: f32, weights: *const f32, mut sum: Self::Panel) -> Self::Panel {
        // SAFETY: the caller's.
        let weights = unsafe { &*weights.cast::<[f32; PANEL]>() };
        for (sum, weight) in sum.iter_mut().zip(weights) {
            *sum = Self::fma(factor, *weight, *sum);
        }
        sum
    }

    #[inline(always)]
    unsafe fn add_product(a: *const f32, b: *const f32, mut sum: Self::Panel) -> Self::Panel {
        // SAFETY: the caller's.
        let (a, b) = unsafe { (&*a.cast::<[f32; PANEL]>(), &*b.cast::<[f32; PANEL]>()) };
        for (sum, (a, b)) in sum.iter_mut().zip(a.iter().zip(b)) {
            *sum = Self::fma(*a, *b, *sum);
        }
        sum
    }

    #[inline(always)]
    fn total(panel: Self::Panel) -> f32 {
        panel.iter().sum()
    }

    #[inline(always)]
    fn numbers(panel: Self::Panel) -> [f32; PANEL] {
        panel
    }
}

/// An instruction set by its vectors: their type and width, and the instructions for a sum.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! vectors {
    ($name:ident, $doc:literal, $rows:literal, $vector:ty, $lanes:literal, $splat:expr, $load:expr, $fma:expr, $total:expr) => {
        #[doc = $doc]
        #[derive(Clone, Copy)]
        pub struct $name;

        impl Arch for $name {
            const ROWS: usize = $rows;
            type Panel = [$vector; PANEL / $lanes];

            #[inline(always)]
            fn fma(a: f32, b: f32, c: f32) -> f32 {
                a.mul_add(b, c)
            }

            #[inline(always)]
            fn zero() -> Self::Panel {
                // SAFETY: `run` has found the instructions, here and below.
                [unsafe { $splat(0.0) }; PANEL / $lanes]
            }

            #[inline(always)]
            unsafe fn add(factor: f32, weights: *const f32, mut sum: Self::Panel) -> Self::Panel {
                // SAFETY: the caller's.
                unsafe {
                    let factor = $splat(factor);
                    for (i, sum) in sum.iter_mut().enumerate() {
                        *sum = $fma(factor, $load(weights.add(i * $lanes)), *sum);
                    }
                }
                sum
            }

            #[inline(always)]
            unsafe fn add_product(
                a: *const f32,
                b: *const f32,
                mut sum: Self::Panel,
            ) -> Self::Panel {
                // SAFETY: the caller's.
                unsafe {
                    for (i, sum) in sum.iter_mut().enumerate() {
                        *sum = $fma($load(a.add(i * $lanes)), $load(b.add(i * $lanes)), *sum);
                    }
                }
                sum
            }

            #[inline(always)]
            fn total(panel: Self::Panel) -> f32 {
                // SAFETY: as above.
                unsafe { $total(panel) }
            }

            #[inline(always)]
            fn numbers(panel: Self::Panel) -> [f32; PANEL] {
                // SAFETY: so many numbers, of any value.
                unsafe { std::mem::transmute(panel) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as x86;

#[cfg(target_arch = "x86_64")]
vectors!(
    Avx512,
    "Thirty-two registers of 512 bits.",
    8,
    x86::__m512,
    16,
    x86::_mm512_set1_ps,
    x86::_mm512_loadu_ps,
    x86::_mm512_fmadd_ps,
    |[a, b]: [x86::__m512; 2]| x86::_mm512_reduce_add_ps(x86::_mm512_add_ps(a, b))
);

#[cfg(target_arch = "x86_64")]
vectors!(
    Avx2,
    "Sixteen registers of 256 bits, fused multiply-add.",
    3,
    x86::__m256,
    8,
    x86::_mm256_set1_ps,
    x86::_mm256_loadu_ps,
    x86::_mm256_fmadd_ps,
    |[a, b, c, d]: [x86::__m256; 4]| {
        let eight = x86::_mm256_add_ps(x86::_mm256_add_ps(a, b), x86::_mm256_add_ps(c, d));
        let four = x86::_mm_add_ps(
            x86::_mm256_castps256_ps128(eight),
            x86::_mm256_extractf128_ps(eight, 1),
        );
        let two = x86::_mm_add_ps(four, x86::_mm_movehl_ps(four, four));
        x86::_mm_cvtss_f32(x86::_mm_add_ss(two, x86::_mm_movehdup_ps(two)))
    }
);

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64 as arm;

#[cfg(target_arch = "aarch64")]
vectors!(
    Neon,
    "Thirty-two registers of 128 bits.",
    3,
    arm::float32x4_t,
    4,
    arm::vdupq_n_f32,
    arm::vld1q_f32,
    |a, b, sum| arm::vfmaq_f32(sum, a, b),
    |panel: [arm::float32x4_t; 8]| {
        let mut sum = panel[0];
        for other in &panel[1..] {
            sum = arm::vaddq_f32(sum, *other);
        }
        arm::vaddvq_f32(sum)
    }
);

/// The instruction sets of this processor that there is a version for, the best last.
pub fn found() -> Vec<&'static str> {
    #[allow(unused_mut, reason = "there may be no other")]
    let mut names = vec!["plain"];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        names.push("AVX2");
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
            names.push("AVX-512");
        }
    }
    #[cfg(target_arch = "aarch64")]
    names.push("NEON");
    names
}

/// The instruction set that [`run`] takes.
pub fn name() -> &'static str {
    static BEST: OnceLock<&str> = OnceLock::new();
    BEST.get_or_init(|| found().pop().unwrap_or("plain"))
}

/// Runs `work` in the best version for this processor.
pub fn run(work: &impl Work) {
    run_as(name(), work);
}

/// Runs `work` in the version for one of the instruction sets [`found`].
#[inline(never)]
pub(crate) fn run_as(name: &str, work: &impl Work) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        fn avx512(work: &impl Work) {
            work.run(Avx512);
        }

        #[target_feature(enable = "avx2,fma")]
        fn avx2(work: &impl Work) {
            work.run(Avx2);
        }

        match name {
            // SAFETY: the features were found.
            "AVX-512" => return unsafe { avx512(work) },
            // SAFETY: as above.
            "AVX2" => return unsafe { avx2(work) },
            _ => {}
        }
    }
    #[cfg(target_arch = "aarch64")]
    if name == "NEON" {
        return work.run(Neon);
    }
    work.run(Plain);
}
