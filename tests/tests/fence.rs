//! What the running server has given up, as the kernel tells it, and that it still does its work;
//! and what it says on a kernel that has less to offer.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::BTreeMap;
use std::fs;

use coffre_client_compat::sandbox::Lines;
use coffre_tests::{Bed, said};
use seccompiler::{SeccompAction, SeccompFilter};

const PUSH: &str = "-aHAX --delete src/ server:/mnt/compat/dst/";

/// A line of `/proc/PID/task/TID/status` for every thread.
fn of_threads(pid: u32, field: &str) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut found = Vec::new();
    for task in tasks.flatten() {
        let Ok(status) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let value = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field));
            line.and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        found.push((value("Name").unwrap(), value(field).unwrap_or_default()));
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn every_thread_of_the_server_is_behind_the_fence() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let pid = bed.coffre.pid();
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, NET_BIND_SERVICE, SYS_ADMIN, MKNOD, SETFCAP.
    let kept = (1u64 << 0)
        | (1 << 1)
        | (1 << 3)
        | (1 << 4)
        | (1 << 10)
        | (1 << 21)
        | (1 << 27)
        | (1 << 31);
    for (name, value) in of_threads(pid, "CapEff") {
        assert_eq!(
            u64::from_str_radix(&value, 16).unwrap() & !kept,
            0,
            "{name}"
        );
    }
    for (name, value) in of_threads(pid, "CapBnd") {
        assert_eq!(
            u64::from_str_radix(&value, 16).unwrap() & !kept,
            0,
            "{name}"
        );
    }
    for (name, value) in of_threads(pid, "NoNewPrivs") {
        assert_eq!(value, "1", "{name}");
    }
    let log = fs::read_to_string(bed.coffre.log_file()).unwrap();
    if log.contains("seccomp: in force") {
        for (name, value) in of_threads(pid, "Seccomp") {
            assert_eq!(value, "2", "{name}: a filter");
        }
    } else {
        println!("skipped: no seccomp");
    }

    // A session's thread has one filter more.
    let config = bed.ssh_config("client", bed.coffre.port()).unwrap();
    let mut session = std::process::Command::new("ssh")
        .arg("-F")
        .arg(config)
        .args(["server", "rsync --server -logDtpr . /mnt/compat/dst/"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut version = [0; 4];
    std::io::Read::read_exact(session.stdout.as_mut().unwrap(), &mut version).unwrap();
    if log.contains("seccomp: in force") {
        let filters = of_threads(pid, "Seccomp_filters");
        let of = |start: &str| -> Vec<u32> {
            let named = filters.iter().filter(|(name, _)| name.starts_with(start));
            named.map(|(_, value)| value.parse().unwrap()).collect()
        };
        assert_eq!(of("rsync "), [of("tokio")[0] + 1], "{filters:?}");
    }
    drop(session.stdin.take());
    session.wait().unwrap();
}

#[test]
fn behind_the_fence_everything_is_pushed_as_before() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("plain", b"content").unwrap();
    source.owner("plain", 12_345, 54_321).unwrap();
    source.file("unreadable", b"secret").unwrap();
    source.mode("unreadable", 0o000).unwrap();
    source.owner("unreadable", 1, 1).unwrap();
    source.file("set-id", b"x").unwrap();
    source.owner("set-id", 5, 5).unwrap();
    source.mode("set-id", 0o6755).unwrap();
    source.char_device("null", 1, 3).unwrap();
    source.xattr("plain", "user.mine", b"value").unwrap();
    source
        .xattr("plain", "trusted.overlay.opaque", b"y")
        .unwrap();
    // cap_net_raw+ep, as version 2 of the attribute has it.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    source
        .xattr("plain", "security.capability", &capability)
        .unwrap();
    for _ in 0..2 {
        bed.push_well(PUSH).unwrap();
        let differ = bed.differences(&source.path(""), &bed.destination());
        let attributes = |path: std::path::PathBuf| {
            let words = ["-d", "-m", "-", "-e", "hex"];
            let got = std::process::Command::new("getfattr")
                .args(words)
                .arg(path)
                .output();
            String::from_utf8(got.unwrap().stdout).unwrap()
        };
        let both = [source.path("plain"), bed.destination().join("plain")].map(attributes);
        assert_eq!(differ.unwrap(), "", "{both:?}");
        bed.coffre.snapshot().unwrap();
        source.mode("set-id", 0o4755).unwrap();
        source.owner("plain", 7, 7).unwrap();
        source
            .xattr("plain", "security.capability", &capability)
            .unwrap();
    }
}

#[test]
fn a_reload_reads_what_lies_where_it_lay_at_the_start() {
    let Some(bed) = Bed::configured(&Lines::default()).unwrap() else {
        return;
    };
    let config = bed.coffre.config();
    let written = fs::read_to_string(&config).unwrap();
    let replace = |text: &str| {
        let new = config.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &config).unwrap();
    };
    // As an editor does: a new file takes the place of the old one.
    replace(&written.replace("max_sessions = 16", "max_sessions = 15"));
    bed.coffre.command(&["reload"]).unwrap();

    let key = format!(
        "from=\"127.0.0.1\" {}\n",
        bed.keys.public("stranger").unwrap()
    );
    let beside = config.with_file_name("keys");
    fs::write(&beside, &key).unwrap();
    replace(&format!(
        "{written}authorized_keys = {:?}\n",
        beside.display().to_string()
    ));
    bed.coffre.command(&["reload"]).unwrap();

    let log = fs::read_to_string(bed.coffre.log_file()).unwrap();
    if !log.contains("this process can reach: ") {
        println!("skipped: no Landlock");
        return;
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("keys");
    fs::write(&file, &key).unwrap();
    replace(&format!(
        "{written}authorized_keys = {:?}\n",
        file.display().to_string()
    ));
    let refused = bed.coffre.command(&["reload"]).unwrap_err().to_string();
    assert!(refused.contains("Permission denied"), "{refused}");
    assert!(
        refused.contains("a file elsewhere needs a restart"),
        "{refused}"
    );
    bed.source().unwrap().file("f", b"goes on").unwrap();
    let outcome = bed.push(PUSH).unwrap();
    assert_eq!(outcome.exit, 0, "{}", said(&outcome));
}

/// Works on a thread for which the kernel lacks these system calls, as an older one does; it lacks
/// them for what that starts, too.
fn on_a_kernel_without(calls: &[i64], work: impl FnOnce() + Send) {
    let rules: BTreeMap<i64, Vec<_>> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let missing = SeccompAction::Errno(rustix::io::Errno::NOSYS.raw_os_error() as u32);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, architecture).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    std::thread::scope(|scope| {
        let worked = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            work();
        });
        worked.join().unwrap();
    });
}

fn requires(what: &str) -> Lines {
    Lines {
        server: format!("{what} = \"required\"\n"),
        ..Lines::default()
    }
}

#[test]
fn a_kernel_without_landlock_is_told_of_and_refused_where_it_is_required() {
    on_a_kernel_without(&[libc::SYS_landlock_create_ruleset], || {
        let Some(bed) = Bed::new().unwrap() else {
            return;
        };
        let log = fs::read_to_string(bed.coffre.log_file()).unwrap();
        assert!(log.contains("landlock: this kernel has none"), "{log}");
        bed.source().unwrap().file("f", b"is served").unwrap();
        bed.push_well(PUSH).unwrap();

        let refused = Bed::configured(&requires("landlock")).err().unwrap();
        let words =
            "landlock: this kernel has none, and the configuration says `landlock = \"required\"`";
        assert!(format!("{refused:#}").contains(words), "{refused:#}");
    });
}

#[test]
fn a_kernel_without_seccomp_is_told_of_and_refused_where_it_is_required() {
    on_a_kernel_without(&[libc::SYS_seccomp], || {
        let Some(bed) = Bed::new().unwrap() else {
            return;
        };
        let log = fs::read_to_string(bed.coffre.log_file()).unwrap();
        assert!(log.contains("seccomp: this kernel has none"), "{log}");
        bed.source().unwrap().file("f", b"is served").unwrap();
        bed.push_well(PUSH).unwrap();

        let refused = Bed::configured(&requires("seccomp")).err().unwrap();
        let words = "this system cannot filter system calls";
        assert!(format!("{refused:#}").contains(words), "{refused:#}");
        let words = "and the configuration says `seccomp = \"required\"`";
        assert!(format!("{refused:#}").contains(words), "{refused:#}");
    });
}
