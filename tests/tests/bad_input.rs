//! Clients that should not come in, do not speak rsync, or are cut off in the middle of a word.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::path::PathBuf;

use coffre_client_compat::tree::{Builder, describe, noise};
use coffre_tests::{Bed, Proxy, said};

const PUSH: &str = "-a --delete src/ server:/mnt/compat/dst/";

/// Files of several sizes, all made from `seed`.
fn plant(source: &Builder, seed: u64) {
    for number in 0..20u64 {
        let length = usize::try_from(number * number * 700).unwrap();
        let name = format!("d{}/f{number}", number % 3);
        source
            .file(&name, &noise(seed * 100 + number, length))
            .unwrap();
        source
            .time(&name, 1_400_000_000 + i64::try_from(seed).unwrap(), 5)
            .unwrap();
    }
}

/// The server still does its work.
fn serves(bed: &Bed) {
    bed.push_well(PUSH).unwrap();
    let source = bed.source().unwrap();
    assert_eq!(
        bed.differences(&source.path(""), &bed.destination())
            .unwrap(),
        ""
    );
    assert_eq!(bed.left_in_staging(), Vec::<PathBuf>::new());
}

#[test]
fn a_key_that_is_not_listed_changes_nothing() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    plant(&bed.source().unwrap(), 1);
    bed.push_well(PUSH).unwrap();
    let before = describe(&bed.coffre.home(), None).unwrap();

    plant(&bed.source().unwrap(), 2);
    let stranger = bed.rsync("stranger", bed.coffre.port(), PUSH).unwrap();
    let outcome = stranger.run().unwrap();
    // The status of ssh, or rsync's own when it looked before ssh had ended: so it is with a stock
    // server too (the scenario unknown-key).
    assert!(matches!(outcome.exit, 255 | 12), "{}", said(&outcome));
    assert!(
        said(&outcome).contains("Permission denied"),
        "{}",
        said(&outcome)
    );
    assert_eq!(describe(&bed.coffre.home(), None).unwrap(), before);
    serves(&bed);
}

#[test]
fn garbage_instead_of_a_protocol_changes_nothing() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    plant(&bed.source().unwrap(), 1);
    bed.push_well(PUSH).unwrap();
    let before = describe(&bed.destination(), None).unwrap();

    let command = "rsync --server -logDtpre.iLsfxCIvu --delete . /mnt/compat/dst/";
    for seed in 0..12 {
        // A version that is understood, so that what follows is parsed as far as it goes.
        let mut stdin = 31u32.to_le_bytes().to_vec();
        stdin.extend(noise(seed, 50_000));
        let outcome = bed.ssh("client", command, stdin).unwrap();
        assert_ne!(outcome.exit, 0, "seed {seed}: {}", said(&outcome));
        assert!(!outcome.timed_out, "seed {seed}: the session did not end");
    }
    for stdin in [
        &b""[..],
        b"\x1f",
        b"GET / HTTP/1.0\r\n\r\n",
        &[0xff; 40],
        &[0; 40],
    ] {
        let outcome = bed.ssh("client", command, stdin.to_vec()).unwrap();
        assert_ne!(outcome.exit, 0, "{stdin:?}: {}", said(&outcome));
        assert!(!outcome.timed_out, "{stdin:?}: the session did not end");
    }
    assert_eq!(describe(&bed.destination(), None).unwrap(), before);
    serves(&bed);
}

#[test]
fn a_client_that_reads_nothing_for_five_seconds_in_a_delta_push_loses_nothing() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    for number in 0..6u64 {
        let name = format!("image{number}");
        source.file(&name, &noise(number, 24 << 20)).unwrap();
    }
    bed.push_well(PUSH).unwrap();
    for number in 0..6u64 {
        let name = format!("image{number}");
        source.patch(&name, 5_000_000, b"edited").unwrap();
        source.append(&name, &noise(99, 3_000_000)).unwrap();
    }

    // Small blocks make block sums of 200 KiB for each file, far more than any buffer between: the
    // client sends data of one file while sums of the next pile up behind the stall.
    let proxy = Proxy::before(bed.coffre.port()).unwrap();
    proxy.stall_after(300_000, std::time::Duration::from_secs(5));
    let command = PUSH.replacen("-a ", "-a -B700 --no-whole-file ", 1);
    assert_ne!(command, PUSH);
    let outcome = bed
        .rsync("client", proxy.port(), &command)
        .unwrap()
        .run()
        .unwrap();
    assert_eq!(outcome.exit, 0, "{}", said(&outcome));
    assert_eq!(proxy.stalls(), 1, "the push was too small to be stalled");
    assert_eq!(
        bed.differences(&source.path(""), &bed.destination())
            .unwrap(),
        ""
    );
}

#[test]
fn a_basis_that_changes_under_way_is_noticed_and_the_file_sent_again() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.file("image", &noise(1, 24 << 20)).unwrap();
    bed.push_well(PUSH).unwrap();
    source.patch("image", 1_000, b"edited").unwrap();

    // The block sums are made, but the client has not seen all of them when the basis changes.
    let proxy = Proxy::before(bed.coffre.port()).unwrap();
    proxy.stall_after(20_000, std::time::Duration::from_secs(6));
    // The edit keeps the size, and may fall into the same second: hence -I.
    let command = PUSH.replacen("-a ", "-avI -B700 --no-whole-file ", 1);
    let push = bed.rsync("client", proxy.port(), &command).unwrap();
    let outcome = std::thread::scope(|scope| {
        let push = scope.spawn(|| push.run().unwrap());
        while proxy.stalls() == 0 && !push.is_finished() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        // The rest of the sums needs nothing of the client.
        std::thread::sleep(std::time::Duration::from_secs(2));
        let basis = std::fs::OpenOptions::new()
            .write(true)
            .open(bed.destination().join("image"))
            .unwrap();
        std::os::unix::fs::FileExt::write_all_at(&basis, b"tampered", 20_000_000).unwrap();
        push.join().unwrap()
    });
    assert_eq!(outcome.exit, 0, "{}", said(&outcome));
    assert!(
        said(&outcome).contains("image failed verification -- update discarded (will try again)"),
        "{}",
        said(&outcome)
    );
    assert_eq!(
        bed.differences(&source.path(""), &bed.destination())
            .unwrap(),
        ""
    );
}

#[test]
fn a_connection_cut_anywhere_leaves_whole_files() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    plant(&source, 1);
    bed.push_well(PUSH).unwrap();
    let old = describe(&bed.destination(), None).unwrap();
    plant(&source, 2);
    let new = describe(&source.path(""), None).unwrap();

    let proxy = Proxy::before(bed.coffre.port()).unwrap();
    // How much a whole push of this is.
    proxy.cut_after(u64::MAX);
    let whole = bed
        .rsync("client", proxy.port(), &format!("-n {PUSH}"))
        .unwrap();
    assert_eq!(whole.run().unwrap().exit, 0);
    let start = proxy.passed();
    let data: u64 = new.entries.values().map(|entry| entry.size_bytes).sum();

    let mut ended_well = 0;
    for step in 0..16u64 {
        // From the middle of the key exchange to the last bytes.
        let cut = match step {
            0 => 10,
            1 => start / 2,
            _ => start + data * (step - 2) / 13,
        };
        proxy.cut_after(cut);
        let outcome = bed
            .rsync("client", proxy.port(), PUSH)
            .unwrap()
            .run()
            .unwrap();
        assert!(
            !outcome.timed_out,
            "cut after {cut} bytes: the client did not end"
        );
        ended_well += usize::from(outcome.exit == 0);

        // The session may need a moment to notice.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !bed.left_in_staging().is_empty() && std::time::Instant::now() < patience {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(
            bed.left_in_staging(),
            Vec::<PathBuf>::new(),
            "cut after {cut} bytes"
        );
        let now = describe(&bed.destination(), None).unwrap();
        for (name, entry) in &now.entries {
            let known = [&old, &new].map(|tree| tree.entries.get(name));
            let is_whole = known
                .into_iter()
                .flatten()
                .any(|known| known.kind == entry.kind);
            assert!(
                is_whole,
                "cut after {cut} bytes: {name:?} is neither old nor new"
            );
        }
        assert_eq!(
            now.entries.len(),
            old.entries.len(),
            "cut after {cut} bytes"
        );
    }
    assert!(ended_well < 16, "no connection was ever cut");
    serves(&bed);
}

#[test]
fn requests_for_anything_but_rsync_are_refused_in_words() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    for command in [
        "cat /etc/passwd",
        "sh -c id",
        "scp -t /",
        "rsync --daemon",
        "/bin/bash -i",
    ] {
        let outcome = bed.ssh("client", command, Vec::new()).unwrap();
        assert_eq!(outcome.exit, 1, "{command}: {}", said(&outcome));
        assert!(
            !outcome.stderr.is_empty(),
            "{command}: refused without a word"
        );
        assert!(
            !said(&outcome).contains("root:"),
            "{command}: {}",
            said(&outcome)
        );
    }
}

#[test]
fn paths_that_lead_outside_stay_inside() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    plant(&bed.source().unwrap(), 1);
    let outside = bed.coffre.home().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("untouched"), b"x").unwrap();
    let before = describe(&outside, None).unwrap();
    // A symlink in the live tree that an attacker could have pushed earlier.
    fs::create_dir_all(bed.destination()).unwrap();
    std::os::unix::fs::symlink(&outside, bed.destination().join("link")).unwrap();
    std::os::unix::fs::symlink("../../../../outside", bed.destination().join("up")).unwrap();
    for path in [
        "/mnt/compat/dst/link/",
        "/mnt/compat/dst/up/",
        "/../../outside/",
        "../outside/",
        "/mnt/compat/dst/../../../../outside/",
    ] {
        // Whether it is refused or ends up inside is a matter of the path.
        let _ = bed
            .push(&format!("-a --delete src/ server:{path}"))
            .unwrap();
        assert_eq!(
            describe(&outside, None).unwrap(),
            before,
            "{path} led outside"
        );
    }
}

#[test]
fn a_key_that_may_only_push_reads_nothing() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    plant(&bed.source().unwrap(), 1);
    bed.push_well(PUSH).unwrap();
    fs::write(bed.destination().join("secret"), "the secret\n").unwrap();
    let local = bed.local();
    for command in [
        "-a server:/mnt/compat/dst/ out/",
        "-as server:/mnt/compat/dst/ out/",
        "--list-only server:/mnt/compat/dst/",
        // A list of names is read by the server and sent to the client, which names it in turn.
        "-av --files-from=:/mnt/compat/dst/secret src/ server:/mnt/compat/dst/",
        "-avs --files-from=:/mnt/compat/dst/secret src/ server:/mnt/compat/dst/",
    ] {
        let outcome = bed
            .rsync("pusher", bed.coffre.port(), command)
            .unwrap()
            .run()
            .unwrap();
        let said = said(&outcome);
        assert_ne!(outcome.exit, 0, "{command}: {said}");
        assert!(said.contains("may push, not read"), "{command}: {said}");
        assert!(!said.contains("the secret"), "{command}: {said}");
        assert!(!local.join("out/secret").exists(), "{command}");
    }
    let pushed = bed.rsync("pusher", bed.coffre.port(), PUSH).unwrap().run();
    assert_eq!(pushed.unwrap().exit, 0);
}

/// A munged link leads to `/rsyncd-munged/`, which must not be there. (A stock server looks in the
/// root of its machine, which a differential scenario cannot change.)
#[test]
fn munging_is_refused_where_munged_links_would_work() {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let source = bed.source().unwrap();
    source.symlink("link", "/etc/passwd").unwrap();
    let push = "-a -M--munge-links src/ server:/mnt/compat/dst/";
    let refusal = "Symlink munging is unsafe when a /rsyncd-munged directory exists.";
    let place = bed.live().join("rsyncd-munged");
    let elsewhere = bed.live().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();

    fs::create_dir(&place).unwrap();
    let outcome = bed.push(push).unwrap();
    assert_ne!(outcome.exit, 0);
    assert!(said(&outcome).contains(refusal), "{}", said(&outcome));

    // So it is by way of a link that leads to a directory of the tree.
    fs::remove_dir(&place).unwrap();
    std::os::unix::fs::symlink("/elsewhere", &place).unwrap();
    let outcome = bed.push(push).unwrap();
    assert_ne!(outcome.exit, 0);
    assert!(said(&outcome).contains(refusal), "{}", said(&outcome));
    assert!(!bed.destination().exists());

    // A file of that name leads nowhere.
    fs::remove_file(&place).unwrap();
    fs::write(&place, "no directory").unwrap();
    bed.push_well(push).unwrap();
    let target = fs::read_link(bed.destination().join("link")).unwrap();
    assert_eq!(target, PathBuf::from("/rsyncd-munged//etc/passwd"));
}
