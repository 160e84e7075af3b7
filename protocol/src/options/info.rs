//! Which informational messages a client wants (`-v`, `--info`).

/// Kinds of informational message that a server may produce. Levels 0 (silent) to 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Info {
    Backup,
    Copy,
    Del,
    Flist,
    Misc,
    Mount,
    /// 1: updated entries, 2: unchanged ones too.
    Name,
    /// `skipping non-regular file`: on unless silenced.
    Nonreg,
    Progress,
    Remove,
    Skip,
    Stats,
    Symsafe,
}

/// The name on the command line, and the level that each verbosity (0, 1, 2) implies.
const FLAGS: [(Info, &str, [u8; 3]); 13] = [
    (Info::Backup, "BACKUP", [0, 0, 1]),
    (Info::Copy, "COPY", [0, 1, 1]),
    (Info::Del, "DEL", [0, 1, 1]),
    (Info::Flist, "FLIST", [0, 1, 1]),
    (Info::Misc, "MISC", [0, 1, 2]),
    (Info::Mount, "MOUNT", [0, 0, 1]),
    (Info::Name, "NAME", [0, 1, 2]),
    (Info::Nonreg, "NONREG", [1, 1, 1]),
    (Info::Progress, "PROGRESS", [0, 0, 0]),
    (Info::Remove, "REMOVE", [0, 0, 1]),
    (Info::Skip, "SKIP", [0, 0, 1]),
    (Info::Stats, "STATS", [0, 1, 1]),
    (Info::Symsafe, "SYMSAFE", [0, 1, 1]),
];

/// The level of every kind of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InfoLevels([u8; FLAGS.len()]);

impl InfoLevels {
    /// What `verbosity` implies, then `--stats`, then `changes` in their order.
    pub fn new(verbosity: u8, stats: bool, changes: &[(Info, u8)]) -> Self {
        let mut levels = Self(FLAGS.map(|(_, _, implied)| implied[usize::from(verbosity.min(2))]));
        if stats {
            levels.0[Info::Stats as usize] = if verbosity > 1 { 3 } else { 2 };
        }
        for (info, level) in changes {
            levels.0[*info as usize] = *level;
        }
        levels
    }

    pub fn level(&self, info: Info) -> u8 {
        self.0[info as usize]
    }

    /// Whether messages of this kind are wanted at all.
    pub fn wants(&self, info: Info) -> bool {
        self.level(info) > 0
    }
}

/// Reads the value of `--info`: names with an optional level digit, separated by commas; `ALL`
/// and `NONE` stand for every name. Names of newer releases are skipped, as stock servers do.
pub(super) fn parse(text: &[u8]) -> Vec<(Info, u8)> {
    let mut changes = Vec::new();
    for (name, level) in words(text) {
        for (info, known, _) in FLAGS {
            if name.eq_ignore_ascii_case(known.as_bytes()) || name.eq_ignore_ascii_case(b"ALL") {
                changes.push((info, level));
            } else if name.eq_ignore_ascii_case(b"NONE") {
                changes.push((info, 0));
            }
        }
    }
    changes
}

/// Reads the value of `--debug`, of which only one word is of use here at a time: its level, if
/// it is changed.
pub(super) fn debug_level(text: &[u8], word: &[u8]) -> Option<u8> {
    words(text)
        .filter_map(|(name, level)| {
            if name.eq_ignore_ascii_case(b"NONE") {
                return Some(0);
            }
            let is_named = name.eq_ignore_ascii_case(word) || name.eq_ignore_ascii_case(b"ALL");
            is_named.then_some(level)
        })
        .last()
}

/// Names and levels.
fn words(text: &[u8]) -> impl Iterator<Item = (&[u8], u8)> {
    text.split(|b| *b == b',').map(|word| {
        let digits = word.iter().rev().take_while(|b| b.is_ascii_digit()).count();
        let (name, digits) = word.split_at(word.len() - digits);
        let level = match digits {
            [] => 1,
            [digit] => digit - b'0',
            _ => 9,
        };
        (name, level)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_debugging_the_last_word_about_a_thing_counts() {
        let level = |text: &str| debug_level(text.as_bytes(), b"FILTER");
        assert_eq!(level("FLIST2,RECV"), None);
        assert_eq!(level("filter"), Some(1));
        assert_eq!(level("all,filter0,recv"), Some(0));
        assert_eq!(level("FILTER3,none"), Some(0));
        assert_eq!(level("ALL2"), Some(2));
    }

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (index, (info, _, _)) in FLAGS.iter().enumerate() {
            assert_eq!(*info as usize, index);
        }
    }

    #[test]
    fn verbosity_implies_levels_and_info_overrides_them() {
        let levels =
            |verbosity, text: &str| InfoLevels::new(verbosity, false, &parse(text.as_bytes()));
        assert!(levels(0, "").wants(Info::Nonreg) && !levels(0, "").wants(Info::Name));
        assert_eq!(levels(1, "").level(Info::Name), 1);
        assert_eq!(levels(2, "").level(Info::Name), 2);
        assert_eq!(levels(9, "").level(Info::Misc), 2);
        assert!(!levels(1, "").wants(Info::Skip) && levels(2, "").wants(Info::Skip));
        assert!(!levels(0, "nonreg0").wants(Info::Nonreg));
        let mixed = levels(1, "DEL,NAME0,skip2,future3");
        assert!(mixed.wants(Info::Del) && !mixed.wants(Info::Name));
        assert_eq!(mixed.level(Info::Skip), 2);
        assert_eq!(levels(2, "none").0, [0; FLAGS.len()]);
        assert_eq!(levels(0, "all4,name").level(Info::Backup), 4);
        assert_eq!(levels(0, "all4,name").level(Info::Name), 1);
        assert_eq!(InfoLevels::new(0, true, &[]).level(Info::Stats), 2);
    }
}
