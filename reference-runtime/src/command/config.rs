//! `config check`: says whether a file is a valid configuration, and where it is not.

use std::path::Path;
use std::process::ExitCode;

use super::{Failure, configuration};

pub(crate) fn check(file: &Path) -> Result<ExitCode, Failure> {
    configuration(Some(file))?;
    println!("{} is a valid configuration", file.display());
    Ok(ExitCode::SUCCESS)
}
