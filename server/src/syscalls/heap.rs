//! What the allocator keeps of the memory that was given back to it.

/// Twice what a session may have queued: a queue that fills and empties all the time would
/// otherwise be taken from the kernel and given back, page by page, with every turn.
#[cfg(target_env = "gnu")]
const KEEPS_BYTES: libc::c_int = 1 << 20;
/// What is larger comes from the kernel, and goes back to it, by itself. By default that begins at
/// 128 KiB and is raised up to this as such pieces are freed, but no longer once a threshold is set.
/// Source: `DEFAULT_MMAP_THRESHOLD_MAX` in mallopt(3).
#[cfg(target_env = "gnu")]
const ALONE_BYTES: libc::c_int = 32 << 20;

/// Sets both, for the whole process: each thread's part of the heap keeps a free end of that length.
/// Elsewhere than with glibc it does nothing. Source: mallopt(3).
#[allow(unsafe_code)]
pub(crate) fn keep_what_is_used_again() {
    #[cfg(target_env = "gnu")]
    for (which, bytes) in [
        (libc::M_TRIM_THRESHOLD, KEEPS_BYTES),
        (libc::M_MMAP_THRESHOLD, ALONE_BYTES),
    ] {
        // SAFETY: the call takes two integers and no pointer, and may be made at any time; its
        // lock is the allocator's own.
        let done = unsafe { libc::mallopt(which, bytes) };
        if done == 0 {
            tracing::debug!(which, bytes, "the allocator keeps its own threshold");
        }
    }
}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    /// Page faults of this thread while pieces of that length are taken and given back, a hundred
    /// times, after a first time.
    fn faults(pieces: usize, length: usize) -> i64 {
        let round = || {
            let pieces: Vec<Vec<u8>> = (0..pieces).map(|_| vec![1; length]).collect();
            std::hint::black_box(&pieces);
        };
        round();
        let before = faults_so_far();
        (0..100).for_each(|_| round());
        faults_so_far() - before
    }

    fn faults_so_far() -> i64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        // The tenth field of the line, the eighth after the name.
        fields.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_used_again_is_not_given_back_each_time() {
        super::keep_what_is_used_again();
        // On a thread with a part of the heap of its own.
        let thread = std::thread::spawn(|| {
            // A push's queue, and a restore's buffer. Each has more than 100 pages.
            assert!(faults(16, 32 << 10) < 1_000);
            assert!(faults(1, 600 << 10) < 1_000);
        });
        thread.join().unwrap();
    }
}
