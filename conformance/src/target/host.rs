//! The host that a run takes place on, as a certificate names it: system, kernel, security modules
//! and the programs that a target leans on. It must never know the target's program itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::binary::on_path;
use super::manifest::Manifest;

/// Where a run took place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// The operating system, such as `linux`.
    pub os: String,
    /// The processor family, such as `x86_64`.
    pub arch: String,
    /// The kernel's release, where it can be read.
    pub kernel: String,
    /// The uid that the target ran as, where there is one.
    pub uid: Option<u32>,
    /// The kernel's active security modules, as it lists them; empty where it does not.
    #[serde(default)]
    pub lsm: String,
    /// The version of Landlock's interface that the kernel enforces; none where it has none.
    #[serde(default)]
    pub landlock: Option<u32>,
    /// Which network the run had: `loopback alone`, or the host's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// The programs that the manifest needs or starts with, such as `bwrap`.
    #[serde(default)]
    pub programs: BTreeMap<String, Tool>,
}

/// A program of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// The first line that it prints for `--version`; empty where it prints none in time.
    pub version: String,
    /// Its SHA-256.
    pub sha256: String,
}

impl Environment {
    /// This host, with the programs of a manifest.
    #[must_use]
    pub fn here(manifest: &Manifest) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let prefix = manifest.launcher.iter().filter_map(|launcher| launcher.prefix.first());
        let names =
            manifest.requires.iter().chain(prefix).filter(|name| !name.contains(['/', '$']));
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            kernel: read("/proc/sys/kernel/osrelease"),
            uid: target_uid(),
            lsm: read("/sys/kernel/security/lsm"),
            landlock: landlock(),
            network: super::namespaces::network(),
            programs: names.filter_map(|name| Some((name.clone(), tool(name)?))).collect(),
        }
    }
}

#[cfg(unix)]
fn target_uid() -> Option<u32> {
    let own = rustix::process::geteuid();
    let spare = own.is_root() && !super::world::targets_are_root();
    Some(if spare { super::world::SPARE_UID } else { own.as_raw() })
}

#[cfg(not(unix))]
fn target_uid() -> Option<u32> {
    None
}

/// Asked by a thread that confines itself and ends: the kernel tells it to no one else.
#[cfg(target_os = "linux")]
fn landlock() -> Option<u32> {
    use landlock::{AccessFs, LandlockStatus, Ruleset, RulesetAttr as _};
    let asked = std::thread::spawn(|| {
        let ruleset = Ruleset::default().handle_access(AccessFs::MakeBlock).ok()?;
        match ruleset.create().ok()?.restrict_self().ok()?.landlock {
            LandlockStatus::Available { kernel_abi: Some(newer), .. } => u32::try_from(newer).ok(),
            LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as u32),
            LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => None,
        }
    });
    asked.join().ok().flatten()
}

#[cfg(not(target_os = "linux"))]
fn landlock() -> Option<u32> {
    None
}

fn tool(name: &str) -> Option<Tool> {
    let path = on_path(name)?;
    let bytes = std::fs::read(&path).ok()?;
    Some(Tool { version: version(&path), sha256: hex::encode(Sha256::digest(bytes)) })
}

#[expect(clippy::disallowed_methods, reason = "asks a host's program for its version, no target")]
fn version(path: &std::path::Path) -> String {
    let output = std::process::Command::new(path)
        .arg("--version")
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().trim().chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_of_a_manifest_are_named_with_their_digest() {
        let text = "name = \"a\"\ndriver = \"launcher\"\nlauncher.prefix = [\"env\"]\n";
        let manifest = Manifest::parse(text, std::path::Path::new("t.toml")).unwrap();
        let here = Environment::here(&manifest);
        assert_eq!(here.os, std::env::consts::OS);
        if cfg!(target_os = "linux") {
            assert_eq!(here.programs.get("env").unwrap().sha256.len(), 64);
        }
    }
}
