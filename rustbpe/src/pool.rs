//! The caches of encoding threads.

use std::sync::{Mutex, PoisonError};

use crate::cache::PieceCache;

/// After so many uses a pool looks how many caches were in use at once, and holds no more than that.
const WINDOW: usize = 64;

/// Caches for the threads that encode. Those not in use wait for the next thread; what many threads needed
/// once is given back when fewer have been enough for a while.
#[derive(Default)]
pub struct CachePool(Mutex<Pool>);

#[derive(Default)]
struct Pool {
    unused: Vec<PieceCache>,
    in_use: usize,
    /// The most in use at once, in this window and in the one before.
    most: usize,
    most_before: usize,
    uses: usize,
}

impl Pool {
    fn take(&mut self) -> Option<PieceCache> {
        if self.uses == WINDOW {
            self.most_before = std::mem::replace(&mut self.most, self.in_use);
            self.uses = 0;
        }
        self.uses += 1;
        self.in_use += 1;
        self.most = self.most.max(self.in_use);
        self.unused.pop()
    }

    /// The caches that are not needed any more.
    fn give_back(&mut self, cache: PieceCache) -> Vec<PieceCache> {
        self.in_use -= 1;
        self.unused.push(cache);
        let kept = self.most.max(self.most_before) - self.in_use;
        self.unused.split_off(kept.min(self.unused.len()))
    }
}

impl CachePool {
    /// Runs `work` with a cache of its own.
    pub fn with<T>(&self, work: impl FnOnce(&mut PieceCache) -> T) -> T {
        let unused = self.lock(Pool::take);
        // Made without the lock, as it is freed without: both take a while, and threads start together.
        let mut cache = unused.unwrap_or_default();
        let result = work(&mut cache);
        drop(self.lock(|pool| pool.give_back(cache)));
        result
    }

    /// Caches not in use.
    pub fn unused(&self) -> usize {
        self.lock(|pool| pool.unused.len())
    }

    fn lock<T>(&self, act: impl FnOnce(&mut Pool) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::{CachePool, WINDOW};

    fn nested(pool: &CachePool, depth: usize) {
        if depth > 0 {
            pool.with(|_| nested(pool, depth - 1));
        }
    }

    #[test]
    fn what_many_threads_needed_once_is_given_back() {
        let pool = CachePool::default();
        nested(&pool, 5);
        assert_eq!(pool.unused(), 5);
        for _ in 0..2 * WINDOW {
            nested(&pool, 2);
        }
        assert_eq!(pool.unused(), 2);
    }

    #[test]
    fn what_is_needed_now_and_then_is_kept() {
        let pool = CachePool::default();
        for round in 0..10 * WINDOW {
            nested(&pool, if round % (WINDOW / 4) == 0 { 4 } else { 1 });
            assert_eq!(pool.unused(), 4);
        }
    }
}
