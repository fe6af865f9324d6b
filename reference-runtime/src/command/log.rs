//! The log: JSON lines on standard error, each through the redactor; a panic is a line too. It
//! must never write a line that the redactor has not seen.

use std::io::{self, Write};

use clawproof_runtime::audit::Redactor;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

const VARIABLE: &str = "CLAWPROOF_LOG";

/// Starts the log. `level` is what is shown unless CLAWPROOF_LOG says otherwise.
pub(crate) fn start(redactor: &Redactor, level: &str) {
    let own = format!("warn,clawproof_runtime={level}");
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(own));
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(Redacted(redactor.clone()))
        .finish();
    // It fails only where a log was started already: then that one goes on.
    let _ = tracing::subscriber::set_global_default(subscriber);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no text");
        tracing::error!(target: "clawproof_runtime", place, "panic: {text}");
    }));
}

/// Standard error behind the redactor.
#[derive(Clone)]
struct Redacted(Redactor);

impl MakeWriter<'_> for Redacted {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The formatter hands over one whole line at a time, so no secret is split between two writes.
impl Write for Redacted {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        io::stderr().lock().write_all(self.0.redact(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
