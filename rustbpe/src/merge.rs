//! Applying merges to one piece: always the pair that makes the lowest id, leftmost first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::pairs::{NO_TOKEN, PairRanks};

/// Merges at most `N` ids in place and returns how many are left at the front.
///
/// Finding the lowest rank by a scan is quadratic, but for pieces of a few bytes faster than a heap.
pub fn merge_short<const N: usize>(pairs: &PairRanks, ids: &mut [u32]) -> usize {
    let mut len = ids.len();
    let mut ranks = [NO_TOKEN; N];
    for i in 1..len {
        ranks[i - 1] = pairs.get(ids[i - 1], ids[i]);
    }
    while len > 1 {
        let mut at = 0;
        for i in 1..len - 1 {
            if ranks[i] < ranks[at] {
                at = i;
            }
        }
        let token = ranks[at];
        if token == NO_TOKEN {
            break;
        }
        ids[at] = token;
        ids.copy_within(at + 2..len, at + 1);
        ranks.copy_within(at + 1..len - 1, at);
        len -= 1;
        ranks[len - 1] = NO_TOKEN;
        if at > 0 {
            ranks[at - 1] = pairs.get(ids[at - 1], token);
        }
        if at + 1 < len {
            ranks[at] = pairs.get(token, ids[at + 1]);
        }
    }
    len
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
