//! Each layer of the confinement without the others.
//!
//! A server with layers switched off (`coffre-weakened`) is attacked in every way that leads
//! outside: by names that say so, and by a link that stands in the tree. What must hold, for each
//! attack: nothing with all layers off, or it is no attack; the descriptors alone; Landlock alone,
//! unless only attributes are changed, which it does not govern; the checks of names alone, where
//! the name is what leads outside.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use coffre_client_compat::sandbox::Lines;
use coffre_client_compat::tree::{Builder, describe};
use coffre_tests::{Bed, said};

use crate::wire::Wire;
use crate::yard::Peer;

/// What is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    All,
    Names,
    Descriptors,
    Landlock,
    None,
}

impl Layer {
    fn without(self) -> &'static str {
        match self {
            Layer::All => "",
            Layer::Names => "descriptors",
            Layer::Descriptors => "names",
            Layer::Landlock | Layer::None => "names,descriptors",
        }
    }

    fn landlock(self) -> &'static str {
        match self {
            Layer::All | Layer::Landlock => "required",
            _ => "off",
        }
    }
}

/// How an attack leads outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// `../../outside`.
    Name,
    /// `ln`, a link in the tree.
    Link,
}

enum Attack {
    /// A list of protocol 29; what it asks for is sent.
    List(&'static str, Wire),
    /// A stock client's command line.
    Client(String),
}

struct Case {
    what: &'static str,
    by: By,
    /// Nothing but attributes changes.
    only_attributes: bool,
    /// The path is an argument: its links are followed by us, in the tenant's own view.
    is_resolved: bool,
    attack: Attack,
}

impl Case {
    fn holds_with(&self, layer: Layer) -> bool {
        match layer {
            Layer::All | Layer::Descriptors => true,
            Layer::Names => self.by == By::Name || self.is_resolved,
            Layer::Landlock => !self.only_attributes,
            Layer::None => false,
        }
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (by, to) in [(By::Name, "../../outside"), (By::Link, "ln")] {
        let mut add = |what, only_attributes, attack| {
            cases.push(Case {
                what,
                by,
                only_attributes,
                is_resolved: matches!(attack, Attack::Client(_)),
                attack,
            });
        };
        let path = |name: &str| format!("{to}/{name}").into_bytes();
        let list = || Wire::old().dir(b".");
        let plain = "rsync --server -rltW . /dst";
        let new = list().file(&path("evil"), 4).end();
        add("a new file", false, Attack::List(plain, new));
        let other = list().file(&path("keep"), 4).end();
        add("a file replaced", false, Attack::List(plain, other));
        let inplace = "rsync --server -rltW --inplace . /dst";
        let other = list().file(&path("keep"), 4).end();
        add("a file in place", false, Attack::List(inplace, other));
        let new = list().dir(&path("evil")).end();
        add("a directory", false, Attack::List(plain, new));
        let new = list().link(&path("evil"), b"x").end();
        add("a symbolic link", false, Attack::List(plain, new));
        let perms = "rsync --server -rlpt . /dst";
        let same = list().entry(&path("secret"), 0o100_666, 6).end();
        add("the mode of a file", true, Attack::List(perms, same));
        let times = "rsync --server -rlpt --size-only . /dst";
        let same = list().entry(&path("keep"), 0o100_644, 4).end();
        add("the times of a file", true, Attack::List(times, same));
        let same = list().entry(&path("sub"), 0o40_777, 4096).end();
        add("the mode of a directory", true, Attack::List(perms, same));
        // A rule in front: protocol 29 has them first where something may be deleted.
        let deleting = "rsync --server -r --delete . /dst";
        let gone = Wire::old().int(0).dir(b".").top(&path("sub")).end();
        add("what is deleted", false, Attack::List(deleting, gone));
        let to = match by {
            By::Name => "/../outside",
            By::Link => "/dst/ln",
        };
        let read = format!("-a server:{to}/secret stolen/");
        add("a file read", false, Attack::Client(read));
        if by == By::Name {
            let pushed = format!("-a src/ server:{to}/");
            add("a destination", false, Attack::Client(pushed));
            let backup = format!("-aI --backup --backup-dir={to} src/ server:/dst/");
            add("old files put aside", false, Attack::Client(backup));
            let names = format!("-a --files-from=:{to}/list server:/dst/ stolen/");
            add("a list of names", false, Attack::Client(names));
        }
    }
    cases
}

/// A server that has this layer and no other, and what it must not reach.
struct Fort {
    bed: Bed,
    layer: Layer,
    outside: PathBuf,
}

impl Fort {
    fn new(layer: Layer, programs: &Path) -> Self {
        let program = programs.join(format!("{layer:?}"));
        let script = format!(
            "#!/bin/sh\nCOFFRE_WITHOUT={} exec {} \"$@\"\n",
            layer.without(),
            env!("CARGO_BIN_EXE_coffre-weakened")
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let lines = Lines {
            server: format!("landlock = \"{}\"\n", layer.landlock()),
            ..Lines::default()
        };
        let bed = Bed::with_program(&program, &lines).unwrap();
        let log = fs::read_to_string(bed.coffre.log_file()).unwrap();
        assert!(log.contains("WARNING: this is a test build"), "{log}");
        let outside = bed.coffre.home().join("outside");
        let source = bed.source().unwrap();
        source.file("evil", b"evil").unwrap();
        source.file("d/more", b"evil").unwrap();
        Self {
            bed,
            layer,
            outside,
        }
    }

    /// Everything as it was at first.
    fn furnish(&self) {
        let dst = self.bed.coffre.home().join("live/dst");
        let stolen = self.bed.local().join("stolen");
        for old in [&dst, &self.outside, &stolen] {
            let _ = fs::remove_dir_all(old);
        }
        fs::create_dir(&stolen).unwrap();
        let inside = Builder::at(&dst).unwrap();
        inside.file("evil", b"old").unwrap();
        inside.file("known-only-outside", b"told").unwrap();
        inside.file("d/old", b"old").unwrap();
        symlink("../../outside", dst.join("ln")).unwrap();
        let outside = Builder::at(&self.outside).unwrap();
        outside.file("keep", b"kept").unwrap();
        outside.file("secret", b"secret").unwrap();
        outside.file("sub/file", b"file").unwrap();
        outside.file("list", b"known-only-outside\n").unwrap();
        outside.time("secret", 1_500_000_000, 0).unwrap();
        outside.time("sub", 1_500_000_000, 0).unwrap();
    }

    /// Whether anything outside was changed or told.
    fn gets_out(&self, case: &Case) -> bool {
        self.furnish();
        let before = describe(&self.outside, None).unwrap();
        match &case.attack {
            Attack::List(exec, list) => {
                let config = self
                    .bed
                    .ssh_config("client", self.bed.coffre.port())
                    .unwrap();
                let mut peer = Peer::start(&config, exec);
                peer.say(list.clone());
                peer.hear(9);
                let seed = peer.seed();
                peer.say(Wire::default().whole_reply(1, b"evil", seed));
                for _ in 0..4 {
                    peer.say(Wire::default().done());
                }
                peer.hear(0);
                assert!(!peer.end().timed_out, "{}", case.what);
            }
            Attack::Client(command) => {
                let outcome = self.bed.push(command).unwrap();
                assert!(!outcome.timed_out, "{}: {}", case.what, said(&outcome));
            }
        }
        let stolen = fs::read_dir(self.bed.local().join("stolen")).unwrap();
        stolen.count() > 0 || describe(&self.outside, None).unwrap() != before
    }

    fn attack(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for case in cases() {
            let out = self.gets_out(&case);
            let Case { what, by, .. } = case;
            let came = if out { "gets out" } else { "is held" };
            println!("{:?} alone: {what}, by {by:?}: {came}", self.layer);
            if out == case.holds_with(self.layer) {
                wrong.push(format!("{:?} alone: {what}, by {by:?}: {came}", self.layer));
            }
        }
        wrong
    }
}

#[test]
fn each_layer_holds_without_the_others() {
    if !coffre_tests::may_run() {
        return;
    }
    if !coffre::confine::landlock::support().is_usable() {
        println!("skipped: no Landlock");
        return;
    }
    let programs = tempfile::tempdir().unwrap();
    let layers = [
        Layer::All,
        Layer::Names,
        Layer::Descriptors,
        Layer::Landlock,
        Layer::None,
    ];
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let forts = layers.map(|layer| {
            let programs = programs.path();
            scope.spawn(move || Fort::new(layer, programs).attack())
        });
        let all = forts.into_iter().flat_map(|fort| fort.join().unwrap());
        all.collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
