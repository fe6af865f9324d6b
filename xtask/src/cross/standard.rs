//! The standard library for a foreign target: installed already, from rustup where that is asked
//! for, else built from Debian's sources of exactly this compiler into a copy of the toolchain,
//! which then behaves as if rustup had added the target. Knows compilers, no check.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, io};
use crate::process::Program;
use crate::summary::Ended;

use super::{Target, debian, place::Place};

/// What this machine's own compiler says of itself.
struct Compiler {
    /// Such as `1.95.0`.
    release: String,
    /// Its whole word: std of one compiler does not fit another.
    mark: String,
    sysroot: PathBuf,
}

/// Sees to it that crates can be checked for the target.
///
/// # Errors
/// There is no way to a standard library.
pub(super) fn ensure(place: &Place, target: Target, rustup: bool) -> Result<Ended, Failure> {
    let own = Compiler::ask()?;
    if own.knows(target) {
        return Ok(Ended::Passed("of this toolchain".into()));
    }
    if rustup {
        Program::new("rustup").args(["target", "add", target.triple]).run()?;
        // The copy would hide it.
        let _ = fs::remove_dir_all(place.at("toolchain"));
        return Ok(Ended::Passed("from rustup".into()));
    }
    if place.done(target.triple, &own.mark) && place.toolchain().is_some() {
        return Ok(Ended::Passed("built before".into()));
    }
    sources(place, &own)?;
    copy_toolchain(place, &own)?;
    build(place, target)?;
    place.set_done(target.triple, &own.mark)?;
    Ok(Ended::Passed(format!("built from the sources of {}", own.release)))
}

impl Compiler {
    fn ask() -> Result<Self, Failure> {
        let heard = Program::new("rustc").arg("-vV").hear()?;
        let release = heard.out.lines().find_map(|line| line.strip_prefix("release: "));
        let release = release.ok_or_else(|| Failure::machine("`rustc -vV` names no release"))?;
        let sysroot = Program::new("rustc").args(["--print", "sysroot"]).hear()?;
        Ok(Self {
            release: release.to_owned(),
            mark: heard.out.clone(),
            sysroot: sysroot.out.trim().into(),
        })
    }

    fn knows(&self, target: Target) -> bool {
        let folder = self.sysroot.join("lib/rustlib").join(target.triple).join("lib");
        fs::read_dir(folder).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
        })
    }
}

fn sources(place: &Place, own: &Compiler) -> Result<(), Failure> {
    let folder = place.at("library");
    if place.done("library", &own.mark) && folder.join("std/Cargo.toml").is_file() {
        return Ok(());
    }
    let package = debian::exactly(place, "rust-src", &own.release)?;
    let unpacked = place.at("rust-src");
    let _ = fs::remove_dir_all(&unpacked);
    let _ = fs::remove_dir_all(&folder);
    Program::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked).told("unpack the sources")?;
    let _ = fs::remove_file(package);
    let sources = unpacked.join("usr/src");
    let inside = fs::read_dir(&sources)
        .map_err(io("look into the sources"))?
        .flatten()
        .map(|entry| entry.path().join("library"))
        .find(|library| library.join("std/Cargo.toml").is_file())
        .ok_or_else(|| Failure::machine("the package rust-src has an unexpected layout"))?;
    fs::rename(inside, &folder).map_err(io("move the sources of std"))?;
    let _ = fs::remove_dir_all(unpacked);
    place.set_done("library", &own.mark)
}

/// A copy by hard links, where the file system has them: it takes no room of its own.
fn copy_toolchain(place: &Place, own: &Compiler) -> Result<(), Failure> {
    let copy = place.at("toolchain");
    if place.done("toolchain", &own.mark) && place.toolchain().is_some() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&copy);
    for part in ["bin", "lib", "libexec"] {
        let from = own.sysroot.join(part);
        if from.is_dir() {
            copy_tree(&from, &copy.join(part))
                .map_err(io(format_args!("copy {}", from.display())))?;
        }
    }
    place.set_done("toolchain", &own.mark)
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, at) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_tree(&path, &at)?;
        } else if fs::hard_link(&path, &at).is_err() {
            fs::copy(&path, &at)?;
        }
    }
    Ok(())
}

/// Builds std with the copy and puts it there. The one place where the stable compiler is told to
/// build its own library; no later build knows of it.
fn build(place: &Place, target: Target) -> Result<(), Failure> {
    let copy = place.at("toolchain");
    let library = copy.join("lib/rustlib").join(target.triple).join("lib");
    fs::create_dir_all(&library).map_err(io("make the library folder"))?;
    let stub = place.at("stub");
    fs::create_dir_all(stub.join("src")).map_err(io("make an empty crate"))?;
    let manifest =
        "[package]\nname = \"stub\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(stub.join("Cargo.toml"), manifest).map_err(io("write an empty crate"))?;
    fs::write(stub.join("src/lib.rs"), "").map_err(io("write an empty crate"))?;
    let built = place.at("built");
    eprintln!("building the standard library for {} (a minute, once)", target.triple);
    let path = std::env::join_paths(
        [place.mingw()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .map_err(|error| Failure::machine(error.to_string()))?;
    Program::new(copy.join("bin/cargo"))
        .folder(&stub)
        .without("RUSTFLAGS")
        .without("CARGO")
        .without("LD_LIBRARY_PATH")
        .without("RUSTUP_TOOLCHAIN")
        .without("CARGO_TARGET_DIR")
        .env("PATH", path)
        .env("RUSTC", copy.join("bin/rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", place.at("library"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", if target.builds { "3" } else { "0" })
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .args(["build", "--quiet", "--release", "--target", target.triple, "--target-dir"])
        .arg(&built)
        .arg("-Zbuild-std=std,core,alloc,proc_macro,panic_abort,panic_unwind,test")
        .run()?;
    let made = built.join(target.triple).join("release/deps");
    for entry in fs::read_dir(made).map_err(io("look for the built library"))?.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".rlib") && !text.contains("stub") {
            fs::copy(entry.path(), library.join(&name)).map_err(io("place the library"))?;
        }
    }
    if target.triple.ends_with("windows-gnu") {
        // Start-up objects that the compiler's own build makes.
        for object in ["rsbegin", "rsend"] {
            Program::new(copy.join("bin/rustc"))
                .env("RUSTC_BOOTSTRAP", "1")
                .args([
                    "--target",
                    target.triple,
                    "--crate-type",
                    "lib",
                    "--emit=obj",
                    "-Cpanic=abort",
                    "-o",
                ])
                .arg(library.join(format!("{object}.o")))
                .arg(place.at("library/rtstartup").join(format!("{object}.rs")))
                .run()?;
        }
    }
    let _ = fs::remove_dir_all(built);
    Ok(())
}
