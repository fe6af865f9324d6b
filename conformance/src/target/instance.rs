//! One running target: configured, prepared, started, ready, stopped. Each has a world of its own.
//! It must never know a case or what the suite's stage will say to it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;

use super::commands::{Around, begin, build, expect_success, line, run_command};
use super::manifest::Manifest;
use super::patch::merge;
use super::plugins::Install;
use super::prepared::{Once, Prepared};
use super::process::{Ended, Process};
use super::start_error::StartError;
use super::template::Vars;
use super::world::{World, random_hex};

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The target.
    pub manifest: Arc<Manifest>,
    /// The program, in a place that the target's uid can reach.
    pub binary: PathBuf,
    /// The base URL of the suite's model.
    pub model_url: String,
    /// The check to knock out, for a target built for that.
    pub knockout: Option<String>,
    /// Keep the target's own rate limits in place of the raised ones.
    pub own_rates: bool,
    /// Named patches of the manifest's config, in order.
    pub patches: Vec<String>,
    /// Named environments of the manifest, in order.
    pub environments: Vec<String>,
    /// Merge patches in the target's own naming, after the named ones.
    pub merges: Vec<Value>,
    /// Environment of the server on top of the manifest's.
    pub env: BTreeMap<String, String>,
    /// Variables that stand in place of the manifest's own when the config is written and the
    /// server starts (not when it is prepared).
    pub vars: BTreeMap<String, Vec<u8>>,
    /// Files of the target's in its home folder: the variable of the path, the name, the bytes.
    pub files: Vec<(String, String, Vec<u8>)>,
    /// A program and arguments before the server's own, such as one that sets a limit.
    pub wrap: Vec<String>,
    /// Whether the world is on a file system in memory ([`World::in_memory`]).
    pub in_memory: bool,
    /// Plugins of the suite's that it starts with.
    pub plugins: Vec<Install>,
    /// The preparation of this run, for a manifest that allows one for all; `None` prepares anew.
    pub prepared: Option<Once>,
}

/// A running target.
#[derive(Debug)]
pub struct Instance {
    manifest: Arc<Manifest>,
    around: Around,
    knockout: Option<String>,
    vars: Vars,
    address: SocketAddr,
    /// The server; what its driver starts is the driver's.
    process: Mutex<Option<Process>>,
    workspace: PathBuf,
    // Last, so that the processes end before their folder goes.
    world: Arc<World>,
}

impl Instance {
    /// Starts a target in a fresh world and waits until it is ready.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(plan: &Plan) -> Result<Self, StartError> {
        let world = if plan.in_memory { World::in_memory() } else { World::new() };
        let world = Arc::new(world?);
        let mut vars = base_vars(plan, &world);
        let mut port = free_port()?;
        vars.set("PORT", port.to_string());
        for (variable, name, bytes) in &plan.files {
            let path = world.home().join(name);
            world.write(&path, bytes, 0o600)?;
            vars.set(variable, path.to_string_lossy().into_owned());
        }
        // The manifest's own values are for the preparation; what it has no value for is set now.
        for (name, value) in &plan.vars {
            if !vars.has(name) {
                vars.set(name, value.as_slice());
            }
        }
        let manifest = Arc::clone(&plan.manifest);
        let knockout = plan.knockout.clone();
        let once = plan.prepared.as_ref().filter(|_| manifest.prepare_once);
        if let Some(once) = once {
            let first = async || {
                prepare(plan, &world, &vars).await?;
                Ok::<_, StartError>(Prepared::of(&world, &vars)?)
            };
            let prepared = once.get_or_try_init(first).await?;
            prepared.put(&world)?;
            vars = vars.with(prepared.vars());
        }
        let plan = &with_plugins(plan, &world, &vars).await?;
        write_config(plan, &world, &mut vars)?;
        for file in &manifest.write {
            let path = PathBuf::from(vars.fill_text(&file.path)?);
            world.write(&path, &vars.fill(&file.text)?, 0o600)?;
        }
        if once.is_none() {
            prepare(plan, &world, &vars).await?;
        }
        if let Some(command) = &manifest.token {
            let ended = run_command(&manifest, knockout.as_deref(), &world, &vars, command).await?;
            expect_success(command, &ended)?;
            vars.set("TOKEN", String::from_utf8_lossy(&ended.stdout).trim());
        }
        for (name, value) in &plan.vars {
            vars.set(name, value.as_slice());
        }
        if !plan.vars.is_empty() {
            write_config(plan, &world, &mut vars)?;
        }
        let around = Around { env: environment(plan, &vars)?, wrap: plan.wrap.clone() };
        let mut tries = 0;
        loop {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            // Its driver starts it when the first message comes.
            if manifest.driver.starts_late() {
                let (process, workspace) = (Mutex::new(None), world.workspace());
                return Ok(Self {
                    manifest,
                    around,
                    knockout,
                    vars,
                    address,
                    process,
                    workspace,
                    world,
                });
            }
            let knocked = knockout.as_deref();
            let begun = begin(&manifest, knocked, &world, &vars, &around, address).await;
            match begun {
                Ok(process) => {
                    let process = Mutex::new(Some(process));
                    let workspace = world.workspace();
                    return Ok(Self {
                        manifest,
                        around,
                        knockout,
                        vars,
                        address,
                        process,
                        workspace,
                        world,
                    });
                }
                // Somebody took the port between our look and the target's bind.
                Err(StartError::Target(words)) if tries < 3 && words.contains("in use") => {
                    tries += 1;
                    port = free_port()?;
                    vars.set("PORT", port.to_string());
                    write_config(plan, &world, &mut vars)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it lives.
    #[must_use]
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Its workspace.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The manifest's variables for this instance.
    #[must_use]
    pub fn vars(&self) -> &Vars {
        &self.vars
    }

    /// Sets a variable that only the running server could tell, such as the token of a pairing.
    pub fn learn(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.vars.set(name, value);
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The server's process id; 0 where there is no server.
    pub async fn pid(&self) -> u32 {
        self.process.lock().await.as_ref().map_or(0, Process::pid)
    }

    /// Whether the server's process has ended, and how.
    pub async fn ended(&self) -> Option<std::process::ExitStatus> {
        self.process.lock().await.as_mut()?.ended()
    }

    /// What the server wrote so far: standard output, then standard error.
    pub async fn output(&self) -> Vec<u8> {
        let process = self.process.lock().await;
        let both = |process: &Process| [process.stdout.bytes(), process.stderr.bytes()].concat();
        process.as_ref().map(both).unwrap_or_default()
    }

    /// The last lines of its standard error, for evidence.
    pub async fn last_words(&self) -> String {
        let process = self.process.lock().await;
        process.as_ref().map(|process| process.stderr.last_lines(4)).unwrap_or_default()
    }

    /// Asks it to end, kills it after five seconds; says how it ended.
    pub async fn stop(&self) -> Option<std::process::ExitStatus> {
        self.process.lock().await.as_mut()?.stop(Duration::from_secs(5)).await
    }

    /// Kills the server's process alone, as a crash would; what it started is left to itself.
    pub async fn kill_server(&self) {
        if let Some(process) = self.process.lock().await.as_mut() {
            process.kill_alone().await;
        }
    }

    /// Kills it at once, with its process group.
    pub async fn kill(&self) {
        if let Some(process) = self.process.lock().await.as_mut() {
            process.kill().await;
        }
    }

    /// Starts it once more in the same world, on the same port, after a stop or kill.
    ///
    /// # Errors
    /// As [`Instance::start`].
    pub async fn start_again(&self) -> Result<(), StartError> {
        let mut process = self.process.lock().await;
        if let Some(process) = process.as_mut() {
            process.kill().await;
        }
        let knockout = self.knockout.as_deref();
        *process = Some(
            begin(&self.manifest, knockout, &self.world, &self.vars, &self.around, self.address)
                .await?,
        );
        Ok(())
    }

    /// Runs a command of the manifest by role, with variables and standard input of the caller's.
    ///
    /// # Errors
    /// `Unsupported` where the manifest has no such command.
    pub async fn command(
        &self,
        role: &str,
        extra: &Vars,
        stdin: Option<&[u8]>,
    ) -> Result<Ended, StartError> {
        let found = self.manifest.commands.get(role);
        let command = found.ok_or_else(|| StartError::Unsupported(format!("command `{role}`")))?;
        let mut command = command.clone();
        let mut vars = self.vars.with(extra);
        if let Some(bytes) = stdin {
            command.stdin = Some("${STDIN}".to_owned());
            vars.set("STDIN", bytes);
        }
        run_command(&self.manifest, self.knockout.as_deref(), &self.world, &vars, &command).await
    }

    /// Starts a command of the manifest by role and leaves it running, for a caller that kills it.
    ///
    /// # Errors
    /// `Unsupported` where the manifest has no such command, `Target` where it does not start.
    pub fn begin_command(&self, role: &str, extra: &Vars) -> Result<Process, StartError> {
        let found = self.manifest.commands.get(role);
        let command = found.ok_or_else(|| StartError::Unsupported(format!("command `{role}`")))?;
        let vars = self.vars.with(extra);
        let knockout = self.knockout.as_deref();
        let mut built = build(&self.manifest, knockout, &self.world, &vars, command, &[])?;
        Process::start(&mut built)
            .map_err(|error| StartError::Target(format!("cannot run {}: {error}", line(command))))
    }

    /// Starts a command of the manifest by role as a user at a terminal does: `slave` is its
    /// standard streams, and `helper` makes it its controlling terminal.
    ///
    /// # Errors
    /// `Unsupported` where the manifest has no such command, `Target` where it does not start.
    #[cfg(target_os = "linux")]
    pub fn begin_at_terminal(
        &self,
        role: &str,
        extra: &Vars,
        helper: &Path,
        slave: std::os::fd::OwnedFd,
    ) -> Result<Process, StartError> {
        let found = self.manifest.commands.get(role);
        let command = found.ok_or_else(|| StartError::Unsupported(format!("command `{role}`")))?;
        let vars = self.vars.with(extra);
        let wrap =
            [&helper.to_string_lossy(), "@launch", r#"{"terminal":true}"#].map(str::to_owned);
        let knockout = self.knockout.as_deref();
        let mut built = build(&self.manifest, knockout, &self.world, &vars, command, &wrap)?;
        let failed = |error: std::io::Error| {
            StartError::Target(format!("cannot run {}: {error}", line(command)))
        };
        let (output, errors) =
            (slave.try_clone().map_err(failed)?, slave.try_clone().map_err(failed)?);
        built.stdin(slave).stdout(output).stderr(errors);
        Process::detached(&mut built).map_err(failed)
    }

    /// Writes the files of a plugin over those that stand there; what was accepted stays.
    ///
    /// # Errors
    /// `Unsupported` where the manifest has no `[plugins]`, `World` where they cannot be written.
    pub fn put_plugin(&self, install: &Install) -> Result<(), StartError> {
        let form = self.manifest.plugins.as_ref();
        let form = form.ok_or_else(|| StartError::Unsupported("[plugins]".to_owned()))?;
        form.write(&self.world, &form.vars(&self.vars, install)?)
    }

    /// A place that the manifest names by role, such as `audit`.
    ///
    /// # Errors
    /// `Unsupported` where the manifest has no such place.
    pub fn file(&self, role: &str) -> Result<PathBuf, StartError> {
        let found = self.manifest.files.get(role);
        let text = found.ok_or_else(|| StartError::Unsupported(format!("file `{role}`")))?;
        Ok(PathBuf::from(self.vars.fill_text(text)?))
    }
}

fn base_vars(plan: &Plan, world: &World) -> Vars {
    let mut vars = Vars::new();
    let path = |path: &Path| path.to_string_lossy().into_owned();
    vars.set("BIN", path(&plan.binary))
        .set("STATE", path(&world.state()))
        .set("WORKSPACE", path(&world.workspace()))
        .set("OUTSIDE", path(&world.outside()))
        .set("HOME", path(&world.home()))
        .set("MODEL_URL", plan.model_url.as_str())
        .set("SECRET", format!("sk-{}", random_hex(20)))
        .set("MASTER", format!("master-{}", random_hex(12)))
        .set("SUBJECT", path(plan.manifest.folder(&plan.binary)))
        .set("TOKEN", "")
        .set("CONFIG", "")
        .set("KNOCKOUT", plan.knockout.clone().unwrap_or_default())
        .set("UID", world.uid().map(|uid| uid.to_string()).unwrap_or_default());
    vars
}

/// Runs the commands that stand before the start.
async fn prepare(plan: &Plan, world: &World, vars: &Vars) -> Result<(), StartError> {
    for command in &plan.manifest.prepare {
        let knockout = plan.knockout.as_deref();
        let ended = run_command(&plan.manifest, knockout, world, vars, command).await?;
        expect_success(command, &ended)?;
    }
    Ok(())
}

/// The server's own variables: the named environments of the manifest, then the caller's.
fn environment(plan: &Plan, vars: &Vars) -> Result<BTreeMap<String, String>, StartError> {
    let mut env = BTreeMap::new();
    for name in &plan.environments {
        let found = plan.manifest.environments.get(name);
        let found =
            found.ok_or_else(|| StartError::Unsupported(format!("environment `{name}`")))?;
        for (key, value) in found {
            env.insert(key.clone(), vars.fill_text(value)?);
        }
    }
    env.extend(plan.env.clone());
    Ok(env)
}

/// Puts the plugins in place; the plan whose configuration has them.
async fn with_plugins(plan: &Plan, world: &World, vars: &Vars) -> Result<Plan, StartError> {
    let mut plan = plan.clone();
    if plan.plugins.is_empty() {
        return Ok(plan);
    }
    let manifest = Arc::clone(&plan.manifest);
    let form = manifest.plugins.as_ref();
    let form = form.ok_or_else(|| StartError::Unsupported("[plugins]".to_owned()))?;
    let mut entries = Vec::new();
    for install in &plan.plugins {
        let mut vars = form.vars(vars, install)?;
        form.write(world, &vars)?;
        if let Some(command) = &form.digest {
            let knockout = plan.knockout.as_deref();
            let ended = run_command(&manifest, knockout, world, &vars, command).await?;
            expect_success(command, &ended)?;
            vars.set("DIGEST", String::from_utf8_lossy(&ended.stdout).trim());
        }
        entries.push(form.entry(&vars)?);
    }
    plan.merges.push(form.patch(entries));
    Ok(plan)
}

fn write_config(plan: &Plan, world: &World, vars: &mut Vars) -> Result<(), StartError> {
    let Some(config) = &plan.manifest.config else {
        // What cannot be changed must not be taken for changed.
        return match plan.patches.first() {
            Some(name) => Err(StartError::Unsupported(format!("config patch `{name}`"))),
            None if !plan.merges.is_empty() => Err(StartError::Unsupported("[config]".to_owned())),
            None => Ok(()),
        };
    };
    let path = PathBuf::from(vars.fill_text(&config.path)?);
    vars.set("CONFIG", path.to_string_lossy().into_owned());
    let parse = |what: &str, text: &str| -> Result<Value, StartError> {
        let text = vars.fill_text(text)?;
        serde_json::from_str(&text)
            .map_err(|error| StartError::Manifest(format!("the manifest's {what}: {error}")))
    };
    let mut json = parse("config.json", &config.json)?;
    let raised = (!plan.own_rates && config.patches.contains_key("raised-rates"))
        .then(|| "raised-rates".to_owned());
    for name in raised.iter().chain(&plan.patches) {
        let text = config
            .patches
            .get(name)
            .ok_or_else(|| StartError::Unsupported(format!("config patch `{name}`")))?;
        merge(&mut json, parse(&format!("config.patches.{name}"), text)?);
    }
    for patch in &plan.merges {
        merge(&mut json, patch.clone());
    }
    let text = serde_json::to_vec_pretty(&json)
        .map_err(|error| StartError::Manifest(error.to_string()))?;
    world.write(&path, &text, 0o600)?;
    Ok(())
}

fn free_port() -> Result<u16, StartError> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| StartError::Target(format!("no free port on loopback: {error}")))
}
