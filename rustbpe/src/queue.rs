//! The priority queue of pairs to merge, best first.
//!
//! Best is the higher count, among equal counts the smaller (left id, right id). Counts only ever
//! fall, so a stored count is an upper bound. Most pairs are far too rare to be merged at all: only
//! those at or above a floor are in the heap, the rest in an unordered list that is searched again
//! when the heap is empty and the floor is lowered.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A pair with an upper bound of its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub count: u64,
    pub left: u32,
    pub right: u32,
    /// Index of the pair's record.
    pub record: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let pair = |c: &Candidate| u64::from(c.left) << 32 | u64::from(c.right);
        self.count
            .cmp(&other.count)
            .then_with(|| pair(other).cmp(&pair(self)))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A max-heap of the candidates at or above a floor, and a list of those below it.
#[derive(Default)]
pub struct Queue {
    hot: BinaryHeap<Candidate>,
    cold: Vec<Candidate>,
    floor: u64,
}

impl Queue {
    pub fn new() -> Queue {
        Queue {
            floor: u64::MAX,
            ..Queue::default()
        }
    }

    /// Adds a candidate; one with count 0 can never be merged and is dropped.
    #[inline]
    pub fn push(&mut self, candidate: Candidate) {
        if candidate.count >= self.floor {
            self.hot.push(candidate);
        } else if candidate.count > 0 {
            self.cold.push(candidate);
        }
    }

    /// The candidate with the best upper bound.
    pub fn pop(&mut self) -> Option<Candidate> {
        while self.hot.is_empty() {
            let highest = self.cold.iter().map(|candidate| candidate.count).max()?;
            self.floor = highest.div_ceil(2);
            let (hot, cold) = std::mem::take(&mut self.cold)
                .into_iter()
                .partition(|candidate| candidate.count >= self.floor);
            self.cold = cold;
            self.hot = BinaryHeap::from(hot);
        }
        self.hot.pop()
    }

    /// Whether `candidate`, whose count is exact, comes before everything in the queue.
    pub fn is_best(&self, candidate: &Candidate) -> bool {
        candidate.count >= self.floor && self.hot.peek().is_none_or(|next| candidate > next)
    }
}
