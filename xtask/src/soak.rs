//! `soak`: many launches of the reference's sandbox in a row, some of them killed, and what is left
//! of them. Knows the name of the test that does it, and nothing of a sandbox.

use crate::bubblewrap;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// The test; it is ignored elsewhere because it takes its time.
const TEST: &str = "soak::five_hundred_launches_of_which_some_are_killed_leave_nothing";

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    bubblewrap::ensure(workspace)?;
    workspace
        .cargo()
        .env("PATH", workspace.path())
        .args(["test", "--locked", "--package", "clawproof-runtime", "--test", "it", "--"])
        .args(["--ignored", "--exact", "--nocapture", TEST])
        .run()
}
