//! Large tables in large pages.
//!
//! A table of megabytes that is read at random misses the processor's table of pages at nearly every
//! read, and in a virtual machine a walk through the page tables is twice as long. Linux gives pages of
//! 2 MiB where it is asked to.

/// Asks for large pages where the system has them. Of use only for memory that was not written yet: the
/// system gives a page at its first write. The content stays as it is.
pub fn prefer_large<T>(table: &mut [T]) {
    #[cfg(target_os = "linux")]
    linux::advise(table);
    #[cfg(not(target_os = "linux"))]
    let _ = table;
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{c_int, c_void};

    const MADV_HUGEPAGE: c_int = 14;
    const PAGE: usize = 2 << 20;

    unsafe extern "C" {
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }

    /// Only whole large pages inside the table: others share memory that is not ours.
    pub fn advise<T>(table: &mut [T]) {
        let range = table.as_mut_ptr_range();
        let first = range.start.cast::<u8>();
        let skipped = first.align_offset(PAGE);
        let length = size_of_val(table).saturating_sub(skipped) / PAGE * PAGE;
        if length > 0 {
            // SAFETY: the addresses are inside the table, and the advice changes no content. A system
            // that does not know it says so, which is no harm.
            unsafe { madvise(first.add(skipped).cast(), length, MADV_HUGEPAGE) };
        }
    }
}
