//! What several scenarios need: stand-in values for calls, further clients, errors compared. It
//! must never set a leg.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::driver::DriverError;
use crate::driver::http::{Reply, Request};
use crate::driver::rpc::Rpc;
use crate::sensor::audit_log::{AuditLog, Reading};
use crate::sensor::files;
use crate::stage::model::ToolCall;
use crate::target::template::Vars;
use crate::target::world::random_hex;

use super::{Target, Trouble};

/// What a driver brought back.
pub(super) type Answered = Result<Reply, DriverError>;

/// Every variable that a call of a manifest may use, with values that are sound but name nothing.
pub(super) fn placeholders() -> Vars {
    let mut vars = Vars::new();
    vars.set("SESSION", random_hex(16))
        .set("TEXT", format!("hello {}", random_hex(8)))
        .set("NAME", format!("n{}", random_hex(4)))
        .set("VALUE", format!("v{}", random_hex(8)))
        .set("PATH", format!("p{}", random_hex(4)))
        .set("CONTENT", random_hex(8))
        .set("ARGUMENTS", "{}")
        .set("ATTACHMENTS", "[]")
        .set("JSON", "{}");
    vars
}

/// A second client of the same target: a way to it with a fresh token.
///
/// # Errors
/// `Unsupported` where the manifest has no `commands.token-create`.
pub(super) async fn another_client(target: &Target) -> Result<Rpc, Trouble> {
    let token = fresh_token(target, "token-create").await?;
    Ok(target.rpc().with_token(token))
}

/// A token made by a command of the manifest.
///
/// # Errors
/// `Unsupported` without such a command, `Target` where it fails.
pub(super) async fn fresh_token(target: &Target, command: &str) -> Result<String, Trouble> {
    let ended = target.command(command, &[], None).await?;
    let token = String::from_utf8_lossy(&ended.stdout).trim().to_owned();
    if ended.code != Some(0) || token.is_empty() {
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        return Err(Trouble::Target(format!("`{command}` made no token: {words}")));
    }
    Ok(token)
}

/// The audit log of a target.
///
/// # Errors
/// `Unsupported` where the manifest does not say where it lies and how it is read.
pub(super) fn audit_log(target: &Target) -> Result<AuditLog, Trouble> {
    let form = target.instance().manifest().audit.clone();
    let form =
        form.ok_or_else(|| Trouble::Unsupported("the manifest has no [audit]".to_owned()))?;
    Ok(AuditLog::new(target.file("audit")?, form))
}

/// Reads the log until it satisfies a condition, for three seconds at most: a record may be
/// written a moment after the answer.
pub(super) async fn settled(log: &AuditLog, enough: impl Fn(&Reading) -> bool) -> Reading {
    let begun = Instant::now();
    loop {
        let reading = log.read();
        if enough(&reading) || begun.elapsed() > Duration::from_secs(3) {
            return reading;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A file of the workspace.
pub(super) fn in_workspace(target: &Target, name: &str) -> PathBuf {
    target.world().workspace().join(name)
}

/// Whether an answer came and says yes.
pub(super) fn admitted(answer: &Answered) -> bool {
    answer.as_ref().is_ok_and(|reply| !reply.refused())
}

/// Whether an answer came and says no. A closed connection is a no as well; silence is none.
pub(super) fn denied(answer: &Answered) -> bool {
    match answer {
        Ok(reply) => reply.refused(),
        Err(error) => matches!(error, DriverError::Died(_)),
    }
}

/// An answer on one line, for evidence.
pub(super) fn shown(answer: &Answered) -> String {
    match answer {
        Ok(reply) => reply.summary(),
        Err(error) => error.to_string(),
    }
}

/// A text with every run of 16 or more hexadecimal digits masked, so that two answers can be
/// compared whose correlation ids differ.
pub(super) fn masked(text: &str) -> String {
    let (mut out, mut run) = (String::new(), String::new());
    for character in text.chars().chain(['\0']) {
        if character.is_ascii_hexdigit() {
            run.push(character);
            continue;
        }
        if run.len() >= 16 {
            out.push('*');
        } else {
            out.push_str(&run);
        }
        run.clear();
        if character != '\0' {
            out.push(character);
        }
    }
    out
}

/// The text of an answer's part that the manifest places.
pub(super) fn part(reply: &Reply, place: &str) -> Option<String> {
    let json = reply.json()?;
    let value = json.pointer(place)?;
    (!value.is_null()).then(|| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Replaces a header, or adds it.
pub(super) fn set_header(request: &mut Request, name: &str, value: &str) {
    request.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    request.headers.push((name.to_owned(), value.to_owned()));
}

/// The answers of many requests that are under way at the same time.
pub(super) async fn all_at_once(rpc: &Rpc, requests: Vec<Request>) -> Vec<Answered> {
    let sent = requests.into_iter().map(|request| async move { rpc.send(&request).await });
    futures_util::future::join_all(sent).await
}

/// A fresh file name and the call that writes it.
pub(super) fn write_call(target: &Target) -> Result<(String, ToolCall), Trouble> {
    let name = format!("effect-{}", random_hex(6));
    let call = target.tool_call("write", &[("path", &name), ("content", "x")])?;
    Ok((name, call))
}

/// Whether that file is there.
pub(super) fn wrote(target: &Target, name: &str) -> bool {
    files::exists(&in_workspace(target, name))
}

/// Whether a message of so many bytes, sent by this client, reaches the model.
///
/// # Errors
/// It was not answered.
pub(super) async fn reaches(
    target: &Target,
    client: &Rpc,
    session: &str,
    bytes: usize,
) -> Result<bool, Trouble> {
    let nonce = random_hex(8);
    let talk = target.model().expect(nonce.as_str(), Vec::new());
    let text = format!("{nonce} {}", "a".repeat(bytes.saturating_sub(nonce.len() + 1)));
    client.message(session, text.as_bytes()).await?;
    Ok(!talk.exchanges().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_ids_and_nothing_else() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(masked(&format!("code -32001, id {id}.")), "code -32001, id *.");
        assert_eq!(masked("beef"), "beef");
    }
}
