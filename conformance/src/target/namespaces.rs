//! Namespaces of the suite's own, in which a whole run takes place: a network in which there is
//! nothing but loopback, so that no target reaches out, and a user database that knows the uid which
//! targets run as. It must never know a target.

use std::path::Path;

#[cfg(any(target_os = "linux", test))]
use super::world::SPARE_UID;

/// The variable by which the suite knows that it was started again; it names the user database that
/// was made for it.
const MARK: &str = "CLAWPROOF_OWN_NAMESPACES";

/// Whether this process was started again by [`enter`].
#[must_use]
pub fn entered() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts this program again with the same arguments in namespaces of its own, by the helper that
/// `probe` is; comes back only where that fails.
///
/// # Errors
/// One sentence for the person at the keyboard.
#[cfg(target_os = "linux")]
pub fn enter(probe: &Path) -> Result<std::convert::Infallible, String> {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        return Err("--own-namespaces is for a suite that is root".to_owned());
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let passwd = std::env::temp_dir().join(format!("clawproof-passwd-{}", std::process::id()));
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    std::fs::write(&passwd, with_spare(&known))
        .map_err(|error| format!("cannot write {}: {error}", passwd.display()))?;
    let own = clawproof_probe::Own {
        root: true,
        network: true,
        loopback: true,
        passwd: Some(passwd.clone()),
        ..clawproof_probe::Own::default()
    };
    let launch = clawproof_probe::Launch { own: Some(own), ..clawproof_probe::Launch::default() };
    let setup = serde_json::to_string(&launch).map_err(|error| error.to_string())?;
    #[expect(clippy::disallowed_methods, reason = "the suite becomes itself, in namespaces")]
    let mut command = std::process::Command::new(probe);
    command.arg("@launch").arg(setup).arg(program).args(std::env::args_os().skip(1));
    let error = command.env(MARK, &passwd).exec();
    let _ = std::fs::remove_file(passwd);
    Err(format!("cannot start {}: {error}", probe.display()))
}

/// Other systems have none of this.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn enter(_probe: &Path) -> Result<std::convert::Infallible, String> {
    Err("--own-namespaces needs Linux".to_owned())
}

/// Removes, when it is dropped, what was made for this run's namespaces: the last that a run does.
#[derive(Debug)]
pub struct Tidy(());

/// To be kept for as long as the run takes.
#[must_use]
pub fn tidy() -> Tidy {
    Tidy(())
}

impl Drop for Tidy {
    fn drop(&mut self) {
        if let Some(path) = std::env::var_os(MARK) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A user database with the spare uid in it.
#[cfg(any(target_os = "linux", test))]
fn with_spare(known: &str) -> String {
    let spare = SPARE_UID.to_string();
    if known.lines().any(|line| line.split(':').nth(2) == Some(spare.as_str())) {
        return known.to_owned();
    }
    let end = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
    format!("{known}{end}clawproof:x:{spare}:{spare}:target under test:/nonexistent:/bin/sh\n")
}

/// What the network of this process is, as a report says it.
#[must_use]
pub fn network() -> String {
    match std::fs::read_to_string("/proc/self/net/dev") {
        Ok(text) if only_loopback(&text) => "loopback alone".to_owned(),
        _ => "the host's; proxies of agents point nowhere".to_owned(),
    }
}

/// Whether the table of interfaces holds loopback and nothing else.
fn only_loopback(table: &str) -> bool {
    let mut names = table.lines().filter_map(|line| line.split_once(':')).map(|it| it.0.trim());
    names.next() == Some("lo") && names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spare_uid_is_added_once() {
        let once = with_spare("root:x:0:0::/root:/bin/sh");
        assert!(once.starts_with("root:x:0:0::/root:/bin/sh\nclawproof:x:60123:60123:"), "{once}");
        assert_eq!(with_spare(&once), once);
    }

    #[test]
    fn a_network_with_another_interface_is_the_hosts() {
        let head = "Inter-|   Receive\n face |bytes\n";
        assert!(only_loopback(&format!("{head}    lo: 1 2\n")));
        assert!(!only_loopback(&format!("{head}    lo: 1 2\n  eth0: 1 2\n")));
        assert!(!only_loopback(head));
    }
}
