//! `plugin`: looks at a plugin's folder before it is accepted. It must never run anything of it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use clawproof_runtime::plugin;
use serde_json::json;

use super::Failure;

#[derive(Subcommand)]
pub(crate) enum Mode {
    /// Print the SHA-256 of a plugin's folder, as `plugins` of the configuration names it
    Digest {
        /// The folder that holds plugin.json
        folder: PathBuf,
    },
    /// Print what a plugin declares, and the entry that accepts it with all that it wants
    Show {
        /// The folder that holds plugin.json
        folder: PathBuf,
    },
}

pub(crate) fn run(mode: &Mode) -> Result<ExitCode, Failure> {
    match mode {
        Mode::Digest { folder } => println!("{}", plugin::look(folder)?.sha256),
        Mode::Show { folder } => {
            let found = plugin::look(folder)?;
            let path = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            let entry = json!({
                "path": path,
                "sha256": found.sha256,
                "grants": found.wants,
                "level": found.level,
            });
            let shown = serde_json::to_string_pretty(&json!({"declares": found, "entry": entry}));
            println!("{}", shown.unwrap_or_default());
        }
    }
    Ok(ExitCode::SUCCESS)
}
