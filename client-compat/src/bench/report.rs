//! Samples as a table, and as the page `docs/performance.md`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::workload::{Goals, WORKLOADS};
use super::{Measured, Pair, Sample};
use crate::clients::Clients;

/// Smallest, middle and largest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        let (low, high) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
        Self {
            least: at(0),
            median: f64::midpoint(at(low), at(high)),
            most: at(figures.len().saturating_sub(1)),
        }
    }

    fn ratio(self) -> String {
        let places = if self.median < 0.1 { 3 } else { 2 };
        let show = |figure: f64| format!("{figure:.places$}");
        format!(
            "{} ({}–{})",
            show(self.median),
            show(self.least),
            show(self.most)
        )
    }
}

fn secs(figure: f64) -> String {
    format!("{figure:.2} s")
}

fn mebibytes(figure: f64) -> String {
    format!("{:.1} MiB", figure / f64::from(1 << 20))
}

/// A figure of a sample.
struct Figure {
    name: &'static str,
    show: fn(f64) -> String,
    of: fn(&Sample) -> Option<f64>,
    goal: fn(&Goals) -> Option<f64>,
}

const FIGURES: [Figure; 6] = [
    Figure {
        name: "time until the client's end",
        show: secs,
        of: |sample| Some(sample.wall_secs),
        goal: |_| None,
    },
    // What stock leaves to be written is not a saving.
    Figure {
        name: "… and until it is on disk",
        show: secs,
        of: |sample| Some(sample.wall_secs + sample.sync_secs),
        goal: |goals| goals.wall,
    },
    Figure {
        name: "CPU time of the server",
        show: secs,
        of: |sample| sample.server_cpu_secs,
        goal: |goals| goals.cpu,
    },
    Figure {
        name: "private memory of the server",
        show: mebibytes,
        of: |sample| sample.peak_memory_bytes.map(|bytes| bytes as f64),
        goal: |goals| goals.memory,
    },
    Figure {
        name: "… without pages of its program's file",
        show: mebibytes,
        of: |sample| sample.peak_own_bytes.map(|bytes| bytes as f64),
        goal: |_| None,
    },
    Figure {
        name: "written to the disk",
        show: mebibytes,
        of: |sample| sample.written_bytes.map(|bytes| bytes as f64),
        goal: |goals| goals.written,
    },
];

/// A Markdown table: a row for each figure of each workload.
pub(super) fn text(measured: &[Measured]) -> String {
    let mut table = String::from(
        "| workload | figure | stock | coffre | coffre / stock (least–most) | to reach | |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for measured in measured {
        if let Some(why) = &measured.failed {
            let why = why.replace('|', "/");
            let _ = writeln!(
                table,
                "| {} | not measured: {why} | | | | | |",
                measured.workload
            );
        }
        let goals = WORKLOADS
            .iter()
            .find(|workload| workload.name == measured.workload)
            .map(|workload| workload.goals)
            .unwrap_or_default();
        for figure in &FIGURES {
            row(&mut table, measured, figure, &goals);
        }
    }
    table
}

fn row(table: &mut String, measured: &Measured, figure: &Figure, goals: &Goals) {
    let both = |pair: &Pair| Some(((figure.of)(&pair.stock)?, (figure.of)(&pair.coffre)?));
    let pairs: Option<Vec<(f64, f64)>> = measured.pairs.iter().map(both).collect();
    let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) else {
        return;
    };
    let ratio = Spread::of(pairs.iter().map(|(stock, coffre)| coffre / stock));
    let goal = (figure.goal)(goals);
    let verdict = match goal {
        None => "",
        Some(goal) if ratio.median <= goal => "reached",
        Some(_) => "**missed**",
    };
    let _ = writeln!(
        table,
        "| {} | {} | {} | {} | {} | {} | {verdict} |",
        measured.workload,
        figure.name,
        (figure.show)(Spread::of(pairs.iter().map(|pair| pair.0)).median),
        (figure.show)(Spread::of(pairs.iter().map(|pair| pair.1)).median),
        ratio.ratio(),
        goal.map_or_else(String::new, |goal| format!("≤ {goal}")),
    );
}

/// What stands for the limit of each workload, and how near to it coffre is.
fn limits(measured: &[Measured]) -> String {
    let mut table = String::from(
        "| workload | stands for the limit | CPU time | coffre's | time, on disk | coffre's | coffre / limit |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for measured in measured {
        let known = WORKLOADS.iter().find(|w| w.name == measured.workload);
        let (Some(limit), Some(workload)) = (measured.limit, known) else {
            continue;
        };
        let on_disk = |sample: &Sample| Some(sample.wall_secs + sample.sync_secs);
        let cpu = |sample: &Sample| sample.server_cpu_secs;
        let coffre = |figure: fn(&Sample) -> Option<f64>| {
            let figures = measured.pairs.iter().map(|pair| figure(&pair.coffre));
            let figures = figures.collect::<Option<Vec<f64>>>()?;
            Some(Spread::of(figures.into_iter()).median)
        };
        let show = |figure: Option<f64>| figure.map_or_else(|| "–".to_owned(), secs);
        let ratio = coffre(on_disk).zip(on_disk(&limit));
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {:.2} |",
            measured.workload,
            workload.limit,
            show(cpu(&limit)),
            show(coffre(cpu)),
            show(on_disk(&limit)),
            show(coffre(on_disk)),
            ratio.map_or(f64::NAN, |(coffre, limit)| coffre / limit),
        );
    }
    table
}

/// Where the part of the page begins that is written by hand.
const BY_HAND: &str = "\n## Rows that miss their number\n";

/// Puts `measured` among the samples in `PATH.json`, and writes `PATH.md` of all of them.
pub(super) fn write(path: &Path, measured: Vec<Measured>, clients: &Clients) -> Result<()> {
    let (json, page) = (path.with_extension("json"), path.with_extension("md"));
    let mut all: Vec<Measured> = match std::fs::read(&json) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("read {}", json.display()))?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", json.display())),
    };
    for new in measured {
        all.retain(|old| old.workload != new.workload);
        all.push(new);
    }
    let place = |measured: &Measured| {
        let mut known = WORKLOADS.iter();
        known.position(|workload| workload.name == measured.workload)
    };
    all.retain(|measured| place(measured).is_some());
    all.sort_by_key(place);
    std::fs::write(&json, serde_json::to_string_pretty(&all)? + "\n")
        .with_context(|| format!("write {}", json.display()))?;
    let old = std::fs::read_to_string(&page).unwrap_or_default();
    let by_hand = old.find(BY_HAND).map_or(BY_HAND, |at| &old[at..]);
    std::fs::write(&page, self::page(&all, clients)? + by_hand)
        .with_context(|| format!("write {}", page.display()))
}

/// The page, with how the figures were made.
fn page(measured: &[Measured], clients: &Clients) -> Result<String> {
    let mut page = String::from(
        "# Performance\n\n\
         Written by `client-compat bench --write`, but for the last section; run it on your own \
         hardware before you trust these figures there. The samples are in \
         [performance.json](performance.json).\n\n\
         The same stock client does the same to stock sshd + rsync and to coffre, in turns, over \
         the loopback interface, and all three share the processors. Below 1, coffre needs less. \
         A ratio is the median of the ratios of pairs, with the smallest and the largest of them. \
         The numbers to reach were set before anything was measured.\n\n",
    );
    page.push_str(&text(measured));
    page.push_str("\n## The limit\n\n");
    page.push_str(&limits(measured));
    page.push_str("\n## What is measured\n\n");
    for measured in measured {
        writeln!(
            page,
            "- **{}**: {}; {} pairs{}.",
            measured.workload,
            measured.about,
            measured.pairs.len(),
            match measured.scale {
                1.0 => String::new(),
                scale => format!(", at {scale} of the size that the numbers were set for"),
            }
        )?;
    }
    writeln!(
        page,
        "- Options of the client: `-aHAX --numeric-ids --delete`, and what the workload names.\n\
         - Each server has a fresh file system, made with the defaults of its mkfs and mounted \
         from a sparse file: ext4, where nothing else is said.\n\
         - coffre syncs before it tells a client that a push succeeded, stock does not. \"On \
         disk\" adds a sync of the file system after the client's end, for both.\n\
         - CPU time is that of all processes of the server: for stock, sshd, its children and \
         rsync.\n\
         - Memory is the largest sum of what the server's processes share with no other process \
         (`Private_Clean` and `Private_Dirty` in `smaps_rollup`), sampled ten times a second, for \
         both in the same way. Pages of a program's file count when one process runs it, so \
         coffre's code counts in full, and most of sshd's and rsync's does not. The row below it \
         leaves such pages out (`Private_Dirty` alone).\n\
         - With N connections at once, stock needs its figure N times; coffre is one process.\n\
         \n\
         ## On what\n",
    )?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = cpu
        .lines()
        .filter_map(|line| line.strip_prefix("model name"))
        .map(|line| line.trim_start_matches([' ', '\t', ':']))
        .collect();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    writeln!(
        page,
        "- {} × {}, Linux {}\n- {}\n- {}\n- {}",
        models.len(),
        models.first().unwrap_or(&"unknown processor"),
        kernel.trim(),
        clients.rsync(None)?.banner,
        clients.ssh(None)?.banner,
        clients.sshd()?.banner
    )?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(stock: f64, coffre: f64) -> Pair {
        let [stock, coffre] = [stock, coffre].map(|secs| Sample {
            server_cpu_secs: Some(secs),
            ..Sample::lasting(secs)
        });
        Pair { stock, coffre }
    }

    fn measured(workload: &str, pairs: Vec<Pair>) -> Measured {
        Measured {
            workload: workload.to_owned(),
            about: "about".to_owned(),
            scale: 1.0,
            pairs,
            limit: None,
            failed: None,
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_ratios_of_pairs() {
        let pairs = vec![pair(1.0, 2.0), pair(10.0, 5.0), pair(4.0, 4.0)];
        let table = text(&[measured("first-push", pairs)]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| first-push | time until the client's end | 4.00 s | 4.00 s | 1.00 (0.50–2.00) |  |  |",
                "| first-push | … and until it is on disk | 4.00 s | 4.00 s | 1.00 (0.50–2.00) | ≤ 0.7 | **missed** |",
                "| first-push | CPU time of the server | 4.00 s | 4.00 s | 1.00 (0.50–2.00) | ≤ 0.5 | **missed** |",
            ]
        );
    }

    #[test]
    fn an_even_number_of_pairs_has_its_median_in_the_middle() {
        assert_eq!(Spread::of([1.0, 2.0].into_iter()).median, 1.5);
    }

    #[test]
    fn how_near_the_limit_is_stands_beside_it() {
        let mut tenants = measured("tenants", vec![pair(9.0, 3.0), pair(9.0, 5.0)]);
        tenants.limit = Some(Sample::lasting(2.0));
        let table = limits(&[measured("login", Vec::new()), tenants]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| tenants | as many sockets that listen, and nothing else | – | 4.00 s | 2.00 s | 4.00 s | 2.00 |"
            ]
        );
    }

    #[test]
    fn what_could_not_be_measured_says_why() {
        let mut failed = measured("restore-big", Vec::new());
        failed.failed = Some("a client ended with 4: no | yes".to_owned());
        let table = text(&[failed]);
        let row = table.lines().nth(2).unwrap();
        let expected = "| restore-big | not measured: a client ended with 4: no / yes | | | | | |";
        assert_eq!(row, expected);
    }
}
