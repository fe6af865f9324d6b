//! The other processes of the user beside a target: canaries that are killed, read, traced or not.
//! It must never know which attack is under way.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin};

use crate::target::world::{World, random_hex};

/// A canary process under the target's uid, leader of its own group. It keeps a secret in memory,
/// blocks SIGURG and SIGWINCH (so that one that was sent stays visible), and ends on drop.
#[derive(Debug)]
pub struct Neighbour {
    child: Child,
    _input: ChildStdin,
    /// Its process id.
    pub pid: u32,
    /// Where its secret lies in its memory.
    pub address: u64,
    /// How many bytes the secret has.
    pub length: u64,
    /// The secret.
    pub secret: String,
}

impl Neighbour {
    /// Starts one; `program` is the probe binary where the target's uid can reach it, and
    /// `argument` stands in its command line for others to see.
    ///
    /// # Errors
    /// It did not start, or did not say where its secret lies within five seconds.
    pub async fn start(world: &World, program: &Path, argument: &str) -> io::Result<Self> {
        let secret = format!("memory-{}", random_hex(16));
        let mut child = world
            .command(program)
            .args(["@neighbour", argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || io::Error::other("a neighbour has no pipe");
        let mut input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let pid = child.id().ok_or_else(missing)?;
        input.write_all(format!("{secret}\n").as_bytes()).await?;
        let mut line = String::new();
        let mut output = BufReader::new(output);
        tokio::time::timeout(Duration::from_secs(5), output.read_line(&mut line))
            .await
            .map_err(|_| io::Error::other("a neighbour did not answer"))??;
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(address)), Some(Ok(length))) = (numbers.next(), numbers.next()) else {
            return Err(io::Error::other("a neighbour did not say where its secret lies"));
        };
        Ok(Self { child, _input: input, pid, address, length, secret })
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}
