//! System calls that nothing here needs and that code which has gone wrong would want.
//!
//! A list of what is denied, not of what is allowed: what is allowed changes with every library
//! and kernel, and a session that dies of a harmless call would be a lost backup. Denied calls fail
//! with EPERM. The kernel remembers which calls a filter always allows, so those cost nothing.
//!
//! The numbers are those of the kernel's interface for this processor; a call that enters by
//! another one (32-bit calls on x86-64) ends the process.

use std::collections::BTreeMap;
use std::fmt;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::config::SeccompPolicy;

/// Nothing in the process needs these.
const NOWHERE: &[i64] = &[
    // Other programs, and the memory of others.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    // Other views of the file system, and ways to files that go past paths.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    // The kernel itself, and what its past holes were reached by.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // A second way to do all of this that filters do not see.
    libc::SYS_io_uring_setup,
    // The clock that everything is recorded by.
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    // Other names.
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// A session has its pipe, and needs no network.
const NOT_IN_SESSIONS: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
];

/// Whether a filter is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    Yes,
    /// The policy is `off`.
    Off,
    /// The policy is `auto`, on a kernel or processor that cannot.
    Unsupported,
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "seccomp: in force",
            Self::Off => "seccomp: off, as configured",
            Self::Unsupported => "seccomp: this kernel has none",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error(
        "this system cannot filter system calls ({0}), and the configuration says `seccomp = \"required\"`"
    )]
    Required(seccompiler::Error),
}

/// For the whole process.
pub(super) fn for_process(policy: SeccompPolicy) -> Result<Enforced, SeccompError> {
    apply(policy, NOWHERE)
}

/// For the calling thread, which serves a session and nothing else, for the rest of its life.
pub fn for_session(policy: SeccompPolicy) -> Result<Enforced, SeccompError> {
    apply(policy, NOT_IN_SESSIONS)
}

fn apply(policy: SeccompPolicy, denied: &[i64]) -> Result<Enforced, SeccompError> {
    if policy == SeccompPolicy::Off {
        return Ok(Enforced::Off);
    }
    let applied = program(denied).and_then(|program| seccompiler::apply_filter(&program));
    match (applied, policy) {
        (Ok(()), _) => Ok(Enforced::Yes),
        (Err(error), SeccompPolicy::Required) => Err(SeccompError::Required(error)),
        (Err(_), _) => Ok(Enforced::Unsupported),
    }
}

fn program(denied: &[i64]) -> Result<BpfProgram, seccompiler::Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let always: BTreeMap<i64, Vec<_>> = denied.iter().map(|call| (*call, Vec::new())).collect();
    let eperm = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(always, SeccompAction::Allow, eperm, architecture)?;
    Ok(filter.try_into()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::{TcpListener, UdpSocket};

    /// On a thread of its own: a filter is for ever.
    fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn a_session_opens_files_and_no_sockets_and_executes_nothing() {
        on_a_thread(|| {
            if for_process(SeccompPolicy::Auto).unwrap() == Enforced::Unsupported {
                println!("skipped: no seccomp");
                return;
            }
            // The process listens and connects …
            drop(TcpListener::bind("127.0.0.1:0").unwrap());
            let executed = std::process::Command::new("/bin/true").status();
            assert_eq!(executed.unwrap_err().kind(), ErrorKind::PermissionDenied);
            let unshared = rustix::process::chroot("/").map_err(|e| std::io::Error::from(e).kind());
            assert_eq!(unshared, Err(ErrorKind::PermissionDenied));
            // … and readers of the store step back behind everybody else.
            assert!(crate::verify::go_idle());
            // A session does not, and works on files.
            assert_eq!(for_session(SeccompPolicy::Required).unwrap(), Enforced::Yes);
            let refused = UdpSocket::bind("127.0.0.1:0").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
            let pair = std::os::unix::net::UnixStream::pair().unwrap_err();
            assert_eq!(pair.kind(), ErrorKind::PermissionDenied);
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), b"content").unwrap();
            assert_eq!(std::fs::read(file.path()).unwrap(), b"content");
            std::thread::spawn(|| ()).join().unwrap();
        });
        // Only that thread is filtered.
        drop(UdpSocket::bind("127.0.0.1:0").unwrap());
    }

    #[test]
    fn off_is_off() {
        on_a_thread(|| {
            assert_eq!(for_session(SeccompPolicy::Off).unwrap(), Enforced::Off);
            drop(UdpSocket::bind("127.0.0.1:0").unwrap());
        });
    }
}
