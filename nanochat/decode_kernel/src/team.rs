//! Threads that go through a computation together.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Builder;

/// Looks at the barrier before a waiting thread lets others run.
const SPINS: usize = 4000;

/// One of the threads of a team, all of which run the same code.
pub struct Member<'a> {
    pub number: usize,
    pub count: usize,
    barrier: &'a Barrier,
}

#[derive(Default)]
struct Barrier {
    arrived: AtomicUsize,
    round: AtomicUsize,
}

impl Member<'_> {
    /// This member's part of `items`.
    #[inline(always)]
    pub fn share(&self, items: usize) -> Range<usize> {
        items * self.number / self.count..items * (self.number + 1) / self.count
    }

    /// Waits until all members are here: what each wrote before, all see after.
    #[inline(always)]
    pub fn wait(&self) {
        if self.count == 1 {
            return;
        }
        let round = self.barrier.round.load(Ordering::Acquire);
        if self.barrier.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.count {
            self.barrier.arrived.store(0, Ordering::Relaxed);
            self.barrier.round.fetch_add(1, Ordering::Release);
            return;
        }
        let mut looks = 0;
        while self.barrier.round.load(Ordering::Acquire) == round {
            looks += 1;
            if looks < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

/// Ends the process when a member panics: the others would wait for it for ever.
struct Bound;

impl Drop for Bound {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Runs `work` as each member of a team of `count` threads, the calling one among them; of fewer where the
/// system gives no more.
pub fn run(count: usize, work: impl Fn(&Member) + Sync) {
    let (barrier, agreed) = (Barrier::default(), AtomicUsize::new(0));
    let join = |number| {
        let _bound = Bound;
        let mut count = agreed.load(Ordering::Acquire);
        while count == 0 {
            std::thread::yield_now();
            count = agreed.load(Ordering::Acquire);
        }
        work(&Member {
            number,
            count,
            barrier: &barrier,
        });
    };
    std::thread::scope(|scope| {
        let started = (1..count)
            .take_while(|number| {
                let (join, number) = (&join, *number);
                Builder::new()
                    .spawn_scoped(scope, move || join(number))
                    .is_ok()
            })
            .count();
        agreed.store(1 + started, Ordering::Release);
        join(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_all_and_once_and_writes_are_seen() {
        for count in 1..6 {
            let sums: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
            run(count, |member| {
                for round in 1..50 {
                    for i in member.share(sums.len()) {
                        sums[i].fetch_add(1, Ordering::Relaxed);
                    }
                    member.wait();
                    assert!(sums.iter().all(|sum| sum.load(Ordering::Relaxed) == round));
                    member.wait();
                }
            });
        }
    }
}
