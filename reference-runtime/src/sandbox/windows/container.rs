//! The AppContainer of a workspace: an identity of its own, to which the workspace is opened and
//! nothing else, and a process under it. It must never start one when the container was refused.

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
};

use rappct::{
    AppContainerProfile, JobLimits, KnownCapability, LaunchOptions, LaunchedIo,
    SecurityCapabilities, SecurityCapabilitiesBuilder, StdioConfig,
    acl::{AccessMask, ResourcePath, grant_to_package},
    launch_in_container_with_io,
};
use sha2::{Digest as _, Sha256};

use super::{orders::Contain, quote};

/// Read, list, execute.
const READ: AccessMask = AccessMask(0x0012_00a9);
/// That, and write, create, delete below.
const CHANGE: AccessMask = AccessMask(0x0013_01ff);

/// A container to start a program in.
pub(super) struct Container {
    capabilities: SecurityCapabilities,
}

/// A process in the container. Dropping it ends what it started.
pub(super) struct Contained {
    process: LaunchedIo,
}

impl Container {
    /// Makes the container of a workspace, once, and opens the workspace and this program to it.
    ///
    /// # Errors
    /// A sentence: the system has no AppContainers, or the folders are not ours to open.
    pub(super) fn new(workspace: &Path, program: &Path, contain: Contain) -> Result<Self, String> {
        // What may write is another identity than what may only read.
        let kind = if contain.write { "change" } else { "read" };
        let digest = Sha256::digest(workspace.as_os_str().as_encoded_bytes());
        let name: String = hex::encode(digest).chars().take(32).collect();
        let profile = AppContainerProfile::ensure(
            &format!("clawproof.{kind}.{name}"),
            "ClawProof tools",
            Some("Runs the tools of one workspace"),
        )
        .map_err(|error| format!("no AppContainer: {error}"))?;
        let access = if contain.write { CHANGE } else { READ };
        let grant = |target, access| {
            grant_to_package(target, &profile.sid, access)
                .map_err(|error| format!("the workspace cannot be opened to it: {error}"))
        };
        grant(ResourcePath::Directory(workspace.to_owned()), access)?;
        grant(ResourcePath::File(program.to_owned()), READ)?;
        let mut builder = SecurityCapabilitiesBuilder::new(&profile.sid);
        if contain.network {
            builder = builder.with_known(&[
                KnownCapability::InternetClient,
                KnownCapability::PrivateNetworkClientServer,
            ]);
        }
        let capabilities = builder.build().map_err(|error| format!("no capabilities: {error}"))?;
        Ok(Self { capabilities })
    }

    /// Starts a program in it, with pipes for its standard streams and no other handle.
    ///
    /// # Errors
    /// A sentence: it did not start, or its container was refused.
    pub(super) fn start(
        &self,
        program: PathBuf,
        arguments: &[OsString],
        folder: &Path,
        environment: &[(String, String)],
        cpu_percent: Option<u32>,
    ) -> Result<Contained, String> {
        let line = quote::line(program.as_os_str(), arguments)?;
        let mut environment: Vec<(OsString, OsString)> =
            environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        environment.sort_by_key(|(name, _)| name.to_ascii_uppercase());
        let options = LaunchOptions {
            exe: program,
            cmdline: Some(line),
            cwd: Some(folder.to_owned()),
            env: Some(environment),
            stdio: StdioConfig::Pipe,
            suspended: false,
            // The job around this process holds the child from its first instruction on; this one
            // inside ends its children when it has ended, and has the processor's share.
            join_job: Some(JobLimits {
                memory_bytes: None,
                cpu_rate_percent: cpu_percent,
                kill_on_job_close: true,
            }),
            startup_timeout: None,
        };
        let process = launch_in_container_with_io(&self.capabilities, &options)
            .map_err(|error| format!("not started in an AppContainer: {error}"))?;
        Ok(Contained { process })
    }
}

impl Contained {
    /// Its standard streams, once.
    pub(super) fn streams(&mut self) -> (Option<File>, Option<File>, Option<File>) {
        let process = &mut self.process;
        (process.stdin.take(), process.stdout.take(), process.stderr.take())
    }

    /// Waits for its end and ends its children. None: it could not be waited for.
    pub(super) fn wait(mut self) -> Option<i32> {
        let inner = self.process.job_guard.take();
        let code = self.process.wait(None).ok();
        drop(inner);
        code.map(u32::cast_signed)
    }
}
