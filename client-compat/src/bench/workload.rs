//! What is pushed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;

use anyhow::Result;
use tempfile::TempDir;

use crate::tree::{Builder, noise};

/// Files in one directory of the small-file tree.
const PER_DIRECTORY: usize = 100;

/// One line of the report.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) step: Step,
    /// It needs what the workload before it left.
    pub(super) builds_on_last: bool,
}

/// Which tree is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Small,
    Big,
}

pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "first-push",
        step: Step::Small,
        builds_on_last: false,
    },
    Workload {
        name: "no-change",
        step: Step::Small,
        builds_on_last: true,
    },
    Workload {
        name: "big-file",
        step: Step::Big,
        builds_on_last: false,
    },
];

impl Step {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Big => "big",
        }
    }
}

impl Workload {
    pub(super) fn about(&self, files: usize, big_bytes: u64) -> String {
        match (self.step, self.builds_on_last) {
            (Step::Small, false) => format!("{files} files of 4 KiB into an empty destination"),
            (Step::Small, true) => format!("the same {files} files again, none changed"),
            (Step::Big, _) => format!("one file of {} MiB", big_bytes >> 20),
        }
    }
}

/// The trees on disk, read once so that they are in memory.
#[derive(Debug)]
pub(super) struct Source {
    dir: TempDir,
}

impl Source {
    pub(super) fn make(files: usize, big_bytes: u64, chosen: &[&Workload]) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("coffre-bench-source-")
            .tempdir()?;
        let source = Self { dir };
        if chosen.iter().any(|workload| workload.step == Step::Small) {
            let tree = Builder::at(&source.dir.path().join(Step::Small.name()))?;
            for number in 0..files {
                let name = format!("d{:04}/f{number:06}", number / PER_DIRECTORY);
                tree.file(&name, &noise(number as u64, 4_096))?;
                tree.time(&name, 1_500_000_000 + (number % 1_000) as i64, 5)?;
            }
        }
        if chosen.iter().any(|workload| workload.step == Step::Big) {
            let place = source.dir.path().join(Step::Big.name());
            fs::create_dir(&place)?;
            let mut file = File::create(place.join("image"))?;
            const PIECE: u64 = 1 << 20;
            for number in 0..big_bytes / PIECE {
                file.write_all(&noise(number, PIECE as usize))?;
            }
            file.write_all(&noise(0, (big_bytes % PIECE) as usize))?;
        }
        Ok(source)
    }

    /// As the client's command line names it: its content, not itself.
    pub(super) fn of(&self, step: Step) -> OsString {
        let mut path = self.dir.path().join(step.name()).into_os_string();
        path.push("/");
        path
    }
}
