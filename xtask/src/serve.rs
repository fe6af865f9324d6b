//! `serve`: the reference runtime in a scratch folder, with what to type next. Knows the runtime's
//! command line; the token is made by the runtime and printed once.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::bubblewrap;
use crate::failure::{Failure, io};
use crate::process::Program;
use crate::workspace::Workspace;

/// The unprivileged uid that tools run as where this command runs as root.
const SPARE_UID: u32 = 60_123;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Where the gateway listens.
    #[arg(long, default_value = "127.0.0.1:18789")]
    listen: String,
    /// The folder for state and workspace; a fresh one that is removed at the end, unless given.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<(), Failure> {
    bubblewrap::ensure(workspace)?;
    workspace
        .cargo()
        .args(["build", "--locked", "--release", "--package", "clawproof-runtime"])
        .run()?;
    let runtime = workspace.built("release", "clawproof-runtime");
    let scratch = tempfile::tempdir().map_err(io("make a scratch folder"))?;
    let folder = match &options.folder {
        Some(folder) => std::path::absolute(folder).map_err(io("find the folder"))?,
        None => scratch.path().to_path_buf(),
    };
    let house = House::build(&folder)?;
    let token =
        Program::new(&runtime).args(["token", "create", "--state"]).arg(&house.state).hear()?;
    if token.code != 0 {
        return Err(Failure::check(format!("could not make a token: {}", token.last_line())));
    }
    introduce(options, &house, token.out.trim());
    Program::new(&runtime)
        .env("PATH", workspace.path())
        .arg("serve")
        .arg("--config")
        .arg(&house.config)
        .arg("--state")
        .arg(&house.state)
        .arg("--workspace")
        .arg(&house.workspace)
        .args(["--listen", &options.listen])
        .run()
}

/// The folders and the config that the server gets.
struct House {
    state: PathBuf,
    workspace: PathBuf,
    config: PathBuf,
}

impl House {
    fn build(folder: &Path) -> Result<Self, Failure> {
        let house = Self {
            state: folder.join("state"),
            workspace: folder.join("workspace"),
            config: folder.join("openclaw.json"),
        };
        std::fs::create_dir_all(&house.state).map_err(io("make the state folder"))?;
        std::fs::create_dir_all(&house.workspace).map_err(io("make the workspace"))?;
        let hello = house.workspace.join("hello.txt");
        if !hello.exists() {
            std::fs::write(&hello, "You are reading this from inside the sandbox.\n")
                .map_err(io("write the first file of the workspace"))?;
        }
        if !house.config.exists() {
            let sandbox = if bubblewrap::is_root() {
                // Root's tools would run as root: they get an uid of their own.
                hand_over(folder, &house)?;
                serde_json::json!({ "uid": SPARE_UID })
            } else {
                serde_json::json!({})
            };
            let config = serde_json::json!({ "sandbox": sandbox });
            std::fs::write(&house.config, format!("{config:#}\n"))
                .map_err(io("write the config"))?;
        }
        Ok(house)
    }
}

/// Gives the workspace to the spare uid and lets it walk there.
#[cfg(unix)]
fn hand_over(folder: &Path, house: &House) -> Result<(), Failure> {
    use std::os::unix::fs::{PermissionsExt, chown};

    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))
        .map_err(io("open the scratch folder to the spare uid"))?;
    for path in [house.workspace.clone(), house.workspace.join("hello.txt")] {
        chown(&path, Some(SPARE_UID), Some(SPARE_UID))
            .map_err(io("give the workspace to the spare uid"))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn hand_over(_: &Path, _: &House) -> Result<(), Failure> {
    Ok(())
}

fn introduce(options: &Options, house: &House, token: &str) {
    let url = format!("http://{}/rpc", options.listen);
    let call = |method: &str, params: &str| {
        format!(
            "  curl -s {url} -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \\\n    \
             -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}'"
        )
    };
    println!("token (shown once): {token}");
    println!("workspace: {}", house.workspace.display());
    println!("audit log: {}", house.state.join("audit/audit.jsonl").display());
    println!("\nopen a session:\n{}", call("session.create", "{}"));
    println!(
        "\nsend a message that makes the offline model call a tool (put the session id in):\n{}",
        call("session.message", r#"{"session":"SESSION","text":"read hello.txt"}"#)
    );
    println!("\nCtrl-C ends it.\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_house_is_built_once_and_kept_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let house = House::build(folder.path()).unwrap();
        std::fs::write(&house.config, "{}").unwrap();
        House::build(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&house.config).unwrap(), "{}");
        assert!(house.workspace.join("hello.txt").is_file());
    }
}
