//! Which bubblewrap there is, and whether this process may use it. It is looked for once, at the
//! start, and must never be looked for in a folder that a path variable gives relatively.

use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::sandbox::run::Refusal;

/// The oldest version with `--disable-userns` and `--size`.
const OLDEST: (u32, u32) = (0, 8);
const PLACES: &[&str] = &["/usr/bin", "/usr/local/bin", "/bin"];
/// Names another bubblewrap, by absolute path.
const VARIABLE: &str = "CLAWPROOF_BWRAP";

/// Asks a bubblewrap its version.
pub(super) fn version(path: &Path) -> Result<String, Refusal> {
    let refuse = |cause: String| Refusal::new("bubblewrap cannot be used", cause);
    #[expect(clippy::disallowed_methods, reason = "asks the sandbox's own helper its version")]
    let output = Command::new(path)
        .arg("--version")
        .env_clear()
        .output()
        .map_err(|error| refuse(format!("{}: {error}", path.display())))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().strip_prefix("bubblewrap ").unwrap_or_default().to_owned();
    match parse(&version) {
        Some(found) if found >= OLDEST => Ok(version),
        Some(_) => Err(Refusal::new(
            "bubblewrap is too old: 0.8 or newer is needed",
            format!("{} is {version}", path.display()),
        )),
        None => {
            let said: String = text.chars().take(80).collect();
            Err(refuse(format!("{} --version said {said:?}", path.display())))
        }
    }
}

/// Finds bubblewrap: an absolute path.
pub(super) fn bubblewrap() -> Result<PathBuf, Refusal> {
    if let Some(named) = env::var_os(VARIABLE).map(PathBuf::from) {
        return if named.is_absolute() && executable(&named) {
            Ok(named)
        } else {
            Err(Refusal::new(
                "CLAWPROOF_BWRAP does not name a program by its absolute path",
                format!("{VARIABLE}={}", named.display()),
            ))
        };
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let places = PLACES.iter().map(PathBuf::from).chain(env::split_paths(&path));
    places
        .filter(|place| place.is_absolute())
        .map(|place| place.join("bwrap"))
        .find(|place| executable(place))
        .ok_or_else(|| {
            Refusal::new(
                "bubblewrap is not installed, so no tool runs; install the package bubblewrap",
                "no bwrap in the system's folders, in PATH or by CLAWPROOF_BWRAP",
            )
        })
}

/// The small program that stands beside this one and does the shim's part of it alone.
pub(super) fn small(program: &Path) -> Option<PathBuf> {
    let beside = program.with_file_name("clawproof-contain");
    // One that lies elsewhere is not the one that was installed with this program.
    (!beside.is_symlink() && executable(&beside)).then_some(beside)
}

fn executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The uid that tools run as. Root is never one of them.
pub(super) fn uid(asked: Option<u32>, own: u32) -> Result<u32, Refusal> {
    match (own, asked) {
        (0, Some(0)) | (0, None) => Err(Refusal::new(
            "tools do not run as root: set sandbox.uid to an unprivileged uid",
            "the runtime is root and sandbox.uid names no other uid",
        )),
        (0, Some(uid)) => Ok(uid),
        // Nobody but root can become another; a tool keeps the user that it would have had.
        (own, _) => Ok(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_never_a_tools_uid() {
        assert!(uid(None, 0).is_err());
        assert!(uid(Some(0), 0).is_err());
        assert_eq!(uid(Some(60123), 0).unwrap(), 60123);
        assert_eq!(uid(None, 1000).unwrap(), 1000);
        assert_eq!(uid(Some(60123), 1000).unwrap(), 1000);
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse("0.8.0").unwrap() >= OLDEST);
        assert!(parse("0.11.0").unwrap() >= OLDEST);
        assert!(parse("1.0").unwrap() >= OLDEST);
        assert!(parse("0.6.2").unwrap() < OLDEST);
        assert_eq!(parse("unknown"), None);
    }
}
