//! The door to the log: any task hands in events, one thread writes them. It must never let a
//! caller go on whose record was not written.
//!
//! Group commit: the thread takes whatever is waiting, writes it at once, and acknowledges. So a
//! record survives the death of this process once it is acknowledged; a power cut may take the
//! last second, as the disk is waited for once a second and not once a record (4 ms each).

use std::{
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Event, Redactor, Rejection, encode, log::Log};
use crate::requirement;

/// Records that may wait; past that, callers are refused.
const QUEUE: usize = 8192;
/// Records of one write.
const BATCH: usize = 1024;
/// How long a record may be on its way to the disk.
const SYNC: Duration = Duration::from_secs(1);

const UNWRITABLE: &str = "the audit log cannot be written";

/// How the log is kept. The default is what every process may use; only stricter is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// A file that has this many bytes is closed, and a new one begun.
    pub segment_bytes: u64,
    /// Whether a record is acknowledged only when the disk has it (some milliseconds a batch).
    pub durable: bool,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, durable: false }
    }
}

/// The open audit log; clones write to the same file.
#[derive(Clone, Debug)]
pub struct Audit {
    redactor: Redactor,
    queue: SyncSender<Waiting>,
}

/// A record on its way, and who waits for it.
#[derive(Debug)]
struct Waiting {
    middle: String,
    done: Done,
}

#[derive(Debug)]
enum Done {
    Task(oneshot::Sender<Result<(), String>>),
    Thread(SyncSender<Result<(), String>>),
}

impl Done {
    /// Whoever gave up waiting does not need to know.
    fn tell(self, written: Result<(), String>) {
        match self {
            Self::Task(waiting) => drop(waiting.send(written)),
            Self::Thread(waiting) => drop(waiting.send(written)),
        }
    }
}

impl Audit {
    /// Opens `<state>/audit/audit.jsonl` and starts its writer. The state folder must exist.
    ///
    /// # Errors
    /// `error.deny`: the log cannot be opened, or `audit.integrity`: it was changed.
    pub fn open(state: &Path, redactor: Redactor) -> Result<Self, Rejection> {
        Self::open_with(state, redactor, Keeping::default())
    }

    /// The same, kept in another way.
    ///
    /// # Errors
    /// As [`Audit::open`].
    pub fn open_with(
        state: &Path,
        redactor: Redactor,
        keeping: Keeping,
    ) -> Result<Self, Rejection> {
        let log = Log::open(state, keeping.segment_bytes)?;
        let (queue, waiting) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("audit".into())
            .spawn(move || write_all(log, &waiting, keeping.durable))
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Self { redactor, queue })
    }

    /// The redactor that every record goes through.
    #[must_use]
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Writes a record; returns once it is written. A caller that stops waiting does not stop the
    /// record.
    ///
    /// # Errors
    /// `error.deny`: it could not be written, and the caller must refuse.
    pub async fn record(&self, event: Event) -> Result<(), Rejection> {
        let (done, written) = oneshot::channel();
        match self.hand_in(&event, Done::Task(done)) {
            Ok(true) => settle(written.await.unwrap_or_else(|_| Err("the writer is gone".into()))),
            Ok(false) => Ok(()),
            Err(cause) => settle(Err(cause)),
        }
    }

    /// The same for code outside of async tasks: it blocks the thread.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub fn record_blocking(&self, event: Event) -> Result<(), Rejection> {
        let (done, written) = sync_channel(1);
        match self.hand_in(&event, Done::Thread(done)) {
            Ok(true) => settle(written.recv().unwrap_or_else(|_| Err("the writer is gone".into()))),
            Ok(false) => Ok(()),
            Err(cause) => settle(Err(cause)),
        }
    }

    /// Queues the record; false if no record of this kind is kept (a knocked-out kind).
    fn hand_in(&self, event: &Event, done: Done) -> Result<bool, String> {
        if !event.kind.requirement().enforced() {
            return Ok(false);
        }
        let middle = encode::middle(event, &self.redactor);
        match self.queue.try_send(Waiting { middle, done }) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Err(format!("{QUEUE} records are waiting")),
            Err(TrySendError::Disconnected(_)) => Err("the writer is gone".into()),
        }
    }
}

fn settle(written: Result<(), String>) -> Result<(), Rejection> {
    match written {
        Err(cause) if requirement::ERROR_DENY.enforced() => Err(refuse(cause)),
        _ => Ok(()),
    }
}

fn refuse(cause: String) -> Rejection {
    requirement::ERROR_DENY.refuse(UNWRITABLE, cause)
}

/// The writer: ends when the last [`Audit`] is dropped.
fn write_all(mut log: Log, waiting: &Receiver<Waiting>, durable: bool) {
    let mut synced = Instant::now();
    let mut dirty = false;
    loop {
        // Nothing to sync: wait for ever. Else: until the sync is due.
        let first = if dirty {
            waiting.recv_timeout(SYNC.saturating_sub(synced.elapsed()))
        } else {
            waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match first {
            Ok(first) => {
                let more = waiting.try_iter().take(BATCH - 1);
                let (middles, done): (Vec<_>, Vec<_>) = std::iter::once(first)
                    .chain(more)
                    .map(|waiting| (waiting.middle, waiting.done))
                    .unzip();
                let mut written =
                    log.append(&middles).map_err(|refusal| refusal.cause().to_owned());
                dirty |= written.is_ok();
                if durable && written.is_ok() {
                    written = log.sync().map_err(|error| error.to_string());
                    dirty = written.is_err();
                }
                done.into_iter().for_each(|done| done.tell(written.clone()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                // Nobody is left to tell.
                let _ = log.sync();
                return;
            }
        }
        if dirty && synced.elapsed() >= SYNC {
            // A disk that does not take it shows at the next write.
            dirty = log.sync().is_err();
            synced = Instant::now();
        }
    }
}
