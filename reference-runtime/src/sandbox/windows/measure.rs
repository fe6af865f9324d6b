//! What this system really holds, tried once before any tool runs: a process in the container tries
//! what it must not be able to do, and a small job is filled past its limits. It must never believe
//! a call that only returned success.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use tokio::sync::oneshot;
use win_custody::{Launch, Process};

use super::{
    Backend, CPU_PERCENT, Heads,
    orders::{Contain, Forbidden, Limits, Work},
    run_to_end,
};
use crate::sandbox::run::Refusal;

const PUBLIC: &str = "this Windows cannot hold a sandbox level, so no tool runs";
/// The small job: the helper and two more.
const SMALL: Limits = Limits { processes: 3, process_memory: 64 << 20, job_memory: 96 << 20 };
/// More than one process of the small job may have.
const TOO_MUCH: usize = 128 << 20;

/// What was seen to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The share of the processors was accepted.
    pub(super) cpu: bool,
    /// Limits of the interface were accepted, and the other limits hold beside them.
    pub(super) interface: bool,
}

impl Found {
    /// What is missing, one sentence each.
    pub(super) fn lacks(self) -> Vec<String> {
        [
            (self.cpu, "this system refuses a limit of the processor's share for a job"),
            (
                self.interface,
                "the clipboard and the desktop are not limited by the job: this system refuses that \
                 here, as it does where the runtime itself is in a job; an AppContainer has lower \
                 integrity than what it would send messages to",
            ),
        ]
        .into_iter()
        .filter(|(held, _)| !held)
        .map(|(_, sentence)| sentence.to_owned())
        .collect()
    }
}

/// Tries everything.
///
/// # Errors
/// Something does not hold: no level can be enforced.
pub(super) async fn measure(backend: &Backend) -> Result<Found, Refusal> {
    let refuse = |cause: String| Refusal::new(PUBLIC, cause);
    let heads = Heads::current();
    let mut interface = heads.res;
    if heads.res && limits(backend, true).await.is_err() {
        // Told apart from limits that do not hold by trying without.
        interface = false;
        limits(backend, false).await.map_err(refuse)?;
    }
    let with = prove(backend, Some(CPU_PERCENT), interface).await;
    match with {
        Ok(()) => Ok(Found { cpu: true, interface }),
        // The same for a container that does not hold.
        Err(_) => {
            let without = prove(backend, None, interface).await;
            without.map(|()| Found { cpu: false, interface }).map_err(refuse)
        }
    }
}

async fn limits(backend: &Backend, interface: bool) -> Result<(), String> {
    let mut orders = backend.orders(&super::Work::Trial);
    orders.interface = interface;
    orders.limits = Some(SMALL);
    orders.work = Work::Count;
    let ran = run_to_end(backend, &orders).await?;
    let said = ran.stdout.text();
    match said.trim() {
        "processes held, memory held" => Ok(()),
        other => Err(format!("a job's limits are accepted and not enforced: {other}")),
    }
}

async fn prove(backend: &Backend, cpu_percent: Option<u32>, interface: bool) -> Result<(), String> {
    let told = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(told)?;
    let port = listener.local_addr().map_err(told)?.port();
    listener.set_nonblocking(true).map_err(told)?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| error.to_string())?;
    let file = std::env::temp_dir().join(format!("clawproof-{}", hex::encode(random)));
    fs::write(&file, b"untouched").map_err(told)?;
    let canary = Canary(file.clone());
    let mut orders = backend.orders(&super::Work::Trial);
    orders.interface = interface;
    orders.contain = Some(Contain { network: false, write: true, cpu_percent });
    orders.work = Work::Prove(Forbidden { file: file.clone(), port });
    let ran = run_to_end(backend, &orders).await?;
    // What is seen from here counts; the process's own word comes second.
    if fs::read(&file).map_err(told)? != b"untouched" {
        return Err("a contained process wrote outside the workspace".to_owned());
    }
    if listener.accept().is_ok() {
        return Err("a contained process reached a port of the host".to_owned());
    }
    drop(canary);
    match ran.code {
        Some(0) => Ok(()),
        code => Err(format!("the contained trial ended with {code:?}: {}", ran.stdout.text())),
    }
}

struct Canary(PathBuf);

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The roles that the helper starts this program again for.
pub(super) fn role(words: &[OsString]) -> Option<ExitCode> {
    match words.first()?.to_str()? {
        "worker" => Some(ExitCode::from(u8::from(!crate::registry::worker()))),
        "prove" => {
            let port = words.get(2).and_then(|word| word.to_str()?.parse().ok());
            let file = words.get(1).map(Path::new);
            Some(ExitCode::from(file.zip(port).map_or(2, |(file, port)| try_all(file, port))))
        }
        "wait" => {
            std::thread::sleep(Duration::from_secs(20));
            Some(ExitCode::SUCCESS)
        }
        "take" => {
            let mut block: Vec<u8> = Vec::new();
            let taken = block.try_reserve_exact(TOO_MUCH).is_ok();
            Some(ExitCode::from(u8::from(!taken)))
        }
        _ => Some(ExitCode::from(125)),
    }
}

/// Tries what must fail; 0 where all of it did.
fn try_all(file: &Path, port: u16) -> u8 {
    let read = fs::read(file).is_ok();
    let wrote = OpenOptions::new().append(true).open(file).is_ok_and(|mut file| {
        use std::io::Write as _;
        file.write_all(b"touched").is_ok()
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let reached = TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
    println!("read {read}, wrote {wrote}, reached {reached}");
    u8::from(read || wrote || reached)
}

/// Fills the job that this process is in, and says what held.
///
/// # Errors
/// Not even what the limits allow can be started.
pub(super) fn count(program: &Path) -> Result<String, String> {
    let start = |role: &str| Launch::new(program).args(["contain", role]).spawn();
    let memory = start("take")
        .and_then(|process| process.wait(Some(Duration::from_secs(10))).map(|_| process))
        .and_then(|process| process.exit_code())
        .map_err(|error| format!("nothing starts in a job: {error}"))?;
    let waiting: Vec<Process> = (0..4).map_while(|_| start("wait").ok()).collect();
    let started = waiting.len();
    for process in waiting {
        let _ = process.terminate(1);
    }
    let word = |held: bool| if held { "held" } else { "NOT held" };
    // The helper is one of the three.
    Ok(format!("processes {}, memory {}", word(started == 2), word(memory != Some(0))))
}

/// Keeps a sender alive that stops nothing.
pub(super) fn never() -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
    oneshot::channel()
}
