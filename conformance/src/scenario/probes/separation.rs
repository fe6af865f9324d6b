//! Whether anything at all separates a process inside from any other process of the same user. What
//! that user may not do anyway is then no merit of a sandbox. It must never know a probe.

use super::outside;

/// The kinds of namespaces.
const NAMESPACES: &[&str] = &["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Whether a process is like any process of its user that the suite starts without a sandbox: in the
/// suite's own namespaces, without a system call filter and without the flag that such a filter or
/// Landlock needs. `None` where it cannot be looked at.
pub(super) fn alike(pid: u32) -> Option<bool> {
    let own = std::process::id();
    for kind in NAMESPACES {
        if outside::namespace(pid, kind)? != outside::namespace(own, kind)? {
            return Some(false);
        }
    }
    for field in ["Seccomp", "NoNewPrivs"] {
        if outside::status(pid, field) != outside::status(own, field) {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::process::Process;
    use crate::target::world::World;

    #[tokio::test]
    async fn a_plain_process_is_alike_and_one_with_a_namespace_of_its_own_is_not() {
        let world = World::new().unwrap();
        let mut command = world.command("/bin/sleep");
        let process = Process::start(command.arg("30")).unwrap();
        assert_eq!(alike(process.pid()), Some(true));
        let mut command = world.command_as_suite("unshare");
        let process = Process::start(command.args(["-Ur", "sleep", "30"])).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        // Where namespaces may not be made there is nothing to see.
        assert_ne!(alike(process.pid()), Some(true));
    }
}
