//! `run --explore N`: generated attacks in place of the corpus; what a target falls to is written
//! as a record. It must never call a target good: that nothing was found shows little.

use std::path::PathBuf;
use std::process::ExitCode;

use clawproof::explore::{Explored, Found, Grammar, explore, record, shown};
use clawproof::scenario::Lab;
use clawproof::verdict::Exit;

use crate::{Said, usage};

#[derive(clap::Args)]
pub(crate) struct ExploreArgs {
    /// Play so many generated attacks of each grammar in place of the corpus; the smallest that
    /// succeeds is written as a record.
    #[arg(long, value_name = "N")]
    pub(crate) explore: Option<u32>,
    /// With --explore: only this grammar; may be repeated.
    #[arg(long, value_name = "NAME", requires = "explore")]
    grammar: Vec<Grammar>,
    /// With --explore: the folder in which records are written.
    #[arg(long, value_name = "DIR", requires = "explore", default_value = "attacks/regressions")]
    regressions: PathBuf,
}

/// Explores a target: exit 0 where nothing was found, 1 where something was.
pub(crate) fn run(args: &ExploreArgs, lab: &Lab, count: u32, seed: u64) -> Said {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| (Exit::Harness, format!("no runtime: {error}")))?;
    let grammars = if args.grammar.is_empty() { Grammar::ALL } else { &args.grammar };
    let mut fell = false;
    for grammar in grammars {
        let explored = runtime.block_on(explore(lab, *grammar, count, seed));
        let name = format!("{grammar:?}").to_lowercase();
        match explored.map_err(|trouble| (Exit::Harness, format!("{name}: {trouble}")))? {
            Explored::Held(played) => println!("{name}: {played} inputs, none succeeded"),
            Explored::Fell(found) => {
                fell = true;
                println!("{name}: fell after {} inputs: {:?}", found.played, found.outcome);
                println!("  smallest: {}", shown(&found.smallest));
                for line in &found.evidence {
                    println!("    {line}");
                }
                println!("  record: {}", write(args, &found, seed, count, lab)?.display());
            }
        }
    }
    println!("seed {seed}");
    Ok(if fell { ExitCode::from(Exit::Failed as u8) } else { ExitCode::SUCCESS })
}

fn write(
    args: &ExploreArgs,
    found: &Found,
    seed: u64,
    count: u32,
    lab: &Lab,
) -> Result<PathBuf, (Exit, String)> {
    let (path, text) =
        record(&args.regressions, found, seed, count, &lab.manifest().name).map_err(usage)?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(usage)?;
    }
    std::fs::write(&path, text).map_err(usage)?;
    Ok(path)
}
