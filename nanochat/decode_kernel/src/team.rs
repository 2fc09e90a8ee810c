//! Threads that go through a computation together.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Runs `work` as each member of a team of `count` threads, the calling one among them.
pub fn run(count: usize, work: impl Fn(&Member) + Sync) {
    let barrier = Barrier::default();
    std::thread::scope(|scope| {
        for number in 1..count {
            let (work, barrier) = (&work, &barrier);
            scope.spawn(move || {
                work(&Member {
                    number,
                    count,
                    barrier,
                })
            });
        }
        work(&Member {
            number: 0,
            count,
            barrier: &barrier,
        });
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
