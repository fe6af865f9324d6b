//! `sdk`: compiles the TypeScript of the plugin SDK and its example, compares what stands beside it,
//! and runs the example in the reference runtime. It must never write anything that it was not asked
//! to, nor fetch anything but the packages that the lock file names.

use std::path::Path;

use clap::Args;

use crate::failure::{Failure, io};
use crate::process::{Program, find};
use crate::summary::Ended;
use crate::workspace::Workspace;

/// What is compiled, and what it becomes.
const EMITTED: [&str; 2] = ["main.mjs", "plugin.mjs"];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Write what was compiled in place of what stands there.
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    match compiled(workspace, options.write)? {
        Ended::NotChecked(words) => return Err(Failure::machine(words)),
        Ended::Failed(words) => return Err(Failure::check(words)),
        Ended::Passed(words) => println!("{words}"),
    }
    workspace
        .cargo()
        .args(["test", "--package", "clawproof-runtime", "--test", "it", "plugin::"])
        .args(["--", "--include-ignored"])
        .run()
}

/// Compiles in a folder of its own and compares.
pub(crate) fn compiled(workspace: &Workspace, write: bool) -> Result<Ended, Failure> {
    let Some(npm) = find("npm", &[]) else {
        return Ok(Ended::NotChecked("there is no npm here: the SDK is not compiled".into()));
    };
    let source = workspace.at("sdk/typescript");
    let folder = workspace.scratch("sdk")?;
    for name in ["package.json", "package-lock.json", "tsconfig.json"] {
        copy(&source.join(name), &folder.join(name))?;
    }
    let sources = folder.join("src");
    let _ = std::fs::remove_dir_all(&sources);
    std::fs::create_dir_all(&sources).map_err(io(format_args!("make {}", sources.display())))?;
    let listed = std::fs::read_dir(source.join("src")).map_err(io("list the SDK's sources"))?;
    for entry in listed.flatten() {
        copy(&entry.path(), &sources.join(entry.file_name()))?;
    }
    let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    if Program::new(&npm).args(quiet).folder(&folder).run().is_err() {
        let words = "npm could not install the compiler: the SDK is not compiled";
        return Ok(Ended::NotChecked(words.into()));
    }
    let compiler = folder.join("node_modules/.bin/tsc");
    Program::new(&compiler).args(["--project", "."]).folder(&folder).run()?;
    for name in EMITTED {
        let (made, kept) =
            (folder.join("count-words").join(name), source.join("count-words").join(name));
        if write {
            copy(&made, &kept)?;
            continue;
        }
        let read =
            |path: &Path| std::fs::read(path).map_err(io(format_args!("read {}", path.display())));
        if read(&made)? != read(&kept)? {
            let sentence = format!("sdk/typescript/count-words/{name} is not what its source says");
            return Err(Failure::check(format!("{sentence}; run `cargo xtask sdk --write`")));
        }
    }
    Ok(Ended::Passed("the SDK is what its source says".into()))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let copied = std::fs::copy(from, to);
    copied.map(|_| ()).map_err(io(format_args!("copy {}", from.display())))
}
