//! Whole files of the command line: read and written, or one sentence that says why not. It must
//! never know what stands in them.

use std::io::Write as _;
use std::path::Path;

use clawproof::verdict::Exit;

use crate::usage;

/// Reads a file, or says why not.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, (Exit, String)> {
    std::fs::read(path).map_err(|error| usage(format!("cannot read {}: {error}", path.display())))
}

/// Writes a file that there must not be yet, or says why not.
pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), (Exit, String)> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| usage(format!("cannot write {}: {error}", path.display())))
}

/// Writes a file, or says why not.
pub(crate) fn save(path: &Path, bytes: &[u8]) -> Result<(), (Exit, String)> {
    std::fs::write(path, bytes)
        .map_err(|error| usage(format!("cannot write {}: {error}", path.display())))
}
