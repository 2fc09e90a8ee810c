//! Applying merges to one piece: always the pair that makes the lowest id, leftmost first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::pairs::{NO_TOKEN, PairRanks};
use crate::work;

/// The longest piece that [`merge_short`] takes: its bytes are the bits of one word.
pub const SHORT: usize = 64;

/// Merges the bytes of a piece of 1 to `N` bytes, `N` at most [`SHORT`], into `ids`; returns their number.
///
/// `ids` begins with the tokens of the single bytes. Finding the lowest rank by a scan is quadratic, but for
/// a few bytes faster than a heap. A token stands at the place of its first byte, so nothing is moved.
pub fn merge_short<const N: usize>(pairs: &PairRanks, piece: &[u8], ids: &mut [u32]) -> usize {
    let len = piece.len();
    // Rank and place of each pair, so that the lowest is the leftmost of its rank.
    let mut ranks = [u64::MAX; N];
    let ranked = |rank: u32, at: usize| u64::from(rank) << 32 | at as u64;
    for (at, pair) in piece.windows(2).enumerate() {
        ranks[at] = ranked(pairs.of_bytes(pair[0], pair[1]), at);
    }
    // The places where a token starts.
    let mut starts = u64::MAX >> (SHORT - len);
    loop {
        let best = lowest(&ranks[..len.next_multiple_of(4)]);
        let token = (best >> 32) as u32;
        if token == NO_TOKEN {
            break;
        }
        let at = best as u32 as usize;
        let after = starts & (u64::MAX << 1 << at);
        let gone = after.trailing_zeros() as usize;
        let later = after & (after - 1);
        starts ^= 1 << gone;
        ids[at] = token;
        ranks[gone] = u64::MAX;
        ranks[at] = match later {
            0 => u64::MAX,
            _ => ranked(pairs.get(token, ids[later.trailing_zeros() as usize]), at),
        };
        let before = starts & ((1 << at) - 1);
        if before != 0 {
            let left = before.ilog2() as usize;
            ranks[left] = ranked(pairs.get(ids[left], token), left);
        }
    }
    let mut kept = 0;
    while starts != 0 {
        ids[kept] = ids[starts.trailing_zeros() as usize];
        kept += 1;
        starts &= starts - 1;
    }
    kept
}

/// The lowest of a multiple of four, four at a time.
#[inline(always)]
fn lowest(ranks: &[u64]) -> u64 {
    work::steps(ranks.len() / 4);
    let (fours, _) = ranks.as_chunks::<4>();
    let mut least = [u64::MAX; 4];
    for four in fours {
        for (least, &rank) in least.iter_mut().zip(four) {
            *least = rank.min(*least);
        }
    }
    least.into_iter().fold(u64::MAX, u64::min)
}

/// Merges any number of ids in place in O(n log n) and returns how many are left at the front.
pub fn merge_long(pairs: &PairRanks, ids: &mut [u32]) -> usize {
    const NONE: u32 = u32::MAX;
    let len = ids.len();
    let mut next: Vec<u32> = (1..=len as u32).collect();
    let mut previous: Vec<u32> = (0..len as u32).map(|i| i.wrapping_sub(1)).collect();
    next[len - 1] = NONE;
    let mut heap = BinaryHeap::with_capacity(len);
    for i in 1..len {
        let rank = pairs.get(ids[i - 1], ids[i]);
        if rank != NO_TOKEN {
            heap.push(Reverse((rank, i as u32 - 1)));
        }
    }
    while let Some(Reverse((token, at))) = heap.pop() {
        work::step();
        let i = at as usize;
        // An entry whose neighbours have changed since no longer gives its rank. An id merged into
        // its left neighbour is NO_TOKEN and pairs with nothing.
        if next[i] == NONE || pairs.get(ids[i], ids[next[i] as usize]) != token {
            continue;
        }
        let gone = next[i] as usize;
        ids[i] = token;
        ids[gone] = NO_TOKEN;
        next[i] = next[gone];
        if next[i] != NONE {
            previous[next[i] as usize] = at;
            let rank = pairs.get(token, ids[next[i] as usize]);
            if rank != NO_TOKEN {
                heap.push(Reverse((rank, at)));
            }
        }
        if previous[i] != NONE {
            let rank = pairs.get(ids[previous[i] as usize], token);
            if rank != NO_TOKEN {
                heap.push(Reverse((rank, previous[i])));
            }
        }
    }
    let mut kept = 0;
    for i in 0..len {
        if ids[i] != NO_TOKEN {
            ids[kept] = ids[i];
            kept += 1;
        }
    }
    kept
}
