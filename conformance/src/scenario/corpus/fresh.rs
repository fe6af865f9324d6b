//! Plays the cases that need a target of their own: what stands in its configuration or its store
//! when it starts, and how often it lets requests through. It must never know a verdict.

use std::path::PathBuf;

use crate::corpus::payload::{Var, Vars};
use crate::corpus::{Case, Kind, Surface};
use crate::driver::excerpt;
use crate::oracle::{Observed, outcome};
use crate::scenario::kit::another_client;
use crate::scenario::vault::{model_record, shown_after, shown_key};
use crate::scenario::{Lab, Options, Target, Trouble};
use crate::target::template::json_escape;
use crate::target::world::random_hex;

use super::{CASE_LIMIT, Played, Stand, rates, setup};

/// What a lane keeps between such cases, so that not each begins with a target of its own.
#[derive(Debug, Default)]
pub struct Kept {
    /// One of low rates, used by another client each time.
    low: Option<Target>,
    /// One with a plugin.
    #[cfg(unix)]
    plugin: Option<super::plugins::Seat>,
    /// One whose vault is as it was, to be started again on the next record.
    store: Option<Store>,
}

/// A target with the record of its model's key.
#[derive(Debug)]
struct Store {
    target: Target,
    path: PathBuf,
    record: Vec<u8>,
}

/// Plays a case on a target that is started for it, or that nothing is left of what was done to it.
///
/// # Errors
/// As [`super::play`].
pub async fn play_fresh(lab: &Lab, kept: &mut Kept, case: &Case) -> Result<Played, Trouble> {
    let played = async {
        match case.surface {
            Surface::ConfigFile => config(lab, case).await,
            Surface::VaultFile => vault(lab, &mut kept.store, case).await,
            Surface::GatewayRequest => requests(lab, &mut kept.low, case).await,
            #[cfg(unix)]
            Surface::PluginFrame => {
                let (seen, evidence) = super::plugins::frame(lab, &mut kept.plugin, case).await?;
                let delivered = seen.served;
                Ok(Played { delivered, ..played(case, &seen, evidence) })
            }
            #[cfg(not(unix))]
            Surface::PluginFrame => Err(Trouble::no_plugins()),
            other => Err(Trouble::Harness(format!("{} needs no fresh target", other.id()))),
        }
    };
    tokio::time::timeout(CASE_LIMIT * 2, played)
        .await
        .map_err(|_| Trouble::Target("it took longer than two minutes".to_owned()))?
}

fn played(case: &Case, seen: &Observed, evidence: Vec<String>) -> Played {
    let mut evidence = evidence;
    evidence.extend(seen.leaked.iter().cloned());
    let outcome = outcome(case.surface, case.kind, seen);
    Played { outcome, delivered: true, evidence, by_heart: false }
}

/// Starts a target with the payload as a free text of its configuration.
async fn config(lab: &Lab, case: &Case) -> Result<Played, Trouble> {
    let mut vars = Vars::new(lab.manifest().naming());
    vars.set(Var::Nonce, random_hex(8));
    let payload = built(case, &vars)?;
    let mut evidence = vec![format!("the text: {}", excerpt(&payload, 200))];
    let Ok(text) = String::from_utf8(payload) else {
        let words = "a configuration is written from text; this payload is none";
        return Err(Trouble::NotApplicable(words.to_owned()));
    };
    let options = Options::default().patch("free-text").var("FREE", json_escape(text.as_bytes()));
    let mut seen = Observed { alive: true, answered: true, ..Observed::default() };
    match lab.instance(options).await {
        Ok(target) => {
            let told = model_name(&target).await;
            evidence.push(format!("it serves; the model was told {told:?}"));
            seen.served = told.is_some();
            seen.intact = told.as_deref() == Some(text.as_str());
            seen.alive = target.alive().await;
        }
        Err(Trouble::Target(words)) => evidence.push(format!("it does not start: {words}")),
        Err(trouble) => return Err(trouble),
    }
    Ok(played(case, &seen, evidence))
}

/// The name by which a target asks for its model.
async fn model_name(target: &Target) -> Option<String> {
    let run = target.answer(Vec::new()).await.ok()?;
    Some(run.exchanges.first()?.json.get("model")?.as_str()?.to_owned())
}

impl Store {
    /// A target that was seen to show its model the key that was stored.
    async fn start(lab: &Lab) -> Result<Self, Trouble> {
        let target = lab.instance(Options::default()).await?;
        let (path, record) = model_record(&target)?;
        let before = shown_key(&target).await;
        if before.as_deref() != Some(target.var("SECRET").as_str()) {
            let words = format!("before anything was changed the model was shown {before:?}");
            return Err(Trouble::Target(words));
        }
        Ok(Self { target, path, record })
    }
}

/// Starts a target again on another record of its model's key.
async fn vault(lab: &Lab, kept: &mut Option<Store>, case: &Case) -> Result<Played, Trouble> {
    let store = match kept.take() {
        Some(store) => store,
        None => Store::start(lab).await?,
    };
    let target = &store.target;
    let secret = target.var("SECRET");
    let stand = Stand::new(target, case, &[(Var::Record, store.record.clone())]).await?;
    setup::materialise(target.world(), &case.setup, &Vars::default())?;
    let shown = shown_after(target, &store.path, &stand.payload).await?;
    let mut evidence = stand.evidence;
    evidence.push(format!("the model was then shown {}", shown.as_deref().unwrap_or("no key")));
    let mut seen = Observed { alive: true, answered: true, ..Observed::default() };
    match (case.kind, shown) {
        (_, None) => {}
        (Kind::Benign, Some(key)) => seen.intact = key == secret,
        (Kind::Attack, Some(_)) => {
            seen.leaked.push("a changed record was opened, and its key was used".to_owned());
        }
    }
    if case.setup.is_empty() {
        target.world().write(&store.path, &store.record, 0o600)?;
        *kept = Some(store);
    }
    Ok(played(case, &seen, evidence))
}

/// Makes the requests of a conversation at a target that admits few of them.
async fn requests(lab: &Lab, low: &mut Option<Target>, case: &Case) -> Result<Played, Trouble> {
    let payload = built(case, &Vars::default())?;
    let known = match low.take() {
        Some(target) if target.alive().await => {
            another_client(&target).await.ok().zip(Some(target))
        }
        _ => None,
    };
    let (rpc, target) = match known {
        Some(known) => known,
        None => {
            let options = Options::default().own_rates().patch("rates-low");
            let target = lab.instance(options).await?;
            (target.rpc().clone(), target)
        }
    };
    let counted = rates::converse(&target, &rpc, &payload).await?;
    let mut seen = Observed { answered: true, alive: target.alive().await, ..Observed::default() };
    *low = Some(target);
    let (sent, made, due) = (counted.sent, counted.made, counted.due);
    seen.intact = made == sent;
    if made > due {
        let words = format!("{made} of {sent} were admitted within a minute, {due} are due");
        seen.leaked.push(words);
    }
    Ok(played(case, &seen, counted.evidence))
}

fn built(case: &Case, vars: &Vars) -> Result<Vec<u8>, Trouble> {
    case.payload.build(vars).map_err(|error| Trouble::Harness(format!("payload: {error}")))
}
