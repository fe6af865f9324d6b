//! How much memory a process holds, and whether it is still the same one. Linux; elsewhere there
//! is no such sensor and a case that needs it is inconclusive. It must never stop a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time between two looks.
const PERIOD: Duration = Duration::from_millis(3);

/// The resident size of a process in bytes; `None` where it is gone or cannot be looked at.
#[must_use]
pub fn resident(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:").map(|kilobytes| kilobytes * 1024)
}

/// The number of its threads.
#[must_use]
pub fn threads(pid: u32) -> Option<u64> {
    status(pid, "Threads:")
}

/// The number of its open descriptors; `None` where they cannot be counted.
#[must_use]
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// When it started, in clock ticks since boot: another value is another process.
#[must_use]
pub fn born(pid: u32) -> Option<u64> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind) = line.rsplit_once(')')?;
    behind.split_whitespace().nth(19)?.parse().ok()
}

fn status(pid: u32, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Looks at a process again and again until it is dropped.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    before: u64,
    /// Whether the system counts the peak itself since the watch began.
    counted: bool,
    peak: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Begins to look; `None` where this process cannot be looked at.
    #[must_use]
    pub fn start(pid: u32) -> Option<Self> {
        // "5" asks Linux to forget the peak so far; then a peak between two looks counts too.
        let counted = std::fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok();
        let before = resident(pid)?;
        let peak = Arc::new(AtomicU64::new(before));
        let shared = Arc::clone(&peak);
        let task = tokio::spawn(async move {
            while let Some(now) = resident(pid) {
                shared.fetch_max(now, Ordering::Relaxed);
                tokio::time::sleep(PERIOD).await;
            }
        });
        Some(Self { pid, before, counted, peak, task })
    }

    /// By how many bytes it grew above its size at the beginning, at its peak so far.
    #[must_use]
    pub fn growth(&self) -> u64 {
        let seen = self.peak.load(Ordering::Relaxed).max(resident(self.pid).unwrap_or(0));
        let counted = self.counted.then(|| status(self.pid, "VmHWM:")).flatten();
        seen.max(counted.unwrap_or(0) * 1024).saturating_sub(self.before)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sees_a_peak_that_has_passed() {
        let watch = Watch::start(std::process::id()).unwrap();
        let block = vec![1_u8; 40 << 20];
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(std::hint::black_box(block));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(watch.growth() > 30 << 20, "{}", watch.growth());
    }

    #[test]
    fn a_process_that_is_not_there_has_no_size() {
        assert_eq!(resident(u32::MAX), None);
        assert!(born(std::process::id()).is_some());
    }
}
