//! Samples as a table, and as the page `docs/performance.md`.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Measured, Pair};
use crate::clients::Clients;
use crate::loopfs::FileSystem;

/// Smallest, middle and largest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(pairs: &[Pair], figure: impl Fn(&Pair) -> f64) -> Self {
        let mut figures: Vec<f64> = pairs.iter().map(figure).collect();
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
        format!("{:.2} ({:.2}–{:.2})", self.median, self.least, self.most)
    }

    fn secs(self) -> String {
        format!("{:.2} s", self.median)
    }

    fn mebibytes(self) -> String {
        format!("{:.1} MiB", self.median / f64::from(1 << 20))
    }
}

/// A Markdown table: a row for each figure of each workload.
pub(super) fn text(measured: &[Measured]) -> String {
    let mut table = String::from(
        "| workload | figure | stock | coffre | coffre / stock (least–most) |\n\
         |---|---|---|---|---|\n",
    );
    for measured in measured {
        let pairs = &measured.pairs;
        let mut row = |figure: &str,
                       show: fn(Spread) -> String,
                       stock: fn(&Pair) -> f64,
                       coffre: fn(&Pair) -> f64| {
            let ratio = Spread::of(pairs, |pair| coffre(pair) / stock(pair));
            let _ = writeln!(
                table,
                "| {} | {figure} | {} | {} | {} |",
                measured.workload,
                show(Spread::of(pairs, stock)),
                show(Spread::of(pairs, coffre)),
                ratio.ratio()
            );
        };
        row(
            "time until the client's end",
            Spread::secs,
            |pair| pair.stock.wall_secs,
            |pair| pair.coffre.wall_secs,
        );
        row(
            "… and until it is on disk",
            Spread::secs,
            |pair| pair.stock.wall_secs + pair.stock.sync_secs,
            |pair| pair.coffre.wall_secs + pair.coffre.sync_secs,
        );
        row(
            "CPU time of the server",
            Spread::secs,
            |pair| pair.stock.server_cpu_secs,
            |pair| pair.coffre.server_cpu_secs,
        );
        row(
            "peak memory of the server",
            Spread::mebibytes,
            |pair| pair.stock.peak_memory_bytes as f64,
            |pair| pair.coffre.peak_memory_bytes as f64,
        );
    }
    table
}

/// The page, with how the figures were made.
pub(super) fn page(measured: &[Measured], clients: &Clients, fs: FileSystem) -> Result<String> {
    let mut page = String::from(
        "# Performance\n\n\
         Written by `client-compat bench --write`; run it on your own hardware before you trust \
         these figures there.\n\n\
         The same stock client pushes the same tree to stock sshd + rsync and to coffre, in turns, \
         over the loopback interface. Below 1 in the last column, coffre needs less. It is the \
         median of the ratios of pairs, with the smallest and the largest of them.\n\n",
    );
    page.push_str(&text(measured));
    page.push_str("\n## What is measured\n\n");
    for measured in measured {
        writeln!(
            page,
            "- **{}**: {}; {} pairs.",
            measured.workload,
            measured.about,
            measured.pairs.len()
        )?;
    }
    writeln!(
        page,
        "- Options of the client: `-aHAX --numeric-ids --delete`.\n\
         - Every pass has a fresh {} file system, made with the defaults of its mkfs and \
         mounted from a sparse file.\n\
         - coffre syncs before it tells a client that a push succeeded, stock does not. \
         \"On disk\" adds a sync of the file system after the client's end, for both.\n\
         - CPU time is that of all processes of the server: for stock, sshd, its children and \
         rsync.\n\
         - Peak memory: for coffre the most that was ever resident; for stock the largest sum of \
         its processes' private memory, sampled ten times a second, which leaves out what they \
         share.\n\
         - With N connections at once, stock needs its figure N times; coffre is one process.\n\
         \n\
         ## On what\n",
        match fs {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "XFS",
            FileSystem::Btrfs => "btrfs",
        }
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
        "\n- {} × {}, Linux {}\n- {}\n- {}\n- {}",
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
    use super::super::Sample;
    use super::*;

    fn pair(stock: f64, coffre: f64) -> Pair {
        let [stock, coffre] = [stock, coffre].map(|secs| Sample {
            wall_secs: secs,
            sync_secs: 1.0,
            server_cpu_secs: secs,
            peak_memory_bytes: 1 << 20,
        });
        Pair { stock, coffre }
    }

    #[test]
    fn the_ratio_is_the_median_of_ratios_of_pairs() {
        let measured = Measured {
            workload: "w",
            about: "about".to_owned(),
            pairs: vec![pair(1.0, 2.0), pair(10.0, 5.0), pair(4.0, 4.0)],
        };
        let table = text(&[measured]);
        let row = table.lines().nth(2).unwrap();
        assert_eq!(
            row,
            "| w | time until the client's end | 4.00 s | 4.00 s | 1.00 (0.50–2.00) |"
        );
    }

    #[test]
    fn an_even_number_of_pairs_has_its_median_in_the_middle() {
        let spread = Spread::of(&[pair(1.0, 1.0), pair(1.0, 2.0)], |pair| {
            pair.coffre.wall_secs
        });
        assert_eq!(spread.median, 1.5);
    }
}
