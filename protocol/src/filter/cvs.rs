//! What `--cvs-exclude` leaves out.

use super::rule::{Merge, Syntax, Template};

/// Names that CVS ignores, in the order of stock programs.
pub(super) const DEFAULTS: &[u8] = b"RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state \
    .nse_depinfo *~ #* .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj \
    *.so *.exe *.Z *.elc *.ln core .svn/ .git/ .hg/ .bzr/";

/// How [`DEFAULTS`] is read. Its rules perish where the protocol can say so.
pub(super) fn template(perishable: bool) -> Template {
    Template {
        syntax: Syntax::Cvs { exclude: true },
        words: true,
        perishable,
        ..Template::default()
    }
}

/// The rule `:C .cvsignore`.
pub(super) fn ignore_files() -> Merge {
    Merge {
        name: b".cvsignore".to_vec(),
        inherit: false,
        exclude_itself: false,
        template: template(false),
        named_at: None,
    }
}
