//! Counts steps, in tests only: that time is linear in the text is a number, not a clock's opinion.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Steps that `work` takes on this thread.
#[cfg(test)]
pub fn counted(work: impl FnOnce()) -> usize {
    STEPS.set(0);
    work();
    STEPS.get()
}

/// One step: a character or a window looked at, a rank looked up, an entry taken from a heap.
#[inline(always)]
pub fn step() {
    #[cfg(test)]
    STEPS.set(STEPS.get() + 1);
}

/// Some steps.
#[inline(always)]
pub fn steps(number: usize) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + number);
    #[cfg(not(test))]
    let _ = number;
}
