//! `contain` on Windows: puts itself into a job before it starts anything, so that nothing is ever
//! outside of it, starts the tool and passes on what it prints. Its end is the job's end. It must
//! never start a tool when something it was told to hold was refused.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead as _, Read, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use win_custody::{Job, JobLimits, Launch, Process, anonymous_pipe};

use super::{
    container::{Contained, Container},
    frame::{self, Kind},
    interface, lookup, measure,
    orders::{Limits, Orders, Work},
    wide,
};
use crate::registry::protocol::MAX_CALL;

/// The exit code of a helper that could not do its work.
const FAILED: u8 = 125;
/// The longest line of orders, in bytes.
const MAX_ORDERS: u64 = 4_000_000;
/// How long a stream may stay open after the tool and its children have ended.
const DRAIN: Duration = Duration::from_millis(500);

/// Where frames are written.
type Speaker = Arc<Mutex<io::Stdout>>;

/// Runs as the helper, or in one of the roles that the helper itself starts.
pub(in crate::sandbox) fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(2).collect();
    if let Some(code) = measure::role(&words) {
        return code;
    }
    let speaker = Speaker::new(Mutex::new(io::stdout()));
    match run(&speaker) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            say(&speaker, Kind::Failed, cause.as_bytes());
            ExitCode::from(FAILED)
        }
    }
}

fn say(speaker: &Speaker, kind: Kind, bytes: &[u8]) {
    let mut out = speaker.lock().unwrap_or_else(PoisonError::into_inner);
    // A runtime that has gone away is noticed by the end of standard input.
    let _ = frame::write(&mut *out, kind, bytes);
}

fn run(speaker: &Speaker) -> Result<(), String> {
    let (orders, call) = read()?;
    #[cfg(feature = "knockout")]
    if let Some(words) = &orders.knockout {
        crate::requirement::knockout::tell(words).map_err(|word| format!("no knockout {word}"))?;
    }
    if orders.interface {
        interface::limit()?;
    }
    if orders.reap || orders.limits.is_some() {
        job_of(orders.limits, orders.reap)?;
    }
    if orders.reap {
        // The runtime ends, or ends the run: this process goes, and the job with it.
        thread::spawn(|| {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            std::process::exit(137);
        });
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let container = orders
        .contain
        .map(|contain| Container::new(&orders.workspace, &program, contain))
        .transpose()?;
    let environment = orders.environment.clone().unwrap_or_else(|| {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    });
    let (file, words) = match &orders.work {
        Work::Nothing => {
            say(speaker, Kind::Ready, b"");
            say(speaker, Kind::Code, b"0");
            return Ok(());
        }
        Work::Count => {
            let counted = measure::count(&program)?;
            say(speaker, Kind::Ready, b"");
            say(speaker, Kind::Stdout, counted.as_bytes());
            say(speaker, Kind::Code, b"0");
            return Ok(());
        }
        Work::Worker { .. } => (program, vec!["contain".into(), "worker".into()]),
        Work::Prove(forbidden) => (program, forbidden.words()),
        Work::Program(argv) => {
            let words = wide(argv);
            let path = environment
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case("PATH"))
                .map_or("", |(_, value)| value.as_str());
            let Some((name, arguments)) = words.split_first() else {
                return Err("no program was named".to_owned());
            };
            match lookup::find(name.as_ref(), path) {
                Ok(file) => (file, arguments.to_vec()),
                Err(why) => {
                    say(speaker, Kind::Ready, b"");
                    say(speaker, Kind::Missing, why.as_bytes());
                    say(speaker, Kind::Code, b"127");
                    return Ok(());
                }
            }
        }
    };
    let tool = match container {
        Some(container) => {
            let percent = orders.contain.and_then(|contain| contain.cpu_percent);
            let started =
                container.start(file, &words, &orders.workspace, &environment, percent)?;
            Tool::Contained(started)
        }
        None => bare(file, &words, &orders, &environment)?,
    };
    say(speaker, Kind::Ready, b"");
    let code = tool.finish(speaker, call)?;
    say(speaker, Kind::Code, code.to_string().as_bytes());
    Ok(())
}

/// The orders, and the call of a file tool behind them.
fn read() -> Result<(Orders, Vec<u8>), String> {
    let mut line = Vec::new();
    let mut input = io::stdin().lock();
    let told = |error: io::Error| format!("the orders cannot be read: {error}");
    (&mut input).take(MAX_ORDERS).read_until(b'\n', &mut line).map_err(told)?;
    let orders: Orders =
        serde_json::from_slice(&line).map_err(|error| format!("the orders: {error}"))?;
    let mut call = Vec::new();
    if let Work::Worker { bytes } = orders.work {
        if bytes > MAX_CALL {
            return Err("the call is too long".to_owned());
        }
        (&mut input).take(bytes as u64).read_to_end(&mut call).map_err(told)?;
    }
    Ok((orders, call))
}

/// This process joins a job of its own: what it starts is in it from the first instruction on, and
/// nothing may leave it. The one handle is this process's, so the job ends with it.
fn job_of(limits: Option<Limits>, reap: bool) -> Result<(), String> {
    let mut all = JobLimits::new().kill_on_close(reap);
    if let Some(limits) = limits {
        all = all
            .active_processes(limits.processes)
            .process_memory(limits.process_memory)
            .job_memory(limits.job_memory);
    }
    Job::create(&all)
        .and_then(Job::assign_current_process)
        .map_err(|error| format!("no job: {error}"))
}

/// A tool under way.
enum Tool {
    Contained(Contained),
    Bare { process: Process, inner: Job, streams: [File; 3] },
}

/// Without a container: this user's rights, no handle but the three streams, and the job.
fn bare(
    file: PathBuf,
    words: &[OsString],
    orders: &Orders,
    environment: &[(String, String)],
) -> Result<Tool, String> {
    let told = |error: io::Error| format!("not started: {error}");
    let inner = Job::create(&JobLimits::new().kill_on_close(orders.reap)).map_err(told)?;
    let (their_input, input) = anonymous_pipe().map_err(told)?;
    let (output, their_output) = anonymous_pipe().map_err(told)?;
    let (errors, their_errors) = anonymous_pipe().map_err(told)?;
    let mut launch = Launch::new(file);
    launch.args(words).current_dir(&orders.workspace).env_clear();
    for (name, value) in environment {
        launch.env(name, value);
    }
    launch.stdin(&their_input).stdout(&their_output).stderr(&their_errors);
    let process = launch.spawn_in_job(&inner).map_err(told)?;
    Ok(Tool::Bare { process, inner, streams: [input, output, errors].map(File::from) })
}

impl Tool {
    /// Passes on what it prints until it has ended, and then ends its children.
    fn finish(self, speaker: &Speaker, call: Vec<u8>) -> Result<i32, String> {
        match self {
            Self::Contained(mut process) => {
                let (input, output, errors) = process.streams();
                let threads = follow(speaker, input, output, errors, call);
                let code = process.wait().ok_or("the tool could not be waited for")?;
                settle(threads);
                Ok(code)
            }
            Self::Bare { process, inner, streams: [input, output, errors] } => {
                let threads = follow(speaker, Some(input), Some(output), Some(errors), call);
                process.wait(None).map_err(|error| error.to_string())?;
                let code = process.exit_code().map_err(|error| error.to_string())?;
                drop(inner);
                settle(threads);
                Ok(code.map_or(-1, u32::cast_signed))
            }
        }
    }
}

fn follow(
    speaker: &Speaker,
    input: Option<File>,
    output: Option<File>,
    errors: Option<File>,
    call: Vec<u8>,
) -> Vec<thread::JoinHandle<()>> {
    if let Some(mut input) = input {
        thread::spawn(move || {
            let _ = input.write_all(&call);
        });
    }
    [(output, Kind::Stdout), (errors, Kind::Stderr)]
        .into_iter()
        .filter_map(|(stream, kind)| {
            let (mut stream, speaker) = (stream?, Arc::clone(speaker));
            Some(thread::spawn(move || {
                let mut buffer = vec![0; frame::MAX];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    say(&speaker, kind, buffer.get(..count).unwrap_or_default());
                }
            }))
        })
        .collect()
}

/// Waits until the streams have ended, but not for one that somebody keeps open.
fn settle(threads: Vec<thread::JoinHandle<()>>) {
    let begun = std::time::Instant::now();
    for thread in threads {
        while !thread.is_finished() && begun.elapsed() < DRAIN {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
