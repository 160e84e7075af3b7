//! Makes the disk serve a thread only when nobody else wants it.

use rustix::io::Errno;

/// Whose priority: a thread's. Source: ioprio_set(2).
const WHO_PROCESS: libc::c_int = 1;
/// The calling one.
const THIS: libc::c_int = 0;
/// `IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)`.
const IDLE: libc::c_int = 3 << 13;

/// Gives the calling thread the idle class of I/O. Schedulers without classes ignore it.
#[allow(unsafe_code)]
pub(crate) fn idle() -> Result<(), Errno> {
    // SAFETY: the call takes three integers and no pointer, and changes nothing but the priority
    // of the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, THIS, IDLE) };
    match answer {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// The same, where it does not matter much whether it can be done. `false`: it cannot.
pub fn go_idle() -> bool {
    let done = idle();
    if let Err(error) = &done {
        tracing::debug!(%error, "no idle class of I/O");
    }
    done.is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_thread_becomes_idle() {
        std::thread::spawn(|| super::idle().unwrap())
            .join()
            .unwrap();
    }
}
