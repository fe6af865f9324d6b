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
//!     surface: "http.raw",
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

pub mod corpus;
mod finding;
mod lab;

use futures_util::future::BoxFuture;

pub use finding::{Finding, Trouble};
pub use lab::{Lab, Options, Target, ToolRun};

/// One conversation with fresh targets. Its case id in reports is `scenario:` and [`Scenario::id`].
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Permanent and unique, such as `rate.client-61st`; the requirement it is about comes first.
    pub id: &'static str,
    /// The requirement ids of the catalogue that this scenario witnesses.
    pub requirements: &'static [&'static str],
    /// Where the attack is delivered, such as `http.raw`.
    pub surface: &'static str,
    /// The conversation. It may start as many targets as it likes; they end with it.
    pub run: fn(Lab) -> BoxFuture<'static, Result<Finding, Trouble>>,
}
