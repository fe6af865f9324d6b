//! The master password: from a descriptor, or from the environment, out of which it is taken at
//! once by starting this program anew without it. It must never stay in `/proc/<pid>/environ`, on
//! a command line or in a descriptor that a child inherits.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;

use clawproof_runtime::vault::MasterPassword;
use zeroize::Zeroizing;

use super::Failure;

/// The environment variable.
pub(crate) const VARIABLE: &str = "CLAWPROOF_MASTER_PASSWORD";
/// The longest password, in bytes: it must fit into a pipe's buffer as a whole.
const MAX: u64 = 4_096;
const LENGTH: &str = "the master password must have 1 to 4096 bytes";

/// The password, if one was given. Where it is in the environment, this does not return: the
/// process replaces itself by one that has it in a pipe.
pub(crate) fn source(descriptor: Option<u32>) -> Result<Option<MasterPassword>, Failure> {
    if let Some(variable) = std::env::var_os(VARIABLE) {
        if descriptor.is_some() {
            return Err(Failure::Asked(format!(
                "the master password is given twice: by {VARIABLE} and by --password-fd"
            )));
        }
        return from_environment(variable);
    }
    descriptor.map(read).transpose()
}

/// Reads the descriptor to its end, and keeps it from every child.
fn read(descriptor: u32) -> Result<MasterPassword, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::Asked(format!("the master password cannot be read from its descriptor: {error}"))
    };
    #[cfg(unix)]
    no_core_files();
    let mut text = Zeroizing::new(String::new());
    if descriptor == 0 {
        std::io::stdin().take(MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    } else {
        let file = File::open(format!("/dev/fd/{descriptor}")).map_err(unreadable)?;
        file.take(MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    }
    #[cfg(target_os = "linux")]
    close_fds::set_fds_cloexec(3, &[]);
    let password = text.strip_suffix('\n').unwrap_or(&text);
    if password.is_empty() || password.len() as u64 > MAX {
        return Err(Failure::Asked(LENGTH.into()));
    }
    Ok(MasterPassword::new(password.to_owned()))
}

/// A process that holds secrets leaves no memory image on the disk when it dies.
#[cfg(unix)]
fn no_core_files() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Lowering a limit is always allowed.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "replaces this process by itself; spawns nothing")]
fn from_environment(variable: OsString) -> Result<Option<MasterPassword>, Failure> {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::ffi::OsStringExt as _;
    use std::os::unix::process::CommandExt as _;

    let failed = |error: std::io::Error| {
        Failure::Failed(format!("the master password cannot be taken over: {error}"))
    };
    let password = Zeroizing::new(variable.into_vec());
    if password.is_empty() || password.len() as u64 > MAX {
        return Err(Failure::Asked(LENGTH.into()));
    }
    let (reader, writer) = rustix::pipe::pipe().map_err(|error| failed(error.into()))?;
    let mut writer = File::from(writer);
    writer.write_all(&password).map_err(failed)?;
    drop(writer);
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "clawproof-runtime".into());
    let error = std::process::Command::new(std::env::current_exe().map_err(failed)?)
        .arg0(name)
        .arg(format!("--password-fd={}", reader.as_raw_fd()))
        .args(arguments)
        .env_remove(VARIABLE)
        .exec();
    Err(failed(error))
}

/// Other systems do not show a process's environment to other users.
#[cfg(not(unix))]
fn from_environment(variable: OsString) -> Result<Option<MasterPassword>, Failure> {
    let password = variable
        .into_string()
        .map_err(|_| Failure::Asked("the master password is not valid Unicode".into()))?;
    Ok(Some(MasterPassword::new(password)))
}
