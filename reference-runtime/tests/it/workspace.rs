//! The workspace against links, pipes and random trees: what is accepted never reads outside.

#[cfg(unix)]
use std::path::Path;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};
use std::{fs, path::PathBuf};

use clawproof_runtime::{
    boundary::path::{FileError, Workspace},
    requirement::{self, Requirement},
};
#[cfg(unix)]
use proptest::prelude::*;
use tempfile::TempDir;

const CANARY: &str = "the canary that no path may read";

/// A workspace beside an outside folder with a canary in it.
struct World {
    _folder: TempDir,
    root: PathBuf,
    outside: PathBuf,
    workspace: Workspace,
}

fn world() -> World {
    let folder = TempDir::new().unwrap();
    let base = folder.path().canonicalize().unwrap();
    let (root, outside) = (base.join("app"), base.join("app-old"));
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("k"), CANARY).unwrap();
    fs::write(root.join("in.txt"), "inside").unwrap();
    let workspace = Workspace::open(&root).unwrap();
    World { _folder: folder, root, outside, workspace }
}

impl World {
    fn read(&self, path: &str) -> Result<String, FileError> {
        let path = self.workspace.resolve(path)?;
        self.workspace
            .read(&path, 1000)
            .map(|content| String::from_utf8_lossy(&content).into_owned())
    }

    fn refusal(&self, path: &str) -> Option<Requirement> {
        match self.read(path) {
            Err(FileError::Refused(refusal)) => Some(refusal.requirement()),
            _ => None,
        }
    }

    fn write(&self, path: &str, content: &str) -> Result<(), FileError> {
        let path = self.workspace.resolve(path)?;
        self.workspace.write(&path, content.as_bytes())
    }
}

#[test]
fn reads_writes_and_lists_what_is_inside() {
    let world = world();
    world.write("new/deep/..hidden", "one").unwrap();
    world.write("new/deep/..hidden", "2").unwrap();
    assert_eq!(world.read("new/deep/..hidden").unwrap(), "2");
    assert_eq!(world.read("./in.txt").unwrap(), "inside");
    let listed = world.workspace.list(&world.workspace.resolve("").unwrap()).unwrap();
    let names: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.bytes)).collect();
    assert_eq!(names, [("in.txt", 6), ("new", 0), ("sub", 0)]);
}

#[test]
fn an_absolute_path_is_accepted_only_where_it_names_a_place_inside() {
    let world = world();
    let inside = world.root.join("in.txt");
    assert_eq!(world.read(inside.to_str().unwrap()).unwrap(), "inside");
    let sibling = world.outside.join("k");
    assert_eq!(world.refusal(sibling.to_str().unwrap()), Some(requirement::PATH_ABSOLUTE));
    let climb = format!("{}/../app-old/k", world.root.display());
    assert_eq!(world.refusal(&climb), Some(requirement::PATH_TRAVERSAL));
    assert_eq!(world.refusal("/proc/self/root/etc/passwd"), Some(requirement::PATH_ABSOLUTE));
}

#[test]
fn what_the_file_system_says_is_no_refusal() {
    let world = world();
    fs::write(world.root.join("large"), vec![0; 2000]).unwrap();
    for (path, sentence) in [
        ("missing", "there is no such file"),
        ("sub", "the path names a folder"),
        ("in.txt/x", "the path leads through a file"),
        ("large", "the file is too large"),
    ] {
        match world.read(path) {
            Err(FileError::Failed(said, _)) => assert_eq!(said, sentence),
            other => panic!("{path}: {other:?}"),
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_that_stay_inside_work() {
        let world = world();
        symlink("in.txt", world.root.join("link")).unwrap();
        symlink("../in.txt", world.root.join("sub/up")).unwrap();
        symlink("sub", world.root.join("folder")).unwrap();
        assert_eq!(world.read("link").unwrap(), "inside");
        assert_eq!(world.read("folder/up").unwrap(), "inside");
        world.write("folder/new", "through a link").unwrap();
        assert_eq!(fs::read_to_string(world.root.join("sub/new")).unwrap(), "through a link");
    }

    #[test]
    fn links_that_leave_are_refused_for_every_operation() {
        let world = world();
        symlink("../app-old/k", world.root.join("relative")).unwrap();
        symlink(world.outside.join("k"), world.root.join("absolute")).unwrap();
        symlink(&world.outside, world.root.join("folder")).unwrap();
        symlink("folder", world.root.join("hop")).unwrap();
        symlink("/proc/self/root", world.root.join("magic")).unwrap();
        symlink("/proc/self/cwd", world.root.join("cwd")).unwrap();
        symlink("loop", world.root.join("loop")).unwrap();
        let canary = format!("magic{}", world.outside.join("k").display());
        for path in ["relative", "absolute", "folder/k", "hop/k", &canary, "cwd/Cargo.toml", "loop"]
        {
            assert_eq!(world.refusal(path), Some(requirement::PATH_LINK), "{path}");
        }
        for path in ["relative", "absolute", "folder/new", "hop/new/deep"] {
            let refused = world.write(path, "changed");
            assert!(matches!(refused, Err(FileError::Refused(_))), "{path}: {refused:?}");
        }
        let folder = world.workspace.resolve("folder").unwrap();
        assert!(matches!(world.workspace.list(&folder), Err(FileError::Refused(_))));
        assert_eq!(fs::read_to_string(world.outside.join("k")).unwrap(), CANARY);
        assert_eq!(fs::read_dir(&world.outside).unwrap().count(), 1);
    }

    #[test]
    fn a_dangling_link_out_creates_nothing() {
        let world = world();
        symlink(world.outside.join("born"), world.root.join("dangling")).unwrap();
        assert!(matches!(world.write("dangling", "x"), Err(FileError::Refused(_))));
        assert!(!world.outside.join("born").exists());
    }

    // macOS has no `mknodat` for pipes.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_is_refused_without_waiting() {
        let world = world();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            world.root.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        symlink("/dev/zero", world.root.join("zero")).unwrap();
        let start = Instant::now();
        assert_eq!(world.refusal("pipe"), Some(requirement::PATH_OS_ALIAS));
        assert!(matches!(world.write("pipe", "x"), Err(FileError::Refused(_))));
        assert_eq!(world.refusal("zero"), Some(requirement::PATH_LINK));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_swap_race_reads_nothing_outside() {
        let world = world();
        let (file, link) = (world.root.join("swap"), world.root.join("out"));
        let staged = world.root.join("staged");
        symlink(world.outside.join("k"), &link).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let (mut reads, mut escapes) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = fs::write(&staged, "inside");
                    let _ = fs::rename(&staged, &file);
                    let _ = symlink(world.outside.join("k"), &staged);
                    let _ = fs::rename(&staged, &file);
                }
            });
            for _ in 0..2000 {
                if let Ok(content) = world.read("swap") {
                    reads += 1;
                    escapes += u32::from(content.contains(CANARY));
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(escapes, 0, "of {reads} reads that succeeded");
    }

    /// Where a link of a random tree points.
    fn target() -> impl Strategy<Value = String> {
        let step = prop::sample::select(vec!["a", "b", "c", "..", ".", "k", "app-old"]);
        prop_oneof![
            prop::collection::vec(step, 1..5).prop_map(|steps| steps.join("/")),
            prop::sample::select(vec!["OUTSIDE", "OUTSIDE/k", "/", "/proc/self/cwd", "ROOT/a"])
                .prop_map(str::to_owned),
        ]
    }

    fn place(root: &Path, outside: &Path, at: &str, target: &str) {
        let target = target
            .replace("OUTSIDE", outside.to_str().unwrap())
            .replace("ROOT", root.to_str().unwrap());
        let at = root.join(at);
        // The tree must not grow through its own links: they lead to the host's folders.
        let mut above = at.ancestors().skip(1).take_while(|folder| *folder != root);
        if above.any(Path::is_symlink) {
            return;
        }
        // Collisions only make the tree smaller.
        let _ = fs::create_dir_all(at.parent().unwrap());
        let _ = symlink(target, at);
    }

    /// Every entry below a folder, with the content of files and the target of links.
    fn walk(folder: &Path) -> Vec<(PathBuf, Option<String>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                found.extend(walk(&path));
            }
            let content = if path.is_symlink() { None } else { fs::read_to_string(&path).ok() };
            found.push((path, content));
        }
        found.sort();
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

        #[test]
        fn accepted_paths_over_random_link_trees_never_read_outside(
            links in prop::collection::vec(("[abc](/[abc]){0,2}", target()), 1..8),
            paths in prop::collection::vec("([abc]|\\.\\.|k|app-old|\\.)(/([abc]|\\.\\.|k|app-old|\\.)){0,4}", 1..12),
        ) {
            let world = world();
            for (at, target) in &links {
                place(&world.root, &world.outside, at, target);
            }
            let before = walk(&world.outside);
            for path in &paths {
                if let Ok(content) = world.read(path) {
                    prop_assert!(!content.contains(CANARY), "{path} over {links:?}");
                }
                let _ = world.write(path, "written");
            }
            prop_assert_eq!(walk(&world.outside), before);
        }
    }
}
