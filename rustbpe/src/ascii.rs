//! Runs of ASCII letters, sixteen bytes at a time.

use crate::work;

/// Bit i says that byte i is an ASCII letter.
#[inline(always)]
pub fn letters(window: &[u8; 16]) -> u32 {
    work::step();
    #[cfg(target_arch = "x86_64")]
    return letters_sse2(window);
    #[cfg(not(target_arch = "x86_64"))]
    letters_portable(window)
}

/// Every x86-64 processor has SSE2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn letters_sse2(window: &[u8; 16]) -> u32 {
    use std::arch::x86_64::{
        _mm_add_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };
    // SAFETY: the window is sixteen bytes, and the load needs no alignment.
    unsafe {
        let bytes = _mm_loadu_si128(window.as_ptr().cast());
        let lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
        // Moves a to the lowest signed byte, so that one comparison says from a to z.
        let moved = _mm_add_epi8(lower, _mm_set1_epi8(i8::MIN.wrapping_sub(b'a' as i8)));
        let in_range = _mm_cmpgt_epi8(_mm_set1_epi8(i8::MIN + 26), moved);
        _mm_movemask_epi8(in_range) as u32
    }
}

/// The same with ordinary arithmetic, eight bytes in a word.
#[cfg_attr(target_arch = "x86_64", allow(dead_code))]
#[inline(always)]
fn letters_portable(window: &[u8; 16]) -> u32 {
    let word = |at: usize| {
        let bytes = std::array::from_fn(|byte| window[at + byte]);
        letters_of_word(u64::from_le_bytes(bytes))
    };
    word(0) | word(8) << 8
}

#[inline(always)]
fn letters_of_word(word: u64) -> u32 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let high = word & (0x80 * EACH);
    let lower = (word | (0x20 * EACH)) & (0x7f * EACH);
    // Adding cannot carry into the next byte: the high bits are clear.
    let from_a = lower + (0x80 - b'a' as u64) * EACH;
    let past_z = lower + (0x7f - b'z' as u64) * EACH;
    let letters = from_a & !past_z & !high & (0x80 * EACH);
    // Gathers the high bits of the bytes in the top byte, the first in the lowest bit.
    ((letters >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
}

#[cfg(test)]
mod tests {
    use super::{letters, letters_portable};

    #[test]
    fn every_byte_at_every_place() {
        for byte in 0..=u8::MAX {
            for fill in [b'a', b' ', 0xff] {
                for at in 0..16 {
                    let mut window = [fill; 16];
                    window[at] = byte;
                    let bits = window.iter().enumerate();
                    let expected = bits.fold(0, |all, (i, b)| {
                        all | u32::from(b.is_ascii_alphabetic()) << i
                    });
                    assert_eq!(letters(&window), expected, "{window:?}");
                    assert_eq!(letters_portable(&window), expected, "{window:?}");
                }
            }
        }
    }
}
