//! The kernel's own confinement of a session's thread, on top of everything else.
//!
//! A thread that [`confine_thread`] restricted can open, make, link and remove below the places
//! given and nowhere else, for ever; threads it starts inherit that. It is per thread, so sessions
//! run on threads of their own. What it does not govern (stat, chmod, chown, times, extended
//! attributes) is only ever done here through descriptors. What is open already stays usable:
//! call this after [`super::TenantRoot::open`] and before the first byte of the client is parsed.
//!
//! Source: `Documentation/userspace-api/landlock.rst`; ABI 2 (Linux 5.19) is needed, since before
//! it nothing could be linked or renamed between directories.

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, make_bitflags,
};

use crate::config::LandlockPolicy;

/// What a thread may do below a directory. Executing is not among it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// The newest ABI whose rights are asked for; what an older kernel lacks is left out.
const WANTED: ABI = ABI::V5;

impl Access {
    fn rights(self) -> BitFlags<AccessFs> {
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        match self {
            Access::Read => read,
            Access::ReadWrite => {
                read | make_bitflags!(AccessFs::{
                    WriteFile | Truncate | Refer | RemoveDir | RemoveFile | MakeDir | MakeReg
                        | MakeSym | MakeFifo | MakeSock | MakeChar | MakeBlock
                })
            }
        }
    }
}

/// Where a receiving session works, for [`confine_thread`]: all of it is there once
/// [`super::TenantRoot::open`] has been called.
pub fn receiving(home: &Path) -> [(PathBuf, Access); 3] {
    ["live", ".staging", ".partial"].map(|place| (home.join(place), Access::ReadWrite))
}

/// What a sending session reads, for [`confine_thread`]. Only what is there: a tenant may have no
/// snapshots yet.
pub fn sending(home: &Path) -> Vec<(PathBuf, Access)> {
    ["live", "snapshots"]
        .map(|place| home.join(place))
        .into_iter()
        .filter(|place| place.is_dir())
        .map(|place| (place, Access::Read))
        .collect()
}

/// What the kernel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Landlock's ABI, 2 or above.
    Abi(i32),
    /// Too old to be of use here: ABI 1.
    TooOld,
    /// Built in, but not among the security modules chosen at boot.
    NotEnabled,
    Missing,
}

impl Support {
    pub fn is_usable(self) -> bool {
        matches!(self, Support::Abi(_))
    }
}

/// For the start of the daemon and its status.
impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Support::Abi(abi) => write!(f, "landlock: ABI {abi}"),
            Support::TooOld => f.write_str("landlock: ABI 1 is too old; Linux 5.19 is needed"),
            Support::NotEnabled => {
                f.write_str("landlock: not enabled; add it to `lsm=` on the kernel's command line")
            }
            Support::Missing => f.write_str("landlock: this kernel has none"),
        }
    }
}

/// A thread is restricted, or runs without, as the policy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    /// By all rights the kernel knows; their ABI.
    Yes(i32),
    /// The policy is `off`, or `auto` on a kernel that cannot.
    No,
}

/// Why a session must not run.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The policy is `required`.
    #[error("{0}, and the configuration says `landlock = \"required\"`")]
    Unsupported(Support),
    #[error("cannot open `{}` to confine a session to it: {source}", place.display())]
    Place {
        place: PathBuf,
        source: landlock::PathFdError,
    },
    #[error("cannot confine a session: {0}")]
    Kernel(#[from] RulesetError),
}

/// What this kernel offers.
///
/// Asked on a thread that ends at once, since the only way to ask is to restrict.
pub fn support() -> Support {
    let asked = std::thread::Builder::new()
        .name("landlock-probe".into())
        .spawn(|| {
            let ruleset = Ruleset::default()
                .handle_access(AccessFs::Execute)?
                .create()?;
            Ok::<_, RulesetError>(ruleset.restrict_self()?.landlock)
        });
    match asked.map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(status))) => of_status(status),
        _ => Support::Missing,
    }
}

fn of_status(status: LandlockStatus) -> Support {
    match status {
        LandlockStatus::NotEnabled => Support::NotEnabled,
        LandlockStatus::NotImplemented => Support::Missing,
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => match kernel_abi.unwrap_or(effective_abi as i32) {
            abi if abi >= 2 => Support::Abi(abi),
            _ => Support::TooOld,
        },
    }
}

/// Restricts the calling thread to these places, for the rest of its life.
///
/// Errors: a place that cannot be opened, or a kernel that refuses. With
/// [`LandlockPolicy::Auto`] a kernel that has no Landlock is no error; one that has it and fails is.
pub fn confine_thread<P: AsRef<Path>>(
    policy: LandlockPolicy,
    places: &[(P, Access)],
) -> Result<Enforced, ConfineError> {
    if policy == LandlockPolicy::Off {
        return Ok(Enforced::No);
    }
    let all = AccessFs::from_all(WANTED);
    // Without REFER a session could not publish a single file: better no Landlock than that.
    let refer = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer);
    let usable = match refer {
        Ok(ruleset) => Ok(ruleset),
        Err(error) => Err((support(), error)),
    };
    let ruleset = match usable {
        Ok(ruleset) => ruleset,
        Err((support, error)) => {
            return match (support.is_usable(), policy) {
                (true, _) => Err(error.into()),
                (false, LandlockPolicy::Required) => Err(ConfineError::Unsupported(support)),
                (false, _) => Ok(Enforced::No),
            };
        }
    };
    let mut ruleset = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .create()?;
    for (place, access) in places {
        let place = place.as_ref();
        let fd = PathFd::new(place).map_err(|source| ConfineError::Place {
            place: place.to_owned(),
            source,
        })?;
        ruleset = ruleset.add_rule(PathBeneath::new(fd, access.rights()))?;
    }
    let status = ruleset.restrict_self()?;
    match (status.ruleset, of_status(status.landlock)) {
        (RulesetStatus::NotEnforced, support) => match policy {
            LandlockPolicy::Required => Err(ConfineError::Unsupported(support)),
            _ => Ok(Enforced::No),
        },
        (_, Support::Abi(abi)) => Ok(Enforced::Yes(abi)),
        (_, support) => Err(ConfineError::Unsupported(support)),
    }
}
