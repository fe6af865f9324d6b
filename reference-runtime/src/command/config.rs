//! `config check`: says whether a file is a valid configuration, and where it is not.

use std::path::Path;
use std::process::ExitCode;

use clawproof_runtime::config::Config;

use super::{Failure, configuration};

/// The published schema of the file.
pub(crate) fn schema() -> Result<ExitCode, Failure> {
    let schema = serde_json::to_string_pretty(&Config::schema());
    println!("{}", schema.map_err(|error| Failure::Failed(error.to_string()))?);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn check(file: &Path) -> Result<ExitCode, Failure> {
    configuration(Some(file))?;
    println!("{} is a valid configuration", file.display());
    Ok(ExitCode::SUCCESS)
}
