//! Every option and the field that it sets, and what takes it back.

use super::*;

#[test]
fn every_option_sets_its_field() {
    let table = sets! {
        "-v" => verbosity = 1;
        "-vvv" => verbosity = 3;
        "-q" => quiet = true;
        "-b" => backup = true;
        "-u" => update = true;
        "-n" => dry_run = true;
        "-l" => links = true;
        "-d" => dirs = true;
        "-K" => keep_dirlinks = true;
        "-m" => prune_empty_dirs = true;
        "-O" => omit_dir_times = true;
        "-J" => omit_link_times = true;
        "-y" => fuzzy = Fuzzy::Destination;
        "-yy" => fuzzy = Fuzzy::AlternatesToo;
        "--fuzzy" => fuzzy = Fuzzy::Destination;
        "-L" => copy_links = true;
        "-k" => copy_dirlinks = true;
        "-W" => whole_file = WholeFile::Always;
        "--no-W" => whole_file = WholeFile::Never;
        "-H" => hard_links = true;
        "-HH" => hard_links = true;
        "-o" => owner = true;
        "-g" => group = true;
        "-D" => devices = true;
        "-D --no-specials" => devices = true;
        "-D --no-devices" => specials = true;
        "--specials" => specials = true;
        "--devices" => devices = true;
        "-t" => times = true;
        "-U" => atimes = true;
        "-UU" => open_noatime = true;
        "-p" => perms = true;
        "-E" => executability = true;
        "-A" => acls = true;
        "-A --no-p" => perms = true;
        "-X" => xattrs = Xattrs::Plain;
        "-XX" => xattrs = Xattrs::WithInternal;
        "-r" => recursive = true;
        "-c" => checksum = true;
        "-C" => cvs_exclude = true;
        "-I" => ignore_times = true;
        "-R" => relative = true;
        "-x" => one_file_system = OneFileSystem::KeepMountPoints;
        "-xx" => one_file_system = OneFileSystem::OmitMountPoints;
        "-S" => sparse = true;
        "-z" => compress = CompressRequest::Negotiate;
        "--compress-level=5" => compress = CompressRequest::Negotiate;
        "--compress-level=5" => compress_level = Some(5);
        "-z --old-compress" => compress = CompressRequest::Explicit(Compression::Zlib);
        "--new-compress" => compress = CompressRequest::Explicit(Compression::Zlibx);
        "-zz" => compress = CompressRequest::Explicit(Compression::Zlibx);
        "--compress-choice=ZSTD" => compress = CompressRequest::Explicit(Compression::Zstd);
        "--zc=lz4" => compress = CompressRequest::Explicit(Compression::Lz4);
        "--iconv=latin1" => iconv = Some(Charset::find(b"ISO-8859-1").unwrap());
        "--list-only" => list_only = true;
        "--log-format=%i" => log_format = LogFormat::Itemize;
        "--log-format %i%I" => log_format = LogFormat::ItemizeUnchanged;
        "--log-format=%o" => log_format = LogFormat::Operation;
        "--log-format=X" => log_format = LogFormat::Other;
        "--msgs2stderr" => message_route = MessageRoute::Stderr;
        "--no-msgs2stderr" => message_route = MessageRoute::Protocol;
        "-B4096" => block_size = Some(4096);
        "--block-size=128K" => block_size = Some(131_072);
        "--timeout=60" => timeout_secs = Some(60);
        "--timeout 60" => timeout_secs = Some(60);
        "--bwlimit=2" => bwlimit = Some(2048);
        "--bwlimit=1.5m" => bwlimit = Some(3 << 19);
        "--backup-dir b" => backup_dir = Some(b"b".to_vec());
        "--backup-dir=b" => backup = true;
        "--backup-dir b" => backup_suffix = Vec::<u8>::new();
        "-b --suffix=.old" => backup_suffix = b".old".to_vec();
        "--checksum-choice=md5" => checksum_choice = Some(ChecksumChoice {
            transfer: SumChoice::Named(StrongKind::Md5),
            list: SumChoice::Named(StrongKind::Md5),
        });
        "--cc=auto,XXH64" => checksum_choice = Some(ChecksumChoice {
            transfer: SumChoice::Auto,
            list: SumChoice::Named(StrongKind::Xxh64),
        });
        "--max-delete=5" => max_delete = Some(5);
        "--max-delete=-1" => max_delete = Some(0);
        "--min-size=3k" => min_size = Some(3072);
        "--max-size 2M" => max_size = Some(2 << 20);
        "-r --delete-before" => delete = Delete::Before;
        "-r --delete-during" => delete = Delete::During;
        "-r --delete-delay" => delete = Delete::Delay;
        "-r --delete-after" => delete = Delete::After;
        "-r --delete" => delete = Delete::Unspecified;
        "-d --no-r --delete" => delete = Delete::Unspecified;
        "-r --delete --delete-after" => delete = Delete::After;
        "-r --delete-excluded" => delete = Delete::Unspecified;
        "-r --delete-excluded" => delete_excluded = true;
        "--force" => force = true;
        "--only-write-batch=X" => only_write_batch = true;
        "--super" => super_user = Some(true);
        "--drop-D" => drop_nodes = true;
        "--no-super" => super_user = Some(false);
        "--fake-super" => fake_super = true;
        "--size-only" => size_only = true;
        "--stats" => stats = true;
        "--skip-compress=gz/jpg" => skip_compress = Some(b"gz/jpg".to_vec());
        "--max-alloc=1g" => max_alloc = Some(1 << 30);
        "--delete-missing-args" => missing_args = MissingArgs::Delete;
        "--delete-missing-args --ignore-missing-args" => missing_args = MissingArgs::Delete;
        "--ignore-missing-args" => missing_args = MissingArgs::Ignore;
        "--modify-window=2" => modify_window = ModifyWindow::Seconds(2);
        "-@-1" => modify_window = ModifyWindow::Nanoseconds;
        "--checksum-seed=-7" => checksum_seed = Some(-7);
        "--partial-dir ~/p" => partial_dir = Some(b"/p".to_vec());
        "--partial-dir p" => partial = true;
        "--delay-updates" => delay_updates = true;
        "--partial" => partial = true;
        "--ignore-errors" => ignore_errors = true;
        "--copy-unsafe-links" => copy_unsafe_links = true;
        "--safe-links" => safe_links = true;
        "--numeric-ids" => numeric_ids = true;
        "--use-qsort" => incremental = false;
        "--qsort" => incremental = false;
        "--no-i-r" => incremental = false;
        "--usermap=1:2" => owner = true;
        "--groupmap=1:2" => group = true;
        "--ignore-existing" => ignore_existing = true;
        "--existing" => existing = true;
        "--temp-dir t" => temp_dir = Some(b"t".to_vec());
        "-T t" => temp_dir = Some(b"t".to_vec());
        "--fsync" => fsync = true;
        "--compare-dest a --compare-dest=b" => alternates = Some(Alternates {
            kind: AlternateKind::Compare,
            dirs: vec![b"a".to_vec(), b"b".to_vec()],
        });
        "--copy-dest a" => alternates = Some(Alternates {
            kind: AlternateKind::Copy,
            dirs: vec![b"a".to_vec()],
        });
        "--link-dest ../x --link-dest ~/y" => alternates = Some(Alternates {
            kind: AlternateKind::Link,
            dirs: vec![b"../x".to_vec(), b"/y".to_vec()],
        });
        "--info=DEL" => info_changes = vec![(Info::Del, 1)];
        "--append" => append = Append::Unverified;
        "--append --append" => append = Append::Verified;
        "--append-verify" => append = Append::Verified;
        "--inplace" => inplace = true;
        "--files-from ~/list" => files_from = FilesFrom::Server { path: b"/list".to_vec() };
        "--files-from=~/list" => files_from = FilesFrom::Server { path: b"~/list".to_vec() };
        "--files-from list" => relative = true;
        "--files-from list" => dirs = true;
        "--from0" => from0 = true;
        "--no-implied-dirs" => implied_dirs = false;
        "--write-devices" => write_devices = true;
        "--remove-source-files" => remove_source = RemoveSource::SourceFiles;
        "--remove-sent-files" => remove_source = RemoveSource::SentFiles;
        "--copy-devices" => copy_devices = true;
        "--preallocate" => preallocate = true;
        "--open-noatime" => open_noatime = true;
        "--mkpath" => mkpath = true;
        "--munge-links" => munge_links = true;
        "--protocol=29" => protocol_limit = ProtocolVersion::new(29);
    };
    for (words, check) in table {
        assert!(check(&push(words)), "{words}: {:?}", push(words));
    }
}

#[test]
fn negations_and_later_words_take_back_what_earlier_ones_said() {
    let plain = push("");
    for words in [
        "-v --no-v",
        "-r --no-r",
        "-d --no-dirs",
        "--drop-D --no-drop-D --insecure-links",
        "-R --no-R",
        "-l --no-links",
        "-H --no-H",
        "-p --no-p",
        "-o --no-o",
        "-g --no-g",
        "-D --no-D",
        "-t --no-t",
        "-O --no-O",
        "-J --no-J",
        "-U --no-U",
        "-N --no-N",
        "-X --no-X",
        "-c --no-c",
        "-I --no-I",
        "-u --no-u",
        "-x --no-x",
        "-S --no-S",
        "-z --no-z",
        "-y --no-y",
        "-b --no-b",
        "-m --no-m",
        "-C --no-C",
        "-q --no-q",
        "--inplace --no-inplace",
        "--append --no-append",
        "--partial --no-partial",
        "--numeric-ids --no-numeric-ids",
        "--timeout=3 --no-timeout",
        "--bwlimit=3 --no-bwlimit",
        "--stats --no-stats",
        "--force --no-force",
        "--fsync --no-fsync",
        "--mkpath --no-mkpath",
        "--ignore-errors --no-ignore-errors",
        "--size-only --no-size-only",
        "--timeout=0",
        "--bwlimit=0",
        "--checksum-seed=0",
        "--block-size=0",
        "--partial-dir=.",
        "--cc=auto",
        "--compress-choice=none",
        "-z --zc=none",
        "--modify-window=0",
        "--debug=flist2,recv",
        "--progress",
        "--trust-sender",
        "--log-format=x --no-log-format",
        "--no-i-d --implied-dirs",
    ] {
        assert_eq!(push(words), plain, "{words}");
    }
    assert!(!push("--files-from list --no-relative").relative);
    assert!(!push("--files-from list").recursive);
}
