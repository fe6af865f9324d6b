//! The passwords: from a descriptor, from the terminal, or from the environment, out of which it is taken at
//! once by starting this program anew without it. It must never stay in `/proc/<pid>/environ`, on
//! a command line or in a descriptor that a child inherits.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;

use clawproof_runtime::vault::MasterPassword;
use zeroize::Zeroizing;

use super::Failure;

/// The environment variable of the master password.
pub(crate) const VARIABLE: &str = "CLAWPROOF_MASTER_PASSWORD";
/// That of the second one: the new one of a rotation, the one of an exported file.
pub(crate) const SECOND: &str = "CLAWPROOF_SECOND_PASSWORD";
/// The longest password, in bytes: it must fit into a pipe's buffer as a whole.
const MAX: u64 = 4_096;
const LENGTH: &str = "a password must have 1 to 4096 bytes";

/// The passwords of one call, each where it was given.
#[derive(Debug, Default)]
pub(crate) struct Passwords {
    pub(crate) master: Option<MasterPassword>,
    pub(crate) second: Option<MasterPassword>,
}

impl Passwords {
    /// The master password: as it was given, or asked for at the terminal.
    pub(crate) fn master(&mut self) -> Result<MasterPassword, Failure> {
        let how = format!("set {VARIABLE} or --password-fd");
        self.master.take().map_or_else(|| ask("the master password", &how, false), Ok)
    }

    /// The second password, in the same way; asked for twice where it is a new one.
    pub(crate) fn second(&mut self, what: &str, new: bool) -> Result<MasterPassword, Failure> {
        let how = format!("set {SECOND} or --second-password-fd");
        self.second.take().map_or_else(|| ask(what, &how, new), Ok)
    }
}

/// The passwords that were given. Where one is in the environment, this does not return: the
/// process replaces itself by one that has it in a pipe.
pub(crate) fn source(master: Option<u32>, second: Option<u32>) -> Result<Passwords, Failure> {
    let mut moved = Vec::new();
    for (variable, descriptor, flag) in
        [(VARIABLE, master, "--password-fd"), (SECOND, second, "--second-password-fd")]
    {
        let Some(value) = std::env::var_os(variable) else { continue };
        if descriptor.is_some() {
            return Err(Failure::Asked(format!(
                "a password is given twice: by {variable} and by {flag}"
            )));
        }
        moved.push((variable, flag, value));
    }
    #[cfg(feature = "knockout")]
    if !moved.is_empty() && !clawproof_runtime::requirement::SECRET_NO_LEAK.enforced() {
        return left_in_place(moved);
    }
    if !moved.is_empty() {
        return from_environment(moved);
    }
    let passwords =
        Passwords { master: master.map(read).transpose()?, second: second.map(read).transpose()? };
    #[cfg(target_os = "linux")]
    if master.is_some() || second.is_some() {
        close_fds::set_fds_cloexec(3, &[]);
    }
    Ok(passwords)
}

/// The passwords of the environment, which stay in it for everyone who may read this process's.
#[cfg(feature = "knockout")]
fn left_in_place(given: Vec<(&str, &str, OsString)>) -> Result<Passwords, Failure> {
    let mut passwords = Passwords::default();
    for (variable, _, value) in given {
        let text = value.into_string().map_err(|_| Failure::Asked(LENGTH.into()))?;
        let password = Some(MasterPassword::new(text));
        if variable == VARIABLE { passwords.master = password } else { passwords.second = password }
    }
    Ok(passwords)
}

/// Asks at the terminal, without showing what is typed.
fn ask(what: &str, how: &str, twice: bool) -> Result<MasterPassword, Failure> {
    let missing = |_| Failure::Asked(format!("{what} is missing: {how}, or call from a terminal"));
    #[cfg(unix)]
    no_core_files();
    let typed = |prompt: String| typed(&prompt);
    let password = typed(format!("{what}: ")).map_err(missing)?;
    if twice && *typed(format!("{what}, once more: ")).map_err(missing)? != *password {
        return Err(Failure::Asked("the two are not the same".into()));
    }
    if password.is_empty() || password.len() as u64 > MAX {
        return Err(Failure::Asked(LENGTH.into()));
    }
    Ok(MasterPassword::new(password.to_string()))
}

/// What is typed at the terminal, which does not show it.
pub(crate) fn typed(prompt: &str) -> std::io::Result<Zeroizing<String>> {
    #[cfg(feature = "knockout")]
    if !clawproof_runtime::requirement::SECRET_NO_LEAK.enforced() {
        use std::io::{BufRead as _, BufReader, Write as _};
        let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
        terminal.write_all(prompt.as_bytes())?;
        let mut line = String::new();
        BufReader::new(terminal).read_line(&mut line)?;
        return Ok(Zeroizing::new(line.trim_end_matches('\n').to_owned()));
    }
    rpassword::prompt_password(prompt).map(Zeroizing::new)
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
fn from_environment(moved: Vec<(&str, &str, OsString)>) -> Result<Passwords, Failure> {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::ffi::OsStringExt as _;
    use std::os::unix::process::CommandExt as _;

    let failed = |error: std::io::Error| {
        Failure::Failed(format!("the master password cannot be taken over: {error}"))
    };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "clawproof-runtime".into());
    let mut again = std::process::Command::new(std::env::current_exe().map_err(failed)?);
    again.arg0(name);
    let mut pipes = Vec::new();
    for (variable, flag, value) in moved {
        let password = Zeroizing::new(value.into_vec());
        if password.is_empty() || password.len() as u64 > MAX {
            return Err(Failure::Asked(LENGTH.into()));
        }
        let (reader, writer) = rustix::pipe::pipe().map_err(|error| failed(error.into()))?;
        File::from(writer).write_all(&password).map_err(failed)?;
        again.arg(format!("{flag}={}", reader.as_raw_fd())).env_remove(variable);
        pipes.push(reader);
    }
    Err(failed(again.args(arguments).exec()))
}

/// Other systems do not show a process's environment to other users.
#[cfg(not(unix))]
fn from_environment(moved: Vec<(&str, &str, OsString)>) -> Result<Passwords, Failure> {
    let mut passwords = Passwords::default();
    for (variable, _, value) in moved {
        let password = value
            .into_string()
            .map_err(|_| Failure::Asked("a password is not valid Unicode".into()))?;
        let place =
            if variable == VARIABLE { &mut passwords.master } else { &mut passwords.second };
        *place = Some(MasterPassword::new(password));
    }
    Ok(passwords)
}
