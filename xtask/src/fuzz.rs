//! `fuzz`: runs the fuzz targets for a while each. Knows cargo-fuzz, no target's insides.

use clap::Args;

use crate::cargo_tool::cargo_tool;
use crate::failure::{Failure, io};
use crate::process::Program;
use crate::workspace::Workspace;

/// The release that the fuzz crate was written for.
const VERSION: &str = "0.13.2";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The fuzz target; all of them in turn where none is named.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    let known = targets(workspace)?;
    let chosen = match &options.target {
        None => known,
        Some(target) if known.contains(target) => vec![target.clone()],
        Some(target) => {
            let known = known.join(", ");
            return Err(Failure::usage(format!("no fuzz target `{target}`; there are: {known}")));
        }
    };
    let nightly = Program::rustup_cargo().args(["+nightly", "--version"]).hear();
    if !nightly.is_ok_and(|heard| heard.code == 0) {
        return Err(Failure::machine(
            "fuzzing needs the nightly toolchain: run `rustup toolchain install nightly`",
        ));
    }
    cargo_tool(workspace, "cargo-fuzz", VERSION)?;
    for target in chosen {
        let found = workspace.at("fuzz/corpus").join(&target);
        std::fs::create_dir_all(&found).map_err(io("make the folder for what the fuzzer finds"))?;
        // New inputs go to the first folder; the seeds are read only.
        let mut fuzz = Program::rustup_cargo()
            .folder(workspace.root())
            .env("PATH", workspace.path())
            .args(["+nightly", "fuzz", "run", &target])
            .arg(found)
            .arg(workspace.at("fuzz/seeds").join(&target))
            .arg("--")
            .arg(format!("-max_total_time={}", options.seconds))
            .args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        let dictionary = workspace.at("fuzz/dictionaries").join(format!("{target}.dict"));
        if dictionary.is_file() {
            fuzz = fuzz.arg(format!("-dict={}", dictionary.display()));
        }
        fuzz.run()?;
    }
    Ok(())
}

/// The fuzz targets are the files: one each.
fn targets(workspace: &Workspace) -> Result<Vec<String>, Failure> {
    let mut names: Vec<_> = std::fs::read_dir(workspace.at("fuzz/fuzz_targets"))
        .map_err(io("list fuzz/fuzz_targets"))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_fuzz_target_names_the_known_ones() {
        let workspace = Workspace::find().unwrap();
        let options = Options { target: Some("nothing".into()), seconds: 1 };
        let failure = run(&workspace, &options).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.sentence().unwrap().contains("json_scan, path_rules"));
    }
}
