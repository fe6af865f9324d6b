//! The kernel's Landlock, applied inside the view as a second, independent holder of the same
//! rules. It must never widen anything: where the kernel lacks it, the shim says so.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use crate::sandbox::plan::Landlock;

/// The newest rights that this policy was written for: files, TCP, device control, scopes.
const NEWEST: ABI = ABI::V6;

/// Restricts this thread and all that it will ever start. Says how much the kernel took:
/// `full`, `part` or `none`.
pub(super) fn apply(rules: &Landlock) -> Result<&'static str, String> {
    let text = |error: landlock::RulesetError| error.to_string();
    let all = AccessFs::from_all(NEWEST);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .map_err(text)?;
    if rules.no_tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST)).map_err(text)?;
    }
    if rules.scoped {
        ruleset = ruleset.scope(Scope::from_all(NEWEST)).map_err(text)?;
    }
    let mut created = ruleset.create().map_err(text)?;
    for (paths, access) in [(&rules.read, AccessFs::from_read(NEWEST)), (&rules.write, all)] {
        for path in paths {
            let folder = PathFd::new(path).map_err(|error| error.to_string())?;
            created = created.add_rule(PathBeneath::new(folder, access)).map_err(text)?;
        }
    }
    let status = created.restrict_self().map_err(text)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "full",
        RulesetStatus::PartiallyEnforced => "part",
        RulesetStatus::NotEnforced => "none",
    })
}
