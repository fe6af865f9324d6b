//! Probes of what a launcher hands down: its environment and its standard input.
//! It must never know which values are canaries.

use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use crate::{HOLD, Need, Probe};

pub(crate) const PROBES: &[Probe] = &[
    Probe {
        id: "env.canary",
        what: "Prints its whole environment.",
        why: "The launcher's environment holds API keys and tokens of the user.",
        needs: &[Need::Launch],
        observer: "a random value in the launcher's environment comes out of the sandbox",
        action: |_| print_environment(),
        ..HOLD
    },
    Probe {
        id: "env.stdin",
        what: "Reads its standard input to the end and prints it.",
        why: "The launcher's input is the user's conversation or another program's data.",
        needs: &[Need::Launch],
        observer: "random text on the launcher's standard input comes out of the sandbox",
        action: |_| print_input(),
        ..HOLD
    },
];

fn print_environment() -> io::Result<String> {
    let mut out = io::stdout();
    let mut count = 0;
    for (name, value) in std::env::vars_os() {
        out.write_all(name.as_bytes())?;
        out.write_all(b"=")?;
        out.write_all(value.as_bytes())?;
        out.write_all(b"\n")?;
        count += 1;
    }
    Ok(format!("printed {count} variables"))
}

fn print_input() -> io::Result<String> {
    let mut text = Vec::new();
    io::stdin().take(65_536).read_to_end(&mut text)?;
    io::stdout().write_all(&text)?;
    println!();
    if text.is_empty() {
        Err(io::Error::other("it is empty"))
    } else {
        Ok(format!("read {} bytes", text.len()))
    }
}
