//! Threads that run a computation together.
//!
//! On a shared machine a thread may be scheduled late by milliseconds, many times what a step takes. So the
//! caller does not wait for it: a thread that has not joined soon after the call is left out of that
//! computation. Whoever waits spins for a while, and then sleeps: on a busy machine the core that it would spin
//! on may be the one that the other needs.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, Thread};
use std::time::{Duration, Instant};

/// How long the caller waits for others to join.
const JOIN_TIMEOUT: Duration = Duration::from_micros(50);
/// How long a thread spins for the next computation before it sleeps.
const SPIN_TIME: Duration = Duration::from_micros(300);
/// Checks before a thread that waits in a computation sleeps.
const SPINS_BEFORE_SLEEP: usize = 4000;

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
    gate: Gate,
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
            self.barrier.round.fetch_add(1, Ordering::SeqCst);
            self.barrier.gate.wake();
            return;
        }
        let barrier = self.barrier;
        barrier
            .gate
            .wait_until(|| barrier.round.load(Ordering::SeqCst) != round);
    }
}

/// Where threads wait for what others are about to do.
#[derive(Default)]
struct Gate {
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    woken: Condvar,
}

impl Gate {
    /// Waits until it holds; whoever makes it hold, by a write of order `SeqCst`, calls `wake` after.
    #[inline(always)]
    fn wait_until(&self, holds: impl Fn() -> bool) {
        for _ in 0..SPINS_BEFORE_SLEEP {
            if holds() {
                return;
            }
            std::hint::spin_loop();
        }
        self.sleep_until(holds);
    }

    #[cold]
    fn sleep_until(&self, holds: impl Fn() -> bool) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Either `holds` sees the other's write below, or the other sees that somebody sleeps.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let guard = self.woken.wait_while(guard, |()| !holds());
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        drop(guard);
    }

    /// Wakes who sleeps.
    #[inline(always)]
    fn wake(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            // Not between a sleeper's look and its sleep.
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.woken.notify_all();
        }
    }
}

/// Waits no longer than `limit`; whether it holds by then.
fn spin_for(limit: Duration, holds: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        for _ in 0..64 {
            if holds() {
                return true;
            }
            std::hint::spin_loop();
        }
        if begun.elapsed() > limit {
            return false;
        }
    }
}

/// Ends the process when a member panics: the others would wait for it for ever.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

type Work<'a> = dyn Fn(&Member) + Sync + 'a;

/// A computation whose lifetime the threads do not know.
#[derive(Clone, Copy)]
struct Job(*const Work<'static>);

// SAFETY: only threads that have joined call it, and the caller stays until they are done.
unsafe impl Send for Job {}

/// Bit of [`Shared::state`]: nobody may join any more. Above it the computation's number, below it how many
/// joined.
const CLOSED: u64 = 1 << 31;

fn joined(state: u64) -> usize {
    (state & (CLOSED - 1)) as usize
}

/// What the caller and the threads share.
struct Shared {
    state: AtomicU64,
    /// How many may join.
    wanted: AtomicUsize,
    /// Members of the computation once it is closed, 0 before that.
    members: AtomicUsize,
    /// Threads that have finished it.
    done: AtomicUsize,
    job: Mutex<Option<Job>>,
    barrier: Barrier,
    /// For `members` and `done`.
    gate: Gate,
}

impl Shared {
    fn new() -> Self {
        Self {
            state: AtomicU64::new(CLOSED),
            wanted: AtomicUsize::new(0),
            members: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            job: Mutex::new(None),
            barrier: Barrier::default(),
            gate: Gate::default(),
        }
    }

    fn job(&self) -> Option<Job> {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_job(&self, job: Option<Job>) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = job;
    }

    /// The state, if one more thread may join in it.
    fn open(&self) -> Option<u64> {
        let state = self.state.load(Ordering::Acquire);
        let room = joined(state) < self.wanted.load(Ordering::Relaxed);
        (state & CLOSED == 0 && room).then_some(state)
    }

    /// What a thread of the pool runs.
    fn serve(&self) -> ! {
        loop {
            if !spin_for(SPIN_TIME, || self.open().is_some()) {
                std::thread::park();
            }
            let Some(state) = self.open() else { continue };
            let entered =
                self.state
                    .compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed);
            if entered.is_err() {
                continue;
            }
            self.gate
                .wait_until(|| self.members.load(Ordering::SeqCst) != 0);
            let (number, count) = (joined(state) + 1, self.members.load(Ordering::Relaxed));
            if let Some(Job(work)) = self.job() {
                let _guard = AbortOnPanic;
                // SAFETY: the caller waits for `done`.
                unsafe {
                    (*work)(&Member {
                        number,
                        count,
                        barrier: &self.barrier,
                    })
                };
            }
            self.done.fetch_add(1, Ordering::SeqCst);
            self.gate.wake();
        }
    }
}

/// The threads of this process, made as they are needed.
struct Pool {
    shared: Arc<Shared>,
    threads: Vec<Thread>,
}

impl Pool {
    /// Makes threads until there are `count`, or as many as the system gives; how many there are.
    fn grow(&mut self, count: usize) -> usize {
        while self.threads.len() < count {
            let shared = Arc::clone(&self.shared);
            match Builder::new()
                .name("decode".into())
                .spawn(move || shared.serve())
            {
                Ok(handle) => self.threads.push(handle.thread().clone()),
                Err(_) => break,
            }
        }
        self.threads.len().min(count)
    }

    fn run(&mut self, count: usize, work: &Work) {
        let wanted = self.grow(count - 1);
        let shared = &*self.shared;
        // SAFETY: its lifetime is only forgotten until every thread that joined is done, below.
        let job = unsafe { std::mem::transmute::<*const Work<'_>, *const Work<'static>>(work) };
        shared.set_job(Some(Job(job)));
        shared.wanted.store(wanted, Ordering::Relaxed);
        shared.members.store(0, Ordering::Relaxed);
        shared.done.store(0, Ordering::Relaxed);
        let number = (shared.state.load(Ordering::Relaxed) >> 32) + 1;
        shared.state.store(number << 32, Ordering::Release);
        self.threads[..wanted].iter().for_each(Thread::unpark);
        spin_for(JOIN_TIMEOUT, || {
            joined(shared.state.load(Ordering::Relaxed)) == wanted
        });
        let others = joined(shared.state.fetch_or(CLOSED, Ordering::AcqRel));
        shared.members.store(1 + others, Ordering::SeqCst);
        shared.gate.wake();
        let guard = AbortOnPanic;
        work(&Member {
            number: 0,
            count: 1 + others,
            barrier: &shared.barrier,
        });
        drop(guard);
        shared
            .gate
            .wait_until(|| shared.done.load(Ordering::SeqCst) == others);
        shared.set_job(None);
    }
}

/// Runs `work` as each member of a team of at most `count` threads, the calling one among them. The threads
/// serve one caller at a time; a second one works alone, as does a process made by forking this one.
pub fn run(count: usize, work: impl Fn(&Member) + Sync) {
    static POOL: OnceLock<Mutex<Pool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        Mutex::new(Pool {
            shared: Arc::new(Shared::new()),
            threads: Vec::new(),
        })
    });
    if count > 1
        && let Ok(mut pool) = pool.try_lock()
    {
        pool.run(count, &work);
    } else {
        work(&Member {
            number: 0,
            count: 1,
            barrier: &Barrier::default(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shares are all and once, and what others wrote before a meeting is seen after it.
    fn check(count: usize, rounds: usize) {
        let sums: Vec<AtomicUsize> = (0..50).map(|_| AtomicUsize::new(0)).collect();
        run(count, |member| {
            assert!(member.number < member.count && member.count <= count);
            for round in 1..=rounds {
                for i in member.share(sums.len()) {
                    sums[i].fetch_add(1, Ordering::Relaxed);
                }
                member.wait();
                assert!(sums.iter().all(|sum| sum.load(Ordering::Relaxed) == round));
                member.wait();
            }
        });
        assert!(sums.iter().all(|sum| sum.load(Ordering::Relaxed) == rounds));
    }

    #[test]
    fn shares_are_all_and_once_and_writes_are_seen() {
        for call in 0..2000 {
            check(1 + call % 6, 5);
            if call % 100 == 0 {
                std::thread::sleep(3 * SPIN_TIME);
            }
        }
    }

    #[test]
    fn callers_at_one_time_do_not_disturb_each_other() {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|call| check(2 + call % 3, 3)));
            }
        });
    }
}
