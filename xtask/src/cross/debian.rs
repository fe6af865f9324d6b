//! Packages of a Debian archive, unpacked into the place and never installed: the machine's own
//! package state is neither read for writing nor changed. Knows apt, not what the packages are for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, io};
use crate::process::{Program, find};
use crate::summary::Ended;

use super::place::Place;

/// Suites in which a package of one exact version is looked for, besides the machine's own.
const SUITES: &[&str] = &["trixie-backports", "trixie", "forky", "sid"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

const GCC: &str = "x86_64-w64-mingw32-gcc";

/// MinGW's C compiler and linker: from PATH, else Debian's.
///
/// # Errors
/// Neither is there.
pub(super) fn mingw(place: &Place) -> Result<Ended, Failure> {
    let found = match find(GCC, &[&place.mingw()]) {
        Some(found) => found,
        None => fetch_mingw(place)?,
    };
    linker(place, &found)?;
    Ok(Ended::Passed(found.display().to_string()))
}

fn fetch_mingw(place: &Place) -> Result<PathBuf, Failure> {
    unpack(place, &place.at("mingw"), &["gcc-mingw-w64-x86-64-win32"])?;
    for tool in ["gcc", "gcc-ar", "gcc-nm", "gcc-ranlib"] {
        let name = format!("x86_64-w64-mingw32-{tool}");
        link(Path::new(&format!("{name}-win32")), &place.mingw().join(name))?;
    }
    find(GCC, &[&place.mingw()])
        .ok_or_else(|| Failure::machine(format!("the package left no {GCC} behind")))
}

/// Windows does not tell letters' case in the names of its libraries, and crates write them as its
/// documents do; MinGW's stand in small letters. A linker that finds both.
fn linker(place: &Place, compiler: &Path) -> Result<(), Failure> {
    let aliases = place.at("aliases");
    fs::create_dir_all(&aliases).map_err(io("make a folder for aliases"))?;
    for name in ["Advapi32", "Kernel32", "Userenv", "User32", "Ole32"] {
        let file = format!("lib{}.a", name.to_lowercase());
        let heard = Program::new(compiler).arg(format!("-print-file-name={file}")).hear()?;
        let found = PathBuf::from(heard.out.trim());
        if found.is_absolute() && found.is_file() {
            link(&found, &aliases.join(format!("lib{name}.a")))?;
        }
    }
    let (compiler, aliases) = (compiler.display(), aliases.display());
    place
        .script("link-windows", &format!("#!/bin/sh\nexec '{compiler}' \"$@\" -L'{aliases}'\n"))?;
    Ok(())
}

/// Unpacks packages of the machine's own suites, and what they need that is not installed.
///
/// # Errors
/// There is no apt, or a package cannot be had.
pub(super) fn unpack(place: &Place, into: &Path, packages: &[&str]) -> Result<(), Failure> {
    let apt = Apt::new(place, "native")?;
    if !place.done("apt-native", "1") {
        apt.get().arg("update").told("fetch the lists of packages")?;
        place.set_done("apt-native", "1")?;
    }
    apt.empty()?;
    eprintln!("unpacking {} into {}", packages.join(" "), into.display());
    apt.get()
        .args(["install", "-y", "--no-install-recommends", "--download-only"])
        .args(packages)
        .told("fetch packages")?;
    // Under another name first: half a package would look like a whole one the next time.
    let begun = into.with_extension("begun");
    for folder in [into, &begun] {
        let _ = fs::remove_dir_all(folder);
    }
    fs::create_dir_all(&begun).map_err(io("make a folder for packages"))?;
    for file in apt.fetched()? {
        Program::new("dpkg-deb").arg("-x").arg(file).arg(&begun).told("unpack a package")?;
    }
    fs::rename(&begun, into).map_err(io("place the packages"))?;
    apt.empty()
}

/// Fetches a package at exactly this upstream version, from whatever suite has it, and returns the
/// file.
///
/// # Errors
/// No suite has it.
pub(super) fn exactly(place: &Place, package: &str, upstream: &str) -> Result<PathBuf, Failure> {
    let uri = archive()?;
    for suite in SUITES {
        let apt = Apt::new(place, suite)?.of_suite(&uri, suite)?;
        if apt.get().arg("update").told("fetch the lists of packages").is_err() {
            continue;
        }
        let heard = apt.cache().args(["madison", package]).hear()?;
        let Some(version) = heard.out.lines().find_map(|line| version_of(line, upstream)) else {
            continue;
        };
        eprintln!("{package} {version} from {suite}");
        apt.get()
            .folder(&apt.folder.join("archives"))
            .args(["download", &format!("{package}={version}")])
            .told("fetch a package")?;
        if let Some(file) = apt.fetched()?.pop() {
            return Ok(file);
        }
    }
    Err(Failure::machine(format!(
        "no Debian suite has {package} {upstream}: use --rustup, or a toolchain of which Debian \
         has the sources"
    )))
}

/// The version in a line of `madison` whose upstream part is this one.
fn version_of(line: &str, upstream: &str) -> Option<String> {
    let version = line.split('|').nth(1)?.trim();
    let own = version.split(['+', '-']).next()?;
    (own == upstream).then(|| version.to_owned())
}

/// The archive that this machine's apt is set to.
fn archive() -> Result<String, Failure> {
    let heard = Program::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"])
        .hear()?;
    let is_debian = |line: &&str| line.trim_end_matches('/').ends_with("/debian");
    heard.out.lines().find(is_debian).map(str::to_owned).ok_or_else(|| {
        Failure::machine(
            "this machine's apt has no Debian archive: use --rustup and install MinGW and Wine",
        )
    })
}

/// apt with lists and caches of its own.
struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(place: &Place, name: &str) -> Result<Self, Failure> {
        for program in ["apt-get", "dpkg-deb"] {
            if find(program, &[]).is_none() {
                return Err(Failure::machine(format!(
                    "no {program} here: install MinGW and Wine by your own package manager, and \
                     use --rustup"
                )));
            }
        }
        let folder = place.at("apt").join(name);
        for part in ["lists/partial", "archives/partial", "etc"] {
            fs::create_dir_all(folder.join(part)).map_err(io("make a folder for apt"))?;
        }
        let at = |part: &str| folder.join(part).display().to_string();
        let options = vec![
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::Cache={}", at("")),
            format!("Dir::Cache::archives={}", at("archives")),
            "Acquire::Languages=none".to_owned(),
            "Debug::NoLocking=1".to_owned(),
            // Else apt drops to a user that cannot write here.
            "APT::Sandbox::User=".to_owned(),
        ];
        Ok(Self { folder, options })
    }

    /// As if this suite were the machine's only one, with nothing installed.
    fn of_suite(mut self, uri: &str, suite: &str) -> Result<Self, Failure> {
        let text = format!(
            "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {KEYRING}\n"
        );
        let etc = self.folder.join("etc");
        fs::write(etc.join("suite.sources"), text).map_err(io("write a source list"))?;
        let status = self.folder.join("status");
        fs::write(&status, "").map_err(io("write an empty state"))?;
        self.options.extend([
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={}", etc.display()),
            format!("Dir::State::status={}", status.display()),
        ]);
        Ok(self)
    }

    fn get(&self) -> Program {
        self.with(Program::new("apt-get").arg("-qq"))
    }

    fn cache(&self) -> Program {
        self.with(Program::new("apt-cache"))
    }

    fn with(&self, program: Program) -> Program {
        self.options.iter().fold(program, |program, option| program.args(["-o", option]))
    }

    fn fetched(&self) -> Result<Vec<PathBuf>, Failure> {
        let entries =
            fs::read_dir(self.folder.join("archives")).map_err(io("list fetched packages"))?;
        let paths = entries.flatten().map(|entry| entry.path());
        Ok(paths.filter(|path| path.extension().is_some_and(|ending| ending == "deb")).collect())
    }

    fn empty(&self) -> Result<(), Failure> {
        for file in self.fetched()? {
            fs::remove_file(file).map_err(io("remove a fetched package"))?;
        }
        Ok(())
    }
}

/// A symbolic link in place of what stands there.
///
/// # Errors
/// It cannot be made.
pub(super) fn link(target: &Path, at: &Path) -> Result<(), Failure> {
    let _ = fs::remove_file(at);
    #[cfg(unix)]
    return std::os::unix::fs::symlink(target, at)
        .map_err(io(format_args!("link {}", at.display())));
    #[cfg(not(unix))]
    Err(Failure::machine(format!("cannot link {} to {}", at.display(), target.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exactly_this_version_of_the_compiler_is_taken() {
        let line = " rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://archive trixie-backports/main";
        assert_eq!(version_of(line, "1.95.0").as_deref(), Some("1.95.0+dfsg1-2~bpo13+1"));
        assert_eq!(version_of(line, "1.95"), None);
        assert_eq!(version_of(line, "1.96.0"), None);
        assert_eq!(version_of("nothing", "1.95.0"), None);
    }
}
