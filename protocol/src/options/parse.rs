//! Words to options: bundles, both value forms, and the conflicts that stock servers refuse.

use super::table::{self, Action};
use super::*;
use crate::error::escape;

/// Options while their words are being read.
pub(super) struct Draft {
    pub(super) options: ServerOptions,
    pub(super) server: bool,
    /// Said explicitly; `--files-from` changes only the default.
    pub(super) relative: Option<bool>,
    pub(super) suffix: Option<Vec<u8>>,
    pub(super) charset: Option<Vec<u8>>,
    pub(super) compress_letters: u32,
    pub(super) compress_choice: Option<CompressRequest>,
    /// The moments of deletion that were named, if more than one.
    delete_conflict: bool,
}

/// The value of an option.
pub(super) struct Value<'a> {
    /// The option as the client wrote it, up to its value.
    option: &'a [u8],
    pub(super) bytes: &'a [u8],
    /// The word it stands in, when it has one to itself and a shell would expand `~/`.
    word: Option<&'a Word>,
}

impl ServerOptions {
    /// Reads the words after the program's name.
    ///
    /// With `secluded` set in the result only the letters are known yet, and
    /// [`ServerOptions::parse_secluded`] has to follow.
    /// Errors: what a stock server answers with exit 1 before its first byte (see
    /// [`render_usage_error`]), and exit 4 for names of unknown checksums and compressions.
    pub fn parse(words: &[Word]) -> Result<Self, ProtocolError> {
        let draft = Draft::new(words.iter())?;
        let charset = draft.charset.clone();
        let mut options = match draft.options.secluded {
            true => draft.options,
            false => draft.finish()?,
        };
        options.iconv = charset.as_deref().map(Charset::find).transpose()?;
        Ok(options)
    }

    /// Reads the words of the command line together with those from stdin (see [`SecludedArgs`]),
    /// of which the first is a program's name.
    pub fn parse_secluded(words: &[Word], stdin: &[Word]) -> Result<Self, ProtocolError> {
        let charset = Self::parse(words)?.iconv;
        let localized: Vec<Word>;
        let stdin = match charset {
            None => stdin,
            Some(charset) => {
                let words = stdin.iter().map(|word| charset.localize_all(word.bytes()));
                localized = words.map(|word| Word::unquoted(&word)).collect();
                &localized
            }
        };
        let mut draft = Draft::new(words.iter().chain(stdin.iter().skip(1)))?;
        draft.options.secluded = false;
        draft.options.iconv = charset;
        draft.options.converts_names = charset.is_some();
        draft.finish()
    }
}

impl Draft {
    fn new<'a>(mut words: impl Iterator<Item = &'a Word>) -> Result<Self, ProtocolError> {
        let mut draft = Self {
            options: ServerOptions::default(),
            server: false,
            relative: None,
            suffix: None,
            charset: None,
            compress_letters: 0,
            compress_choice: None,
            delete_conflict: false,
        };
        while let Some(word) = words.next() {
            match word.bytes() {
                b"--" => {}
                [b'-', b'-', ..] => draft.long_option(word, &mut words)?,
                [b'-', _, ..] => draft.bundle(word, &mut words)?,
                b"." => break,
                other => {
                    return Err(ProtocolError::usage(format!(
                        "`{}` stands before the `.` that paths follow",
                        escape(other)
                    )));
                }
            }
        }
        draft.options.paths = words.cloned().collect();
        match draft.server {
            true => Ok(draft),
            false => Err(ProtocolError::usage("--server is missing")),
        }
    }

    fn long_option<'a>(
        &mut self,
        word: &'a Word,
        words: &mut impl Iterator<Item = &'a Word>,
    ) -> Result<(), ProtocolError> {
        let text = word.bytes();
        let equals = text.iter().position(|b| *b == b'=');
        let option = &text[..equals.unwrap_or(text.len())];
        let attached = equals.map(|at| &text[at + 1..]);
        match table::long(&option[2..]) {
            None => Err(remote(text, "unknown option")),
            Some(Action::Refused(reason)) => Err(refused(option, reason)),
            Some(Action::Flag(set)) if attached.is_none() => {
                set(self);
                Ok(())
            }
            Some(Action::Flag(_)) => Err(remote(text, "option does not take an argument")),
            Some(Action::Valued(set)) => set(self, &Value::find(option, attached, words)?),
        }
    }

    /// Letters; one that takes a value takes the rest of the word, or the next one.
    fn bundle<'a>(
        &mut self,
        word: &'a Word,
        words: &mut impl Iterator<Item = &'a Word>,
    ) -> Result<(), ProtocolError> {
        let mut letters = &word.bytes()[1..];
        while let [letter, rest @ ..] = letters {
            letters = rest;
            match table::short(*letter) {
                None => return Err(remote(word.bytes(), "unknown option")),
                Some(Action::Flag(set)) => set(self),
                Some(Action::Refused(reason)) => return Err(refused(&[b'-', *letter], reason)),
                Some(Action::Valued(set)) => {
                    let attached = Some(rest).filter(|rest| !rest.is_empty());
                    return set(self, &Value::find(&[b'-', *letter], attached, words)?);
                }
            }
        }
        Ok(())
    }

    /// A named moment wins over a plain `--delete`; `--delete-delay` refines `--delete-during`.
    pub(super) fn delete(&mut self, asked: Delete) {
        let now = &mut self.options.delete;
        match (*now, asked) {
            (Delete::No | Delete::Unspecified, _) => *now = asked,
            (_, Delete::Unspecified | Delete::No) => {}
            (Delete::During | Delete::Delay, Delete::During | Delete::Delay) => *now = asked,
            (now, asked) => self.delete_conflict |= now != asked,
        }
    }

    /// What is wrong in a map is told in the protocol, as stock servers do.
    pub(super) fn map(&mut self, option: &str, value: &Value<'_>) {
        let options = &mut self.options;
        match IdMap::parse(option, value.bytes) {
            Ok(map) if option == "usermap" => options.usermap = map,
            Ok(map) => options.groupmap = map,
            Err(error) => options.map_error = Some(error),
        }
    }

    /// Three words for one thing: the last one counts.
    pub(super) fn privilege(&mut self, super_user: Option<bool>, fake_super: bool) {
        self.options.super_user = super_user;
        self.options.fake_super = fake_super;
    }

    pub(super) fn alternate(
        &mut self,
        kind: AlternateKind,
        value: &Value<'_>,
    ) -> Result<(), ProtocolError> {
        const MOST: usize = 20;
        let alternates = self.options.alternates.get_or_insert_with(|| Alternates {
            kind,
            dirs: Vec::new(),
        });
        if alternates.kind != kind {
            return Err(ProtocolError::usage(format!(
                "the {} option conflicts with the {} option",
                kind.option(),
                alternates.kind.option()
            )));
        }
        if alternates.dirs.len() == MOST {
            return Err(ProtocolError::usage(format!(
                "at most {MOST} {} options may be given",
                kind.option()
            )));
        }
        alternates.dirs.push(value.path());
        Ok(())
    }

    /// What options imply, and what they may not say together.
    fn finish(mut self) -> Result<ServerOptions, ProtocolError> {
        let refuse = |text: &str| Err(ProtocolError::usage(text));
        let options = &mut self.options;
        let has_files_from = options.files_from != FilesFrom::Arguments;
        options.dirs |= has_files_from;
        options.relative = self.relative.unwrap_or(has_files_from);
        options.perms |= options.acls;
        options.owner |= !options.usermap.is_empty();
        options.group |= !options.groupmap.is_empty();
        options.partial |= options.partial_dir.is_some();
        options.backup |= options.backup_dir.is_some();
        options.compress = self.compress_choice.unwrap_or({
            match (self.compress_letters, options.compress_level) {
                (0, None) => CompressRequest::Off,
                (0 | 1, _) => CompressRequest::Negotiate,
                _ => CompressRequest::Explicit(Compression::Zlibx),
            }
        });

        if options.crtimes {
            // Linux has no call that sets them; stock servers there say the same.
            return refuse("The server does not support --crtimes (-N)");
        }
        if self.delete_conflict {
            return refuse("You may not combine multiple --delete-WHEN options.");
        }
        if options.delete != Delete::No && !options.recursive && !options.dirs {
            return refuse("--delete does not work without --recursive (-r) or --dirs (-d).");
        }
        if options.append != Append::No && options.whole_file == WholeFile::Always {
            return refuse("--append cannot be used with --whole-file");
        }
        if options.writes_in_place() {
            let in_place = match (options.append, options.write_devices) {
                (Append::No, false) => "--inplace",
                (Append::No, true) => "--write-devices",
                _ => "--append",
            };
            let other = match (options.delay_updates, &options.partial_dir) {
                (true, _) => Some("--delay-updates"),
                (false, Some(_)) => Some("--partial-dir"),
                (false, None) => None,
            };
            if let Some(other) = other {
                return refuse(&format!("{in_place} cannot be used with {other}"));
            }
        }
        let default_suffix = if options.backup_dir.is_some() {
            ""
        } else {
            "~"
        };
        options.backup_suffix = self.suffix.unwrap_or_else(|| default_suffix.into());
        if options.backup_suffix.contains(&b'/') {
            let suffix = escape(&options.backup_suffix);
            return refuse(&format!("--suffix cannot contain slashes: {suffix}"));
        }
        if options.backup && options.backup_suffix.is_empty() && options.backup_dir.is_none() {
            return refuse("--suffix cannot be empty without a --backup-dir");
        }
        match (options.role, options.paths.len()) {
            (Role::Receiver, 2..) => {
                return refuse(
                    "a push has one destination, but several words came after the `.`; \
                     a blank in its name needs a backslash before it",
                );
            }
            (Role::Receiver, _) if options.files_from == FilesFrom::Client => {
                return refuse("--files-from=- makes no sense without --sender");
            }
            _ => {}
        }
        Ok(self.options)
    }
}

impl<'a> Value<'a> {
    fn find<'w: 'a>(
        option: &'a [u8],
        attached: Option<&'a [u8]>,
        words: &mut impl Iterator<Item = &'w Word>,
    ) -> Result<Self, ProtocolError> {
        match attached {
            Some(bytes) => Ok(Self {
                option,
                bytes,
                word: None,
            }),
            None => {
                let word = words
                    .next()
                    .ok_or_else(|| remote(option, "missing argument"))?;
                Ok(Self {
                    option,
                    bytes: word.bytes(),
                    word: Some(word),
                })
            }
        }
    }

    /// The option with its value in the form that stock servers cite: a value in a word of its
    /// own is cited alone.
    fn cited(&self) -> Vec<u8> {
        match (self.word, self.option) {
            (Some(_), _) => self.bytes.to_vec(),
            (None, [b'-', b'-', ..]) => [self.option, b"=", self.bytes].concat(),
            (None, _) => [self.option, self.bytes].concat(),
        }
    }

    pub(super) fn invalid(&self) -> ProtocolError {
        ProtocolError::usage(format!("{} is invalid", escape(&self.cited())))
    }

    /// Text as it is.
    pub(super) fn text(&self, field: &mut Option<Vec<u8>>) -> Result<(), ProtocolError> {
        *field = Some(self.bytes.to_vec());
        Ok(())
    }

    pub(super) fn path(&self) -> Vec<u8> {
        match self.word {
            Some(word) => word.expand_home(),
            None => self.bytes.to_vec(),
        }
    }

    pub(super) fn integer(&self) -> Result<i32, ProtocolError> {
        std::str::from_utf8(self.bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| remote(&self.cited(), "invalid numeric value"))
    }

    pub(super) fn size(&self, default_unit: u64) -> Result<u64, ProtocolError> {
        size::parse(self.bytes, default_unit).ok_or_else(|| self.invalid())
    }

    /// `A` or `A,B`; `auto` for both asks for nothing.
    pub(super) fn checksum_choice(&self) -> Result<Option<ChecksumChoice>, ProtocolError> {
        let choice = |name: &[u8]| match name.eq_ignore_ascii_case(b"auto") {
            true => Ok(SumChoice::Auto),
            false => (std::str::from_utf8(name).ok())
                .and_then(StrongKind::from_name)
                .map(SumChoice::Named)
                .ok_or_else(|| {
                    ProtocolError::unsupported(format!("unknown checksum name: {}", escape(name)))
                }),
        };
        let mut names = self.bytes.splitn(2, |b| *b == b',');
        let transfer = choice(names.next().unwrap_or_default())?;
        let list = names.next().map_or(Ok(transfer), choice)?;
        Ok(match (transfer, list) {
            (SumChoice::Auto, SumChoice::Auto) => None,
            _ => Some(ChecksumChoice { transfer, list }),
        })
    }

    pub(super) fn compress_choice(&self) -> Result<Option<CompressRequest>, ProtocolError> {
        if self.bytes.eq_ignore_ascii_case(b"auto") {
            return Ok(Some(CompressRequest::Negotiate));
        }
        let name = std::str::from_utf8(self.bytes).ok();
        match name.and_then(Compression::from_name) {
            Some(Compression::None) => Ok(Some(CompressRequest::Off)),
            Some(compression) => Ok(Some(CompressRequest::Explicit(compression))),
            None => Err(ProtocolError::unsupported(format!(
                "unknown compress name: {}",
                escape(self.bytes)
            ))),
        }
    }

    pub(super) fn log_format(&self) -> LogFormat {
        let has = |item: &[u8]| self.bytes.windows(item.len()).any(|part| part == item);
        if has(b"%i%I") {
            LogFormat::ItemizeUnchanged
        } else if has(b"%i") {
            LogFormat::Itemize
        } else if has(b"%o") {
            LogFormat::Operation
        } else {
            LogFormat::Other
        }
    }
}

/// The words of stock servers for what their option parser refuses.
fn remote(cited: &[u8], problem: &str) -> ProtocolError {
    ProtocolError::usage(format!("on remote machine: {}: {problem}", escape(cited)))
}

fn refused(option: &[u8], reason: &str) -> ProtocolError {
    let option = escape(option);
    ProtocolError::unsupported(format!("this server refuses {option}: {reason}"))
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            role: Role::Receiver,
            secluded: false,
            paths: Vec::new(),
            capabilities: None,
            protocol_limit: None,
            iconv: None,
            converts_names: false,
            recursive: false,
            dirs: false,
            relative: false,
            implied_dirs: true,
            files_from: FilesFrom::Arguments,
            from0: false,
            missing_args: MissingArgs::Report,
            one_file_system: OneFileSystem::No,
            cvs_exclude: false,
            prune_empty_dirs: false,
            min_size: None,
            max_size: None,
            existing: false,
            ignore_existing: false,
            remove_source: RemoveSource::No,
            links: false,
            copy_links: false,
            copy_dirlinks: false,
            copy_unsafe_links: false,
            safe_links: false,
            munge_links: false,
            keep_dirlinks: false,
            hard_links: false,
            perms: false,
            executability: false,
            owner: false,
            group: false,
            devices: false,
            drop_nodes: false,
            specials: false,
            times: false,
            omit_dir_times: false,
            omit_link_times: false,
            atimes: false,
            crtimes: false,
            acls: false,
            xattrs: Xattrs::No,
            numeric_ids: false,
            usermap: IdMap::default(),
            groupmap: IdMap::default(),
            map_error: None,
            super_user: None,
            fake_super: false,
            checksum: false,
            ignore_times: false,
            size_only: false,
            update: false,
            modify_window: ModifyWindow::Seconds(0),
            whole_file: WholeFile::Default,
            block_size: None,
            checksum_choice: None,
            checksum_seed: None,
            compress: CompressRequest::Off,
            compress_level: None,
            skip_compress: None,
            sparse: false,
            preallocate: false,
            inplace: false,
            append: Append::No,
            partial: false,
            partial_dir: None,
            delay_updates: false,
            temp_dir: None,
            backup: false,
            backup_dir: None,
            backup_suffix: b"~".to_vec(),
            alternates: None,
            fuzzy: Fuzzy::No,
            fsync: false,
            write_devices: false,
            copy_devices: false,
            open_noatime: false,
            mkpath: false,
            only_write_batch: false,
            dry_run: false,
            list_only: false,
            delete: Delete::No,
            delete_excluded: false,
            max_delete: None,
            ignore_errors: false,
            force: false,
            verbosity: 0,
            quiet: false,
            info_changes: Vec::new(),
            debug_filter: None,
            debug_del: None,
            log_format: LogFormat::None,
            stats: false,
            message_route: MessageRoute::Default,
            timeout_secs: None,
            bwlimit: None,
            max_alloc: None,
            incremental: true,
        }
    }
}
