//! The door to the log: any task hands in events, one thread writes them. It must never let a
//! caller go on whose record was not written.
//!
//! Group commit: the thread takes whatever is waiting, writes it at once, and acknowledges. So a
//! record survives the death of this process once it is acknowledged; a power cut may take the
//! last second, as the disk is waited for once a second and not once a record (4 ms each).
//!
//! The thread is woken when the tasks that are ready at the time have had their turn, and not by the
//! first of their records: one write for all of them costs little more than one for each.

use std::{
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    task::{Context, Poll},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::oneshot};

use super::{
    Event, Kind, Plain, Redactor, Rejection,
    encode::{self, Middle},
    log::Log,
};
use crate::requirement;

/// Records that may wait; past that, callers are refused.
const QUEUE: usize = 8192;
/// Records of one write.
const BATCH: usize = 1024;
/// How many turns of the ready tasks the bell lets pass: a request takes one to be heard, one to be
/// read, and hands in its last record then.
const TURNS: u8 = 3;
/// How long a record may be on its way to the disk.
const SYNC: Duration = Duration::from_secs(1);

const UNWRITABLE: &str = "the audit log cannot be written";
const GONE: &str = "the writer is gone";

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
    door: Arc<Door>,
    /// Batches that could not be written. It grows before any record behind them is acknowledged.
    failed: Arc<AtomicU64>,
}

/// The way to the writer, closed with the last [`Audit`].
#[derive(Debug)]
struct Door {
    /// None only while it is closed.
    queue: Option<SyncSender<Waiting>>,
    writer: Thread,
    /// Whether somebody is about to ring.
    ringing: AtomicBool,
}

impl Door {
    fn send(&self, waiting: Waiting) -> Result<(), String> {
        let queue = self.queue.as_ref().ok_or(GONE)?;
        queue.try_send(waiting).map_err(|error| match error {
            TrySendError::Full(_) => format!("{QUEUE} records are waiting"),
            TrySendError::Disconnected(_) => GONE.into(),
        })
    }

    /// Sees to it that the writer wakes when the tasks that are ready have had their turns, or at
    /// once where there are none.
    fn ring(door: &Arc<Self>) {
        // What was sent before this is seen by whoever rings: it looks at the same flag behind it.
        if door.ringing.swap(true, Ordering::AcqRel) {
            return;
        }
        let ring = Ring { door: Arc::clone(door), turns: TURNS };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(ring);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.queue = None;
        self.writer.unpark();
    }
}

/// Lets other tasks go first, then rings; it rings also where it is dropped before.
struct Ring {
    door: Arc<Door>,
    turns: u8,
}

impl Future for Ring {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.turns == 0 {
            return Poll::Ready(());
        }
        self.turns -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.door.ringing.swap(false, Ordering::AcqRel);
        self.door.writer.unpark();
    }
}

/// Records that were handed in and not waited for. Records are written in the order in which they
/// come: whoever waits for a later one ([`Audit::record_after`], [`Audit::settle`]) learns of these.
#[derive(Clone, Copy, Debug)]
#[must_use = "nobody may go on whose record was not written"]
pub struct HandedIn {
    /// The batches that had failed before.
    failed: u64,
}

/// A record on its way, if there is one, and who waits for it.
#[derive(Debug)]
struct Waiting {
    middle: Option<Middle>,
    done: Done,
}

#[derive(Debug)]
enum Done {
    /// Whoever handed it in waits for a later one.
    Nobody,
    Task(oneshot::Sender<Result<(), String>>),
    Thread(SyncSender<Result<(), String>>),
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
        let failed = Arc::new(AtomicU64::new(0));
        let runtime = Handle::try_current().ok();
        let durable = keeping.durable;
        let writer = Writer { log, durable, failed: Arc::clone(&failed), runtime };
        let writer = thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run(&waiting))
            .map_err(|error| refuse(error.to_string()))?;
        let (queue, writer) = (Some(queue), writer.thread().clone());
        let door = Arc::new(Door { queue, writer, ringing: AtomicBool::new(false) });
        Ok(Self { redactor, door, failed })
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
        if !kept(event.kind) {
            return Ok(());
        }
        self.write(Some(self.encoded(&event))).await
    }

    /// The same for code outside of async tasks: it blocks the thread.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub fn record_blocking(&self, event: Event) -> Result<(), Rejection> {
        if !kept(event.kind) {
            return Ok(());
        }
        let (done, written) = sync_channel(1);
        let middle = Some(self.encoded(&event));
        let sent = self.door.send(Waiting { middle, done: Done::Thread(done) });
        self.door.writer.unpark();
        settle(sent.and_then(|()| written.recv().unwrap_or_else(|_| Err(GONE.into()))))
    }

    /// Hands a record in and does not wait for it: the caller must not answer, nor let anything
    /// happen, before it waited for a later one.
    ///
    /// # Errors
    /// As [`Audit::record`], as far as it shows at once.
    pub fn hand_in(&self, event: Plain) -> Result<HandedIn, Rejection> {
        // Looked at before the record is on its way, so that its own failure is always seen.
        let handed = HandedIn { failed: self.failed.load(Ordering::Acquire) };
        if kept(event.kind) {
            let middle = Some(Middle::Plain(event));
            settle(self.send(Waiting { middle, done: Done::Nobody }))?;
        }
        Ok(handed)
    }

    /// Writes a record; returns once it and what was handed in before it are written.
    ///
    /// # Errors
    /// As [`Audit::record`], for any of them.
    pub async fn record_after(
        &self,
        earlier: Option<HandedIn>,
        event: Plain,
    ) -> Result<(), Rejection> {
        if kept(event.kind) {
            self.write(Some(Middle::Plain(event))).await?;
            earlier.map_or(Ok(()), |earlier| self.since(earlier))
        } else {
            self.settle(earlier).await
        }
    }

    /// Returns once what was handed in is written.
    ///
    /// # Errors
    /// As [`Audit::record`].
    pub async fn settle(&self, earlier: Option<HandedIn>) -> Result<(), Rejection> {
        let Some(earlier) = earlier else { return Ok(()) };
        self.write(None).await?;
        self.since(earlier)
    }

    /// Whether every batch since then was written. One that failed may have held the record or not:
    /// then it is taken to have.
    fn since(&self, earlier: HandedIn) -> Result<(), Rejection> {
        let failed = self.failed.load(Ordering::Acquire) != earlier.failed;
        settle(if failed { Err("an earlier record was not written".into()) } else { Ok(()) })
    }

    async fn write(&self, middle: Option<Middle>) -> Result<(), Rejection> {
        let (done, written) = oneshot::channel();
        if let Err(cause) = self.send(Waiting { middle, done: Done::Task(done) }) {
            return settle(Err(cause));
        }
        settle(written.await.unwrap_or_else(|_| Err(GONE.into())))
    }

    fn encoded(&self, event: &Event) -> Middle {
        Middle::Text(encode::middle(event, &self.redactor))
    }

    fn send(&self, waiting: Waiting) -> Result<(), String> {
        self.door.send(waiting)?;
        Door::ring(&self.door);
        Ok(())
    }
}

/// Whether records of this kind are kept. Always, but for a knocked-out kind.
fn kept(kind: Kind) -> bool {
    kind.requirement().enforced()
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

/// The one thread that writes.
struct Writer {
    log: Log,
    durable: bool,
    failed: Arc<AtomicU64>,
    /// The runtime that the log was opened in, whose tasks most likely wait.
    runtime: Option<Handle>,
}

impl Writer {
    /// Ends when the last [`Audit`] is dropped.
    fn run(mut self, waiting: &Receiver<Waiting>) {
        let (mut middles, mut done) = (Vec::new(), Vec::new());
        let mut synced = Instant::now();
        let mut dirty = false;
        loop {
            let mut closed = false;
            while done.len() < BATCH && !closed {
                match waiting.try_recv() {
                    Ok(Waiting { middle, done: whom }) => {
                        middles.extend(middle);
                        done.push(whom);
                    }
                    Err(TryRecvError::Disconnected) => closed = true,
                    Err(TryRecvError::Empty) => break,
                }
            }
            let idle = done.is_empty();
            if !idle {
                let written = self.write(&middles, &mut dirty);
                middles.clear();
                self.tell(&mut done, &written);
            }
            if closed {
                // Nobody is left to tell.
                let _ = self.log.sync();
                return;
            }
            if dirty && synced.elapsed() >= SYNC {
                // A disk that does not take it shows at the next write.
                dirty = self.log.sync().is_err();
                synced = Instant::now();
            }
            if idle && dirty {
                thread::park_timeout(SYNC.saturating_sub(synced.elapsed()));
            } else if idle {
                thread::park();
            }
        }
    }

    /// Acknowledges. Many are told by a task of the runtime that they wait in: to wake each of them
    /// from here would be a system call each.
    fn tell(&self, done: &mut Vec<Done>, written: &Result<(), String>) {
        let mut tasks = Vec::with_capacity(done.len());
        for whom in done.drain(..) {
            match whom {
                Done::Nobody => {}
                Done::Task(waiting) => tasks.push(waiting),
                // Whoever gave up waiting does not need to know.
                Done::Thread(waiting) => drop(waiting.send(written.clone())),
            }
        }
        let (many, written) = (tasks.len() > 1, written.clone());
        let tell = move || tasks.into_iter().for_each(|task| drop(task.send(written.clone())));
        match &self.runtime {
            Some(runtime) if many => drop(runtime.spawn(async move { tell() })),
            _ => tell(),
        }
    }

    fn write(&mut self, middles: &[Middle], dirty: &mut bool) -> Result<(), String> {
        if middles.is_empty() {
            return Ok(());
        }
        let mut written = self.log.append(middles).map_err(|refusal| refusal.cause().to_owned());
        *dirty |= written.is_ok();
        if self.durable && written.is_ok() {
            written = self.log.sync().map_err(|error| error.to_string());
            *dirty = written.is_err();
        }
        if written.is_err() {
            self.failed.fetch_add(1, Ordering::Release);
        }
        written
    }
}
