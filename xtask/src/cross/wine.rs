//! Wine: runs the Windows tests where there is no Windows. Knows how to start it and what it does
//! not enforce; must never let that pass for shown.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crate::failure::{Failure, io};
use crate::process::{Heard, Program, find};
use crate::summary::Ended;
use crate::workspace::Workspace;

use super::place::{Place, target};
use super::{GNU, SHIPPED, debian};

/// What Wine accepts and does not enforce, or refuses (seen with 8.0 and 10.0): a test of these
/// under Wine would say nothing. Each is told as *not shown by Wine*, with this reason.
pub(super) const NOT_SHOWN: &[(&str, &str)] = &[
    ("process limit", "it accepts the limit and starts more processes than that"),
    ("memory limit", "it accepts the limits of a process and of a job and hands out more"),
    (
        "time limit",
        "it accepts a job's processor time and counts none (the runtime's own is tested)",
    ),
    ("CPU rate", "it refuses the call"),
    ("UI limits", "it accepts the call and limits nothing"),
    ("AppContainer", "it refuses the call, and so the runtime refuses every tool at a level"),
    ("probes inside", "it has no boundary that a probe could try; CI runs them on Windows"),
];

/// What the runtime says when a trial job was filled past its limits and nothing stopped it.
const UNENFORCED: &str = "accepted and not enforced";
/// What the tool of the step below would print.
const MARK: &str = "the-tool-ran";

/// A Wine with a prefix of its own.
#[derive(Debug)]
pub(super) struct Wine {
    program: PathBuf,
    environment: PathBuf,
    stop: PathBuf,
}

/// Finds or unpacks Wine, and makes its prefix once.
///
/// # Errors
/// It cannot be had, or does not start.
pub(super) fn ensure(place: &Place) -> Result<Wine, Failure> {
    let unpacked = place.at("wine/usr/lib/wine/wine64");
    let system = find("wine64", &[]).or_else(|| find("wine", &[]));
    let (program, server, libraries) = match system {
        Some(program) => (program, find("wineserver", &[]), None),
        None => {
            if !unpacked.is_file() {
                unpack(place)?;
            }
            let server = place.at("wine/usr/lib/wine/wineserver");
            (unpacked, Some(server), Some(place.at("wine/usr/lib/x86_64-linux-gnu")))
        }
    };
    let server = server.unwrap_or_else(|| "/usr/lib/wine/wineserver".into());
    let wine = scripts(place, program, &server, libraries.as_deref())?;
    if !place.at("prefix/system.reg").is_file() {
        eprintln!("making a Wine prefix (a minute, once)");
        let made =
            wine.shell("umask 022; exec timeout 300 \"$1\" wineboot -i </dev/null >/dev/null 2>&1");
        if made.arg(&wine.program).status()? != 0 {
            return Err(Failure::machine("wineboot failed"));
        }
        randomness(place, libraries.as_deref())?;
        wine.stop();
    }
    Ok(wine)
}

fn unpack(place: &Place) -> Result<(), Failure> {
    let root = place.at("wine");
    debian::unpack(place, &root, &["wine64"])?;
    // What the package does when it is installed: zlib gets the mark of a library of Wine's own.
    let own = root.join("usr/lib/x86_64-linux-gnu/wine/x86_64-windows/zlib1.dll");
    let foreign = root.join("usr/x86_64-w64-mingw32/lib/zlib1.dll");
    if let (false, Ok(mut bytes)) = (own.exists(), fs::read(foreign)) {
        let mark = [b"Wine builtin DLL".as_slice(), &[0; 16]].concat();
        if let Some(place) = bytes.get_mut(64..64 + mark.len()) {
            place.copy_from_slice(&mark);
        }
        fs::write(&own, bytes).map_err(io("mark zlib"))?;
    }
    // The package's own script has an absolute path.
    place.script(
        "wine/usr/lib/wine/wineserver",
        "#!/bin/sh\nexec \"$(dirname \"$0\")/wineserver64\" \"$@\"\n",
    )?;
    Ok(())
}

fn scripts(
    place: &Place,
    program: PathBuf,
    server: &std::path::Path,
    libraries: Option<&std::path::Path>,
) -> Result<Wine, Failure> {
    let quote = |path: &std::path::Path| format!("'{}'", path.display());
    let libraries = libraries
        .map(|path| format!("export LD_LIBRARY_PATH={}\n", quote(path)))
        .unwrap_or_default();
    let environment = place.script(
        "wine-environment",
        &format!(
            "export WINEPREFIX={} WINEDEBUG=${{WINEDEBUG:--all}}\n\
             export WINEDLLOVERRIDES='mscoree=;mshtml=;winemenubuilder.exe=;winedbg.exe='\n\
             unset DISPLAY WAYLAND_DISPLAY\n{libraries}",
            quote(&place.at("prefix"))
        ),
    )?;
    // The first program starts services, which would keep a test's output open: a throw-away one
    // comes first, with its output closed. Wine makes access lists of the modes of files: what a user
    // of Windows makes in his own folders is his alone.
    place.script(
        "run-wine",
        &format!(
            "#!/bin/sh\numask 077\n. {}\nexec 9>{}; flock 9\n\
             {wine} cmd.exe /c exit 0 </dev/null >/dev/null 2>&1 9>&- || :\n\
             exec 9>&-\nexec {wine} \"$@\"\n",
            quote(&environment),
            quote(&place.at("wine.lock")),
            wine = quote(&program),
        ),
    )?;
    let stop = place.script(
        "stop-wine",
        &format!("#!/bin/sh\n. {}\nexec {} -k\n", quote(&environment), quote(server)),
    )?;
    Ok(Wine { program, environment, stop })
}

/// Older Wines lack the library that Rust's std takes random bytes from: one of our own, which asks
/// the function that they have.
fn randomness(place: &Place, libraries: Option<&std::path::Path>) -> Result<(), Failure> {
    let folders =
        [libraries.map(|path| path.join("wine")), Some("/usr/lib/x86_64-linux-gnu/wine".into())];
    let there = folders
        .into_iter()
        .flatten()
        .any(|folder| folder.join("x86_64-windows/bcryptprimitives.dll").is_file());
    if there {
        return Ok(());
    }
    let source = place.at("bcryptprimitives.c");
    fs::write(
        &source,
        "typedef unsigned long long size;\n\
         __declspec(dllimport) unsigned char __stdcall SystemFunction036(void *, unsigned long);\n\
         __declspec(dllexport) int __stdcall ProcessPrng(unsigned char *at, size left) {\n\
         \twhile (left > 0) {\n\
         \t\tunsigned long part = left > 65536 ? 65536 : (unsigned long)left;\n\
         \t\tif (!SystemFunction036(at, part)) return 0;\n\
         \t\tat += part;\n\
         \t\tleft -= part;\n\
         \t}\n\
         \treturn 1;\n\
         }\n",
    )
    .map_err(io("write a small library"))?;
    let compiler = find("x86_64-w64-mingw32-gcc", &[&place.mingw()])
        .ok_or_else(|| Failure::machine("no MinGW to build a small library with"))?;
    Program::new(compiler)
        .args(["-shared", "-O2", "-nostartfiles", "-Wl,-e0", "-o"])
        .arg(place.at("prefix/drive_c/windows/system32/bcryptprimitives.dll"))
        .arg(source)
        .arg("-ladvapi32")
        .run()
}

impl Wine {
    /// Its version, for the table.
    pub(super) fn version(&self) -> String {
        let heard = self.shell("exec \"$1\" --version").arg(&self.program).hear();
        heard.map(|heard| heard.out.trim().to_owned()).unwrap_or_default()
    }

    /// Runs the tests of the shipped crates, by nextest where it is there, and shows what they print.
    pub(super) fn tests(
        &self,
        workspace: &Workspace,
        place: &Place,
        only: Option<&str>,
    ) -> Result<Heard, Failure> {
        let nextest = find("cargo-nextest", &[&workspace.tool_bin()]).is_some();
        let verb: &[&str] = if nextest { &["nextest", "run"] } else { &["test"] };
        let cargo = place
            .cargo(workspace)
            .args(verb)
            .args(["--locked", "--no-fail-fast", "--target", GNU.triple])
            .args(SHIPPED)
            .args(only)
            // Inside there is no cargo that insta could ask where its snapshots stand.
            .env("INSTA_WORKSPACE_ROOT", workspace.root());
        eprintln!("$ {cargo}   (what it prints comes at its end)");
        let heard = cargo.hear()?;
        eprint!("{}{}", heard.out, heard.err);
        Ok(heard)
    }

    /// At the strict level: Wine holds none, so the tool must be refused, and the reason told.
    pub(super) fn refusal(&self, workspace: &Workspace) -> Result<Ended, Failure> {
        let program = target(workspace).join(GNU.triple).join("debug/clawproof-runtime.exe");
        let line = "mkdir -p \"$3\"; cd \"$3\"; exec \"$1\" \"$2\" sandbox run --level strict \
                    --workspace . -- cmd /d /c echo \"$4\"";
        let room = target(workspace).join("refusal");
        let heard = self.shell(line).arg(&self.program).arg(program).arg(room).arg(MARK).hear()?;
        let why = heard.last_line().to_owned();
        Ok(match (heard.code, heard.out.contains(MARK), heard.err.contains(UNENFORCED)) {
            (0, ..) | (_, true, _) => {
                Ended::Failed("a tool ran at a level Wine cannot hold".into())
            }
            (_, false, true) => Ended::Passed(format!("refused: {why}")),
            (_, false, false) => Ended::Failed(format!("refused, but not by the trial: {why}")),
        })
    }

    /// Ends what this prefix started, and nothing else.
    pub(super) fn stop(&self) {
        let _ = Program::new(&self.stop).hear();
    }

    /// A line of shell in Wine's environment; `$1` is the first argument.
    fn shell(&self, line: &str) -> Program {
        let text = format!(". '{}'; {line}", self.environment.display());
        Program::new("/bin/sh").arg("-c").arg(text).arg("sh")
    }
}

/// What a run of the tests came to.
pub(super) fn whole(heard: &Heard) -> Ended {
    let summary = heard.err.lines().rev().find(|line| line.contains("tests run:"));
    let note = summary.map_or("", str::trim).to_owned();
    if heard.code == 0 { Ended::Passed(note) } else { Ended::Failed(note) }
}

/// What the job object's own tests came to in that run, by name: one that did not pass, or none that
/// ran, is a failure.
pub(super) fn job(heard: &Heard, only: Option<&str>) -> Ended {
    let (passed, failed) = tests_of("sandbox_windows::", heard);
    match (passed.is_empty(), failed.is_empty()) {
        (true, true) if only.is_some() => Ended::NotChecked("left out by --only".to_owned()),
        (true, true) => Ended::Failed("no test of the job object ran".to_owned()),
        (_, false) => Ended::Failed(failed.join(", ")),
        (false, true) => Ended::Passed(format!("{} tests: {}", passed.len(), passed.join(", "))),
    }
}

/// The tests of a room that passed and those that did not, as nextest or cargo's own runner tells it.
fn tests_of(room: &str, heard: &Heard) -> (Vec<String>, Vec<String>) {
    let (mut passed, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for line in heard.err.lines().chain(heard.out.lines()).map(str::trim) {
        let Some((before, name)) = line.split_once(room) else { continue };
        let name = name.split_whitespace().next().unwrap_or_default().to_owned();
        let own = before.starts_with("test ");
        if before.starts_with("PASS") || own && line.ends_with("ok") {
            passed.insert(name);
        } else if own && line.ends_with("FAILED")
            || ["FAIL", "TIMEOUT", "ABORT"].iter().any(|word| before.starts_with(word))
        {
            failed.insert(name);
        }
    }
    (passed.into_iter().collect(), failed.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(err: &str, out: &str) -> Heard {
        Heard { code: 0, out: out.to_owned(), err: err.to_owned() }
    }

    #[test]
    fn the_job_objects_tests_are_counted_by_name_whoever_ran_them() {
        let line = |word: &str, name: &str| {
            format!("        {word} [   1.0s] (1/3) clawproof-runtime::it {name}\n")
        };
        let others = line("PASS", "vault::three") + "sandbox_windows::four\n";
        let good = line("PASS", "sandbox_windows::one") + &others;
        assert!(
            matches!(job(&heard(&good, ""), None), Ended::Passed(note) if note == "1 tests: one")
        );
        let own = "test sandbox_windows::one ... ok\n";
        assert!(
            matches!(job(&heard("", own), None), Ended::Passed(note) if note == "1 tests: one")
        );
        for bad in [line("FAIL", "sandbox_windows::two"), line("TIMEOUT", "sandbox_windows::two")] {
            let found = job(&heard(&(good.clone() + &bad), ""), None);
            assert!(matches!(found, Ended::Failed(note) if note == "two"), "{bad}");
        }
        let own = "test sandbox_windows::two ... FAILED\n";
        assert!(matches!(job(&heard(&good, own), None), Ended::Failed(_)));
        assert!(matches!(job(&heard(&others, ""), None), Ended::Failed(_)), "none ran");
        assert!(matches!(job(&heard(&others, ""), Some("vault")), Ended::NotChecked(_)));
    }
}
