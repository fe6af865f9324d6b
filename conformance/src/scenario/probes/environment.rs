//! Stages of the probes of what a launcher hands down.
//! It must never know a target or an expectation.

use super::Trouble;
use super::scene::{Scene, Site, unstaged};
use crate::driver::launcher::Input;

/// The stage of an `env.` probe.
pub(super) fn stage(id: &str, site: &Site<'_>) -> Result<Scene, Trouble> {
    let scene = Scene::new(site);
    let secret = site.secret();
    Ok(match id {
        "env.canary" => {
            let variable = ("SERVICE_API_KEY".to_owned(), secret.clone());
            scene.ask(|ask| ask.env.push(variable)).leak(secret, "the launcher's variable")
        }
        "env.stdin" => {
            let bytes = format!("{secret}\n").into_bytes();
            scene.ask(|ask| ask.stdin = Input::Bytes(bytes)).leak(secret, "the launcher's input")
        }
        _ => return Err(unstaged(id)),
    })
}
