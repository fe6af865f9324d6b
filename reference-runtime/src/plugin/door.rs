//! The one place at which a plugin connects: a socket in a folder that nobody else may enter, for
//! one connection of the process that was started for it. It must never believe who connects.

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};

use super::bundle::{Bundle, give, make_folder};
use crate::{audit::Rejection, requirement::PLUGIN_PEER};

/// What the socket is called inside the folder.
pub(super) const SOCKET: &str = "socket";
/// Where the copy of the plugin stands inside the folder.
pub(super) const COPY: &str = "plugin";
/// The longest path of a Unix socket on this system.
const LONGEST: usize = 107;
/// A process has so many ancestors at most that are looked at.
const ANCESTORS: usize = 64;

/// A folder with a copy of the plugin and a socket that is listened on. Dropping it removes both.
#[derive(Debug)]
pub(super) struct Door {
    folder: PathBuf,
    listener: UnixListener,
}

/// Who connected and is not the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    pid: Option<i32>,
    uid: u32,
}

impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} of user {}", self.pid.unwrap_or(0), self.uid)
    }
}

impl Door {
    /// Makes the folder under a name that nobody can know before, and listens in it.
    ///
    /// # Errors
    /// `plugin.peer`: it cannot be made, or something stands there already.
    pub(super) fn open(name: &str, bundle: &Bundle, owner: Option<u32>) -> Result<Self, Rejection> {
        let refuse = |error: io::Error| {
            PLUGIN_PEER.refuse("the place of a plugin cannot be made", format!("{name}: {error}"))
        };
        let mut random = [0_u8; 12];
        getrandom::fill(&mut random).map_err(|error| refuse(io::Error::other(error)))?;
        let folder = std::env::temp_dir().join(format!("clawproof-{}", hex::encode(random)));
        Self::at(folder, bundle, owner).map_err(refuse)
    }

    fn at(folder: PathBuf, bundle: &Bundle, owner: Option<u32>) -> io::Result<Self> {
        let socket = folder.join(SOCKET);
        if socket.as_os_str().len() > LONGEST {
            return Err(io::Error::other("the path of the socket is too long: set TMPDIR"));
        }
        make_folder(&folder, owner)?;
        // From here on it is ours: what fails takes it away again.
        let listening = || {
            bundle.write(&folder.join(COPY), owner)?;
            let listener = UnixListener::bind(&socket)?;
            give(&socket, 0o600, owner)?;
            Ok(listener)
        };
        match listening() {
            Ok(listener) => Ok(Self { folder, listener }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits for a connection of the process `helper` or one that it started. After it the socket
    /// has no name any more.
    ///
    /// # Errors
    /// The stranger that connected, and was sent away; or what the system says.
    pub(super) async fn accept(
        &self,
        helper: impl Fn() -> Option<u32>,
    ) -> io::Result<Result<UnixStream, Stranger>> {
        let (stream, _) = self.listener.accept().await?;
        let who = stream.peer_cred()?;
        let stranger = Stranger { pid: who.pid(), uid: who.uid() };
        let own = match (who.pid().and_then(|pid| u32::try_from(pid).ok()), helper()) {
            (Some(pid), Some(helper)) => descends(pid, helper),
            _ => false,
        };
        if !own && PLUGIN_PEER.enforced() {
            return Ok(Err(stranger));
        }
        if PLUGIN_PEER.enforced() {
            std::fs::remove_file(self.folder.join(SOCKET))?;
        }
        Ok(Ok(stream))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether a process is another or descends from it. What has its parent taken away becomes the
/// child of somebody else and is nobody's descendant.
fn descends(mut pid: u32, from: u32) -> bool {
    for _ in 0..ANCESTORS {
        if pid == from {
            return true;
        }
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        let parent =
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        match parent {
            Some(parent) if parent > 1 => pid = parent,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn bundle() -> (tempfile::TempDir, Bundle) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("main.js"), "").unwrap();
        let bundle = Bundle::read(folder.path()).unwrap();
        (folder, bundle)
    }

    #[tokio::test]
    async fn a_place_that_is_taken_is_not_used() {
        let (_source, bundle) = bundle();
        let base = tempfile::tempdir().unwrap();
        for squat in ["folder", "link", "file"] {
            let folder = base.path().join(squat);
            match squat {
                "folder" => std::fs::create_dir(&folder).unwrap(),
                "link" => std::os::unix::fs::symlink(base.path(), &folder).unwrap(),
                _ => std::fs::write(&folder, "").unwrap(),
            }
            assert!(Door::at(folder.clone(), &bundle, None).is_err(), "{squat}");
            assert!(folder.symlink_metadata().is_ok(), "what stood there still stands");
        }
    }

    #[tokio::test]
    async fn nobody_else_enters_the_folder_and_it_goes_with_its_door() {
        use std::os::unix::fs::PermissionsExt;
        let (_source, bundle) = bundle();
        let door = Door::open("x", &bundle, None).unwrap();
        let folder = door.folder().to_owned();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(door);
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_process_that_was_not_started_for_it_is_sent_away_and_the_name_goes_with_the_first() {
        let (_source, bundle) = bundle();
        let door = Door::open("x", &bundle, None).unwrap();
        let socket = door.folder().join(SOCKET);
        let own = std::process::id();
        for helper in [None, Some(1), Some(own + 1)] {
            let connected = UnixStream::connect(&socket).await.unwrap();
            assert!(door.accept(|| helper).await.unwrap().is_err());
            drop(connected);
        }
        let _connected = UnixStream::connect(&socket).await.unwrap();
        assert!(door.accept(|| Some(own)).await.unwrap().is_ok());
        assert!(UnixStream::connect(&socket).await.is_err(), "there is no name to connect to");
    }

    #[test]
    fn a_process_descends_from_its_parent_and_not_from_its_child() {
        let own = std::process::id();
        let parent = std::os::unix::process::parent_id();
        assert!(descends(own, own) && descends(own, parent));
        assert!(!descends(parent, own) && !descends(u32::MAX, own));
    }
}
