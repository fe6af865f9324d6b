//! How a run goes on: a bar on a terminal, a plain line now and then elsewhere.
//! It must never show what a target wrote.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use crate::run::Progress;

/// A bar, for a terminal.
#[derive(Debug, Default)]
pub struct Bar {
    bar: OnceLock<ProgressBar>,
}

impl Progress for Bar {
    fn begin(&self, total: usize) {
        let bar = ProgressBar::new(total as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}")
        {
            bar.set_style(style);
        }
        let _ = self.bar.set(bar);
    }

    fn ended(&self, case: &str, _milliseconds: u64) {
        if let Some(bar) = self.bar.get() {
            bar.inc(1);
            bar.set_message(case.to_owned());
            if bar.length() == Some(bar.position()) {
                bar.finish_and_clear();
            }
        }
    }
}

/// Lines on standard error, one for every tenth of the run.
#[derive(Debug, Default)]
pub struct Lines {
    total: AtomicUsize,
    done: AtomicUsize,
}

impl Progress for Lines {
    fn begin(&self, total: usize) {
        self.total.store(total, Ordering::Relaxed);
        eprintln!("{total} cases to play");
    }

    fn ended(&self, _case: &str, _milliseconds: u64) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let total = self.total.load(Ordering::Relaxed);
        if done == total || done.is_multiple_of((total / 10).max(1)) {
            eprintln!("{done} of {total} cases played");
        }
    }
}
