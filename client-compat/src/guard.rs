//! Does the server still ask the kernel as seldom as it did? Counts, not times: how many system
//! calls on files three small pushes and a restore cost, against what is written down in
//! [`RECORD`].
//!
//! A change that makes each file cost one call more shows here on any machine, however busy. Calls
//! on sockets and between threads are left out, because how many there are depends on timing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::clients::Clients;
use crate::run::Invocation;
use crate::sandbox::{BASE, Coffre, HOST, Keys, coffre_binary, is_root};
use crate::tree::{Builder, noise};

/// Calls by name, for each transfer.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// What was counted when somebody last looked at it and found it right.
const RECORD: &str = "client-compat/system-calls.toml";

/// So much more than the record is too much …
const TOLERANCE: f64 = 0.1;

/// … of a call that is made at least so often; what is rarer may come and go.
const OFTEN: u64 = 50;

/// Calls of which Linux 6.13 and later have another form: one kernel makes these, another those,
/// so the record of the ones that are not made stays.
const FORMS: [&str; 4] = ["llistxattr", "lgetxattr", "listxattrat", "getxattrat"];

/// What is traced. All but these, since a strace that is older than the kernel does not know the
/// newest calls on files as such, and shows them by their numbers. (With `--seccomp-bpf` it does not
/// see them at all.)
const TRACED: &str = "!%network,%memory,%process,%signal,%ipc,futex,sched_yield,clock_nanosleep,\
                      getrandom,gettid,rseq,set_robust_list,prctl";

/// How such a strace shows calls that the server makes. The numbers are the same on all processors.
const BY_NUMBER: [(&str, &str); 2] = [
    ("syscall_0x1d0", "getxattrat"),
    ("syscall_0x1d1", "listxattrat"),
];

/// Options of `client-compat calls`.
#[derive(Debug, Clone, Args)]
pub struct GuardOptions {
    /// Write down what is counted now, in place of comparing
    #[arg(long)]
    update: bool,
    /// The record
    #[arg(long, default_value = RECORD)]
    record: PathBuf,
}

/// `false`: something costs more than it did.
pub fn guard(options: &GuardOptions) -> Result<bool> {
    if !is_root() || !has_strace() {
        println!("skipped: needs root and strace");
        return Ok(true);
    }
    let counted = count()?;
    if options.update {
        let mut counted = counted.clone();
        if let Ok(text) = fs::read_to_string(&options.record) {
            keep_other_forms(&toml::from_str(&text)?, &mut counted);
        }
        let text = format!(
            "# System calls of the server on files, for each of four small transfers. Written by\n\
             # `client-compat calls --update`; `./check` fails when one grows by a tenth.\n\n{}",
            toml::to_string(&counted)?
        );
        fs::write(&options.record, text)
            .with_context(|| format!("write {}", options.record.display()))?;
    }
    let text = fs::read_to_string(&options.record)
        .with_context(|| format!("read {}", options.record.display()))?;
    let recorded: Counts = toml::from_str(&text)?;
    let mut complaints = compare(&recorded, &counted);
    for (push, calls) in &counted {
        let of_this_kernel =
            |call: &&String| !FORMS.contains(&call.as_str()) || calls.contains_key(*call);
        let before = recorded.get(push).into_iter().flatten();
        let before = before.filter(|(call, _)| of_this_kernel(call));
        let before: u64 = before.map(|(_, count)| count).sum();
        let now: u64 = calls.values().sum();
        println!("{push}: {now} calls; {before} on record");
        if now < before / 2 {
            complaints.push(format!(
                "{push}: {now} calls are too few to be true; did strace see them all?"
            ));
        }
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    Ok(complaints.is_empty())
}

fn has_strace() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join("strace").is_file())
}

/// Takes over from the record what another kernel would be asked.
fn keep_other_forms(recorded: &Counts, counted: &mut Counts) {
    for (push, calls) in counted {
        for call in FORMS {
            if let Some(&was) = recorded.get(push).and_then(|calls| calls.get(call)) {
                calls.entry(call.to_owned()).or_insert(was);
            }
        }
    }
}

fn compare(recorded: &Counts, counted: &Counts) -> Vec<String> {
    let none = BTreeMap::new();
    let mut complaints = Vec::new();
    for (push, calls) in counted {
        let before = recorded.get(push).unwrap_or(&none);
        for (call, &now) in calls {
            let was = before.get(call).copied().unwrap_or(0);
            if now >= OFTEN && now as f64 > was as f64 * (1.0 + TOLERANCE) {
                complaints.push(format!(
                    "{push}: {now} calls of {call}, {was} on record; if that is right, \
                     `client-compat calls --update` writes it down"
                ));
            }
        }
    }
    complaints
}

const FILES: u64 = 400;

fn count() -> Result<Counts> {
    let dir = tempfile::tempdir()?;
    let keys = Keys::make(&dir.path().join("keys"))?;
    let log = dir.path().join("calls");
    let wrapper = dir.path().join("traced");
    // -y names what a descriptor is, so that sockets can be left out.
    fs::write(
        &wrapper,
        format!(
            "#!/bin/sh\nexec strace -f -qq -y -s 0 -e 'trace={TRACED}' -o '{}' '{}' \
             \"$@\"\n",
            log.display(),
            coffre_binary()?.display()
        ),
    )?;
    fs::set_permissions(&wrapper, Permissions::from_mode(0o755))?;
    let place = dir.path().join("server");
    let server = Coffre::start_with(&place, &keys, &place.join("store"), &wrapper)?;
    let config = dir.path().join("ssh_config");
    keys.client_config(&config, server.port(), "client")?;
    let clients = Clients::find()?;

    let source = dir.path().join("source");
    let tree = Builder::at(&source)?;
    for number in 0..FILES {
        let name = format!("d{}/f{number}", number / 50);
        tree.file(&name, &noise(number, 4_096))?;
        tree.time(&name, 1_500_000_000, 5)?;
    }
    tree.time("d0/f0", 1_500_000_000, 5)?;
    let big = dir.path().join("big");
    let image = Builder::at(&big)?;
    image.file("image", &noise(1, 16 << 20))?;

    // What the server asks while a client runs with these two places.
    let transfer = |places: [OsString; 2]| -> Result<BTreeMap<String, u64>> {
        let before = calls_in(&log)?;
        let mut client = Invocation::new(&clients.rsync(None)?.path, Path::new("/"));
        client.args = ["-aHAX", "--numeric-ids", "--delete"]
            .map(OsString::from)
            .to_vec();
        client.args.extend(places);
        let ssh = &clients.ssh(None)?.path;
        let shell = format!("{} -F {}", ssh.display(), config.display());
        client.env = vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("RSYNC_RSH".into(), shell.into()),
        ];
        client.timeout = Duration::from_secs(300);
        let outcome = client.run()?;
        if outcome.exit != 0 {
            bail!(
                "the client ended with {}: {}",
                outcome.exit,
                String::from_utf8_lossy(&outcome.stderr)
            );
        }
        // What the server does after the client's end is not counted twice.
        std::thread::sleep(Duration::from_millis(500));
        let mut after = calls_in(&log)?;
        for (call, count) in &mut after {
            *count -= before.get(call).copied().unwrap_or(0);
        }
        after.retain(|_, count| *count >= OFTEN);
        Ok(after)
    };
    let there = |name: &str| OsString::from(format!("{HOST}:{BASE}/{name}/"));
    let here = |place: &Path| {
        let mut place = place.as_os_str().to_owned();
        place.push("/");
        place
    };
    let push = |from: &Path, to: &str| transfer([here(from), there(to)]);
    // What is made at the first session only is not counted.
    push(&image.path("."), "warm")?;
    let mut counts = Counts::new();
    counts.insert("first-push".to_owned(), push(&source, "small")?);
    counts.insert("no-change".to_owned(), push(&source, "small")?);
    let restored = transfer([there("small"), here(&dir.path().join("restored"))])?;
    counts.insert("restore".to_owned(), restored);
    let mut content = noise(1, 16 << 20);
    for at in (0..40).map(|n| n * 400_000) {
        content[at..at + 1_000].copy_from_slice(&noise(2, 1_000));
    }
    image.file("image", &content)?;
    counts.insert("delta".to_owned(), push(&big, "warm")?);
    Ok(counts)
}

/// All calls so far that are on files.
fn calls_in(log: &Path) -> Result<BTreeMap<String, u64>> {
    let text = fs::read(log).with_context(|| format!("read {}", log.display()))?;
    Ok(calls(&String::from_utf8_lossy(&text)))
}

fn calls(text: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        // `PID call(arguments…`; a call that another thread interrupts has a second line without.
        let Some((_, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else {
            continue;
        };
        let of_no_file = ["<socket:", "<TCP:", "<anon_inode:", "<UNIX", "<pipe:"];
        let named =
            !call.is_empty() && call.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if named && !of_no_file.iter().any(|kind| arguments.contains(kind)) {
            let known = BY_NUMBER.iter().find(|(number, _)| *number == call);
            let call = known.map_or(call, |(_, name)| name);
            *counts.entry(call.to_owned()).or_insert(0) += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_on_files_are_counted_once() {
        let text = "12 openat(4</x>, \"f\", O_RDONLY) = 5</x/f>\n\
                    13 write(7<anon_inode:[eventfd]>, \"\", 8) = 8\n\
                    12 write(5</x/f>, \"\"..., 4096 <unfinished ...>\n\
                    13 recvfrom(9<TCP:[1->2]>, \"\", 5) = 5\n\
                    12 <... write resumed>) = 4096\n\
                    12 syscall_0x1d1(0x9, 0x7f00, 0x100, 0x7f10, 0x400, 0) = 0x10\n\
                    12 +++ exited with 0 +++\n";
        let expected = ["listxattrat", "openat", "write"].map(|call| (call.to_owned(), 1));
        assert_eq!(calls(text), BTreeMap::from(expected));
    }

    #[test]
    fn what_another_kernel_is_asked_stays_on_record_and_nothing_else_does() {
        let of = |calls: &[(&str, u64)]| {
            let calls = calls.iter().map(|(call, n)| ((*call).to_owned(), *n));
            Counts::from([("no-change".to_owned(), calls.collect())])
        };
        let recorded = of(&[("llistxattr", 408), ("fstat", 9)]);
        let mut counted = of(&[("newfstatat", 424)]);
        keep_other_forms(&recorded, &mut counted);
        assert_eq!(counted, of(&[("llistxattr", 408), ("newfstatat", 424)]));
        let mut counted = of(&[("llistxattr", 5)]);
        keep_other_forms(&recorded, &mut counted);
        assert_eq!(counted, of(&[("llistxattr", 5)]));
    }

    #[test]
    fn growth_by_more_than_a_tenth_is_told() {
        let of = |call: &str, count| {
            let calls = BTreeMap::from([(call.to_owned(), count)]);
            Counts::from([("first-push".to_owned(), calls)])
        };
        assert_eq!(compare(&of("fstat", 100), &of("fstat", 110)), [""; 0]);
        assert_eq!(compare(&of("fstat", 100), &of("fstat", 70)), [""; 0]);
        let told = compare(&of("fstat", 100), &of("fstat", 111));
        assert!(told[0].starts_with("first-push: 111 calls of fstat, 100 on record"));
        // A new one, too, but not a few of them.
        assert_eq!(compare(&of("fstat", 100), &of("read", 400)).len(), 1);
        assert_eq!(compare(&of("fstat", 100), &of("read", 4)), [""; 0]);
    }
}
