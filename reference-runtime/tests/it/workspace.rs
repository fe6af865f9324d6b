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

    /// Where the file system itself leads from a folder, followed name by name with no defence but
    /// this one: a step above the root or to an absolute place is outside, and stays outside.
    enum Leads {
        To(PathBuf),
        Outside,
        Nowhere,
    }

    fn follow(root: &Path, path: &str) -> Leads {
        let mut ahead: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut at = root.to_path_buf();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if !fs::symlink_metadata(&at).is_ok_and(|here| here.is_dir()) {
                return Leads::Nowhere;
            }
            match name.as_str() {
                "" | "." => {}
                ".." if at == root => return Leads::Outside,
                ".." => drop(at.pop()),
                name => match fs::read_link(at.join(name)) {
                    Ok(target) if target.is_absolute() => return Leads::Outside,
                    Ok(_) if links == 40 => return Leads::Nowhere,
                    Ok(target) => {
                        links += 1;
                        ahead.extend(target.to_str().unwrap().split('/').rev().map(str::to_owned));
                    }
                    Err(_) => at.push(name),
                },
            }
        }
        Leads::To(at)
    }

    /// Exchanges two names in one step, so that what stands there is never missing.
    #[cfg(target_os = "linux")]
    fn exchange(one: &Path, other: &Path) {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        // Where one is missing or holds the other, nothing happens.
        let _ = renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

        #[test]
        fn accepted_paths_over_random_link_trees_lead_where_a_walk_by_hand_leads(
            files in prop::collection::vec("[abc](/[abc]){0,2}", 0..4),
            links in prop::collection::vec(("[abc](/[abc]){0,2}", target()), 1..8),
            paths in prop::collection::vec("([abc]|\\.\\.|k|app-old|\\.)(/([abc]|\\.\\.|k|app-old|\\.)){0,4}", 1..12),
        ) {
            let world = world();
            for (at, target) in &links {
                place(&world.root, &world.outside, at, target);
            }
            for (number, at) in files.iter().enumerate() {
                // A file where the tree has room for it, with a content of its own.
                let at = world.root.join(at);
                let above = at.parent().unwrap();
                if above.canonicalize().is_ok_and(|above| above.starts_with(&world.root)) && !at.is_symlink() {
                    let _ = fs::write(at, format!("file {number}"));
                }
            }
            let before = walk(&world.outside);
            for path in &paths {
                let read = world.read(path);
                // The door takes the dots that the caller wrote as nothing.
                let plain: Vec<_> = path.split('/').filter(|name| *name != ".").collect();
                match follow(&world.root, &plain.join("/")) {
                    // And refuses any climb.
                    _ if path.split('/').any(|name| name == "..") => prop_assert!(read.is_err()),
                    Leads::To(file) if file.is_file() => {
                        let read = read.map_err(|error| TestCaseError::fail(format!("{path}: {error:?}")))?;
                        prop_assert_eq!(read, fs::read_to_string(file).unwrap());
                    }
                    _ => prop_assert!(read.is_err(), "{path} over {links:?}: {read:?}"),
                }
                let _ = world.write(path, "written");
            }
            prop_assert_eq!(walk(&world.outside), before);
        }
    }

    #[cfg(target_os = "linux")]
    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

        #[test]
        fn no_swap_of_links_folders_and_files_leads_a_read_or_a_write_outside(
            links in prop::collection::vec(("[abc](/[abc]){0,1}", target()), 2..6),
            folders in prop::collection::vec("[abc](/[abc]){0,1}", 2..4),
            swaps in prop::collection::vec(("[abc](/[abc]){0,2}", "[abc](/[abc]){0,2}"), 1..6),
            paths in prop::collection::vec("[abc](/[abck]){0,3}", 1..5),
        ) {
            let world = world();
            for folder in &folders {
                let _ = fs::create_dir_all(world.root.join(folder));
                let _ = fs::write(world.root.join(folder).join("k"), "inside");
            }
            for (at, target) in &links {
                place(&world.root, &world.outside, at, target);
            }
            // One exchange that always has both sides, at a name that is asked for.
            fs::create_dir(world.root.join("x")).unwrap();
            fs::write(world.root.join("x/k"), "inside").unwrap();
            symlink(&world.outside, world.root.join("y")).unwrap();
            let before = walk(&world.outside);
            let stop = std::sync::atomic::AtomicBool::new(false);
            let escaped = std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        exchange(&world.root.join("x"), &world.root.join("y"));
                        for (one, other) in &swaps {
                            exchange(&world.root.join(one), &world.root.join(other));
                        }
                    }
                });
                let mut escaped = None;
                for path in paths.iter().map(String::as_str).chain(["x/k"]).cycle().take(150) {
                    if world.read(path).is_ok_and(|content| content.contains(CANARY)) {
                        escaped = Some(path.to_owned());
                    }
                    let _ = world.write(path, "written");
                }
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                escaped
            });
            prop_assert_eq!(escaped, None);
            prop_assert_eq!(walk(&world.outside), before);
        }
    }

    /// The control of the swaps above: a path that is looked at and then opened by its name does
    /// lead outside, in the same race.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_path_that_is_checked_and_then_opened_loses_that_race() {
        let world = world();
        fs::create_dir(world.root.join("x")).unwrap();
        fs::write(world.root.join("x/k"), "inside").unwrap();
        symlink(&world.outside, world.root.join("y")).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let deadline = Instant::now() + Duration::from_secs(20);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    exchange(&world.root.join("x"), &world.root.join("y"));
                }
            });
            let mut lost = false;
            while !lost && Instant::now() < deadline {
                let path = world.root.join("x/k");
                let checked = path.canonicalize().is_ok_and(|at| at.starts_with(&world.root));
                lost = checked && fs::read_to_string(path).is_ok_and(|text| text == CANARY);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(lost, "the race was never lost: it is no race");
        });
    }
}
