//! `vault`: credentials on the command line. A secret comes by standard input and is never shown.

use std::io::Read as _;
use std::process::ExitCode;

use clap::Subcommand;
use clawproof_runtime::vault::{ApiKey, MasterPassword, Vault};
use zeroize::Zeroizing;

use super::{Failure, State, password};

/// The largest secret, in bytes.
const MAX: u64 = 65_536;

#[derive(Subcommand)]
pub(crate) enum Mode {
    /// Make the vault's folder
    Init {
        #[command(flatten)]
        state: State,
    },
    /// Store the secret on standard input under a name
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
}

pub(crate) fn run(mode: Mode, password: Option<MasterPassword>) -> Result<ExitCode, Failure> {
    let password = password.ok_or_else(|| {
        let variable = password::VARIABLE;
        Failure::Asked(format!("the master password is missing: set {variable} or --password-fd"))
    })?;
    match mode {
        Mode::Init { state } => {
            Vault::open(&state.make()?, password)?;
        }
        Mode::Put { state, name } => {
            let secret = secret()?;
            Vault::open(&state.make()?, password)?.put(&name, &secret)?;
        }
        Mode::List { state } => {
            for name in Vault::open(&state.path()?, password)?.list()? {
                println!("{name}");
            }
        }
        Mode::Rm { state, name } => {
            if !Vault::open(&state.path()?, password)?.remove(&name)? {
                return Err(Failure::Asked(format!("there is no record {name}")));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn secret() -> Result<ApiKey, Failure> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .take(MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Asked(format!("the secret cannot be read: {error}")))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    if secret.is_empty() || secret.len() as u64 > MAX {
        return Err(Failure::Asked("the secret must have 1 to 65536 bytes".into()));
    }
    Ok(ApiKey::new(secret.to_owned()))
}
