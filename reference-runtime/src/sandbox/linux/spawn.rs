//! The one thread that starts sandboxes. The kernel ends a sandbox with the *thread* that started
//! it, so that thread must live as long as the process. It must never wait for anything it started.

use std::{
    io,
    sync::{
        OnceLock,
        mpsc::{self, Sender},
    },
    thread,
};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

type Order = Box<dyn FnOnce() + Send>;

static SPAWNER: OnceLock<Option<Sender<Order>>> = OnceLock::new();
/// The thread that starts sandboxes itself because it lives as long as the process.
static HERE: OnceLock<thread::ThreadId> = OnceLock::new();

/// Makes the calling thread the one that starts sandboxes; the first call wins.
pub(super) fn here() {
    HERE.get_or_init(|| thread::current().id());
}

/// Starts a process from the long-lived thread.
pub(super) async fn spawn(mut command: Command) -> io::Result<Child> {
    if HERE.get() == Some(&thread::current().id()) {
        return command.spawn();
    }
    let gone = || io::Error::other("the thread that starts sandboxes is gone");
    let sender = SPAWNER.get_or_init(start).as_ref().ok_or_else(gone)?;
    let runtime = Handle::current();
    let (answer, child) = oneshot::channel();
    let order: Order = Box::new(move || {
        let _context = runtime.enter();
        // A child that nobody waits for any more is dropped here, and killed by that.
        let _ = answer.send(command.spawn());
    });
    sender.send(order).map_err(|_| gone())?;
    child.await.map_err(|_| gone())?
}

fn start() -> Option<Sender<Order>> {
    let (sender, orders) = mpsc::channel::<Order>();
    thread::Builder::new()
        .name("sandbox-spawner".into())
        .spawn(move || orders.into_iter().for_each(|order| order()))
        .ok()
        .map(|_| sender)
}
