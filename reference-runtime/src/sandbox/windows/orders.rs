//! What the helper of a run is told. It must never know how that is held.

use std::{ffi::OsString, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What the helper is told: one line of JSON on its standard input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Orders {
    /// None: no limit.
    pub(super) limits: Option<Limits>,
    /// Whether the clipboard, desktops and windows of others are limited.
    pub(super) interface: bool,
    /// End what is left behind.
    pub(super) reap: bool,
    /// None: the tool runs as this user does.
    pub(super) contain: Option<Contain>,
    /// None: this process's own.
    pub(super) environment: Option<Vec<(String, String)>>,
    /// The workspace, which is the working folder.
    pub(super) workspace: PathBuf,
    /// What is run.
    pub(super) work: Work,
    /// Only read in a `knockout` build.
    pub(super) knockout: Option<String>,
}

/// What all processes of a run may take together, and each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    /// Processes alive at one time, the helper among them.
    pub(super) processes: u32,
    /// Bytes committed by one process.
    pub(super) process_memory: usize,
    /// Bytes committed by all together.
    pub(super) job_memory: usize,
}

/// The container around the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contain {
    /// Whether it has the capabilities of the network.
    pub(super) network: bool,
    /// Whether the workspace may be changed.
    pub(super) write: bool,
    /// The share of all processors, in percent.
    pub(super) cpu_percent: Option<u32>,
}

/// What is run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Work {
    /// Nothing.
    Nothing,
    /// The file tools' worker; its call of so many bytes follows the orders.
    Worker {
        /// The length of the call.
        bytes: usize,
    },
    /// A program and its arguments, in the system's own characters.
    Program(Vec<Vec<u16>>),
    /// Tries what must not be possible, in the container.
    Prove(Forbidden),
    /// Counts whether the limits hold, outside of any container.
    Count,
}

/// What a process in the container must not be able to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Forbidden {
    /// A file outside that must open neither for reading nor for writing.
    pub(super) file: PathBuf,
    /// A port of the host that must not be reached.
    pub(super) port: u16,
}

impl Forbidden {
    /// The arguments of the role that tries it.
    pub(super) fn words(&self) -> Vec<OsString> {
        let file = self.file.clone().into_os_string();
        vec!["contain".into(), "prove".into(), file, self.port.to_string().into()]
    }
}
