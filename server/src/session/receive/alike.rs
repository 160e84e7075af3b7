//! How alike two file names are, as `--fuzzy` counts it.
//!
//! The distance is a number of edits, 65,536 for each, plus small change for how far apart the
//! characters are; what follows the last dot that means something counts eleven times in all. It
//! has to be the very number that stock rsync comes to, or another file would be chosen.
//!
//! Source: rsync `util1.c:fuzzy_distance`, `util1.c:find_filename_suffix`, `generator.c:find_fuzzy`.

/// One edit.
const EDIT: u32 = 1 << 16;
/// Names farther apart than 25 edits are not alike.
pub(super) const FARTHEST: u32 = 25 * EDIT;
/// How much more the end of a name counts.
const SUFFIX_WEIGHT: u32 = 10;
/// The longest name.
const NAME_MAX: usize = 255;

/// A name, and what is found out about it once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    bytes: &'a [u8],
    suffix: &'a [u8],
    /// A bit for each character, folded to 64.
    characters: u64,
}

impl<'a> Name<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self::with_suffix(bytes, suffix(bytes))
    }

    fn with_suffix(bytes: &'a [u8], suffix: &'a [u8]) -> Self {
        let bit = |byte: &u8| 1 << (byte & 63);
        let characters = bytes
            .iter()
            .map(bit)
            .fold(0, |all: u64, bit: u64| all | bit);
        Self {
            bytes,
            suffix,
            characters,
        }
    }

    /// No distance between the two is smaller than this: each character that only one of them has
    /// takes an edit, and so does each byte of difference in length.
    fn least_distance(&self, other: &Name<'_>) -> u32 {
        let only = |a: &Name<'_>, b: &Name<'_>| (a.characters & !b.characters).count_ones();
        let longer = self.bytes.len().abs_diff(other.bytes.len()) as u32;
        only(self, other).max(only(other, self)).max(longer) * EDIT
    }

    /// The distance, and how many steps it took to find it. `None`: it is more than `limit`.
    pub(super) fn distance(&self, other: &Name<'_>, limit: u32) -> (Option<u32>, u64) {
        if self.least_distance(other) > limit {
            return (None, 1);
        }
        let (names, mut steps) = edits(self.bytes, other.bytes, limit);
        let Some(names) = names else {
            return (None, steps);
        };
        let left = (limit - names) / SUFFIX_WEIGHT;
        let (suffixes, more) = edits(self.suffix, other.suffix, left);
        steps += more;
        (
            suffixes.map(|suffixes| names + suffixes * SUFFIX_WEIGHT),
            steps,
        )
    }
}

/// The distance between two strings, and the steps to find it. `None`: it is more than `limit`.
///
/// Only a band along the diagonal is looked at: whoever leaves it has made too many edits.
fn edits(a: &[u8], b: &[u8], limit: u32) -> (Option<u32>, u64) {
    let within = |distance: u32| (distance <= limit).then_some(distance);
    if a.is_empty() || b.is_empty() {
        let rest = if a.is_empty() { b } else { a };
        // Characters are signed here, as they are to a compiler of C on most machines.
        let characters: i64 = rest.iter().map(|byte| i64::from(*byte as i8)).sum();
        let distance = rest.len() as i64 * i64::from(EDIT) + characters;
        return (within(distance as u32), 1);
    }
    let reach = (limit / EDIT) as usize;
    if a.len().abs_diff(b.len()) > reach || a.len() > NAME_MAX || b.len() > NAME_MAX {
        return (None, 1);
    }
    const FAR: u32 = u32::MAX / 2;
    let mut row = [FAR; NAME_MAX + 1];
    for (at, cell) in row.iter_mut().enumerate().take(b.len().min(reach) + 1) {
        *cell = at as u32 * EDIT;
    }
    let mut steps = 0;
    for (at, byte) in a.iter().enumerate() {
        let first = (at + 1).saturating_sub(reach).max(1);
        let last = (at + 1 + reach).min(b.len());
        let mut diagonal = row[first - 1];
        let mut above = if first == 1 {
            (at as u32 + 1) * EDIT
        } else {
            FAR
        };
        row[first - 1] = above;
        let mut least = above;
        for column in first..=last {
            let left = row[column];
            let own = b[column - 1];
            let replaced = match byte.abs_diff(own) {
                0 => diagonal,
                apart => diagonal + EDIT + u32::from(apart),
            };
            let other = if left < above {
                left + EDIT + u32::from(*byte)
            } else {
                above + EDIT + u32::from(own)
            };
            above = replaced.min(other);
            row[column] = above;
            least = least.min(above);
            diagonal = left;
        }
        steps += (last + 1 - first) as u64;
        if least > limit {
            return (None, steps);
        }
    }
    (within(row[b.len()]), steps)
}

/// What a name ends in: the last dot and what follows it. Ends that say that a file is a copy
/// (`.bak`, `.old`, `.orig`, `~`) do not count, and a number only if there is nothing else.
fn suffix(name: &[u8]) -> &[u8] {
    let dots = name.iter().take_while(|byte| **byte == b'.').count();
    let whole = &name[dots..];
    let (mut rest, is_backup) = match whole {
        [first @ .., b'~'] if !first.is_empty() => (first, true),
        _ => (whole, false),
    };
    let mut found = &whole[..0];
    while rest.len() > 1 {
        let Some(dot) = rest
            .iter()
            .rposition(|byte| *byte == b'.')
            .filter(|at| *at > 0)
        else {
            break;
        };
        let suffix = &rest[dot..];
        let to_the_end = &whole[dot + 1..];
        rest = &rest[..dot];
        let is_copy = match suffix.len() {
            4 => to_the_end == b"bak" || to_the_end == b"old",
            5 => to_the_end == b"orig",
            3.. => is_backup && suffix[1] == b'~' && suffix[2].is_ascii_digit(),
            _ => false,
        };
        if is_copy {
            continue;
        }
        found = suffix;
        if suffix.len() == 1 || !suffix[1..].iter().all(u8::is_ascii_digit) {
            break;
        }
    }
    found
}

/// The regular files of a directory that have something in them, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    files: Vec<File>,
    /// Their numbers, by size and time.
    by_size: Vec<u32>,
}

#[derive(Debug)]
struct File {
    at: u32,
    len: u8,
    suffix_len: u8,
    suffix_at: u8,
    /// It is being changed, and nobody's basis.
    is_changing: bool,
    characters: u64,
    size: u64,
    /// Seconds.
    mtime: i64,
}

impl Names {
    /// Of `(name, size, seconds)`.
    pub(super) fn new(mut list: Vec<(Vec<u8>, u64, i64)>) -> Self {
        list.sort_unstable();
        let mut names = Self::default();
        for (name, size, mtime) in list {
            let end = suffix(&name);
            let suffix_at = match end.is_empty() {
                true => 0,
                false => end.as_ptr() as usize - name.as_ptr() as usize,
            };
            names.files.push(File {
                at: names.bytes.len() as u32,
                len: name.len() as u8,
                suffix_len: end.len() as u8,
                suffix_at: suffix_at as u8,
                is_changing: false,
                characters: Name::new(&name).characters,
                size,
                mtime,
            });
            names.bytes.extend_from_slice(&name);
        }
        let files = &names.files;
        names.by_size = (0..files.len() as u32).collect();
        names.by_size.sort_unstable_by_key(|number| {
            let file = &files[*number as usize];
            (file.size, file.mtime, *number)
        });
        names
    }

    fn bytes_of(&self, file: &File) -> &[u8] {
        &self.bytes[file.at as usize..][..file.len.into()]
    }

    fn name(&self, number: u32) -> Name<'_> {
        let file = &self.files[number as usize];
        let bytes = self.bytes_of(file);
        Name {
            bytes,
            suffix: &bytes[file.suffix_at.into()..][..file.suffix_len.into()],
            characters: file.characters,
        }
    }

    /// The name is that of a file that is being changed.
    pub(super) fn is_changing(&mut self, name: &[u8]) {
        let place = self
            .files
            .binary_search_by(|file| self.bytes[file.at as usize..][..file.len.into()].cmp(name));
        if let Ok(number) = place {
            self.files[number].is_changing = true;
        }
    }

    /// The first file of this size and time. `window`: how many seconds times may differ.
    fn of_size_and_time(&self, size: u64, mtime: i64, window: u32) -> Option<u32> {
        let file = |number: &u32| &self.files[*number as usize];
        let from = mtime.saturating_sub(window.into());
        let to = mtime.saturating_add(window.into());
        let first = self
            .by_size
            .partition_point(|number| (file(number).size, file(number).mtime) < (size, from));
        let of_that_size = self.by_size[first..]
            .iter()
            .take_while(|number| file(number).size == size && file(number).mtime <= to)
            .filter(|number| !file(number).is_changing);
        match window {
            0 => of_that_size.copied().next(),
            _ => of_that_size.copied().min(),
        }
    }
}

/// How many names on either side, in their order, are looked at in any case.
const NEIGHBOURS: usize = 32;

/// The file that is the best basis for a new one: its list, and its name. `steps` are those that
/// may still be taken to find the nearest of all; when they are used up, only the neighbours in
/// the order of names are looked at.
pub(super) fn choose<'a>(
    lists: &'a [Names],
    name: &[u8],
    size: u64,
    (mtime, window): (i64, u32),
    steps: &mut u64,
) -> Option<(usize, &'a [u8])> {
    let same = lists.iter().enumerate().find_map(|(at, list)| {
        let number = list.of_size_and_time(size, mtime, window)?;
        Some((at, list.name(number).bytes))
    });
    if same.is_some() {
        return same;
    }
    let wanted = Name::new(name);
    let mut search = Search {
        lists,
        wanted,
        nearest: FARTHEST,
        found: None,
        steps,
    };
    for (at, list) in lists.iter().enumerate() {
        let place = list
            .files
            .partition_point(|file| list.bytes_of(file) < name);
        let from = place.saturating_sub(NEIGHBOURS);
        let to = (place + NEIGHBOURS).min(list.files.len());
        (from..to).for_each(|number| search.look_at(at, number as u32));
    }
    // What was found there is a limit for the rest.
    for (at, list) in lists.iter().enumerate() {
        for number in 0..list.files.len() as u32 {
            if *search.steps == 0 {
                break;
            }
            search.look_at(at, number);
        }
    }
    let (at, number) = search.found?;
    Some((at, lists[at].name(number).bytes))
}

struct Search<'a, 'b> {
    lists: &'a [Names],
    wanted: Name<'b>,
    nearest: u32,
    found: Option<(usize, u32)>,
    steps: &'b mut u64,
}

impl Search<'_, '_> {
    /// Of several that are equally near, the last counts.
    fn look_at(&mut self, list: usize, number: u32) {
        if self.lists[list].files[number as usize].is_changing {
            return;
        }
        let name = self.lists[list].name(number);
        let (distance, steps) = name.distance(&self.wanted, self.nearest);
        *self.steps = self.steps.saturating_sub(steps);
        let Some(distance) = distance else { return };
        if distance < self.nearest || self.found.is_none_or(|found| found < (list, number)) {
            self.nearest = distance;
            self.found = Some((list, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same without the band, the limit and the look at characters.
    fn plainly(a: &[u8], b: &[u8]) -> u32 {
        let mut row: Vec<u32> = (0..=b.len() as u32).map(|at| at * EDIT).collect();
        for (at, byte) in a.iter().enumerate() {
            let mut next = vec![(at as u32 + 1) * EDIT];
            for (column, own) in b.iter().enumerate() {
                let apart = u32::from(byte.abs_diff(*own));
                let replaced = row[column] + if apart == 0 { 0 } else { EDIT + apart };
                let (up, back) = (row[column + 1], next[column]);
                let other = match up < back {
                    true => up + EDIT + u32::from(*byte),
                    false => back + EDIT + u32::from(*own),
                };
                next.push(replaced.min(other));
            }
            row = next;
        }
        row[b.len()]
    }

    fn names(list: &[&str]) -> Names {
        let of = |(at, name): (usize, &&str)| (name.as_bytes().to_vec(), 1 + at as u64, 0);
        Names::new(list.iter().enumerate().map(of).collect())
    }

    fn chosen(list: &[&str], name: &str) -> Option<String> {
        let lists = [names(list)];
        let found = choose(
            &lists,
            name.as_bytes(),
            1000,
            (1000, 0),
            &mut u64::MAX.clone(),
        );
        found.map(|(_, name)| String::from_utf8(name.to_vec()).unwrap())
    }

    #[test]
    fn the_band_finds_every_distance_within_its_limit() {
        let mut seed = 1_u64;
        let mut next = |below: u64| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for round in 0..3000 {
            let letters = 2 + next(60);
            let mut word = |longest| -> Vec<u8> {
                let len = 1 + next(longest);
                (0..len).map(|_| b'0' + next(letters) as u8).collect()
            };
            let longest = if round % 10 == 0 { 255 } else { 12 };
            let (a, mut b) = (word(longest), word(longest));
            if round % 3 == 0 {
                b = a.clone();
                b.insert(b.len() / 2, b'x');
                b.truncate(255);
            }
            let real = plainly(&a, &b);
            for limit in [
                0,
                EDIT,
                3 * EDIT + 40,
                real.saturating_sub(1),
                real,
                FARTHEST,
            ] {
                let found = edits(&a, &b, limit).0;
                assert_eq!(
                    found,
                    (real <= limit).then_some(real),
                    "{a:?} {b:?} {limit}"
                );
            }
            let (a, b) = (Name::with_suffix(&a, b""), Name::with_suffix(&b, b""));
            assert!(a.least_distance(&b) <= real);
        }
    }

    #[test]
    fn a_suffix_is_what_stock_takes_for_one() {
        for (name, end) in [
            ("file", ""),
            ("file.c", ".c"),
            ("file.tar.gz", ".gz"),
            (".profile", ""),
            ("..a.b", ".b"),
            ("file.c~", ".c"),
            ("file.c.bak", ".c"),
            ("file.c.old", ".c"),
            ("file.c.orig", ".c"),
            ("file.bak", ""),
            ("file.c.~1~", ".c"),
            ("messages.1", ".1"),
            ("messages.log.1", ".log"),
            ("libc-2.31.so.6", ".so"),
            ("file.", "."),
            ("a", ""),
            ("~", ""),
            ("...", ""),
        ] {
            assert_eq!(suffix(name.as_bytes()), end.as_bytes(), "{name}");
        }
    }

    #[test]
    fn size_and_time_count_before_names() {
        let lists = [
            Names::new(vec![(b"near.c".to_vec(), 5, 5), (b"far".to_vec(), 7, 9)]),
            Names::new(vec![(b"elsewhere".to_vec(), 8, 9)]),
        ];
        let choose = |size, time, window| {
            choose(
                &lists,
                b"nearer.c",
                size,
                (time, window),
                &mut u64::MAX.clone(),
            )
        };
        assert_eq!(choose(7, 9, 0), Some((0, &b"far"[..])));
        assert_eq!(choose(7, 8, 1), Some((0, &b"far"[..])));
        assert_eq!(choose(8, 9, 0), Some((1, &b"elsewhere"[..])));
        assert_eq!(choose(7, 8, 0), Some((0, &b"near.c"[..])));
    }

    #[test]
    fn the_nearest_name_is_chosen_and_the_last_of_equals() {
        let versions = [
            "tool-1.0.tar.gz",
            "tool-1.1.tar.gz",
            "tool-2.0.tar.gz",
            "other.zip",
        ];
        assert_eq!(
            chosen(&versions, "tool-1.2.tar.gz").unwrap(),
            "tool-1.1.tar.gz"
        );
        assert_eq!(chosen(&versions, "tool-1.1.zip").unwrap(), "other.zip");
        assert_eq!(chosen(&["b", "c"], "a").unwrap(), "b");
        assert_eq!(chosen(&["aab", "baa"], "aa").unwrap(), "baa");
        assert_eq!(chosen(&["xa", "ax"], "a").unwrap(), "xa");
        assert_eq!(chosen(&[&"n".repeat(40)], "a"), None);
        assert_eq!(chosen(&[], "a"), None);
    }

    #[test]
    fn what_is_changing_is_no_basis() {
        let mut list = names(&["data.1", "data.7"]);
        list.is_changing(b"data.1");
        list.is_changing(b"not there");
        let lists = [list];
        let found = choose(&lists, b"data.2", 9, (9, 0), &mut u64::MAX.clone());
        assert_eq!(found.unwrap().1, b"data.7");
        assert_eq!(
            choose(&lists, b"data.8", 1, (0, 0), &mut 0).unwrap().1,
            b"data.7"
        );
    }

    #[test]
    fn without_steps_left_the_neighbours_are_found() {
        let many: Vec<String> = (0..5000).map(|n| format!("file{n:05}.log")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let lists = [names(&many)];
        let mut steps = 0;
        let found = choose(&lists, b"file02500x.log", 9999, (9, 0), &mut steps);
        assert_eq!(found.unwrap().1, b"file02500.log");
        let mut steps = u64::MAX;
        choose(&lists, b"file02500x.log", 9999, (9, 0), &mut steps);
        assert!(u64::MAX - steps < 20 * 5000, "{}", u64::MAX - steps);
    }
}
