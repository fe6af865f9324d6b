//! The command line: its words, its exit codes, and what its modes share. Exit 0: done; 1: it did
//! not work; 2: it was asked wrongly. Each failure is one sentence on standard error.

pub(crate) mod audit;
pub(crate) mod changes;
pub(crate) mod chat;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod log;
pub(crate) mod parts;
pub(crate) mod password;
pub(crate) mod plugin;
pub(crate) mod serve;
pub(crate) mod token;
pub(crate) mod vault;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use clawproof_runtime::audit::Rejection;
use clawproof_runtime::config::Config;
use clawproof_runtime::{private, sandbox};

/// An agent runtime in which five layers of defence are real.
#[derive(Parser)]
#[command(name = "clawproof-runtime", version)]
pub(crate) struct Cli {
    /// Read the master password from this open descriptor instead of CLAWPROOF_MASTER_PASSWORD
    #[arg(long, global = true, value_name = "N")]
    pub(crate) password_fd: Option<u32>,
    /// Read the second password (of `vault rotate`, `export`, `import`) from this open descriptor
    /// instead of CLAWPROOF_SECOND_PASSWORD
    #[arg(long, global = true, value_name = "N")]
    pub(crate) second_password_fd: Option<u32>,
    /// Switch defences off, for the suite's self-test: ids, `layer:NAME`, or a `variant.*`, with
    /// commas between them
    #[cfg(feature = "knockout")]
    #[arg(long, value_name = "ID,...")]
    pub(crate) knockout: Option<String>,
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Subcommand)]
pub(crate) enum Mode {
    /// Serve the gateway until SIGTERM or SIGINT
    Serve(serve::Arguments),
    /// Say one thing to the agent and print its answer
    Chat(chat::Arguments),
    /// Make, list and revoke bearer tokens
    Token {
        #[command(subcommand)]
        mode: token::Mode,
    },
    /// Keep credentials, encrypted
    Vault {
        #[command(subcommand)]
        mode: vault::Mode,
    },
    /// Look at the audit log
    Audit {
        #[command(subcommand)]
        mode: AuditMode,
    },
    /// Say which defences are in force on this machine
    Doctor(doctor::Arguments),
    /// Look at a configuration file
    Config {
        #[command(subcommand)]
        mode: ConfigMode,
    },
    /// Look at a plugin's folder
    Plugin {
        #[command(subcommand)]
        mode: plugin::Mode,
    },
    /// Use the sandbox on its own
    Sandbox {
        #[command(subcommand)]
        mode: SandboxMode,
    },
    /// List what `--knockout` can name: defences, layers, variants
    #[cfg(feature = "knockout")]
    Knockouts,
}

#[derive(Subcommand)]
pub(crate) enum AuditMode {
    /// Check the chain of the log from its first record to its last
    Verify(State),
    /// Print the last records
    Tail(audit::TailArguments),
}

#[derive(Subcommand)]
pub(crate) enum ConfigMode {
    /// Say whether a file is a valid configuration
    Check {
        /// The file, openclaw.json
        file: PathBuf,
    },
    /// Print the JSON Schema of a configuration file
    Schema,
}

#[derive(Subcommand)]
pub(crate) enum SandboxMode {
    /// Run one program in a fresh sandbox
    Run(sandbox::launch::Arguments),
}

/// The folder of everything that the runtime keeps.
#[derive(Args, Clone)]
pub(crate) struct State {
    /// The folder for tokens, sessions, credentials and the audit log [default: ~/.clawproof]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

impl State {
    /// The folder; it need not exist.
    pub(crate) fn path(&self) -> Result<PathBuf, Failure> {
        match &self.state {
            Some(path) => Ok(path.clone()),
            None => std::env::home_dir()
                .map(|home| home.join(".clawproof"))
                .ok_or_else(|| Failure::Asked("there is no home folder: name --state".into())),
        }
    }

    /// The folder, made for its owner alone where it does not exist.
    pub(crate) fn make(&self) -> Result<PathBuf, Failure> {
        let path = self.path()?;
        private::create_folders(&path).map_err(|error| {
            Failure::Failed(format!("the state folder {} cannot be made: {error}", path.display()))
        })?;
        Ok(path)
    }
}

/// Why a mode ended badly.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command, its input or its configuration is wrong: exit 2.
    Asked(String),
    /// It was asked well and did not work: exit 1.
    Failed(String),
}

impl Failure {
    /// One line on standard error, and the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let (sentence, code) = match self {
            Self::Asked(sentence) => (sentence, 2),
            Self::Failed(sentence) => (sentence, 1),
        };
        eprintln!("clawproof-runtime: {}", one_line(sentence));
        ExitCode::from(code)
    }
}

/// One id a line: defences, layers, variants. A line of the sandbox's plan that nothing notices says
/// behind tabs which other holds the same, and why both stay.
#[cfg(feature = "knockout")]
pub(crate) fn knockouts() {
    use clawproof_runtime::requirement;
    for requirement in requirement::ALL {
        match sandbox::lines::stays(*requirement) {
            Some((beside, why)) => {
                let beside = beside.map_or("-", requirement::Requirement::id);
                println!("{requirement}\t{beside}\t{why}");
            }
            None => println!("{requirement}"),
        }
    }
    for (layer, _) in requirement::knockout::LAYERS {
        println!("layer:{layer}");
    }
    for variant in requirement::variant::ALL {
        println!("{variant}");
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Failed(told(&rejection))
    }
}

/// What a room refused, with its cause: the reader is the operator.
fn told(rejection: &Rejection) -> String {
    let (public, requirement) = (rejection.public(), rejection.requirement());
    match rejection.cause() {
        "" => format!("{public} ({requirement})"),
        cause => format!("{public}: {cause} ({requirement})"),
    }
}

fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// Help and version as they are; anything else as one sentence.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::Asked("a command is missing; see --help".into()).report();
    }
    let text = error.to_string();
    let parts: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    let sentence = parts.join(" ");
    let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence).to_owned();
    Failure::Asked(sentence).report()
}

/// Switches off the defence that the command line names; only a `knockout` build can.
#[cfg(feature = "knockout")]
pub(crate) fn knock_out(cli: &Cli) -> Result<(), Failure> {
    use clawproof_runtime::requirement::knockout;
    let Some(words) = &cli.knockout else { return Ok(()) };
    knockout::tell(words).map_err(|word| {
        Failure::Asked(format!("`{word}` is no requirement, variant or layer of this runtime"))
    })
}

#[cfg(not(feature = "knockout"))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as in a knockout build")]
pub(crate) fn knock_out(_: &Cli) -> Result<(), Failure> {
    Ok(())
}

/// The configuration: the file where one is named, the defaults otherwise.
pub(crate) fn configuration(file: Option<&Path>) -> Result<Config, Failure> {
    let Some(file) = file else { return Ok(Config::default()) };
    Config::load(file)
        .map_err(|rejection| Failure::Asked(format!("{}: {}", file.display(), told(&rejection))))
}
