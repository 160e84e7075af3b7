//! Root without most of what makes it root.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What is kept, where the process has it, and why.
const KEPT: [(CapabilitySet, &str, Use); 8] = [
    // Files belong to whom they belonged on the client.
    (CapabilitySet::CHOWN, "CHOWN", Use::Native),
    // … who may have left no permission for us.
    (CapabilitySet::DAC_OVERRIDE, "DAC_OVERRIDE", Use::Always),
    (CapabilitySet::FOWNER, "FOWNER", Use::Always),
    // Set-id bits survive a change.
    (CapabilitySet::FSETID, "FSETID", Use::Native),
    (CapabilitySet::MKNOD, "MKNOD", Use::Native),
    // The attribute `security.capability`, which is how ping and its like are installed.
    (CapabilitySet::SETFCAP, "SETFCAP", Use::Native),
    // The attributes `trusted.*`, without which container images of overlayfs are broken when
    // restored. It allows much else, which seccomp takes away: mounting, namespaces, BPF, quotas.
    (CapabilitySet::SYS_ADMIN, "SYS_ADMIN", Use::Native),
    // A reload may bring a port below 1024.
    (
        CapabilitySet::NET_BIND_SERVICE,
        "NET_BIND_SERVICE",
        Use::Always,
    ),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Always,
    /// For attributes on the files themselves.
    Native,
}

/// Gives up all other capabilities for good, here and in whatever would be executed. Returns what
/// is left; `None`: there were none. `native`: attributes are set on the files.
pub(super) fn drop_needless(native: bool) -> io::Result<Option<String>> {
    set_no_new_privs(true)?;
    let has = capabilities(None)?;
    if has.permitted.is_empty() {
        return Ok(None);
    }
    let kept = KEPT
        .iter()
        .filter(|(set, _, what_for)| {
            has.permitted.contains(*set) && (native || *what_for == Use::Always)
        })
        .collect::<Vec<_>>();
    let set = kept
        .iter()
        .fold(CapabilitySet::empty(), |sum, (set, _, _)| sum | *set);
    if has.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            if !set.contains(capability) {
                // One that this kernel does not know is not there to be had.
                let _ = remove_capability_from_bounding_set(capability);
            }
        }
    }
    // A kernel without ambient capabilities has none set.
    let _ = clear_ambient_capability_set();
    set_capabilities(
        None,
        CapabilitySets {
            effective: set,
            permitted: set,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    let names: Vec<&str> = kept.iter().map(|(_, name, _)| *name).collect();
    Ok(Some(names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a thread of its own: capabilities are per thread.
    fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn root_keeps_what_owners_and_devices_need_and_nothing_comes_back() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: not root");
            return;
        }
        on_a_thread(|| {
            let names = drop_needless(true).unwrap().unwrap();
            assert!(names.starts_with("CHOWN, DAC_OVERRIDE, FOWNER"), "{names}");
            let has = capabilities(None).unwrap();
            assert_eq!(has.effective, has.permitted);
            assert!(!has.permitted.contains(CapabilitySet::SYS_PTRACE));
            assert!(!has.permitted.contains(CapabilitySet::DAC_READ_SEARCH));
            assert!(!has.permitted.contains(CapabilitySet::SETUID));
            assert!(crate::confine::Metadata::detect() == crate::confine::Metadata::Native);
            let all = CapabilitySets {
                effective: CapabilitySet::all(),
                permitted: CapabilitySet::all(),
                inheritable: CapabilitySet::empty(),
            };
            assert!(set_capabilities(None, all).is_err());
            // What is executed gets no more, also where it is set-id.
            let status = std::process::Command::new("cat")
                .arg("/proc/self/status")
                .output()
                .unwrap();
            let status = String::from_utf8_lossy(&status.stdout).into_owned();
            let line = |name: &str| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace().nth(1).unwrap().to_owned()
            };
            let kept = format!("{:016x}", has.permitted.bits());
            assert_eq!(line("CapPrm:"), kept);
            assert_eq!(line("CapBnd:"), kept);
            assert_eq!(line("NoNewPrivs:"), "1");
        });
    }

    #[test]
    fn without_native_attributes_less_is_kept() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: not root");
            return;
        }
        on_a_thread(|| {
            let names = drop_needless(false).unwrap().unwrap();
            assert_eq!(names, "DAC_OVERRIDE, FOWNER, NET_BIND_SERVICE");
        });
    }
}
