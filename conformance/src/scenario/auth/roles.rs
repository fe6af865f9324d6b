//! What a valid token is not good for: the keys and settings of whoever runs the server, and anything
//! once it was revoked. It must never take an answer for an effect: vault and model are looked at.

use serde_json::{Value, json};

use crate::driver::rpc::Rpc;
use crate::scenario::kit::{
    admitted, another_client, denied, fresh_token, placeholders, reaches, shown,
};
use crate::scenario::{Finding, Lab, Options, Target, Trouble};
use crate::sensor::files;
use crate::target::template::Vars;
use crate::target::world::random_hex;

use super::named;

/// The calls of whoever runs the server.
const MANAGEMENT: &[&str] =
    &["credentials-put", "credentials-list", "credentials-delete", "config-get", "config-set"];

/// Whether the vault holds a record of this name.
fn stored(target: &Target, name: &str) -> Result<bool, Trouble> {
    let needles = [name.as_bytes().to_vec(), hex::encode(name).into_bytes()];
    let vault = target.file("vault")?;
    Ok(named(&vault, &needles) || !files::mentioning(&vault, &needles).is_empty())
}

/// Bytes of a message that the lowered limit refuses.
const BYTES: usize = 2_000;

/// A call behind one that anybody may make, in one request.
fn behind_another(client: &Rpc, call: &str, vars: &Vars) -> Option<crate::driver::http::Request> {
    let mut request = client.request("session-create", vars).ok()?;
    let body = |name: &str| -> Option<Value> {
        serde_json::from_slice(&client.request(name, vars).ok()?.pieces.concat()).ok()
    };
    let both = json!([body("session-create")?, body(call)?]);
    request.pieces = vec![both.to_string().into_bytes()];
    Some(request)
}

/// A client of the role that a token has by default, and the one who runs the server.
pub(super) async fn roles(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let calls = &lab.manifest().calls;
    let known = MANAGEMENT.iter().all(|call| calls.contains_key(*call));
    let patch = lab.manifest().config.as_ref().and_then(|it| it.patches.get("low-message-limit"));
    let (Some(patch), true) = (patch, known) else {
        return Err(Trouble::Unsupported("the manifest has no calls of management".to_owned()));
    };
    let batches = calls.get("session-create").is_some_and(|it| it.batch);
    let target = lab.instance(Options::default()).await?;
    let (admin, user) = (target.rpc().clone(), another_client(&target).await?);
    let session = user.session().await?;
    let before = reaches(&target, &user, &session, BYTES).await?;
    finding.twin(before, "the user's token makes a session, and its messages reach the model");

    let (kept, forged) = (format!("k{}", random_hex(6)), format!("f{}", random_hex(6)));
    let vars = |name: &str| {
        let mut vars = placeholders();
        vars.set("NAME", name).set("JSON", patch.as_str());
        vars
    };
    let put = admin.call("credentials-put", &vars(&kept)).await;
    let there = stored(&target, &kept)?;
    finding.twin(admitted(&put) && there, format!("the admin stores a key: {}", shown(&put)));

    for call in MANAGEMENT {
        let vars = vars(if *call == "credentials-put" { &forged } else { &kept });
        let answer = user.call(call, &vars).await;
        finding.reached(answer.is_ok(), format!("{call} by a user was answered"));
        finding.no_effect(denied(&answer), format!("{call} by a user: {}", shown(&answer)));
        if let (Some(request), true) = (behind_another(&user, call, &vars), batches) {
            let _ = user.send(&request).await;
        }
    }
    let (kept, forged) = (stored(&target, &kept)?, stored(&target, &forged)?);
    finding.no_effect(kept, format!("the admin's key is still stored: {kept}"));
    finding.no_effect(!forged, format!("the user's key was stored: {forged}"));
    let after = reaches(&target, &user, &session, BYTES).await?;
    finding.no_effect(after, format!("the limit is the one of before: {after}"));

    let changed = admin.call("config-set", &vars("x")).await;
    let lowered = !reaches(&target, &user, &session, BYTES).await?;
    finding.twin(admitted(&changed) && lowered, "the admin lowers the limit, and it is in force");
    Ok(finding)
}

/// The words at the beginnings of the lines that the target lists its tokens on.
async fn listed(target: &Target) -> Result<Vec<String>, Trouble> {
    let ended = target.command("token-list", &[], None).await?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// A token that was good until it was revoked.
pub(super) async fn revoked(lab: Lab) -> Result<Finding, Trouble> {
    let mut finding = Finding::new();
    let target = lab.instance(Options::default()).await?;
    let other = another_client(&target).await?;
    let before = listed(&target).await?;
    let client = target.rpc().with_token(fresh_token(&target, "token-create").await?);
    let mut fresh = listed(&target).await?;
    fresh.retain(|id| !before.contains(id));
    let [id] = fresh.as_slice() else {
        return Err(Trouble::Target(format!("a new token is listed as {fresh:?}")));
    };
    let session = client.session().await?;
    let young = reaches(&target, &client, &session, BYTES).await?;
    finding.twin(young, "a message with the token reaches the model before it is revoked");
    let ended = target.command("token-revoke", &[("NAME", id)], None).await?;
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    finding.reached(ended.code == Some(0), format!("the token was revoked {words}"));
    let again = client.call("session-create", &placeholders()).await;
    finding.no_effect(denied(&again), format!("a session with it: {}", shown(&again)));
    let after = reaches(&target, &client, &session, BYTES).await?;
    finding.no_effect(!after, format!("a message with it reaches the model: {after}"));
    finding.twin(other.session().await.is_ok(), "another token goes on to count");
    Ok(finding)
}
