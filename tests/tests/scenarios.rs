//! Every differential scenario as a test of its own, so that test runners show them by name.
//!
//! `client-compat run NAME` runs one with more to see.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use coffre_client_compat::clients::Clients;
use coffre_client_compat::differ::{Lab, run};
use coffre_client_compat::gaps::{Verdict, judge, known};
use coffre_client_compat::scenarios;
use coffre_tests::may_run;

fn check(name: &str) {
    if !may_run() {
        return;
    }
    let scenario = scenarios::all()
        .into_iter()
        .find(|scenario| scenario.name == name)
        .unwrap_or_else(|| panic!("there is no scenario {name:?}"));
    let lab = Lab::new(&Clients::find().unwrap()).unwrap();
    if let Err(reason) = lab.can_run(&scenario) {
        println!("skipped: {reason}");
        return;
    }
    let report = run(&scenario, &lab).unwrap();
    let gaps = known(&scenarios::names()).unwrap();
    match judge(name, &lab.client.version, &report, &gaps) {
        Verdict::Equal => {}
        Verdict::KnownGap(reasons) => println!("known gap: {}", reasons.join("; ")),
        Verdict::ClosedGap(_) => panic!("the gap has closed: delete it from gaps.toml"),
        Verdict::Differs(lines) => {
            for difference in lines {
                println!("after {}\n    {}", difference.after, difference.line);
            }
            panic!("stock and coffre differ, see above\n{}", report.log);
        }
    }
}

/// A test for each, `-` in its name written as `_`.
macro_rules! scenarios {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(&stringify!($name).replace('_', "-"));
            }
        )*

        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

#[test]
fn every_scenario_is_a_test_here() {
    let tested: Vec<String> = TESTED.iter().map(|name| name.replace('_', "-")).collect();
    assert_eq!(tested, scenarios::names());
}

scenarios! {
    first_push
    first_push_itemized
    first_push_verbose
    first_push_everything
    first_push_everything_verbose
    first_push_archive_of_nasty
    first_push_without_recursion
    dirs_without_recursion
    first_push_relative
    empty_source_directory
    no_incremental_recursion
    many_directories
    no_change
    no_change_all_items
    no_change_verbose
    no_change_checksum
    no_change_without_times
    nanoseconds
    rsync_path
    edits
    edits_dry_run
    edits_checksum
    edits_at_the_destination
    renamed_directory
    fuzzy
    type_changes
    type_changes_force
    type_changes_delete
    type_changes_delete_after
    type_changes_delete_before
    type_changes_without_links
    type_changes_no_devices
    type_changes_no_specials
    type_changes_keep_dirlinks
    type_changes_backup
    type_changes_dry_run
    chmod
    chown
    touch
    setfattr
    setfacl
    no_p
    no_o
    no_g
    no_t
    no_p_but_executability
    no_attributes_over_acls
    attributes_replaced
    default_acl_above
    chmod_option
    omit_times
    executability
    access_times
    super_and_fake_super
    names_of_owners
    owner_names
    owner_names_whole_list
    owner_names_27
    owner_names_29
    owner_names_30
    owner_names_acl
    usermap
    usermap_names
    usermap_unknown
    usermap_broken
    no_super
    no_super_then_fake
    no_delete
    delete
    delete_before
    delete_during
    delete_delay
    delete_after
    delete_excluded
    delete_but_not_excluded
    delete_protect
    delete_hide_and_show
    delete_perishable
    filters_with_wildcards
    max_delete_zero
    max_delete
    delete_verbose
    delete_per_directory_merge
    delete_with_merge_files
    delete_from_a_file
    delete_several_sources
    delete_missing_args
    delete_read_error
    prune_empty_dirs
    remove_source_files
    directory_itself
    several_sources
    several_sources_merge
    relative
    relative_dot
    relative_no_implied_dirs
    relative_delete
    relative_over_symlink
    files_from
    files_from_nul
    files_from_the_server
    files_from_the_server_nul
    files_from_the_server_many
    files_from_the_server_missing
    odd_names_on_the_command_line
    secluded_args
    old_args
    dots_in_the_destination
    trailing_slashes_and_dots
    copy_links
    safe_links
    munge_links
    munge_links_there
    crtimes
    one_file_system
    file_to_new_name
    file_to_existing_name
    file_to_directory
    file_to_new_directory
    file_to_plain_name
    file_to_symlinked_directory
    missing_parent
    mkpath
    destination_is_a_file
    destination_below_a_file
    existing_file_among_several
    dry_run_missing_destination
    list_only
    update
    existing
    ignore_existing
    existing_and_delete
    size_only
    ignore_times
    checksum
    checksum_and_update
    modify_window
    modify_window_exact
    max_size
    min_size
    between_sizes
    whole_file
    no_whole_file
    delta
    delta_block_size
    delta_small_blocks
    delta_inplace
    delta_in_place_backup
    delta_whole_file
    delta_sparse
    delta_inplace_sparse
    delta_temp_dir
    delta_delay_updates
    delta_delay_updates_old
    delta_sparse_preallocate
    interrupted_delay_updates
    delta_partial_dir
    delta_fsync
    delta_preallocate
    append
    append_verify
    interrupted
    interrupted_partial
    interrupted_partial_dir
    interrupted_inplace
    partial_is_used
    partial_is_told
    partial_without_asking
    partial_is_appended_to
    partial_dir_is_told
    partial_dir_in_the_tree
    bwlimit
    timeout
    in_place_protocol_27
    in_place_protocol_28
    in_place_protocol_29
    in_place_protocol_30
    in_place_protocol_31
    in_place_protocol_32
    compress
    compress_level
    compress_level_zero
    compress_skip
    compress_whole_file
    new_compress
    old_compress
    compress_zstd
    compress_lz4
    compress_zlibx
    compress_zlib
    compress_none
    compress_zstd_level
    checksum_xxh128
    checksum_xxh3
    checksum_xxh64
    checksum_md5
    checksum_md4
    checksum_sha1
    checksum_two
    checksum_two_others
    checksum_none
    checksum_seed
    choice_unknown
    hard_links
    hard_links_no_inc
    hard_links_with_attributes_no_inc
    hard_links_last_name_exists
    hard_links_last_name_newer
    hard_links_remove_sources
    attribute_of_the_top
    delete_late_and_old
    hard_links_inplace
    hard_links_checksum
    hard_links_delay_updates
    hard_links_of_specials
    hard_links_attributes
    hard_links_in_the_way
    hard_links_ignored
    hard_links_ignored_second
    hard_links_partly_excluded
    hard_links_dry_run
    holes
    backup
    backup_delete
    backup_suffix
    backup_dir
    backup_dir_outside
    backup_dir_absolute
    backup_everything_kept
    backup_in_place
    backup_in_place_dir
    backup_delayed
    backup_dry_run
    backup_in_the_way
    backup_hard_links
    link_dest
    link_dest_absolute
    copy_dest
    compare_dest
    link_dest_twice
    link_dest_hard_links
    link_dest_kinds
    link_dest_attributes
    link_dest_dry_run
    link_dest_verbose
    link_dest_checksum
    link_dest_existing
    link_dest_without_attributes
    link_dest_ways_to_write
    link_dest_paths
    link_dest_missing
    link_dest_several
    link_dest_symlinks
    link_dest_removes_sources
    link_dest_protocol_27
    link_dest_protocol_28
    link_dest_protocol_29
    link_dest_protocol_30
    link_dest_protocol_31
    copy_dest_kinds
    copy_dest_attributes
    copy_dest_dry_run
    copy_dest_verbose
    copy_dest_checksum
    copy_dest_existing
    copy_dest_without_attributes
    copy_dest_ways_to_write
    copy_dest_paths
    copy_dest_missing
    copy_dest_several
    copy_dest_symlinks
    copy_dest_removes_sources
    copy_dest_protocol_27
    copy_dest_protocol_28
    copy_dest_protocol_29
    copy_dest_protocol_30
    copy_dest_protocol_31
    compare_dest_kinds
    compare_dest_attributes
    compare_dest_dry_run
    compare_dest_verbose
    compare_dest_checksum
    compare_dest_existing
    compare_dest_without_attributes
    compare_dest_ways_to_write
    compare_dest_paths
    compare_dest_missing
    compare_dest_several
    compare_dest_symlinks
    compare_dest_removes_sources
    compare_dest_protocol_27
    compare_dest_protocol_28
    compare_dest_protocol_29
    compare_dest_protocol_30
    compare_dest_protocol_31
    evobackup_client
    rbackup_client
    probes
    quiet
    quiet_verbose
    stats
    stats_human
    itemize_verbose
    itemize_all
    very_verbose
    out_format
    out_format_name
    out_format_plain
    info_name2
    info_all
    info_some
    info_none
    progress
    log_file
    log_file_format
    stderr_modes
    stderr_client
    no_motd_and_others
    odd_names_printed
    protocol_27
    protocol_28
    protocol_29
    protocol_30
    protocol_31
    protocol_32
    protocol_too_old
    unreadable_source
    vanished_source
    missing_source
    unknown_server_option
    unknown_key
    unknown_remote_command
    contradicting_options
    temp_dir_missing
    immutable_destination_parts
    write_batch
    write_batch_replayed
    pull
    pull_everything
    pull_verbose
    pull_delta
    pull_one_file
    pull_wildcards
    pull_filters
    pull_limits
    pull_missing
    pull_files_from
    pull_compressed
    pull_hard_links_and_holes
    pull_relative
    pull_dirs
    pull_links_followed
    pull_merge_files
    pull_missing_args
    pull_in_place
    pull_secluded
    pull_dry_run
    iconv
    iconv_whole_list
    iconv_relative
    iconv_unfit
    iconv_pull
    iconv_secluded
    iconv_unknown
    iconv_off
    iconv_utf8
    iconv_cp850
    iconv_cp1252
    iconv_koi8_r
    iconv_latin9
    iconv_sjis
    iconv_euc_jp
    iconv_gbk
}
