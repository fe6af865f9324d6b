//! `sandbox run`: one program in a fresh sandbox, from the command line. It must never know of
//! tools or models.

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use tokio::sync::oneshot;

use super::{
    Backend, block_on, on_this_thread,
    policy::Level,
    run::{Job, Ran, Setting, Work},
};
use crate::{
    audit::Rejection,
    registry::{Capabilities, Capability},
};

/// The launcher's own exit codes; the program's own are passed on.
const TIME_IS_OVER: u8 = 124;
const DID_NOT_RUN: u8 = 125;
/// 128 + SIGTERM: as if the program had been told.
const STOPPED: u8 = 143;

/// `sandbox run --level L --workspace DIR -- ARGV`
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How tightly the program is held: strict, relaxed or none
    #[arg(long, default_value = "strict", value_parser = level)]
    pub level: Level,
    /// The one folder that it may change; default: the current folder
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// What it may do (repeatable); default: everything that its level allows
    #[arg(long = "capability", value_name = "CAPABILITY")]
    pub capabilities: Vec<Capability>,
    /// The unprivileged uid to drop to; needed as root
    #[arg(long, value_name = "UID")]
    pub uid: Option<u32>,
    /// The time limit in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub timeout: u64,
    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "ARGV")]
    pub argv: Vec<OsString>,
}

/// The same arguments without the rest of the command line around them, which takes longer to build
/// than a sandbox's system calls do.
#[derive(clap::Parser)]
struct Alone {
    #[command(flatten)]
    arguments: Arguments,
}

/// Answers a plain `sandbox run ...` and nothing else. `None` for any other command line, also for
/// one that is wrong or asks for help (the whole parser has the words for it), and where the
/// environment holds the master password, which must be taken out of it first.
#[must_use]
pub fn dispatch() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let program = words.next()?;
    if words.next()? != "sandbox" || words.next()? != "run" {
        return None;
    }
    if std::env::var_os(PASSWORD).is_some() {
        return None;
    }
    let alone =
        <Alone as clap::Parser>::try_parse_from(std::iter::once(program).chain(words)).ok()?;
    Some(run(&alone.arguments))
}

/// The variable that holds the master password.
const PASSWORD: &str = "CLAWPROOF_MASTER_PASSWORD";

fn level(text: &str) -> Result<Level, String> {
    match text {
        "none" => Ok(Level::None),
        "relaxed" => Ok(Level::Relaxed),
        "strict" => Ok(Level::Strict),
        _ => Err("one of: strict, relaxed, none".to_owned()),
    }
}

/// Runs the program with no standard input, passes on at most 1 MiB of each output stream, and its
/// exit code. 125: it did not run, and the reason is on standard error; 124: its time was over;
/// 126 or 127: it could not be executed; 143: the launcher was told to end. Builds a runtime of its own: call it from anywhere.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    match start(arguments) {
        Ok(ran) => {
            if arguments.level == Level::Relaxed {
                eprintln!("at level relaxed {}", super::UNFILTERED);
            }
            finish(&ran, arguments.timeout)
        }
        Err(rejection) => {
            // The person at the command line is the operator: the cause is for them too.
            eprintln!("{rejection}: {}", rejection.cause());
            ExitCode::from(DID_NOT_RUN)
        }
    }
}

fn start(arguments: &Arguments) -> Result<Ran, Rejection> {
    let setting = Setting {
        workspace: arguments.workspace.clone().unwrap_or_else(|| PathBuf::from(".")),
        uid: arguments.uid,
        shim: None,
        ahead: false,
        protected: Vec::new(),
    };
    let backend = Backend::new(&setting).map_err(|refusal| refusal.reject())?;
    let job = Job {
        level: arguments.level,
        capabilities: if arguments.capabilities.is_empty() {
            Capabilities::ALL
        } else {
            arguments.capabilities.iter().copied().collect()
        },
        work: Work::Program(arguments.argv.clone()),
        timeout: Duration::from_secs(arguments.timeout),
        pass_on: true,
        stays: None,
    };
    let (sender, stop) = oneshot::channel();
    let whole = || async {
        let told = async {
            interrupted().await;
            let _ = sender.send(());
            // The run itself ends what this waits for.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ran = backend.run(job, stop) => ran,
            () = told => Err(super::Refusal::new(super::NOT_BUILT, "unreachable").reject()),
        }
    };
    let ended = if tokio::runtime::Handle::try_current().is_err() {
        on_this_thread(whole)
    } else {
        block_on(whole)
    };
    ended.map_err(|cause| super::Refusal::new(super::NOT_BUILT, cause).reject())?
}

/// Resolves when a person or a service manager asks this process to end.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let mut signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
        if !signals.is_empty() {
            let any = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
            futures_util::future::select_all(any).await;
            return;
        }
    }
    std::future::pending::<()>().await;
}

fn finish(ran: &Ran, seconds: u64) -> ExitCode {
    for (name, captured) in [("output", &ran.stdout), ("error output", &ran.stderr)] {
        if captured.dropped > 0 {
            eprintln!("{} more bytes of {name} were dropped", captured.dropped);
        }
    }
    if let Some(missing) = &ran.missing {
        eprintln!("the program cannot be executed: {missing}");
    }
    for path in &ran.removed {
        eprintln!(
            "a name that is a danger to other programs was taken away or put back: {}",
            path.display()
        );
    }
    for path in ran.shared.iter().take(super::NAMED) {
        eprintln!("a file of the workspace has another name outside: {}", path.display());
    }
    match ran.code {
        None if ran.stopped => ExitCode::from(STOPPED),
        Some(code) => ExitCode::from(u8::try_from(code & 0xff).unwrap_or(DID_NOT_RUN)),
        None => {
            eprintln!("the program was ended: its {seconds} seconds were over");
            ExitCode::from(TIME_IS_OVER)
        }
    }
}
