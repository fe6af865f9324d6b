//! `serve`: the gateway until a signal. It must never serve before everything is in place.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clawproof_runtime::audit::Redactor;
#[cfg(unix)]
use clawproof_runtime::config::Config;
use clawproof_runtime::gateway::{Gateway, Server, Tokens, serve};
use clawproof_runtime::vault::MasterPassword;

use super::{Failure, State, configuration, log, parts};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The configuration file, openclaw.json [default: none, every setting at its default]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    state: State,
    /// The one folder that tools work in; overrides the configuration
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// The address to listen on; overrides the configuration
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

pub(crate) fn run(
    arguments: Arguments,
    password: Option<MasterPassword>,
) -> Result<ExitCode, Failure> {
    let redactor = Redactor::new();
    log::start(&redactor, "info");
    let config = configuration(arguments.config.as_deref())?;
    let config = parts::with_workspace(config, arguments.workspace)?;
    let state = arguments.state.make()?;
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let parts = parts::build(&config, &state, password, &redactor)?;
    // Bound last: who can connect is served, and not closed in the face.
    let listen = arguments.listen.unwrap_or(config.gateway.listen);
    let server = runtime
        .block_on(Server::bind(listen))
        .map_err(|error| Failure::Failed(format!("{listen} cannot be listened on: {error}")))?
        .secured(config.gateway.tls.as_ref())
        .map_err(|error| Failure::Failed(format!("TLS cannot be spoken: {error}")))?;
    let address = server.address();
    let gateway = Gateway::new(config, address, parts.agent, Tokens::at(&state), parts.vault);
    let gateway = Arc::new(gateway);
    if let Some(file) = arguments.config {
        runtime.spawn(reload(file, Arc::clone(&gateway)));
    }
    println!("clawproof-runtime listens on {}", server.url());
    tracing::info!(%address, "serving");
    runtime.block_on(serve(server, gateway, stop()));
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// The async runtime of this process.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("no threads to run on: {error}")))
}

/// Reads the configuration file again at each SIGHUP. A file that is not valid changes nothing.
#[cfg(unix)]
async fn reload(file: PathBuf, gateway: Arc<Gateway>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        let path = file.clone();
        let read = tokio::task::spawn_blocking(move || Config::load(&path)).await;
        let done = match read {
            Ok(read) => gateway.reload(read).await,
            Err(error) => {
                tracing::error!(%error, "the configuration could not be read");
                continue;
            }
        };
        match done {
            Ok(changes) => tracing::info!(changes, "the configuration was read again"),
            Err(rejection) => tracing::error!(
                cause = rejection.cause(),
                "the configuration stays as it was: {rejection}"
            ),
        }
    }
}

#[cfg(not(unix))]
async fn reload(_: PathBuf, _: Arc<Gateway>) {}

/// Ends with SIGTERM or SIGINT.
async fn stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            // Without handlers the signals end the process by themselves.
            _ => std::future::pending().await,
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
