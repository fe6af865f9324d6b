//! Puts into place what a corpus case needs. Nothing is ever made outside the case's own world,
//! nor through a link: the harness must not fall to its own corpus.

use std::path::{Component, Path, PathBuf};

use crate::corpus::payload::{Expr, Vars};
use crate::corpus::{Capability, Os, Setup};
use crate::scenario::Trouble;
use crate::target::world::World;

/// Why this host cannot show the case, if it cannot.
pub(super) fn missing_capability(required: &[Capability], world: &World) -> Option<&'static str> {
    required.iter().find_map(|capability| {
        let (there, words) = match capability {
            Capability::Linux => (Os::current() == Os::Linux, "the host is not Linux"),
            Capability::Macos => (Os::current() == Os::Macos, "the host is not macOS"),
            Capability::Windows => (Os::current() == Os::Windows, "the host is not Windows"),
            Capability::Symlink => (cfg!(unix), "symbolic links cannot be made"),
            Capability::Hardlink => (true, "hard links cannot be made"),
            Capability::Fifo => (cfg!(unix), "named pipes cannot be made"),
            Capability::Junction => (false, "junctions cannot be made"),
            Capability::Procfs => (Path::new("/proc/self").exists(), "there is no /proc"),
            Capability::Casefold => (
                same_file(world, "CaseProbe", "caseprobe"),
                "file names are found in their own case alone",
            ),
            Capability::Normalising => (
                same_file(world, "e\u{301}probe", "\u{e9}probe"),
                "file names are found in their own normalisation alone",
            ),
            Capability::ShortNames => (
                same_file(world, "longfilename.text", "LONGFI~1.TEX"),
                "file names have no 8.3 aliases",
            ),
        };
        (!there).then_some(words)
    })
}

fn same_file(world: &World, made: &str, found: &str) -> bool {
    let folder = world.root().join("name-probe");
    let done = std::fs::create_dir(&folder).is_ok()
        && std::fs::write(folder.join(made), "x").is_ok()
        && folder.join(found).exists();
    let _ = std::fs::remove_dir_all(&folder);
    done
}

/// Makes everything a case asks for, in order.
pub(super) fn materialise(world: &World, steps: &[Setup], vars: &Vars) -> Result<(), Trouble> {
    for step in steps {
        match step {
            Setup::Dir { path } => world.make_dir(&place(world, path, vars)?)?,
            Setup::File { path, content, executable } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                world.write(&place(world, path, vars)?, &build(content, vars)?, mode)?;
            }
            Setup::Symlink { path, target } => {
                let place = place(world, path, vars)?;
                symlink(&to_path(build(target, vars)?), &place)?;
                world.give(&place)?;
            }
            Setup::Hardlink { path, target } => {
                let (path, target) = (place(world, path, vars)?, place(world, target, vars)?);
                std::fs::hard_link(target, path)?;
            }
            Setup::Fifo { path } => {
                let place = place(world, path, vars)?;
                fifo(&place)?;
                world.give(&place)?;
            }
            Setup::Junction { .. } => {
                return Err(Trouble::NotApplicable("junctions cannot be made here".to_owned()));
            }
        }
    }
    Ok(())
}

fn build(expression: &Expr, vars: &Vars) -> Result<Vec<u8>, Trouble> {
    expression.build(vars).map_err(|error| Trouble::Harness(format!("setup: {error}")))
}

/// The absolute place that a setup path names, with its parents made; refused if it leaves the
/// workspace and the outside folder, or goes through a link.
fn place(world: &World, expression: &Expr, vars: &Vars) -> Result<PathBuf, Trouble> {
    let path = world.workspace().join(to_path(build(expression, vars)?));
    let leaves = path.components().any(|part| part == Component::ParentDir);
    // A folder beside the workspace whose name begins like it is the one other place.
    let inside = path.starts_with(world.root())
        && [world.state(), world.home(), world.bin()].iter().all(|own| !path.starts_with(own));
    if leaves || !inside {
        let words = format!("setup: {} is outside the case's world", path.display());
        return Err(Trouble::Harness(words));
    }
    let parent = path.parent().unwrap_or(&path);
    let mut walked = world.root().to_owned();
    for part in parent.strip_prefix(world.root()).unwrap_or(parent).components() {
        walked.push(part);
        if walked.is_symlink() {
            let words = format!("setup: {} goes through a link", path.display());
            return Err(Trouble::Harness(words));
        }
    }
    world.make_dir(parent)?;
    Ok(path)
}

#[cfg(unix)]
pub(super) fn to_path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(not(unix))]
pub(super) fn to_path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(unix)]
fn symlink(target: &Path, place: &Path) -> Result<(), Trouble> {
    Ok(std::os::unix::fs::symlink(target, place)?)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _place: &Path) -> Result<(), Trouble> {
    Err(Trouble::NotApplicable("symbolic links cannot be made here".to_owned()))
}

#[cfg(target_os = "linux")]
fn fifo(place: &Path) -> Result<(), Trouble> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let mode = Mode::from_raw_mode(0o644);
    mknodat(CWD, place, FileType::Fifo, mode, 0)
        .map_err(|error| Trouble::Harness(format!("setup: fifo: {error}")))
}

#[cfg(not(target_os = "linux"))]
fn fifo(_place: &Path) -> Result<(), Trouble> {
    Err(Trouble::NotApplicable("named pipes cannot be made here".to_owned()))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::corpus::payload::{Naming, Var};

    fn vars(world: &World) -> Vars {
        let mut vars = Vars::new(Naming::default());
        vars.set(Var::Root, world.workspace().to_string_lossy().into_owned());
        vars.set(Var::Outside, world.outside().to_string_lossy().into_owned());
        vars
    }

    #[test]
    fn makes_files_links_and_pipes_inside_the_world() {
        let world = World::new().unwrap();
        let json = serde_json::json!([
            {"file": {"path": "a/b.txt", "content": "hello"}},
            {"symlink": {"path": "out", "target": {"var": "OUTSIDE"}}},
            {"fifo": {"path": "pipe"}},
            {"hardlink": {"path": "h", "target": {"concat": [{"var": "OUTSIDE"}, "/k"]}}},
        ]);
        let steps = serde_json::from_value::<Vec<Setup>>(json).unwrap();
        materialise(&world, &steps, &vars(&world)).unwrap();
        assert_eq!(std::fs::read(world.workspace().join("a/b.txt")).unwrap(), b"hello");
        assert_eq!(std::fs::read_link(world.workspace().join("out")).unwrap(), world.outside());
    }

    #[test]
    fn refuses_to_leave_the_world_or_to_go_through_a_link() {
        let world = World::new().unwrap();
        for json in [
            serde_json::json!([{"file": {"path": "../state/x", "content": "x"}}]),
            serde_json::json!([{"file": {"path": "/etc/clawproof-test", "content": "x"}}]),
            serde_json::json!([
                {"symlink": {"path": "l", "target": "/"}},
                {"file": {"path": "l/tmp/clawproof-test", "content": "x"}},
            ]),
        ] {
            let refused = materialise(
                &world,
                &serde_json::from_value::<Vec<Setup>>(json).unwrap(),
                &vars(&world),
            );
            assert!(matches!(refused, Err(Trouble::Harness(_))), "{refused:?}");
        }
    }
}
