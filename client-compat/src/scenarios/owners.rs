//! Whose files they become: by number, by name, and by the client's maps.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, acl, nasty, ordinary};

/// Accounts of the client's machine: those of Debian are called otherwise, or have other numbers.
const USERS: &[(&str, u32)] = &[
    ("daemon", 2001),
    ("mail", 2002),
    ("nobody-else", 2003),
    ("webmaster", 33),
    ("sys", 1),
];
const GROUPS: &[(&str, u32)] = &[
    ("daemon", 3001),
    ("www-data", 3002),
    ("admins", 33),
    ("audio", 3),
];

fn owned(tree: &Builder) -> Result<()> {
    for (name, uid, gid) in [
        ("root", 0, 0),
        ("daemon", 2001, 3001),
        ("mail", 2002, 3002),
        ("unknown-here", 2003, 3003),
        ("webmaster", 33, 33),
        ("sys", 1, 3),
        ("no-name", 70_001, 70_002),
        ("mixed", 0, 3002),
    ] {
        tree.file(name, name.as_bytes())?.owner(name, uid, gid)?;
    }
    tree.directory("dir")?
        .owner("dir", 2002, 3001)?
        .symlink("mailbox", "mail")?
        .owner("mailbox", 2001, 33)?
        .mode("mail", 0o6755)?;
    Ok(())
}

fn with_acls(tree: &Builder) -> Result<()> {
    owned(tree)?;
    let entries = [
        (acl::USER_OBJ, 6),
        (acl::user(2001), 4),
        (acl::user(2003), 5),
        (acl::GROUP_OBJ, 4),
        (acl::group(3002), 6),
        (acl::group(70_002), 7),
        (acl::MASK, 7),
        (acl::OTHER, 0),
    ];
    tree.acl("mail", &acl(&entries))?;
    tree.default_acl("dir", &acl(&entries)).map(drop)
}

/// With names that count at both servers.
fn mapped(name: &str, about: &str, options: &str) -> Scenario {
    Scenario::new(name, about)
        .tenant("owner_names = true")
        .source(owned)
        .run(&format!("{options} src/ :dst/"))
        .with_accounts(USERS, GROUPS)
        .run(&format!("-i {options} src/ :dst/"))
        .with_accounts(USERS, GROUPS)
        .prints_nothing()
        .run(&format!("-i {options} --numeric-ids src/ :dst/"))
        .with_accounts(USERS, GROUPS)
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new(
            "names-of-owners",
            "owners by name, where both sides know them",
        )
        .source(nasty)
        .run("-a src/ :dst/")
        .run("-ai --numeric-ids src/ :dst/"),
        mapped(
            "owner-names",
            "owner_names: a name that both know gives the number of this side",
            "-a",
        ),
        mapped(
            "owner-names-whole-list",
            "the names come behind the list",
            "-a --no-inc-recursive",
        ),
        mapped("owner-names-27", "… at protocol 27", "-a --protocol=27"),
        mapped("owner-names-29", "… at protocol 29", "-a --protocol=29"),
        mapped("owner-names-30", "… at protocol 30", "-a --protocol=30"),
        Scenario::new("owner-names-acl", "names in ACLs count too")
            .tenant("owner_names = true")
            .source(with_acls)
            .run("-aA src/ :dst/")
            .with_accounts(USERS, GROUPS)
            .run("-aAi --no-inc-recursive src/ :dst/")
            .with_accounts(USERS, GROUPS)
            .prints_nothing()
            .run("-aAi --usermap=daemon:7,*:8 --groupmap=3002:9 src/ :dst/")
            .with_accounts(USERS, GROUPS)
            .run("-aAi --numeric-ids --usermap=2001:17,*:18 --groupmap=3002:19 src/ :dst/")
            .run(
                "-aAi --no-i-r --numeric-ids --usermap=2001:27,*:28 --groupmap=3002:29 src/ :dst/",
            ),
        Scenario::new("usermap", "--usermap, --groupmap and --chown")
            .source(nasty)
            .run("-a --numeric-ids --usermap=33:4,70000-80000:5 --groupmap=33:6,*:7 src/ :dst/")
            .run("-ai --chown=9:10 src/ :dst/")
            .run("-ai --chown=daemon:sys src/ :dst/"),
        Scenario::new("usermap-names", "maps that name names, on either side")
            .tenant("owner_names = true")
            .source(owned)
            .run(
                "-a --usermap=root:games,webmaster:mail,no*:lp,0-5:6 --groupmap=*:users src/ :dst/",
            )
            .with_accounts(USERS, GROUPS)
            .run("-ain --usermap=daemon:9,0:10,*:11 --groupmap=root:4,[adw]*:5 src/ :dst/")
            .with_accounts(USERS, GROUPS)
            .run("-ai --usermap=daemon:9,0:10,*:11 --groupmap=root:4,[adw]*:5 src/ :dst/")
            .with_accounts(USERS, GROUPS)
            .run("-ai --protocol=29 --usermap=root:12,3-1:13 --groupmap=3000-3003:14 src/ :dst/")
            .with_accounts(USERS, GROUPS)
            .run("-ai --protocol=30 --usermap=root:15,?ail:16 --groupmap=root:17 src/ :dst/")
            .with_accounts(USERS, GROUPS),
        Scenario::new(
            "usermap-unknown",
            "a target that nobody here is called is said, and the rest goes on",
        )
        .source(owned)
        .run(
            "-ai --numeric-ids --usermap=0:no-such-user,33:7 --groupmap=*:no-such-group src/ :dst/",
        )
        .exits_below(29, 23)
        .prints("Unknown --usermap name on receiver: no-such-user"),
        Scenario::new("usermap-broken", "maps that make no sense")
            .source(owned)
            .run("-a --usermap=33 src/ :dst/")
            .exits(1)
            .run("-a --usermap=33: src/ :dst/")
            .exits(1)
            .run("-a --groupmap=1-2-3:4 src/ :dst/")
            .exits(1)
            .run("-a --groupmap=1x:4 src/ :dst/")
            .exits(1)
            .since_protocol(
                31,
                "an older client is cut off while it may still be sending",
            ),
        Scenario::new("no-super", "-M--no-super sets what anybody may set")
            .source(|tree| {
                ordinary(tree)?;
                owned(tree)?;
                tree.xattr("docs/big", "user.note", b"1")?
                    .xattr("docs/big", "trusted.note", b"2")?
                    .char_device("null", 1, 3)?
                    .fifo("fifo")
                    .map(drop)
            })
            .run("-aX -M--no-super src/ :dst/")
            .run("-aXi -M--no-super src/ :dst/")
            .run("-aXi src/ :dst/")
            .run("-aXi -M--super src/ :dst/"),
        Scenario::new("no-super-then-fake", "the last word about privilege counts")
            .source(owned)
            .run("-a -M--fake-super -M--no-super src/ :dst/")
            .run("-a -s -M--no-super -M--fake-super src/ :dst/stored/")
            .run("-ai -M--fake-super src/ :dst/stored/")
            .prints_nothing(),
    ]
}
