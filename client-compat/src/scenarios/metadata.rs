//! Modes, owners, times, attributes and ACLs, when only they change and when they are not kept.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tree::{Builder, acl, nasty, noise, ordinary};

fn changed(
    name: &str,
    about: &str,
    options: &str,
    change: impl Fn(&Builder) -> Result<()> + Send + Sync + 'static,
) -> Scenario {
    Scenario::new(name, about)
        .source(nasty)
        .run(&format!("{options} src/ :dst/"))
        .change_source("only attributes", change)
        .run(&format!("{options} -i src/ :dst/"))
        .run(&format!("{options} -i src/ :dst/"))
        .prints_nothing()
}

/// Attributes to tell apart by their names.
fn noted(tree: &Builder) -> Result<()> {
    tree.directory("dir")?
        .file("file", b"a file")?
        .file("same", b"another")?
        .file("long", &noise(5, 20_000))?
        .symlink("link", "file")?;
    for name in ["file", "long", "dir", "same"] {
        tree.xattr(name, "user.public", b"seen")?
            .xattr(name, "user.private", b"hidden")?
            .xattr(name, "user.private.long", &noise(8, 300))?;
    }
    tree.xattr("link", "trusted.note", b"of a link").map(drop)
}

fn without(letter: &str, options: &str) -> Scenario {
    Scenario::new(
        format!("no-{letter}"),
        format!("without -{letter}, into nothing and over something"),
    )
    .source(nasty)
    .run(&format!("{options} src/ :dst/"))
    .change_destination("other attributes", |tree| {
        for name in ["sizes/700", "names/CASE", "modes/file-0600", "xattrs"] {
            tree.owner(name, 77, 78)?
                .mode(name, 0o751)?
                .time(name, 1_200_000_000, 3)?;
        }
        Ok(())
    })
    .run(&format!("{options} -i src/ :dst/"))
}

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        changed("chmod", "only modes change", "-a", |tree| {
            for (name, mode) in [
                ("sizes/700", 0o600),
                ("modes/file-0000", 0o777),
                ("modes/file-4755", 0o755),
                ("modes/dir-0000", 0o3777),
                ("modes", 0o700),
                ("kinds/fifo", 0o666),
                ("kinds/null", 0o600),
                (".", 0o711),
            ] {
                tree.mode(name, mode)?;
            }
            Ok(())
        }),
        changed("chown", "only owners change", "-a --numeric-ids", |tree| {
            for name in [
                "sizes/700",
                "owners/0",
                "owners/link",
                "kinds/null",
                "kinds",
                "links/a",
            ] {
                tree.owner(name, 4_321, 70_001)?;
            }
            tree.owner("modes/file-4755", 5, 5)?
                .mode("modes/file-4755", 0o4755)?;
            Ok(())
        }),
        changed("touch", "only times change", "-a", |tree| {
            for name in [
                "sizes/700",
                "owners/link",
                "kinds/fifo",
                "names",
                "links/a",
                "kinds/null",
            ] {
                tree.time(name, 1_234_567_890, 987_654_321)?;
            }
            tree.time("times/y2106", -1, 1)?.time(".", 1, 1)?;
            Ok(())
        }),
        changed("setfattr", "only attributes change", "-aX", |tree| {
            tree.xattr("sizes/700", "user.new", b"1")?
                .xattr("sizes", "user.new", &noise(1, 40))?
                .xattr("xattrs/33", "user.value", &noise(34, 33))?
                .xattr("xattrs/3000", "user.value", &noise(34, 2_999))?
                .xattr("xattrs/32", "user.value", b"")?
                .remove_xattr("xattrs/several", "user.a")?
                .remove_xattr("xattrs/dir", "user.d")?
                .xattr("xattrs/link", "trusted.l", b"other")?
                .xattr("kinds/null", "trusted.n", b"device")?;
            Ok(())
        }),
        changed("setfacl", "only ACLs change", "-aA", |tree| {
            let other = acl(&[(acl::user(99), 5), (acl::MASK, 5)]);
            tree.acl("sizes/700", &other)?
                .acl("acls/twin", &other)?
                .remove_xattr("acls/file", "system.posix_acl_access")?
                .remove_xattr("acls/dir", "system.posix_acl_default")?
                .default_acl("sizes", &acl(&[(acl::USER_OBJ, 7), (acl::user(1), 7)]))?;
            Ok(())
        }),
        without("p", "-rltgoD"),
        without("o", "-rlptgD"),
        without("g", "-rlptoD"),
        without("t", "-rlpgoD"),
        without("p-but-executability", "-rltgoDE"),
        Scenario::new(
            "no-attributes-over-acls",
            "-a where the destination has more",
        )
        .source(ordinary)
        .destination(|tree| {
            tree.file("docs/big", b"old")?
                .xattr("docs/big", "user.kept", b"1")?
                .acl("docs/big", &acl(&[(acl::user(9), 7)]))?
                .default_acl("docs", &acl(&[(acl::USER_OBJ, 7), (acl::user(8), 7)]))?;
            Ok(())
        })
        .run("-ai src/ :dst/")
        .run("-rltgoDi --delete src/ :dst/"),
        Scenario::new("attributes-replaced", "-AX where the destination has more")
            .source(ordinary)
            .destination(|tree| {
                tree.file("docs/big", b"old")?
                    .xattr("docs/big", "user.dropped", b"1")?
                    .xattr("docs", "user.dropped", b"1")?
                    .acl("docs/big", &acl(&[(acl::user(9), 7)]))?
                    .default_acl("docs", &acl(&[(acl::USER_OBJ, 7), (acl::user(8), 7)]))?;
                Ok(())
            })
            .run("-aAXi src/ :dst/")
            .run("-aAXi src/ :dst/")
            .prints_nothing(),
        Scenario::new(
            "default-acl-above",
            "without -p a default ACL takes the umask's place",
        )
        .source(ordinary)
        .destination(|tree| {
            tree.default_acl(
                ".",
                &acl(&[(acl::USER_OBJ, 7), (acl::user(8), 7), (acl::OTHER, 0)]),
            )
            .map(drop)
        })
        .run("-rlti src/ :dst/"),
        Scenario::new("chmod-option", "--chmod changes modes on the way")
            .source(nasty)
            .run("-a --chmod=Dg+s,ug+w,Fo-rwx,+X src/ :dst/")
            .run("-ai --chmod=D2755,F640 src/ :dst/"),
        Scenario::new(
            "omit-times",
            "-J and -O leave times of links and directories",
        )
        .source(ordinary)
        .run("-aJO src/ :dst/")
        .change_source("times", |tree| {
            tree.time("link", 5, 5)?
                .time("docs", 5, 5)?
                .time("empty", 5, 5)?;
            Ok(())
        })
        .run("-aiJO src/ :dst/"),
        Scenario::new("executability", "-E without -p")
            .source(|tree| {
                for (name, mode) in [("on", 0o755), ("off", 0o644), ("group", 0o610)] {
                    tree.file(name, b"x")?.mode(name, mode)?;
                }
                Ok(())
            })
            .destination(|tree| {
                for (name, mode) in [("on", 0o640), ("off", 0o755), ("group", 0o444)] {
                    tree.file(name, b"y")?.mode(name, mode)?;
                }
                Ok(())
            })
            .run("-rtEi src/ :dst/"),
        Scenario::new(
            "filtered-attributes",
            "x rules: names of attributes that are not sent, or stay",
        )
        .source(noted)
        .run("-aXi --filter=-x_user.private* src/ :dst/")
        .change_destination("attributes of its own", |tree| {
            for name in ["file", "long", "dir", "same"] {
                tree.xattr(name, "user.mine", b"of the server")?.xattr(
                    name,
                    "user.private.too",
                    b"of the server",
                )?;
            }
            Ok(())
        })
        .change_source("others at the client", |tree| {
            tree.xattr("file", "user.public", b"another")?
                .append("long", b"more")
                .map(drop)
        })
        .run("-aXin --delete --filter=-x_user.private* src/ :dst/")
        .run("-aXi --delete --filter=-x_user.private* --filter=-xr_user.mine src/ :dst/")
        .run("-aXi --delete --filter=-xs_user.public src/ :dst/")
        .run("-aXi --delete --filter=+x_user.* --filter=-x_* src/ :dst/")
        .run("-aXi --filter=-x_user.mine src/ :dst/")
        .run("-aXi src/ :dst/")
        .run("-aXi src/ :dst/")
        .prints_nothing(),
        Scenario::new("filtered-attributes-pull", "x rules on the way back")
            .destination(noted)
            .run("-aXi --filter=-x_user.private* :dst/ out/")
            .run("-aXi --delete --filter=-xs_user.public :dst/ out/")
            .run("-aXi :dst/ out/"),
        Scenario::new(
            "access-times",
            "-U keeps access times; the tree is the same",
        )
        .source(ordinary)
        .run("-aU src/ :dst/")
        .run("-aUi src/ :dst/")
        .compares(crate::scenario::Compare {
            // Reading a source for comparison may move its access time.
            stdout: false,
            ..Default::default()
        })
        .since("3.2.0"),
        Scenario::new(
            "super-and-fake-super",
            "-M--fake-super keeps attributes in attributes",
        )
        .source(|tree| {
            ordinary(tree)?;
            tree.owner("docs/big", 33, 33)?.char_device("null", 1, 3)?;
            Ok(())
        })
        .run("-aX -M--fake-super src/ :dst/")
        .run("-aXi -M--fake-super src/ :dst/")
        .prints_nothing(),
    ]
}
