//! Every way to restore, at every protocol: all of them give back the tree in every attribute.
//!
//! `COFFRE_TREE=/usr` takes a tree of the machine in the place of the nasty one.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use coffre_client_compat::sandbox::HOST;
use coffre_client_compat::tree::{Builder, nasty, noise};
use coffre_tests::{Bed, said};

/// A file that is large enough for a delta, and one that packs well.
const LARGE: &str = "matrix-large";
const TEXT: &str = "matrix-text";

/// A store with a tree and a snapshot of it, and what was pushed.
fn stored(bed: &Bed, protocol: u32) -> PathBuf {
    let source = bed.source().unwrap();
    let from = match std::env::var_os("COFFRE_TREE") {
        Some(tree) => {
            let shown = Path::new(&tree).display();
            bed.push_well(&format!("-aHAX --numeric-ids {shown}/ server:/tree/"))
                .unwrap();
            PathBuf::from(tree)
        }
        None => {
            nasty(&source).unwrap();
            if protocol < 30 {
                // What these cannot carry: times outside 1970 to 2106, large numbers of devices.
                fs::remove_dir_all(source.path("times")).unwrap();
                source.remove("kinds/large-numbers").unwrap();
            }
            if protocol < 28 {
                // Its hard links are of regular files only.
                for name in ["links/fifo", "links/null", "links/symlink"] {
                    source.remove(name).unwrap();
                }
            }
            source.file(LARGE, &noise(1, 1_500_000)).unwrap();
            let text = b"again and again\n".repeat(20_000);
            source.file(TEXT, &text).unwrap();
            bed.push_well("-aHAX --numeric-ids src/ server:/tree/")
                .unwrap();
            source.path("")
        }
    };
    bed.coffre.snapshot().unwrap();
    from
}

struct Matrix {
    bed: Bed,
    from: PathBuf,
    protocol: u32,
}

impl Matrix {
    /// Restores with more options, and gives what the client says.
    fn restore(&self, options: &str, out: &str) -> String {
        // ACLs and extended attributes are not in the older protocols.
        let kept = match self.protocol {
            30.. => "-aHAX",
            _ => "-aH",
        };
        let protocol = self.protocol;
        let command = format!(
            "{kept} --numeric-ids --stats --protocol={protocol} {options} \
             restore@{HOST}:/latest/tree/ {out}/"
        );
        let outcome = self.bed.push(&command).unwrap();
        assert_eq!(outcome.exit, 0, "{command}: {}", said(&outcome));
        said(&outcome)
    }

    /// The restored tree is the one that was pushed.
    fn is_equal(&self, options: &str, out: &str) {
        let out = self.bed.local().join(out);
        let protocol = self.protocol;
        let others = self.bed.differences_at(protocol, &self.from, &out).unwrap();
        assert!(others.is_empty(), "{protocol}, {options}: {others:#?}");
    }

    fn afresh(&self, options: &str) {
        self.restore(options, "fresh");
        self.is_equal(options, "fresh");
        fs::remove_dir_all(self.bed.local().join("fresh")).unwrap();
    }

    /// Some regular files of a restored tree with more than so many bytes, by their paths in it.
    fn files(&self, out: &str, least: u64) -> Vec<PathBuf> {
        let top = self.bed.local().join(out);
        let (mut found, mut waiting) = (Vec::new(), vec![PathBuf::new()]);
        while let Some(directory) = waiting.pop() {
            let mut entries: Vec<_> = fs::read_dir(top.join(&directory))
                .unwrap()
                .map(|entry| directory.join(entry.unwrap().file_name()))
                .collect();
            entries.sort();
            for path in entries {
                let is = fs::symlink_metadata(top.join(&path)).unwrap();
                if is.is_dir() {
                    waiting.push(path);
                } else if is.is_file() && is.len() > least {
                    found.push(path);
                }
            }
        }
        found.truncate(5);
        found
    }
}

/// `Matched data: 1,234 bytes`
fn matched(said: &str) -> u64 {
    let line = said.lines().find(|line| line.starts_with("Matched data:"));
    let digits = |line: &str| {
        line.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    digits(line.unwrap()).parse().unwrap()
}

fn at_protocol(protocol: u32) {
    let Some(bed) = Bed::new().unwrap() else {
        return;
    };
    let from = stored(&bed, protocol);
    let matrix = Matrix {
        bed,
        from,
        protocol,
    };
    for options in [
        "--no-inc-recursive",
        "-z --compress-choice=zlib",
        "-z --compress-choice=zlibx",
        "-z --compress-choice=lz4",
        "-z --compress-choice=zstd",
        "-c",
        "-S",
        "--whole-file",
    ] {
        matrix.afresh(options);
    }

    matrix.restore("", "out");
    matrix.is_equal("", "out");
    let again = matrix.restore("-i", "out");
    assert!(!again.lines().any(|line| line.starts_with('>')), "{again}");

    // Over a copy that was edited: only what differs travels.
    let out = Builder::at(&matrix.bed.local().join("out")).unwrap();
    for options in [
        "--no-whole-file --delete",
        "--no-whole-file --delete -z",
        "--inplace --no-whole-file --delete",
    ] {
        let edited = matrix.files("out", 100_000);
        assert!(!edited.is_empty());
        for path in &edited {
            out.patch(path, 40_000, b"edited").unwrap();
            out.append(path, b"longer").unwrap();
            out.mode(path, 0o600).unwrap();
        }
        out.file("of mine", b"x").unwrap();
        let text = matrix.restore(options, "out");
        matrix.is_equal(options, "out");
        assert!(matched(&text) > 40_000, "{protocol}, {options}: {text}");
        assert!(!matrix.bed.local().join("out/of mine").exists());
    }

    // Size and time say that all is well; only -c sees the flipped bit.
    let path = matrix.files("out", 1_000).remove(0);
    let path = matrix.bed.local().join("out").join(path);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let byte = || fs::read(&path).unwrap()[500];
    let good = byte();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[good ^ 1], 500).unwrap();
    file.set_modified(modified).unwrap();
    matrix.restore("", "out");
    assert_eq!(byte(), good ^ 1, "{protocol}: replaced without -c already");
    matrix.restore("-c", "out");
    assert_eq!(byte(), good);
    matrix.is_equal("-c", "out");
}

#[test]
fn all_ways_at_protocol_27() {
    at_protocol(27);
}

#[test]
fn all_ways_at_protocol_28() {
    at_protocol(28);
}

#[test]
fn all_ways_at_protocol_29() {
    at_protocol(29);
}

#[test]
fn all_ways_at_protocol_30() {
    at_protocol(30);
}

#[test]
fn all_ways_at_protocol_31() {
    at_protocol(31);
}

#[test]
fn all_ways_at_protocol_32() {
    at_protocol(32);
}
