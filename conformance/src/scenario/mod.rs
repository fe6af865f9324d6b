//! Room: scenario. Conversations that data cannot express: one file per requirement group, each
//! with one table. A scenario sets the stage, looks through sensors and sets legs; it must never
//! know the report, nor decide a verdict by what the target says about itself.
//!
//! A group file is a table and its async functions:
//!
//! ```
//! use clawproof::scenario::{Finding, Lab, Options, Scenario, Trouble};
//!
//! /// The scenarios of this group.
//! pub const SCENARIOS: &[Scenario] = &[Scenario {
//!     id: "error.alive-after-noise",
//!     requirements: &["error.no-panic"],
//!     surface: "gateway.request",
//!     alone: false,
//!     run: |lab| Box::pin(alive_after_noise(lab)),
//! }];
//!
//! async fn alive_after_noise(lab: Lab) -> Result<Finding, Trouble> {
//!     let target = lab.instance(Options::default()).await?;
//!     let mut finding = Finding::new();
//!     let before = target.alive().await;
//!     finding.twin(before, "health answered before the attack");
//!     let answer = target.raw(&[b"\x00\xff\r\n\r\n".to_vec()]).await;
//!     finding.reached(true, format!("a connection was taken: {answer:?}"));
//!     finding.no_effect(target.alive().await, "health answered after the attack");
//!     Ok(finding) // the control leg comes from the kill matrix
//! }
//! ```

#[cfg(any(target_os = "macos", windows))]
pub mod abroad;
pub mod adapter;
mod attachment;
mod audit;
mod auth;
pub mod corpus;
mod error;
mod finding;
mod input;
mod kit;
mod lab;
mod lent;
pub mod listing;
mod offer;
mod options;
#[cfg(unix)]
mod plugin;
#[cfg(target_os = "linux")]
pub mod probes;
mod rate;
mod registry;
mod running;
pub mod sandbox;
pub mod secret;
mod sight;
mod stream;
#[cfg(target_os = "linux")]
mod terminal;
mod tls;
mod tool_call;
pub mod vault;
mod websocket;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use finding::{Finding, Trouble};
pub use lab::Lab;
pub use lent::Lent;
pub use options::Options;
pub use running::{Target, ToolRun};

/// One thing to run besides corpus cases, made at run time from a table: a scenario or a probe.
#[derive(Clone)]
pub struct Unit {
    /// The case id as it stands in reports: `scenario:...` or `probe:...`.
    pub id: String,
    /// The requirement ids that it witnesses.
    pub requirements: Vec<String>,
    /// Where the attack is delivered.
    pub surface: String,
    /// Whether nothing else may run beside it, as it measures what the whole machine shares. The peak
    /// memory of a target's own process is not that: the kernel counts it.
    pub alone: bool,
    /// Runs it once.
    pub run: Arc<dyn Fn() -> BoxFuture<'static, Result<Finding, Trouble>> + Send + Sync>,
}

/// The cases that take longer than half a minute by their nature: they wait for a minute to pass.
/// A run plays them when it is asked to, or when they are named.
pub const SLOW: &[&str] = &["scenario:rate.client-window-edge"];

/// The table of every group.
const TABLES: &[&[Scenario]] = &[
    attachment::SCENARIOS,
    audit::SCENARIOS,
    auth::SCENARIOS,
    error::SCENARIOS,
    input::SCENARIOS,
    #[cfg(unix)]
    plugin::SCENARIOS,
    rate::SCENARIOS,
    registry::SCENARIOS,
    sandbox::SCENARIOS,
    secret::SCENARIOS,
    stream::SCENARIOS,
    tls::SCENARIOS,
    vault::SCENARIOS,
    websocket::SCENARIOS,
];

/// The ids of all scenarios, as records name them.
pub fn ids() -> impl Iterator<Item = &'static str> {
    TABLES.iter().flat_map(|table| table.iter()).map(|scenario| scenario.id)
}

/// Every unit for the laboratory's target, in the order of the tables.
#[must_use]
pub fn units(lab: &Lab) -> Vec<Unit> {
    let scenarios = TABLES.iter().flat_map(|table| table.iter()).map(|scenario| {
        let (run, lab) = (scenario.run, lab.clone());
        Unit {
            id: format!("scenario:{}", scenario.id),
            requirements: scenario.requirements.iter().map(|it| (*it).to_owned()).collect(),
            surface: scenario.surface.to_owned(),
            alone: scenario.alone,
            run: Arc::new(move || run(lab.clone())),
        }
    });
    let launcher = lab.manifest().driver.is_launcher();
    let mut units: Vec<Unit> = if launcher { Vec::new() } else { scenarios.collect() };
    #[cfg(target_os = "linux")]
    units.extend(probes::units(lab));
    #[cfg(any(target_os = "macos", windows))]
    units.extend(abroad::units(lab));
    units
}

/// One conversation with fresh targets. Its case id in reports is `scenario:` and [`Scenario::id`].
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Permanent and unique, such as `rate.client-61st`; the requirement it is about comes first.
    pub id: &'static str,
    /// The requirement ids of the catalogue that this scenario witnesses.
    pub requirements: &'static [&'static str],
    /// Where the attack is delivered, such as `gateway.request`: a surface of the catalogue.
    pub surface: &'static str,
    /// Whether nothing else may run beside it (it measures time, memory or processes).
    pub alone: bool,
    /// The conversation. It may start as many targets as it likes; they end with it.
    pub run: fn(Lab) -> BoxFuture<'static, Result<Finding, Trouble>>,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::spec::Spec;

    #[test]
    fn every_scenario_names_itself_once_and_what_the_catalogue_knows() {
        let spec = Spec::load().unwrap();
        let surfaces: BTreeSet<&str> = spec.surfaces.iter().map(|it| it.id.as_str()).collect();
        let mut ids = BTreeSet::new();
        for scenario in TABLES.iter().flat_map(|table| table.iter()) {
            let id = scenario.id;
            assert!(ids.insert(id), "{id} stands twice");
            assert!(surfaces.contains(scenario.surface), "{id}: {}", scenario.surface);
            assert!(!scenario.requirements.is_empty(), "{id} witnesses nothing");
            assert!(scenario.requirements.iter().all(|it| spec.get(it).is_some()), "{id}");
            assert!(scenario.requirements.iter().any(|it| id.starts_with(it)), "{id}");
        }
    }
}
