//! `vault`: credentials on the command line. A secret comes by standard input and is never shown.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use clawproof_runtime::vault::{ApiKey, Vault};
use zeroize::Zeroizing;

use super::changes::Changes;
use super::password::{self, Passwords};
use super::{Failure, State};

/// The largest secret, in bytes.
const MAX: u64 = 65_536;

#[derive(Subcommand)]
pub(crate) enum Mode {
    /// Make the vault's folder
    Init {
        #[command(flatten)]
        state: State,
    },
    /// Store the secret on standard input under a name; at a terminal it is asked for and not shown
    Put {
        #[command(flatten)]
        state: State,
        /// The record's name
        name: String,
    },
    /// List the names of the records
    List {
        #[command(flatten)]
        state: State,
    },
    /// Remove a record
    Rm {
        #[command(flatten)]
        state: State,
        /// The record's name
        name: String,
    },
    /// Seal every record anew under a new master password, the second password of the call
    Rotate {
        #[command(flatten)]
        state: State,
    },
    /// Write all credentials into one new file, sealed under the second password of the call
    Export {
        #[command(flatten)]
        state: State,
        /// The file, which must not exist
        file: PathBuf,
    },
    /// Take in the credentials of an exported file, whose password is the second of the call
    Import {
        #[command(flatten)]
        state: State,
        /// The file
        file: PathBuf,
    },
}

pub(crate) fn run(mode: Mode, mut passwords: Passwords) -> Result<ExitCode, Failure> {
    match mode {
        Mode::Init { state } => {
            let folder = state.make()?;
            Vault::open(&folder, passwords.master()?)?;
        }
        Mode::Put { state, name } => {
            // Asked for first: standard input is the secret's.
            let password = passwords.master()?;
            let secret = secret()?;
            let changes = Changes::of(&state)?;
            Vault::open(&changes.state, password)?.put(&name, &secret)?;
            changes.record("vault.put", &name)?;
        }
        Mode::List { state } => {
            for name in Vault::open(&state.path()?, passwords.master()?)?.list()? {
                println!("{name}");
            }
        }
        Mode::Rm { state, name } => {
            let changes = Changes::of(&state)?;
            if !Vault::open(&changes.state, passwords.master()?)?.remove(&name)? {
                return Err(Failure::Asked(format!("there is no record {name}")));
            }
            changes.record("vault.rm", &name)?;
        }
        Mode::Rotate { state } => {
            let changes = Changes::of(&state)?;
            let vault = Vault::open(&changes.state, passwords.master()?)?;
            let records = vault.rotate(passwords.second("the new master password", true)?)?;
            changes.record("vault.rotate", &format!("{records} records"))?;
            println!("{records} records are sealed under the new password");
        }
        Mode::Export { state, file } => {
            let changes = Changes::of(&state)?;
            let vault = Vault::open(&changes.state, passwords.master()?)?;
            let sealed = vault.export(passwords.second("a password for the file", true)?)?;
            clawproof_runtime::private::create(&file)
                .and_then(|mut open| open.write_all(&sealed).and_then(|()| open.sync_all()))
                .map_err(|error| unusable(&file, &error))?;
            changes.record("vault.export", &format!("{} bytes", sealed.len()))?;
        }
        Mode::Import { state, file } => {
            let changes = Changes::of(&state)?;
            let vault = Vault::open(&changes.state, passwords.master()?)?;
            let sealed = std::fs::read(&file).map_err(|error| unusable(&file, &error))?;
            let password = passwords.second("the password of the file", false)?;
            let names = vault.import(&sealed, password)?;
            changes.record("vault.import", &format!("{} records", names.len()))?;
            println!("{} records are imported", names.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unusable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::Asked(format!("{} cannot be used: {error}", file.display()))
}

fn secret() -> Result<ApiKey, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::Asked(format!("the secret cannot be read: {error}"));
    let mut text = Zeroizing::new(String::new());
    if std::io::stdin().is_terminal() {
        text = password::typed("the secret: ").map_err(unreadable)?;
    } else {
        std::io::stdin().take(MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    if secret.is_empty() || secret.len() as u64 > MAX {
        return Err(Failure::Asked("the secret must have 1 to 65536 bytes".into()));
    }
    Ok(ApiKey::new(secret.to_owned()))
}
