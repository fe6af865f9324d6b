//! `run --list FILE`: somebody's list of path attacks in place of the corpus. It must never call a
//! target good: that no line led outside shows just that.

use std::path::PathBuf;
use std::process::ExitCode;

use clawproof::corpus::Surface;
use clawproof::scenario::{Lab, Trouble};
use clawproof::verdict::Exit;
use clawproof::wordlist::{Format, List, Played, SURFACES, play};

use crate::{Said, usage};

#[derive(clap::Args)]
pub(crate) struct ListArgs {
    /// Play the lines of this list on a path surface in place of the corpus: raw lines, a JSON array
    /// of strings, either in base64, or a list that was imported.
    #[arg(long, value_name = "FILE", conflicts_with = "explore")]
    pub(crate) list: Option<PathBuf>,
    /// With --list: how its lines are written; by default found out.
    #[arg(long, value_name = "FORMAT", requires = "list")]
    list_format: Option<Format>,
    /// With --list: the surface; by default the one that it was imported for, else tool.path.read.
    #[arg(long, value_name = "SURFACE", requires = "list", value_parser = surface)]
    list_surface: Option<Surface>,
    /// With --list: only the lines with this id; may be repeated.
    #[arg(long, value_name = "X-ID", requires = "list")]
    list_only: Vec<String>,
    /// With --list: how many lines that led outside are named before the rest is left.
    #[arg(long, value_name = "N", requires = "list", default_value_t = 100)]
    list_most: usize,
}

/// A surface that takes a list, by its id.
fn surface(id: &str) -> Result<Surface, String> {
    let known = SURFACES.map(Surface::id).join(", ");
    SURFACES.into_iter().find(|it| it.id() == id).ok_or_else(|| format!("one of {known}"))
}

/// Plays a list: exit 0 where no line led outside, 1 where one did or ended the target.
pub(crate) fn run(args: &ListArgs, file: &std::path::Path, lab: &Lab, jobs: usize) -> Said {
    let list = List::load(file, args.list_format).map_err(usage)?.only(&args.list_only);
    if list.entries.is_empty() {
        return Err(usage(format!("{} has no line with this id", file.display())));
    }
    let surface = args.list_surface.or(list.surface).unwrap_or(Surface::ToolPathRead);
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| (Exit::Harness, format!("no runtime: {error}")))?;
    let played = runtime.block_on(play(lab, &list, surface, jobs, args.list_most));
    let played = played.map_err(|trouble| match trouble {
        Trouble::Inconclusive(words) => (Exit::Inconclusive, words),
        trouble => (Exit::Harness, trouble.to_string()),
    })?;
    let exit = tell(&list, surface, &played);
    Ok(ExitCode::from(exit as u8))
}

fn tell(list: &List, surface: Surface, played: &Played) -> Exit {
    let source = list.path.display();
    for escape in &played.escapes {
        println!("{source}:{}: {} led outside: {}", escape.line, escape.id, escape.shown);
        println!("    {}", escape.evidence);
    }
    for line in &played.ended {
        println!("{source}:{line}: ended the target");
    }
    let seconds = played.milliseconds as f64 / 1000.0;
    println!(
        "{} of {} lines played on {} in {seconds:.1} s, {} at once; {} aimed at the canary; a plain \
         open leads outside for {}; {} the same as another",
        played.played,
        list.entries.len(),
        surface.id(),
        played.at_once,
        played.aimed,
        played.reachable,
        list.repeated,
    );
    if played.left_out > 0 {
        println!("{} not played: a write there would be one to this host", played.left_out);
    }
    if !played.stopped.is_empty() {
        println!("{} refused with the whole answer that they stood in", played.stopped.len());
    }
    if played.cut_short {
        println!("ended early: enough was seen");
    }
    match (played.escapes.len(), played.ended.len(), played.played) {
        (0, 0, 0) => {
            println!("nothing was played");
            Exit::Inconclusive
        }
        (0, 0, _) => {
            println!("no line led outside");
            Exit::Certified
        }
        (escapes, ended, _) => {
            println!("{escapes} lines led outside, {ended} ended the target");
            Exit::Failed
        }
    }
}
